// ops.c: every op of SPEC.md, section 3, from operands to kernels.

#include "csc_memory.h"
#include "kernel_table.h"
#include "operand.h"

#define TILE 8u  // rows a product takes at a time

static csc_out_t row_output(csc_view_t view) {
  csc_out_t out = {view.data, view.dtype, view.stride};
  return out;
}

static csc_status_t fail(const csc_call_t *call, csc_error_t *error, csc_status_t status) {
  csc_error_t filled = {status, call->index, 0, 0, 0};
  *error = filled;
  return status;
}

static csc_status_t fail_token(const csc_call_t *call, csc_error_t *error, uint32_t position,
                               uint32_t rows, int32_t id) {
  csc_error_t filled = {CSC_ERR_TOKEN, call->index, position, rows, id};
  *error = filled;
  return CSC_ERR_TOKEN;
}

static csc_status_t run_embed(const csc_call_t *call, csc_error_t *error) {
  csc_view_t ids = csc_operand(call, CSC_EMBED_OPERAND_IDS);
  csc_view_t types = csc_operand(call, CSC_EMBED_OPERAND_TYPES);
  csc_view_t word = csc_operand(call, CSC_EMBED_OPERAND_WORD);
  csc_view_t multiplier = csc_operand(call, CSC_EMBED_OPERAND_WORD_MULTIPLIER);
  csc_view_t position = csc_operand(call, CSC_EMBED_OPERAND_POSITION);
  csc_view_t type = csc_operand(call, CSC_EMBED_OPERAND_TYPE);
  csc_view_t out = csc_operand(call, CSC_EMBED_OPERAND_OUT);
  size_t first = call->op->param[CSC_EMBED_PARAM_POSITIONS] ? call->position : 0;
  for (uint32_t t = 0; t < out.rows; t++) {
    int32_t id = ((const int32_t *)ids.data)[t];
    int32_t kind = types.data ? ((const int32_t *)types.data)[t] : 0;
    if (id < 0 || (uint32_t)id >= word.rows) return fail_token(call, error, t, word.rows, id);
    if (types.data && (kind < 0 || (uint32_t)kind >= type.rows)) {
      return fail_token(call, error, t, type.rows, kind);
    }
    csc_embed_row_t row = {
        .word = (const int8_t *)word.data + (size_t)id * word.stride,
        .word_multiplier = ((const int16_t *)multiplier.data)[id],
        .shift = (uint32_t)call->op->param[CSC_EMBED_PARAM_SHIFT],
        .position = (const int16_t *)position.data + (first + t) * position.stride,
        .type = types.data ? (const int16_t *)type.data + (size_t)kind * type.stride : NULL,
    };
    csc_embed_row(&row, out.columns, (int16_t *)out.data + t * out.stride);
  }
  return CSC_OK;
}

static csc_status_t run_layernorm(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  const int32_t *param = call->op->param;
  csc_view_t x = csc_operand(call, CSC_LAYERNORM_OPERAND_X);
  csc_view_t affine_a = csc_operand(call, CSC_LAYERNORM_OPERAND_AFFINE_A);
  csc_view_t affine_b = csc_operand(call, CSC_LAYERNORM_OPERAND_AFFINE_B);
  csc_out_t out_a = row_output(csc_operand(call, CSC_LAYERNORM_OPERAND_OUT_A));
  csc_out_t out_b = row_output(csc_operand(call, CSC_LAYERNORM_OPERAND_OUT_B));
  csc_affine_t a = {affine_a.data, (uint32_t)param[CSC_LAYERNORM_PARAM_SHIFT_A],
                    param[CSC_LAYERNORM_PARAM_ZERO_POINT_A]};
  csc_affine_t b = {affine_b.data, (uint32_t)param[CSC_LAYERNORM_PARAM_SHIFT_B],
                    param[CSC_LAYERNORM_PARAM_ZERO_POINT_B]};
  uint64_t epsilon = (uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_LOW] |
                     (uint64_t)(uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_HIGH] << 32;
  for (uint32_t r = 0; r < x.rows; r++) {
    const int16_t *row = (const int16_t *)x.data + r * x.stride;
    csc_norm_t norm = kernels->norm_row(row, x.columns, epsilon);
    kernels->affine_row(row, x.columns, norm, &a, &out_a, r);
    if (affine_b.data) kernels->affine_row(row, x.columns, norm, &b, &out_b, r);
  }
  return CSC_OK;
}

