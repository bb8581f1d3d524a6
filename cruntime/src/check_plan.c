// check_plan.c: the record of a plan (SPEC.md, section 4, rule 14).
//
// Its descriptors are left to the chip, which checks each before it starts it.

#include "check.h"

#define FIELD(name) ((uint32_t)offsetof(csc_blob_plan_t, name))
#define OK 0xFFFFFFFFu  // no bad field

#define COMMAND_BYTES 64u

// Do all inputs and outputs end within the SRAM of the plan?
static int holds_faces(const csc_model_t *model) {
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    const csc_blob_tensor_t *tensor = &model->tensors[i];
    if (!(tensor->flags & (CSC_FLAG_INPUT | CSC_FLAG_OUTPUT))) continue;
    // offset + bytes <= arena_bytes < 2^32, checked before
    if (tensor->offset + tensor->bytes > model->plan->sram_bytes) return 0;
  }
  return 1;
}

static uint32_t bad_field(const csc_model_t *model) {
  const csc_blob_plan_t *plan = model->plan;
  if (plan->chip == 0) return FIELD(chip);
  if (plan->max_length < 1 || plan->max_length > model->header->max_length) {
    return FIELD(max_length);
  }
  if (!holds_faces(model)) return FIELD(sram_bytes);
  for (uint32_t i = 0; i < sizeof plan->reserved / sizeof *plan->reserved; i++) {
    if (plan->reserved[i]) return FIELD(reserved) + 4 * i;
  }
  return OK;
}

csc_status_t csc_check_plan(const csc_model_t *model, uint32_t bytes, csc_error_t *error) {
  const uint64_t record = sizeof *model->plan;
  if (bytes < record) return csc_fail(error, CSC_ERR_SECTION, CSC_SECTION_PLAN, 0, 0, 0);
  uint64_t need = record + (uint64_t)model->plan->command_count * COMMAND_BYTES;
  if (need != bytes) {
    return csc_fail(error, CSC_ERR_SECTION, CSC_SECTION_PLAN, 0, (int64_t)need, bytes);
  }
  uint32_t bad = bad_field(model);
  return bad == OK ? CSC_OK : csc_fail(error, CSC_ERR_PLAN, 0, bad, 0, 0);
}
