// ops.c: every op of SPEC.md, section 3, from operands to kernels.

#include "csc_memory.h"
#include "kernel_table.h"

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

static csc_status_t run_embed(const csc_kernel_table_t *kernels, const csc_call_t *call,
                              csc_error_t *error) {
  csc_view_t ids = csc_operand(call, CSC_EMBED_OPERAND_IDS);
  csc_view_t types = csc_operand(call, CSC_EMBED_OPERAND_TYPES);
  csc_view_t word = csc_operand(call, CSC_EMBED_OPERAND_WORD);
  csc_view_t multiplier = csc_operand(call, CSC_EMBED_OPERAND_WORD_MULTIPLIER);
  csc_view_t position = csc_operand(call, CSC_EMBED_OPERAND_POSITION);
  csc_view_t type = csc_operand(call, CSC_EMBED_OPERAND_TYPE);
  csc_view_t out = csc_operand(call, CSC_EMBED_OPERAND_OUT);
  size_t first = call->op->param[CSC_EMBED_PARAM_POSITIONS] ? call->position : 0;
  csc_span_t span = csc_share(kernels, out.rows);
  for (uint32_t t = span.first; t < span.end; t++) {
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
    kernels->embed_row(&row, out.columns, (int16_t *)out.data + t * out.stride);
  }
  return CSC_OK;
}

static csc_status_t run_layernorm(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  const int32_t *param = call->op->param;
  csc_view_t x = csc_operand(call, CSC_LAYERNORM_OPERAND_X);
  csc_layernorm_t layernorm = {
      .epsilon = (uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_LOW] |
                 (uint64_t)(uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_HIGH] << 32,
      .a = {csc_operand(call, CSC_LAYERNORM_OPERAND_AFFINE_A).data,
            (uint32_t)param[CSC_LAYERNORM_PARAM_SHIFT_A], param[CSC_LAYERNORM_PARAM_ZERO_POINT_A]},
      .b = {csc_operand(call, CSC_LAYERNORM_OPERAND_AFFINE_B).data,
            (uint32_t)param[CSC_LAYERNORM_PARAM_SHIFT_B], param[CSC_LAYERNORM_PARAM_ZERO_POINT_B]},
      .out_a = csc_rows_of(csc_operand(call, CSC_LAYERNORM_OPERAND_OUT_A)),
      .out_b = csc_rows_of(csc_operand(call, CSC_LAYERNORM_OPERAND_OUT_B)),
  };
  csc_span_t span = csc_share(kernels, x.rows);
  for (uint32_t r = span.first; r < span.end; r++) {
    kernels->layernorm_row(&layernorm, (const int16_t *)x.data + r * x.stride, x.columns, r);
  }
  return CSC_OK;
}

static csc_status_t run_gemm(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  csc_view_t scratch = csc_operand(call, CSC_GEMM_OPERAND_SCRATCH);
  csc_gemm_t gemm = {
      .x = csc_operand(call, CSC_GEMM_OPERAND_X),
      .weights = csc_operand(call, CSC_GEMM_OPERAND_WEIGHTS),
      .out = csc_operand(call, CSC_GEMM_OPERAND_OUT),
      .finish =
          {
              .requant = csc_operand(call, CSC_GEMM_OPERAND_REQUANT).data,
              .zero_point = call->op->param[CSC_GEMM_PARAM_ZERO_POINT],
              .clamp_low = call->op->param[CSC_GEMM_PARAM_CLAMP_LOW],
              .clamp_high = call->op->param[CSC_GEMM_PARAM_CLAMP_HIGH],
              .table = csc_operand(call, CSC_GEMM_OPERAND_TABLE).data,
          },
      .scratch = scratch.data,
      .scratch_stride = scratch.stride,
      .index = call->index,
  };
  return kernels->gemm(kernels, &gemm);
}

static const int8_t *first_head(const csc_call_t *call, uint32_t operand, uint32_t param) {
  return (const int8_t *)csc_operand(call, operand).data + call->op->param[param];
}

