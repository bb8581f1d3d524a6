// Drives the fuzz target where the compiler has no libFuzzer: random mutations of the seeds.
//
// usage: fuzz_load SECONDS SEED_FILE...

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct {
  uint8_t *data;
  size_t bytes;
} seed_t;

static uint32_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*state >> 33);
}

static seed_t read_seed(const char *path) {
  seed_t seed = {NULL, 0};
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) exit(2);
  seed.bytes = (size_t)ftell(file);
  rewind(file);
  seed.data = malloc(seed.bytes + 1);
  if (!seed.data || fread(seed.data, 1, seed.bytes, file) != seed.bytes) exit(2);
  fclose(file);
  return seed;
}

// Up to four changes: a byte or a word, half of them in the records at the front.
static void mutate(uint8_t *data, size_t bytes, uint64_t *state) {
  static const uint32_t evil[] = {0, 1, 7, 8, 64, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF};
  for (uint32_t left = 1 + next_random(state) % 4; left > 0; left--) {
    size_t front = bytes < 4096 || next_random(state) % 2 ? bytes : 4096;
    size_t at = next_random(state) % front;
    uint32_t word = evil[next_random(state) % (sizeof evil / sizeof *evil)];
    if (next_random(state) % 2 && at + 4 <= bytes) {
      memcpy(data + at / 4 * 4, &word, sizeof word);
    } else {
      data[at] ^= (uint8_t)(1u << next_random(state) % 8);
    }
  }
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  long seconds = strtol(arguments[1], NULL, 10);
  time_t end = time(NULL) + seconds;
  uint64_t state = 1;
  unsigned long runs = 0;
  for (; time(NULL) < end; runs++) {
    seed_t seed = read_seed(arguments[2 + next_random(&state) % (uint32_t)(count - 2)]);
    mutate(seed.data, seed.bytes, &state);
    LLVMFuzzerTestOneInput(seed.data, seed.bytes);
    free(seed.data);
  }
  printf("Done %lu runs in %ld second(s)\n", runs, seconds);
  return 0;
}
