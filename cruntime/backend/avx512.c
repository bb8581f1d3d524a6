// avx512.c: packing a model's GEMM weights, and the backends made of the other avx512 files.
//
// The packed copy starts with the offset of every op's part (0 for what is no GEMM). A part holds
// whether it is narrow, three vectors and the panels; see csc_packed_gemm_t.

#include "avx512.h"

#include "avx512_inner.h"

#if CSC_HAS_AVX512

#define CHUNK_BYTES (256u * 1024u)
#define HEAD_BYTES 64u  // of a part: int32 `narrow`, then nothing

// A GEMM as its records describe it.
typedef struct {
  const int8_t *weights;  // [N / 8][K / 8][8][8], rounded up
  const int32_t *requant;
  uint32_t k, n;
  uint32_t depth;   // K rounded up to DEPTH_UNIT
  uint32_t panels;  // N / PANEL, rounded up
  uint32_t padded;  // N rounded up to GROUP
  int wide;         // int16 input
} shape_t;

static int is_gemm(const csc_model_t *model, uint32_t op) {
  return model->ops[op].kind == CSC_OP_GEMM;
}

static const csc_blob_tensor_t *tensor_of(const csc_model_t *model, uint32_t op, uint32_t operand) {
  return &model->tensors[model->ops[op].operand[operand]];
}

static shape_t shape_of(const csc_model_t *model, uint32_t op) {
  const csc_blob_tensor_t *x = tensor_of(model, op, CSC_GEMM_OPERAND_X);
  const csc_blob_tensor_t *out = tensor_of(model, op, CSC_GEMM_OPERAND_OUT);
  const csc_blob_tensor_t *weights = tensor_of(model, op, CSC_GEMM_OPERAND_WEIGHTS);
  const csc_blob_tensor_t *requant = tensor_of(model, op, CSC_GEMM_OPERAND_REQUANT);
  shape_t shape = {
      .weights = (const int8_t *)model->weights + weights->offset,
      .requant = (const int32_t *)(const void *)(model->weights + requant->offset),
      .k = x->dims[1],
      .n = out->dims[1],
      .depth = (uint32_t)round_up(x->dims[1], DEPTH_UNIT),
      .panels = (uint32_t)(round_up(out->dims[1], PANEL) / PANEL),
      .padded = (uint32_t)round_up(out->dims[1], GROUP),
      .wide = x->dtype == CSC_DTYPE_INT16,
  };
  return shape;
}

static size_t part_bytes(const shape_t *shape) {
  size_t vectors = 3 * (size_t)shape->padded * sizeof(int32_t);
  return HEAD_BYTES + vectors + (size_t)shape->panels * PANEL * shape->depth;
}

static size_t offsets_bytes(const csc_model_t *model) {
  return round_up(model->header->op_count * sizeof(uint64_t), CSC_ALIGN);
}

size_t csc_avx512_packed_bytes(const csc_model_t *model) {
  size_t bytes = offsets_bytes(model);
  for (uint32_t op = 0; op < model->header->op_count; op++) {
    if (!is_gemm(model, op)) continue;
    shape_t shape = shape_of(model, op);
    bytes += part_bytes(&shape);
  }
  return bytes;
}

// Whether all outputs of a GEMM have narrow multipliers.
static int is_narrow(const int32_t *requant, uint32_t outputs) {
  for (uint32_t n = 0; n < outputs; n++) {
    if (!narrow_scale(csc_unpack_scale(requant[2 * n + 1]))) return 0;
  }
  return 1;
}

static csc_packed_gemm_t part_at(const shape_t *shape, const uint8_t *part) {
  const int32_t *vectors = (const int32_t *)(const void *)(part + HEAD_BYTES);
  csc_packed_gemm_t packed = {
      .depth = shape->depth,
      .narrow = *(const int32_t *)(const void *)part,
      .start = vectors,
      .multiplier = vectors + shape->padded,
      .shift = vectors + 2 * (size_t)shape->padded,
      .panels = (const int8_t *)(vectors + 3 * (size_t)shape->padded),
  };
  return packed;
}

// Returns the sum of the weights of output n.
static int32_t pack_weights(const shape_t *shape, uint32_t n, int8_t *panels) {
  size_t k_blocks = (shape->k + 7u) / 8;
  const int8_t *from = shape->weights + (n / 8 * k_blocks * 8 + n % 8) * 8;
  int8_t *to = panels + ((size_t)n / PANEL * shape->depth * PANEL) + n % PANEL * 4;
  int32_t sum = 0;
  for (uint32_t k = 0; k < k_blocks * 8; k += 4) {
    const int8_t *four = from + k / 8 * 64 + k % 8;
    memcpy(to + (size_t)k * PANEL, four, 4);
    sum += four[0] + four[1] + four[2] + four[3];
  }
  return sum;
}