static csc_status_t run_attention(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  const int32_t *param = call->op->param;
  uint8_t *scratch = csc_operand(call, CSC_ATTENTION_OPERAND_SCRATCH).data;
  uint32_t depth = (uint32_t)param[CSC_ATTENTION_PARAM_HEAD_DIM];
  int in_context = param[CSC_ATTENTION_PARAM_KEYS] == CSC_KEYS_CONTEXT;
  csc_view_t k = csc_operand(call, CSC_ATTENTION_OPERAND_K);
  uint32_t k_number = call->op->operand[CSC_ATTENTION_OPERAND_K];
  size_t room = (call->model->tensors[k_number].dims[0] + 7u) & ~7u;
  csc_attention_t attention = {
      .q = csc_operand(call, CSC_ATTENTION_OPERAND_Q),
      .k = k,
      .v = csc_operand(call, CSC_ATTENTION_OPERAND_V),
      .out = csc_operand(call, CSC_ATTENTION_OPERAND_OUT),
      .q_head = first_head(call, CSC_ATTENTION_OPERAND_Q, CSC_ATTENTION_PARAM_Q_COLUMN),
      .k_head = first_head(call, CSC_ATTENTION_OPERAND_K, CSC_ATTENTION_PARAM_K_COLUMN),
      .v_head = first_head(call, CSC_ATTENTION_OPERAND_V, CSC_ATTENTION_PARAM_V_COLUMN),
      .mask = csc_operand(call, CSC_ATTENTION_OPERAND_MASK).data,
      .head_requant = csc_operand(call, CSC_ATTENTION_OPERAND_HEAD_REQUANT).data,
      .heads = (uint32_t)param[CSC_ATTENTION_PARAM_HEADS],
      .depth = depth,
      .zero_point = param[CSC_ATTENTION_PARAM_ZERO_POINT],
      .keys_room = room,
      .scores = (int32_t *)(void *)scratch,
      .context = (int32_t *)(void *)(scratch + 32 * room),
      .e = scratch + 32 * room + 32 * ((depth + 7u) & ~7u),
      .position = in_context ? call->position : 0,
      .keys = in_context ? call->position + call->length : k.rows,
      .causal = param[CSC_ATTENTION_PARAM_CAUSAL],
  };
  return kernels->attention(kernels, &attention);
}

static csc_status_t run_add(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  csc_view_t a = csc_operand(call, CSC_ADD_OPERAND_A);
  csc_view_t b = csc_operand(call, CSC_ADD_OPERAND_B);
  csc_view_t out = csc_operand(call, CSC_ADD_OPERAND_OUT);
  csc_add_t add = {call->op->param[CSC_ADD_PARAM_MULTIPLIER_A],
                   call->op->param[CSC_ADD_PARAM_MULTIPLIER_B],
                   (uint32_t)call->op->param[CSC_ADD_PARAM_SHIFT]};
  csc_span_t span = csc_share(kernels, out.rows);
  for (uint32_t r = span.first; r < span.end; r++) {
    kernels->add_row(&add, (const int16_t *)a.data + r * a.stride,
                     (const int16_t *)b.data + r * b.stride, out.columns,
                     (int16_t *)out.data + r * out.stride);
  }
  return CSC_OK;
}

// One output row: the first part does it all.
static csc_status_t run_pool(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  if (kernels->part > 0) return CSC_OK;
  const int32_t *param = call->op->param;
  csc_view_t x = csc_operand(call, CSC_POOL_OPERAND_X);
  csc_view_t out = csc_operand(call, CSC_POOL_OPERAND_OUT);
  csc_out_t destination = csc_rows_of(out);
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
    case CSC_POOL_MEAN: kernels->pool_mean(&pool, out.columns, &destination); break;
    case CSC_POOL_LAST: csc_pool_row(&pool, x.rows - 1, out.columns, &destination); break;
  }
  return CSC_OK;
}

static csc_status_t run_append(const csc_kernel_table_t *kernels, const csc_call_t *call) {
  csc_view_t x = csc_operand(call, CSC_APPEND_OPERAND_X);
  csc_view_t state = csc_operand(call, CSC_APPEND_OPERAND_STATE);
  const int8_t *from = (const int8_t *)x.data + call->op->param[CSC_APPEND_PARAM_COLUMN];
  int8_t *to = (int8_t *)state.data + call->position * state.stride;
  csc_span_t span = csc_share(kernels, x.rows);
  for (uint32_t t = span.first; t < span.end; t++) {
    memcpy(to + t * state.stride, from + t * x.stride, state.columns);
  }
  return CSC_OK;
}

csc_status_t csc_ops_run(void *ctx, const csc_call_t *call, csc_error_t *error) {
  const csc_kernel_table_t *kernels = ctx;
  csc_status_t status = CSC_OK;
  switch ((csc_op_t)call->op->kind) {
    case CSC_OP_EMBED: return run_embed(kernels, call, error);
    case CSC_OP_LAYERNORM: return run_layernorm(kernels, call);
    case CSC_OP_GEMM: status = run_gemm(kernels, call); break;
    case CSC_OP_ATTENTION: status = run_attention(kernels, call); break;
    case CSC_OP_ADD: return run_add(kernels, call);
    case CSC_OP_POOL: return run_pool(kernels, call);
    case CSC_OP_APPEND: return run_append(kernels, call);
  }
  return status ? fail(call, error, status) : CSC_OK;
}
