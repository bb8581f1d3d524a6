// Runs recorded cases on every backend this CPU has; all output bytes must equal the oracle's.
//
// usage: run_cases FILE; FILE holds cases one after another, all numbers little-endian u32:
//   blob bytes, blob, number of runs, and per run:
//   entry, position, T, number of inputs, per input: tensor, bytes, data (rows with padding),
//   number of outputs, per output: tensor, bytes, data (rows without padding)
// Blob and arena are allocated with their exact sizes, so that the sanitizers see every overrun.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cs1_engine.h"
#include "csc.h"
#include "host.h"

typedef struct {
  const uint8_t *at;
  const uint8_t *end;
} reader_t;

typedef struct {
  uint32_t tensor;
  uint32_t bytes;
  const uint8_t *data;
} field_t;

static void die(const char *what, unsigned number) {
  fprintf(stderr, "case %u: %s\n", number, what);
  exit(1);
}

static const uint8_t *take(reader_t *reader, size_t bytes) {
  if ((size_t)(reader->end - reader->at) < bytes) die("the file is cut short", 0);
  const uint8_t *data = reader->at;
  reader->at += bytes;
  return data;
}

static uint32_t take_u32(reader_t *reader) {
  uint32_t value;
  memcpy(&value, take(reader, sizeof value), sizeof value);
  return value;
}

static field_t take_field(reader_t *reader) {
  field_t field = {.tensor = take_u32(reader)};
  field.bytes = take_u32(reader);
  field.data = take(reader, field.bytes);
  return field;
}

// AddressSanitizer guards the end of the block: room is added in front, never behind.
static uint8_t *exact(size_t bytes, void **block) {
  size_t front = (CSC_ALIGN - bytes % CSC_ALIGN) % CSC_ALIGN;
  *block = aligned_alloc(CSC_ALIGN, front + bytes ? front + bytes : CSC_ALIGN);
  if (!*block) die("out of memory", 0);
  return (uint8_t *)*block;
}

static uint32_t element_bytes(uint32_t dtype) {
  return dtype == CSC_DTYPE_INT32 ? 4 : dtype == CSC_DTYPE_INT16 ? 2 : 1;
}

static int matches(const csc_job_t *job, field_t expected) {
  const csc_blob_tensor_t *tensor = &job->model->tensors[expected.tensor];
  const uint8_t *got = csc_tensor_data(job->model, job->arena, expected.tensor);
  uint32_t rows = tensor->flags & CSC_FLAG_DYNAMIC ? job->length : tensor->dims[0];
  size_t row = (size_t)tensor->dims[1] * element_bytes(tensor->dtype);
  size_t stride = (size_t)tensor->row_stride * element_bytes(tensor->dtype);
  if (expected.bytes != rows * row) return 0;
  for (uint32_t r = 0; r < rows; r++) {
    if (memcmp(got + r * stride, expected.data + r * row, row) != 0) return 0;
  }
  return 1;
}

static void run_once(csc_job_t *job, reader_t *reader, unsigned number) {
  csc_error_t error;
  job->entry = take_u32(reader);
  job->position = take_u32(reader);
  job->length = take_u32(reader);
  if (csc_start(job, &error)) die("csc_start failed", number);
  for (uint32_t left = take_u32(reader); left > 0; left--) {
    field_t input = take_field(reader);
    memcpy(csc_tensor_data(job->model, job->arena, input.tensor), input.data, input.bytes);
  }
  if (csc_run(job, &error)) die(csc_status_name(error.status), number);
  for (uint32_t left = take_u32(reader); left > 0; left--) {
    if (!matches(job, take_field(reader))) die("an output differs from the oracle's", number);
  }
}

static void run_on(const csc_model_t *model, const csc_backend_t *backend, reader_t *reader,
                   unsigned number) {
  csc_error_t error;
  void *block;
  size_t bytes = csc_arena_bytes(model);
  uint8_t *arena = exact(bytes, &block);
  memset(arena, 0xA5, bytes);
  csc_job_t job = {.model = model, .arena = arena, .arena_bytes = bytes, .backend = backend};
  if (csc_reset(&job, &error)) die("csc_reset failed", number);
  for (uint32_t left = take_u32(reader); left > 0; left--) run_once(&job, reader, number);
  free(block);
}

static void run_on_cs1(const csc_model_t *model, reader_t *reader, unsigned number) {
  csc_sim_cs1_t engine;
  csc_host_cs1_t host;
  csc_sim_cs1_init(&engine);
  csc_host_cs1_init(&host, &engine);
  run_on(model, &host.backend, reader, number);
}

// A team of two threads, with exactly the memory it asks for.
static void run_on_team(csc_avx512_unit_t unit, const csc_model_t *model, reader_t *reader,
                        unsigned number) {
  void *packed_block, *rooms_block;
  size_t room = (csc_avx512_room_bytes(model) + CSC_ALIGN - 1) / CSC_ALIGN * CSC_ALIGN;
  uint8_t *packed = exact(csc_avx512_packed_bytes(model), &packed_block);
  uint8_t *rooms = exact(2 * room, &rooms_block);
  csc_avx512_pack(model, packed);
  memset(rooms, 0xA5, 2 * room);
  csc_host_team_t *team = csc_host_team_new(unit, model, packed, rooms, room, number % 2 + 1);
  if (!team) die("no team", number);
  run_on(model, csc_host_team_backend(team), reader, number);
  csc_host_team_free(team);
  free(packed_block);
  free(rooms_block);
}

// Returns the number of backends.
static unsigned run_on_all(const csc_model_t *model, reader_t *reader, unsigned number) {
  const int has[] = {csc_host_has_avx512vnni(), csc_host_has_avx512vbmi(), csc_host_has_amx()};
  csc_backend_t portable = csc_portable_backend();
  csc_backend_t avx2;
  unsigned backends = 2;
  reader_t again = *reader;
  run_on(model, &portable, &again, number);
  if (csc_host_avx2_backend(&avx2)) {
    again = *reader;
    run_on(model, &avx2, &again, number);
    backends++;
  }
  for (int unit = CSC_AVX512_VNNI; unit <= CSC_AVX512_AMX; unit++) {
    if (!has[unit]) continue;
    again = *reader;
    run_on_team((csc_avx512_unit_t)unit, model, &again, number);
    backends++;
  }
  run_on_cs1(model, reader, number);
  return backends;
}

static unsigned run_case(reader_t *reader, unsigned number) {
  csc_error_t error;
  csc_model_t model;
  void *block;
  size_t bytes = take_u32(reader);
  uint8_t *blob = exact(bytes, &block);
  memcpy(blob, take(reader, bytes), bytes);
  if (csc_load_model(&model, blob, bytes, &error)) die(csc_status_name(error.status), number);
  unsigned backends = run_on_all(&model, reader, number);
  free(block);
  return backends;
}

int main(int count, char **arguments) {
  FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
  if (!file || fseek(file, 0, SEEK_END)) die("usage: run_cases FILE", 0);
  size_t bytes = (size_t)ftell(file);
  rewind(file);
  uint8_t *data = malloc(bytes ? bytes : 1);
  if (!data || fread(data, 1, bytes, file) != bytes) die("the file cannot be read", 0);
  fclose(file);
  reader_t reader = {data, data + bytes};
  unsigned number = 0;
  unsigned backends = 0;
  for (; reader.at < reader.end; number++) backends = run_case(&reader, number);
  printf("%u cases equal on %u backends\n", number, backends);
  free(data);
  return 0;
}