static csc_status_t tile_product(const csc_kernel_table_t *kernels, csc_view_t x, uint32_t first,
                                 uint32_t rows, csc_view_t weights, int32_t *acc) {
  uint32_t n_blocks = weights.rows;
  uint32_t k_blocks = weights.columns;
  if (x.dtype == CSC_DTYPE_INT8) {
    return kernels->blocks_s8(kernels->ctx, (const int8_t *)x.data + first * x.stride, x.stride,
                              rows, weights.data, k_blocks, n_blocks, acc);
  }
  return kernels->blocks_s16(kernels->ctx, (const int16_t *)x.data + first * x.stride, x.stride,
                             rows, weights.data, k_blocks, n_blocks, acc);
}

static csc_status_t run_gemm(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  csc_view_t x = csc_operand(call, CSC_GEMM_OPERAND_X);
  csc_view_t weights = csc_operand(call, CSC_GEMM_OPERAND_WEIGHTS);
  csc_view_t out = csc_operand(call, CSC_GEMM_OPERAND_OUT);
  csc_view_t scratch = csc_operand(call, CSC_GEMM_OPERAND_SCRATCH);
  csc_finish_t finish = {
      .requant = csc_operand(call, CSC_GEMM_OPERAND_REQUANT).data,
      .zero_point = call->op->param[CSC_GEMM_PARAM_ZERO_POINT],
      .clamp_low = call->op->param[CSC_GEMM_PARAM_CLAMP_LOW],
      .clamp_high = call->op->param[CSC_GEMM_PARAM_CLAMP_HIGH],
      .table = csc_operand(call, CSC_GEMM_OPERAND_TABLE).data,
  };
  csc_out_t destination = row_output(out);
  for (uint32_t first = 0; first < out.rows; first += TILE) {
    uint32_t rows = out.rows - first < TILE ? out.rows - first : TILE;
    int32_t *acc = scratch.data;
    csc_status_t status = tile_product(kernels, x, first, rows, weights, acc);
    if (status) return status;
    for (uint32_t r = 0; r < rows; r++) {
      kernels->finish_row(&finish, acc + r * scratch.stride, out.columns, &destination, first + r);
    }
  }
  return CSC_OK;
}

// What the tiles of one attention op share.
typedef struct {
  const csc_kernel_table_t *kernels;
  csc_view_t q, k, v, out;
  const uint8_t *mask;
  const int32_t *head_requant;
  const int32_t *param;
  uint32_t depth;     // D
  uint32_t keys;      // S
  uint32_t position;  // of row 0 among the keys
  int causal;
  size_t keys_room;  // most rows of k, rounded up to 8
  int32_t *scores;   // [8][keys_room]
  int32_t *context;  // [8][D rounded up to 8]
  uint8_t *e;        // [8][keys_room]
} attention_t;

