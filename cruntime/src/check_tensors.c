// check_tensors.c: tensor records (SPEC.md, section 4, rules 4 to 7).

#include "check.h"

#define FIELD(name) ((uint32_t)offsetof(csc_blob_tensor_t, name))
#define OK 0xFFFFFFFFu  // no bad field

#define KNOWN_FLAGS \
  (CSC_FLAG_DYNAMIC | CSC_FLAG_INPUT | CSC_FLAG_OUTPUT | CSC_FLAG_OPTIONAL | CSC_FLAG_STATE)

uint32_t csc_dtype_bytes(uint32_t dtype) {
  if (dtype == CSC_DTYPE_INT32) return 4;
  return dtype == CSC_DTYPE_INT16 ? 2 : 1;
}

static uint32_t bad_dims(const csc_blob_tensor_t *tensor) {
  if (tensor->rank < 1 || tensor->rank > 4) return FIELD(rank);
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t dim = tensor->dims[i];
    if (dim == 0 || (i >= tensor->rank && dim != 1)) return FIELD(dims) + 4 * i;
  }
  return OK;
}

// dims[1] * dims[2] * dims[3], or 0 where that exceeds 32 bits.
static uint32_t row_elements(const csc_blob_tensor_t *tensor) {
  uint64_t elements = tensor->dims[1];
  for (uint32_t i = 2; i < 4; i++) {
    elements *= tensor->dims[i];
    if (elements > UINT32_MAX) return 0;
  }
  return (uint32_t)elements;
}

// Row stride and size; both products are formed in 64 bits from factors below 2^32.
static uint32_t bad_size(const csc_blob_tensor_t *tensor) {
  uint32_t stride = row_elements(tensor);
  if (tensor->storage == CSC_STORAGE_ARENA && tensor->rank == 2) {
    if (stride > CSC_MAX_WIDTH) return FIELD(dims) + 4;
    stride = (stride + 7u) & ~7u;
  }
  if (stride == 0 || tensor->row_stride != stride) return FIELD(row_stride);
  uint64_t elements = (uint64_t)tensor->dims[0] * stride;
  if (elements > UINT32_MAX) return FIELD(bytes);
  if (tensor->bytes != elements * csc_dtype_bytes(tensor->dtype)) return FIELD(bytes);
  return tensor->offset % CSC_ALIGN ? FIELD(offset) : OK;
}

static int fits_dtype(uint32_t dtype, int32_t value) {
  switch (dtype) {
    case CSC_DTYPE_INT8: return value >= INT8_MIN && value <= INT8_MAX;
    case CSC_DTYPE_UINT8: return value >= 0 && value <= UINT8_MAX;
    case CSC_DTYPE_INT16: return value >= INT16_MIN && value <= INT16_MAX;
    default: return 1;
  }
}

static uint32_t bad_default(const csc_blob_tensor_t *tensor) {
  int has_default = (tensor->flags & (CSC_FLAG_OPTIONAL | CSC_FLAG_STATE)) != 0;
  int32_t value = tensor->default_value;
  int good = has_default ? fits_dtype(tensor->dtype, value) : value == 0;
  return good ? OK : FIELD(default_value);
}

static uint32_t bad_flags(const csc_model_t *model, uint32_t flags) {
  int input = (flags & CSC_FLAG_INPUT) != 0;
  if (flags & CSC_FLAG_OPTIONAL && !input) return FIELD(flags);
  if (input && flags & CSC_FLAG_OUTPUT) return FIELD(flags);
  int state = (flags & CSC_FLAG_STATE) != 0;
  if (state && (flags != CSC_FLAG_STATE || !model->entries)) return FIELD(flags);
  return OK;
}

// An input of a model without entries.
static uint32_t bad_plain_input(const csc_blob_tensor_t *tensor) {
  if (!(tensor->flags & CSC_FLAG_DYNAMIC)) return FIELD(flags);
  if (tensor->rank != 1) return FIELD(rank);
  int good = tensor->dtype == CSC_DTYPE_INT32 || tensor->dtype == CSC_DTYPE_UINT8;
  return good ? OK : FIELD(dtype);
}

static uint32_t bad_arena_tensor(const csc_model_t *model, const csc_blob_tensor_t *tensor) {
  uint32_t arena = model->header->arena_bytes;
  if (tensor->rank > 2) return FIELD(rank);
  if (tensor->bytes > arena || tensor->offset > arena - tensor->bytes) return FIELD(offset);
  if (tensor->flags & CSC_FLAG_DYNAMIC && tensor->dims[0] != model->header->max_length) {
    return FIELD(dims);
  }
  uint32_t bad = bad_flags(model, tensor->flags);
  if (bad == OK && tensor->flags & CSC_FLAG_INPUT && !model->entries) bad = bad_plain_input(tensor);
  return bad == OK ? bad_default(tensor) : bad;
}

// `end`: where the weights tensor before this one ended; moved on to where this one ends.
static uint32_t bad_weights_tensor(const csc_blob_tensor_t *tensor, uint64_t *end) {
  if (tensor->flags) return FIELD(flags);
  if (tensor->default_value) return FIELD(default_value);
  if (tensor->offset != *end) return FIELD(offset);
  *end = ((uint64_t)tensor->offset + tensor->bytes + CSC_ALIGN - 1) & ~(uint64_t)(CSC_ALIGN - 1);
  return OK;
}

static uint32_t bad_common(const csc_blob_tensor_t *tensor, uint32_t strings_bytes) {
  if (tensor->name >= strings_bytes) return FIELD(name);
  if (tensor->dtype < CSC_DTYPE_INT8 || tensor->dtype > CSC_DTYPE_INT32) return FIELD(dtype);
  if (tensor->storage > CSC_STORAGE_WEIGHTS) return FIELD(storage);
  if (tensor->flags & ~KNOWN_FLAGS) return FIELD(flags);
  for (uint32_t i = 0; i < 4; i++) {
    if (tensor->reserved[i]) return FIELD(reserved) + 4 * i;
  }
  uint32_t bad = bad_dims(tensor);
  return bad == OK ? bad_size(tensor) : bad;
}

csc_status_t csc_check_tensors(const csc_model_t *model, uint32_t strings_bytes,
                               uint32_t weights_bytes, csc_error_t *error) {
  uint64_t end = 0;
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    const csc_blob_tensor_t *tensor = &model->tensors[i];
    uint32_t bad = bad_common(tensor, strings_bytes);
    if (bad == OK) {
      bad = tensor->storage == CSC_STORAGE_ARENA ? bad_arena_tensor(model, tensor)
                                                 : bad_weights_tensor(tensor, &end);
    }
    if (bad == OK && end > weights_bytes) bad = FIELD(bytes);
    if (bad != OK) return csc_fail(error, CSC_ERR_TENSOR, i, bad, 0, 0);
  }
  if (end == weights_bytes) return CSC_OK;
  return csc_fail(error, CSC_ERR_SECTION, CSC_SECTION_WEIGHTS, 0, (int64_t)end, weights_bytes);
}
