// team.c: threads that share every op of a run.
//
// The work of an op is cut into as many parts as there are threads, and whoever is free takes the
// next part: where the system gives a thread no time, another does its part, and the bits are the
// same. An op takes some tens of microseconds, so threads look for the next one for a while before
// they sleep.

#define _GNU_SOURCE  // getpid

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"

#define LOOKS 4000   // before a thread sleeps: some 50 microseconds
#define PATIENCE 64  // looks before a thread lets others have the CPU

typedef struct {
  csc_avx512_t simd;
  csc_backend_t backend;
  csc_error_t error;
  csc_status_t status;
  pthread_t thread;  // of the parts behind the first; any thread may do any part
} part_t;

struct csc_host_team {
  csc_backend_t backend;
  uint32_t parts;
  uint32_t threads;        // beside the caller's
  pid_t process;           // a fork has the team's memory and none of its threads
  const csc_call_t *call;  // of this op
  atomic_uint next;        // the first part nobody has taken
  atomic_uint left;        // parts that are not done
  atomic_uint sleepers;    // threads that wait for `news`
  atomic_int dismissed;
  pthread_mutex_t lock;
  pthread_cond_t news;
  part_t part[];
};

static void look_again(unsigned looks) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
  if (looks % PATIENCE == PATIENCE - 1) sched_yield();
}

static int has_work(csc_host_team_t *team) { return atomic_load(&team->next) < team->parts; }

// Does parts as long as there are any. `call` stays in place until the last part is done.
static void do_parts(csc_host_team_t *team) {
  unsigned number = atomic_load(&team->next);
  while (number < team->parts) {
    if (!atomic_compare_exchange_weak(&team->next, &number, number + 1)) continue;
    part_t *part = &team->part[number];
    part->status = part->backend.run_op(part->backend.ctx, team->call, &part->error);
    atomic_fetch_sub(&team->left, 1);
    number = atomic_load(&team->next);
  }
}

// A thread says that it sleeps before it looks a last time, so it misses nothing.
static void sleep_until_news(csc_host_team_t *team) {
  pthread_mutex_lock(&team->lock);
  atomic_fetch_add(&team->sleepers, 1);
  while (!has_work(team) && !atomic_load(&team->dismissed)) {
    pthread_cond_wait(&team->news, &team->lock);
  }
  atomic_fetch_sub(&team->sleepers, 1);
  pthread_mutex_unlock(&team->lock);
}

static void wake_sleepers(csc_host_team_t *team) {
  if (atomic_load(&team->sleepers) == 0) return;
  pthread_mutex_lock(&team->lock);
  pthread_cond_broadcast(&team->news);
  pthread_mutex_unlock(&team->lock);
}

static void *serve(void *argument) {
  csc_host_team_t *team = argument;
  while (!atomic_load(&team->dismissed)) {
    do_parts(team);
    for (unsigned looks = 0; !has_work(team) && looks < LOOKS; looks++) look_again(looks);
    if (!has_work(team)) sleep_until_news(team);
  }
  return NULL;
}

// Errors count in the order of the parts, whoever was first.
static csc_status_t run_op(void *ctx, const csc_call_t *call, csc_error_t *error) {
  csc_host_team_t *team = ctx;
  team->call = call;
  atomic_store(&team->left, team->parts);
  atomic_store(&team->next, 0);
  wake_sleepers(team);
  do_parts(team);
  for (unsigned looks = 0; atomic_load(&team->left) > 0; looks++) look_again(looks);
  for (uint32_t i = 0; i < team->parts; i++) {
    if (!team->part[i].status) continue;
    *error = team->part[i].error;
    return team->part[i].status;
  }
  return CSC_OK;
}

// Threads that cannot be had are done without.
static void hire(csc_host_team_t *team) {
  for (uint32_t i = 1; i < team->parts; i++) {
    if (pthread_create(&team->part[i].thread, NULL, serve, team)) return;
    team->threads++;
  }
}

csc_host_team_t *csc_host_team_new(csc_avx512_unit_t unit, const csc_model_t *model,
                                   const void *packed, uint8_t *rooms, size_t room_bytes,
                                   uint32_t size) {
  csc_host_team_t *team = calloc(1, sizeof *team + size * sizeof(part_t));
  if (!team) return NULL;
  team->backend.ctx = team;
  team->backend.run_op = run_op;
  team->parts = size;
  team->process = getpid();
  atomic_init(&team->next, size);
  for (uint32_t i = 0; i < size; i++) {
    part_t *part = &team->part[i];
    uint8_t *room = rooms + i * room_bytes;
    if (!csc_avx512_backend(&part->simd, &part->backend, unit, model, packed, room)) {
      free(team);
      return NULL;
    }
    part->simd.kernels.part = i;
    part->simd.kernels.parts = size;
  }
  pthread_mutex_init(&team->lock, NULL);
  pthread_cond_init(&team->news, NULL);
  hire(team);
  return team;
}

const csc_backend_t *csc_host_team_backend(const csc_host_team_t *team) { return &team->backend; }

void csc_host_team_free(csc_host_team_t *team) {
  if (team->process != getpid()) return;  // the memory of a fork goes with it
  atomic_store(&team->dismissed, 1);
  wake_sleepers(team);
  for (uint32_t i = 1; i <= team->threads; i++) pthread_join(team->part[i].thread, NULL);
  pthread_cond_destroy(&team->news);
  pthread_mutex_destroy(&team->lock);
  free(team);
}
