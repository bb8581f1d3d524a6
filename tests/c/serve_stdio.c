// The firmware's server on standard input and output, for tests of the protocol on the host.
//
// usage: serve_stdio RAM_BYTES [BLOB]; with a BLOB it is the model in the image.
// The memory ends where a page may not be touched, so that an overrun is a crash.

#define _DEFAULT_SOURCE  // MAP_ANONYMOUS

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cs1_engine.h"
#include "host.h"
#include "memory.h"
#include "server.h"

#define PAGE 4096u

static csc_frame_image_t image = {
    CSC_FRAME_IMAGE_MAGIC, CSC_FRAME_IMAGE_VERSION, 0, "host", 0, 0, 0, 0, {{0}}};
static csc_server_t server;
static uint32_t stack[4];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int read_byte(void *ctx) {
  (void)ctx;
  uint8_t byte = 0;
  return read(STDIN_FILENO, &byte, 1) == 1 ? byte : -1;
}

static void write_byte(void *ctx, uint8_t byte) {
  (void)ctx;
  if (write(STDOUT_FILENO, &byte, 1) != 1) exit(0);
}

static uint64_t clocks(void *ctx) {
  static uint64_t now;
  (void)ctx;
  return now += 10;
}

static void restart(void *ctx) {
  (void)ctx;
  server.state = CSC_FRAME_STATE_EMPTY;
  server.source = CSC_FRAME_SOURCE_NONE;
}

// `bytes` of memory whose addresses have 32 bits, right before a forbidden page.
static uint8_t *take_memory(uint32_t bytes) {
  static uintptr_t next = 0x10000000u;
  size_t room = ((size_t)bytes + PAGE - 1) / PAGE * PAGE;
  void *wanted = (void *)next;
  uint8_t *memory =
      mmap(wanted, room + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + room, PAGE, PROT_NONE)) die("mmap");
  if ((uintptr_t)memory + room > UINT32_MAX) die("no memory below 4 GiB");
  next += room + PAGE;
  return memory + room - bytes;
}

static void embed(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) die(path);
  uint32_t bytes = (uint32_t)ftell(file);
  uint8_t *blob = take_memory(bytes);
  rewind(file);
  if (fread(blob, 1, bytes, file) != bytes) die(path);
  fclose(file);
  csc_model_t model;
  uint32_t work = 0;
  if (!csc_load_model(&model, blob, bytes, NULL)) work = (uint32_t)csc_work_bytes(&model, 0);
  image.model_address = (uint32_t)(uintptr_t)blob;
  image.model_bytes = bytes;
  image.work_address = (uint32_t)(uintptr_t)take_memory(work);
  image.work_bytes = work;
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  uint32_t ram_bytes = (uint32_t)strtoul(arguments[1], NULL, 10);
  uint32_t ram = (uint32_t)(uintptr_t)take_memory(ram_bytes);
  image.regions[0].first = ram;
  image.regions[0].end = ram + ram_bytes;
  image.regions[0].kind = CSC_FRAME_MEMORY_RAM;
  if (count > 2) embed(arguments[2]);
  static csc_host_cs1_t host;
  csc_sim_cs1_t *engine = malloc(csc_sim_cs1_sizeof());
  if (!engine) die("malloc");
  csc_sim_cs1_init(engine);
  csc_host_cs1_init(&host, engine);
  csc_board_t board = {.image = &image,
                       .backend = host.backend,
                       .engine = &host.driver,
                       .counter_hz = 1000,
                       .stack_low = stack,
                       .stack_high = stack + 4,
                       .read = read_byte,
                       .write = write_byte,
                       .clocks = clocks,
                       .restart = restart};
  server.board = board;
  csc_serve(&server);
  free(engine);
  return 0;
}
