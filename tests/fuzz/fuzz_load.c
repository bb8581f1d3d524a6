// Fuzz target: any bytes go into the loader with their CRCs put right, so that the checks behind
// the CRCs are reached; what loads is also run. Nothing may crash or read or write out of bounds.

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define ARENA_LIMIT (1u << 20)
#define LENGTH_LIMIT 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void mend_section(uint8_t *blob, size_t bytes, uint32_t number) {
  csc_blob_section_t *section =
      (csc_blob_section_t *)(void *)(blob + sizeof(csc_blob_header_t)) + number;
  if (section->offset > bytes || section->bytes > bytes - section->offset) return;
  section->crc = csc_crc32(0, blob + section->offset, section->bytes);
}

static void mend(uint8_t *blob, size_t bytes) {
  csc_blob_header_t *header = (csc_blob_header_t *)(void *)blob;
  if (bytes < CSC_HEADER_BYTES) return;
  header->file_bytes = (uint32_t)bytes;
  for (uint32_t i = 0; i < header->section_count && i < 6; i++) mend_section(blob, bytes, i);
  header->header_crc = 0;
  header->header_crc = csc_crc32(0, blob, CSC_HEADER_BYTES);
}

static void fill_inputs(const csc_job_t *job, const uint8_t *data, size_t bytes) {
  for (uint32_t i = 0; i < job->model->header->tensor_count; i++) {
    const csc_blob_tensor_t *tensor = &job->model->tensors[i];
    if (!(tensor->flags & CSC_FLAG_INPUT)) continue;
    uint8_t *input = csc_tensor_data(job->model, job->arena, i);
    memset(input, 0, tensor->bytes);
    for (uint32_t t = 0; t < job->length; t++) {
      input[t * csc_dtype_bytes(tensor->dtype)] = data[t % bytes];
    }
  }
}

static void run(const csc_model_t *model, const uint8_t *data, size_t bytes) {
  size_t room = csc_arena_bytes(model);
  if (room > ARENA_LIMIT) return;
  uint8_t *arena = aligned_alloc(CSC_ALIGN, (room + CSC_ALIGN) / CSC_ALIGN * CSC_ALIGN);
  if (!arena) return;
  memset(arena, 0x5A, room);
  csc_backend_t backend = csc_portable_backend();
  csc_job_t job = {.model = model, .arena = arena, .arena_bytes = room, .backend = &backend};
  uint32_t longest = model->header->max_length;
  job.length = longest < LENGTH_LIMIT ? longest : LENGTH_LIMIT;
  csc_error_t error;
  if (csc_start(&job, &error) == CSC_OK) {
    fill_inputs(&job, data, bytes);
    csc_status_t status = csc_run(&job, &error);
    if (status != CSC_OK && status != CSC_ERR_TOKEN) abort();
  }
  free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  if (bytes == 0) return 0;
  csc_model_t model;
  csc_error_t error;
  uint8_t *blob = aligned_alloc(CSC_ALIGN, (bytes + CSC_ALIGN - 1) / CSC_ALIGN * CSC_ALIGN);
  if (!blob) return 0;
  memcpy(blob, data, bytes);
  mend(blob, bytes);
  if (csc_load_model(&model, blob, bytes, &error) == CSC_OK) run(&model, data, bytes);
  free(blob);
  return 0;
}
