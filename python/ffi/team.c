// team.c: threads that share every op of a run.
//
// An op takes some tens of microseconds, so members look for the next one for a while before they
// sleep. The caller is member 0; the others are numbered in the order in which errors count.

#define _GNU_SOURCE

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"

#define LOOKS 4000   // before a member sleeps: some 50 microseconds
#define PATIENCE 64  // looks before a thread lets others have the CPU

typedef struct {
  csc_host_team_t *team;
  csc_avx512_t simd;
  csc_backend_t backend;
  csc_error_t error;
  csc_status_t status;
  pthread_t thread;
} member_t;

struct csc_host_team {
  csc_backend_t backend;
  uint32_t size;
  pid_t process;           // a fork has the team's memory and none of its threads
  const csc_call_t *call;  // of this round
  atomic_uint round;
  atomic_uint busy;      // members that have not finished the round
  atomic_uint sleepers;  // members that wait for `news`
  atomic_int dismissed;
  pthread_mutex_t lock;
  pthread_cond_t news;
  member_t members[];
};

static void look_again(unsigned looks) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
  if (looks % PATIENCE == PATIENCE - 1) sched_yield();
}

static void do_part(member_t *member) {
  member->status = member->backend.run_op(member->backend.ctx, member->team->call, &member->error);
}

static void sleep_until_news(csc_host_team_t *team, unsigned seen) {
  pthread_mutex_lock(&team->lock);
  atomic_fetch_add(&team->sleepers, 1);
  while (atomic_load(&team->round) == seen) pthread_cond_wait(&team->news, &team->lock);
  atomic_fetch_sub(&team->sleepers, 1);
  pthread_mutex_unlock(&team->lock);
}

static void *serve(void *argument) {
  member_t *member = argument;
  csc_host_team_t *team = member->team;
  for (unsigned seen = 0;; seen++) {
    for (unsigned looks = 0; atomic_load(&team->round) == seen && looks < LOOKS; looks++) {
      look_again(looks);
    }
    if (atomic_load(&team->round) == seen) sleep_until_news(team, seen);
    if (atomic_load(&team->dismissed)) return NULL;
    do_part(member);
    atomic_fetch_sub(&team->busy, 1);
  }
}

// A member that goes to sleep says so before it looks a last time, so it misses no round.
static void start_round(csc_host_team_t *team) {
  atomic_fetch_add(&team->round, 1);
  if (atomic_load(&team->sleepers) == 0) return;
  pthread_mutex_lock(&team->lock);
  pthread_cond_broadcast(&team->news);
  pthread_mutex_unlock(&team->lock);
}

static csc_status_t run_op(void *ctx, const csc_call_t *call, csc_error_t *error) {
  csc_host_team_t *team = ctx;
  team->call = call;
  atomic_store(&team->busy, team->size - 1);
  if (team->size > 1) start_round(team);
  do_part(&team->members[0]);
  for (unsigned looks = 0; atomic_load(&team->busy) > 0; looks++) look_again(looks);
  for (uint32_t i = 0; i < team->size; i++) {
    if (!team->members[i].status) continue;
    *error = team->members[i].error;
    return team->members[i].status;
  }
  return CSC_OK;
}

static int hire(csc_host_team_t *team, csc_avx512_unit_t unit, const csc_model_t *model,
                const void *packed, uint8_t *rooms, size_t room_bytes) {
  member_t *member = &team->members[team->size];
  uint8_t *room = rooms + team->size * room_bytes;
  member->team = team;
  if (!csc_avx512_backend(&member->simd, &member->backend, unit, model, packed, room)) return 0;
  if (team->size > 0 && pthread_create(&member->thread, NULL, serve, member)) return 0;
  team->size++;
  return 1;
}

// Threads that could not be had are done without.
csc_host_team_t *csc_host_team_new(csc_avx512_unit_t unit, const csc_model_t *model,
                                   const void *packed, uint8_t *rooms, size_t room_bytes,
                                   uint32_t size) {
  csc_host_team_t *team = calloc(1, sizeof *team + size * sizeof(member_t));
  if (!team) return NULL;
  team->process = getpid();
  team->backend.ctx = team;
  team->backend.run_op = run_op;
  pthread_mutex_init(&team->lock, NULL);
  pthread_cond_init(&team->news, NULL);
  while (team->size < size && hire(team, unit, model, packed, rooms, room_bytes)) continue;
  for (uint32_t i = 0; i < team->size; i++) {
    team->members[i].simd.kernels.part = i;
    team->members[i].simd.kernels.parts = team->size;
  }
  if (team->size > 0) return team;
  csc_host_team_free(team);
  return NULL;
}

const csc_backend_t *csc_host_team_backend(const csc_host_team_t *team) { return &team->backend; }

void csc_host_team_free(csc_host_team_t *team) {
  if (team->process != getpid()) return;  // the memory of a fork goes with it
  atomic_store(&team->dismissed, 1);
  start_round(team);
  for (uint32_t i = 1; i < team->size; i++) pthread_join(team->members[i].thread, NULL);
  pthread_cond_destroy(&team->news);
  pthread_mutex_destroy(&team->lock);
  free(team);
}