static attention_t attention_operands(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  uint8_t *scratch = csc_operand(call, CSC_ATTENTION_OPERAND_SCRATCH).data;
  uint32_t depth = (uint32_t)call->op->param[CSC_ATTENTION_PARAM_HEAD_DIM];
  const uint32_t k = call->op->operand[CSC_ATTENTION_OPERAND_K];
  size_t room = (call->model->tensors[k].dims[0] + 7u) & ~7u;
  attention_t attention = {
      .kernels = kernels,
      .q = csc_operand(call, CSC_ATTENTION_OPERAND_Q),
      .k = csc_operand(call, CSC_ATTENTION_OPERAND_K),
      .v = csc_operand(call, CSC_ATTENTION_OPERAND_V),
      .out = csc_operand(call, CSC_ATTENTION_OPERAND_OUT),
      .mask = csc_operand(call, CSC_ATTENTION_OPERAND_MASK).data,
      .head_requant = csc_operand(call, CSC_ATTENTION_OPERAND_HEAD_REQUANT).data,
      .param = call->op->param,
      .depth = depth,
      .keys_room = room,
      .scores = (int32_t *)(void *)scratch,
      .context = (int32_t *)(void *)(scratch + 32 * room),
      .e = scratch + 32 * room + 32 * ((depth + 7u) & ~7u),
      .causal = call->op->param[CSC_ATTENTION_PARAM_CAUSAL],
  };
  int in_context = call->op->param[CSC_ATTENTION_PARAM_KEYS] == CSC_KEYS_CONTEXT;
  attention.position = in_context ? call->position : 0;
  attention.keys = in_context ? call->position + call->length : attention.k.rows;
  return attention;
}

// How many keys a row sees, if the mask hides none: those behind them are not there, or later.
static uint32_t keys_before(const attention_t *attention, uint32_t row) {
  uint32_t own = attention->position + row;
  return attention->causal && own < attention->keys ? own + 1 : attention->keys;
}

static const int8_t *head_columns(const attention_t *attention, csc_view_t tensor, uint32_t param,
                                  uint32_t head) {
  return (const int8_t *)tensor.data + attention->param[param] + (size_t)head * attention->depth;
}

// Eight query rows (or fewer) of one head: scores, weights, contexts, output.
static csc_status_t attend_tile(const attention_t *att, uint32_t head, uint32_t first,
                                uint32_t rows) {
  const csc_kernel_table_t *kernels = att->kernels;
  const int8_t *q = head_columns(att, att->q, CSC_ATTENTION_PARAM_Q_COLUMN, head);
  const int8_t *k = head_columns(att, att->k, CSC_ATTENTION_PARAM_K_COLUMN, head);
  const int8_t *v = head_columns(att, att->v, CSC_ATTENTION_PARAM_V_COLUMN, head);
  csc_scale_t score_scale = csc_unpack_scale(att->head_requant[2 * head]);
  csc_scale_t context_scale = csc_unpack_scale(att->head_requant[2 * head + 1]);
  csc_out_t out = row_output(att->out);
  uint32_t keys = keys_before(att, first + rows - 1);  // no row of the tile sees more
  size_t context_stride = (att->depth + 7u) & ~7u;
  uint32_t sums[TILE];

  csc_status_t status =
      kernels->nt_s8(kernels->ctx, q + first * att->q.stride, att->q.stride, rows, k, att->k.stride,
                     keys, att->depth, att->scores, att->keys_room);
  if (status) return status;
  for (uint32_t r = 0; r < rows; r++) {
    uint32_t own = keys_before(att, first + r);
    uint8_t *e = att->e + r * att->keys_room;
    sums[r] = csc_softmax_row(att->scores + r * att->keys_room, att->mask, own, score_scale, e);
    memset(e + own, 0, keys - own);
  }
  status = kernels->nn_u8s8(kernels->ctx, att->e, att->keys_room, rows, v, att->v.stride, keys,
                            att->depth, att->context, context_stride);
  if (status) return status;
  for (uint32_t r = 0; r < rows; r++) {
    csc_context_row(att->context + r * context_stride, sums[r], att->depth, context_scale,
                    att->param[CSC_ATTENTION_PARAM_ZERO_POINT], &out, first + r,
                    (size_t)head * att->depth);
  }
  return CSC_OK;
}