// Outputs behind the last get what a zeroed part holds: multiplier 0, and a shift of 1.
static void pack_part(const shape_t *shape, uint8_t *part) {
  int32_t *start = (int32_t *)(void *)(part + HEAD_BYTES);
  int32_t *multiplier = start + shape->padded;
  int32_t *shift = multiplier + shape->padded;
  int8_t *panels = (int8_t *)(shift + shape->padded);
  int narrow = is_narrow(shape->requant, shape->n);
  memset(part, 0, part_bytes(shape));
  *(int32_t *)(void *)part = narrow;
  for (uint32_t n = 0; n < shape->padded; n++) shift[n] = 1;
  for (uint32_t n = 0; n < shape->n; n++) {
    csc_scale_t scale = csc_unpack_scale(shape->requant[2 * n + 1]);
    uint32_t offset = shape->wide ? (uint32_t)-CSC_WIDE_MIN : 128;
    uint32_t sum = (uint32_t)pack_weights(shape, n, panels);
    start[n] = (int32_t)((uint32_t)shape->requant[2 * n] - offset * sum);
    multiplier[n] = narrow ? narrow_multiplier(scale) : (int32_t)scale.multiplier;
    shift[n] = (int32_t)scale.shift;
  }
}

void csc_avx512_pack(const csc_model_t *model, void *packed) {
  uint64_t *offsets = packed;
  size_t offset = offsets_bytes(model);
  memset(packed, 0, offset);
  for (uint32_t op = 0; op < model->header->op_count; op++) {
    if (!is_gemm(model, op)) continue;
    shape_t shape = shape_of(model, op);
    offsets[op] = offset;
    pack_part(&shape, (uint8_t *)packed + offset);
    offset += part_bytes(&shape);
  }
}

csc_packed_gemm_t csc_avx512_packed_gemm(const csc_avx512_t *self, uint32_t op) {
  const uint64_t *offsets = (const uint64_t *)(const void *)self->packed;
  shape_t shape = shape_of(self->model, op);
  return part_at(&shape, self->packed + offsets[op]);
}

uint32_t csc_avx512_chunk_rows(size_t depth) {
  size_t blocks = CHUNK_BYTES / (depth * BLOCK_ROWS);
  return (uint32_t)(blocks ? blocks : 1) * BLOCK_ROWS;
}

// A copy of a chunk of rows, two of wide ones.
static size_t gemm_room(const csc_model_t *model, uint32_t op) {
  shape_t shape = shape_of(model, op);
  size_t rows = tensor_of(model, op, CSC_GEMM_OPERAND_X)->dims[0];
  size_t chunk = csc_avx512_chunk_rows(shape.depth);
  rows = round_up(rows < chunk ? rows : chunk, BLOCK_ROWS);
  return rows * shape.depth * (shape.wide ? 2 : 1);
}

static size_t op_room(const csc_model_t *model, uint32_t op) {
  const int32_t *param = model->ops[op].param;
  if (is_gemm(model, op)) return gemm_room(model, op);
  if (model->ops[op].kind != CSC_OP_ATTENTION) return 0;
  return csc_avx512_attention_room(tensor_of(model, op, CSC_ATTENTION_OPERAND_K)->dims[0],
                                   (uint32_t)param[CSC_ATTENTION_PARAM_HEAD_DIM]);
}

size_t csc_avx512_room_bytes(const csc_model_t *model) {
  size_t most = CSC_ALIGN;
  for (uint32_t op = 0; op < model->header->op_count; op++) {
    size_t bytes = op_room(model, op);
    if (bytes > most) most = bytes;
  }
  return most;
}

int csc_avx512_backend(csc_avx512_t *self, csc_backend_t *backend, csc_avx512_unit_t unit,
                       const csc_model_t *model, const void *packed, void *room) {
  csc_kernel_table_t kernels = {
      .ctx = self,
      .gemm = csc_avx512_gemm,
      .attention = csc_avx512_attention,
      .layernorm_row = csc_avx512_layernorm_row,
      .embed_row = csc_avx512_embed_row,
      .add_row = csc_avx512_add_row,
      .pool_mean = csc_avx512_pool_mean,
  };
  csc_avx512_t filled = {kernels, model, packed, room, unit};
  *self = filled;
  csc_backend_t made = {.ctx = &self->kernels, .run_op = csc_ops_run};
  *backend = made;
  return 1;
}

#else

size_t csc_avx512_packed_bytes(const csc_model_t *model) {
  (void)model;
  return 0;
}

void csc_avx512_pack(const csc_model_t *model, void *packed) {
  (void)model;
  (void)packed;
}

size_t csc_avx512_room_bytes(const csc_model_t *model) {
  (void)model;
  return 0;
}

int csc_avx512_backend(csc_avx512_t *self, csc_backend_t *backend, csc_avx512_unit_t unit,
                       const csc_model_t *model, const void *packed, void *room) {
  (void)self;
  (void)backend;
  (void)unit;
  (void)model;
  (void)packed;
  (void)room;
  return 0;
}

#endif
