// check_entries.c: entry records (SPEC.md, section 4, rule 15).

#include "check.h"

#define FIELD(name) ((uint32_t)offsetof(csc_blob_entry_t, name))
#define OK 0xFFFFFFFFu  // no bad field

static int same_text(const char *a, const char *b) {
  while (*a && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}

static uint32_t bad_name(const csc_model_t *model, uint32_t index, uint32_t strings_bytes) {
  uint32_t name = model->entries[index].name;
  if (name >= strings_bytes) return FIELD(name);
  for (uint32_t i = 0; i < index; i++) {
    if (same_text(csc_name(model, model->entries[i].name), csc_name(model, name))) {
      return FIELD(name);
    }
  }
  return OK;
}

// `first`: where the entry before ended.
static uint32_t bad_field(const csc_model_t *model, uint32_t index, uint32_t first,
                          uint32_t strings_bytes) {
  const csc_blob_entry_t *entry = &model->entries[index];
  if (entry->first_op != first) return FIELD(first_op);
  if (entry->op_count - 1 >= model->header->op_count - first) return FIELD(op_count);
  if (entry->max_length - 1 >= model->header->max_length) return FIELD(max_length);
  for (uint32_t i = 0; i < sizeof entry->reserved / sizeof *entry->reserved; i++) {
    if (entry->reserved[i]) return FIELD(reserved) + 4 * i;
  }
  return bad_name(model, index, strings_bytes);
}

csc_status_t csc_check_entries(const csc_model_t *model, uint32_t strings_bytes,
                               csc_error_t *error) {
  if (!model->entries) return CSC_OK;
  uint32_t count = model->header->entry_count;
  uint32_t end = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t bad = bad_field(model, i, end, strings_bytes);
    if (bad != OK) return csc_fail(error, CSC_ERR_ENTRY, i, bad, 0, 0);
    end += model->entries[i].op_count;
  }
  if (end == model->header->op_count) return CSC_OK;
  return csc_fail(error, CSC_ERR_ENTRY, count - 1, FIELD(op_count), model->header->op_count, end);
}

uint32_t csc_entry(const csc_model_t *model, const char *name) {
  for (uint32_t i = 0; i < model->header->entry_count; i++) {
    if (same_text(csc_name(model, model->entries[i].name), name)) return i;
  }
  return CSC_NONE;
}