static csc_status_t run_attention(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  attention_t attention = attention_operands(kernels, call);
  uint32_t heads = (uint32_t)call->op->param[CSC_ATTENTION_PARAM_HEADS];
  for (uint32_t head = 0; head < heads; head++) {
    for (uint32_t first = 0; first < attention.out.rows; first += TILE) {
      uint32_t left = attention.out.rows - first;
      csc_status_t status = attend_tile(&attention, head, first, left < TILE ? left : TILE);
      if (status) return status;
    }
  }
  return CSC_OK;
}

static csc_status_t run_add(const csc_call_t *call) {
  csc_view_t a = csc_operand(call, CSC_ADD_OPERAND_A);
  csc_view_t b = csc_operand(call, CSC_ADD_OPERAND_B);
  csc_view_t out = csc_operand(call, CSC_ADD_OPERAND_OUT);
  csc_add_t add = {call->op->param[CSC_ADD_PARAM_MULTIPLIER_A],
                   call->op->param[CSC_ADD_PARAM_MULTIPLIER_B],
                   (uint32_t)call->op->param[CSC_ADD_PARAM_SHIFT]};
  for (uint32_t r = 0; r < out.rows; r++) {
    csc_add_row(&add, (const int16_t *)a.data + r * a.stride,
                (const int16_t *)b.data + r * b.stride, out.columns,
                (int16_t *)out.data + r * out.stride);
  }
  return CSC_OK;
}

static csc_status_t run_pool(const csc_call_t *call) {
  const int32_t *param = call->op->param;
  csc_view_t x = csc_operand(call, CSC_POOL_OPERAND_X);
  csc_view_t out = csc_operand(call, CSC_POOL_OPERAND_OUT);
  csc_out_t destination = row_output(out);
  csc_pooling_t pool = {
      .x = x.data,
      .dtype = x.dtype,
      .stride = x.stride,
      .rows = x.rows,
      .mask = csc_operand(call, CSC_POOL_OPERAND_MASK).data,
      .zero_point_in = param[CSC_POOL_PARAM_ZERO_POINT_IN],
      .scale = {(uint32_t)param[CSC_POOL_PARAM_MULTIPLIER], (uint32_t)param[CSC_POOL_PARAM_SHIFT]},
      .zero_point = param[CSC_POOL_PARAM_ZERO_POINT],
  };
  switch ((csc_pool_t)param[CSC_POOL_PARAM_MODE]) {
    case CSC_POOL_FIRST: csc_pool_row(&pool, 0, out.columns, &destination); break;
    case CSC_POOL_MEAN: csc_pool_mean(&pool, out.columns, &destination); break;
    case CSC_POOL_LAST: csc_pool_row(&pool, x.rows - 1, out.columns, &destination); break;
  }
  return CSC_OK;
}

static csc_status_t run_append(const csc_call_t *call) {
  csc_view_t x = csc_operand(call, CSC_APPEND_OPERAND_X);
  csc_view_t state = csc_operand(call, CSC_APPEND_OPERAND_STATE);
  const int8_t *from = (const int8_t *)x.data + call->op->param[CSC_APPEND_PARAM_COLUMN];
  int8_t *to = (int8_t *)state.data + call->position * state.stride;
  for (uint32_t t = 0; t < x.rows; t++) {
    memcpy(to + t * state.stride, from + t * x.stride, state.columns);
  }
  return CSC_OK;
}

csc_status_t csc_ops_run(void *ctx, const csc_call_t *call, csc_error_t *error) {
  const csc_kernel_table_t *kernels = ctx;
  csc_status_t status = CSC_OK;
  switch ((csc_op_t)call->op->kind) {
    case CSC_OP_EMBED: return run_embed(call, error);
    case CSC_OP_LAYERNORM: return run_layernorm(kernels, call);
    case CSC_OP_GEMM: status = run_gemm(kernels, call); break;
    case CSC_OP_ATTENTION: status = run_attention(kernels, call); break;
    case CSC_OP_ADD: return run_add(call);
    case CSC_OP_POOL: return run_pool(call);
    case CSC_OP_APPEND: return run_append(call);
  }
  return status ? fail(call, error, status) : CSC_OK;
}
