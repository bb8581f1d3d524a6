// check_meaning.c: shapes of an op's operands against each other, its parameters, and the content
// of its weights (SPEC.md, section 4, rules 9 to 11).

#include "check.h"

#define OK 0xFFFFFFFFu  // nothing bad; else the number of the bad operand or parameter
#define UP8(n) (((n) + 7u) & ~7u)

typedef struct {
  const csc_model_t *model;
  const csc_blob_op_t *op;
} checker_t;

// The tensor of an operand, or null where it is absent.
static const csc_blob_tensor_t *tensor_of(checker_t c, uint32_t operand) {
  uint32_t number = c.op->operand[operand];
  return number == CSC_NONE ? NULL : &c.model->tensors[number];
}

static uint32_t dim(checker_t c, uint32_t operand, uint32_t axis) {
  return tensor_of(c, operand)->dims[axis];
}

static int is_dynamic(checker_t c, uint32_t operand) {
  return (tensor_of(c, operand)->flags & CSC_FLAG_DYNAMIC) != 0;
}

static int same_rows(checker_t c, uint32_t a, uint32_t b) {
  return is_dynamic(c, a) == is_dynamic(c, b) && dim(c, a, 0) == dim(c, b, 0);
}

static int same_shape(checker_t c, uint32_t a, uint32_t b) {
  return same_rows(c, a, b) && dim(c, a, 1) == dim(c, b, 1);
}

// A weights table of `rows` pairs.
static int is_pairs(checker_t c, uint32_t operand, uint32_t rows) {
  return dim(c, operand, 0) == rows && dim(c, operand, 1) == 2;
}

static int in_range(int32_t value, int32_t low, int32_t high) {
  return value >= low && value <= high;
}

static int is_zero_point(int32_t value) {
  return in_range(value, -CSC_MAX_ZERO_POINT, CSC_MAX_ZERO_POINT);
}

// A parameter that is 0 or 1.
static int is_switch(checker_t c, uint32_t param) { return in_range(c.op->param[param], 0, 1); }

// A state with a row for every position.
static int is_context(checker_t c, uint32_t operand) {
  int is_state = (tensor_of(c, operand)->flags & CSC_FLAG_STATE) != 0;
  return is_state && dim(c, operand, 0) == c.model->header->context;
}

static const void *weights_of(checker_t c, uint32_t operand) {
  return c.model->weights + tensor_of(c, operand)->offset;
}

static int is_scale(int32_t packed) {
  uint32_t multiplier = (uint32_t)packed & 0xFFFFu;
  uint32_t shift = (uint32_t)packed >> 16;
  return multiplier <= CSC_MAX_MULTIPLIER && shift >= 1 && shift <= CSC_MAX_SHIFT;
}

// EMBED

static uint32_t embed_operands(checker_t c) {
  enum { IDS, TYPES, WORD, MULTIPLIER, POSITION, TYPE, OUT };
  uint32_t columns = dim(c, OUT, 1);
  if (!is_dynamic(c, IDS)) return IDS;
  if (!tensor_of(c, TYPES) != !tensor_of(c, TYPE)) return TYPE;
  if (tensor_of(c, TYPES) && !is_dynamic(c, TYPES)) return TYPES;
  if (tensor_of(c, TYPE) && dim(c, TYPE, 1) != columns) return TYPE;
  if (dim(c, WORD, 1) != columns) return WORD;
  if (dim(c, MULTIPLIER, 0) != dim(c, WORD, 0)) return MULTIPLIER;
  if (dim(c, POSITION, 1) != columns) return POSITION;
  const csc_blob_header_t *header = c.model->header;
  int from_context = c.op->param[CSC_EMBED_PARAM_POSITIONS] != 0;
  if (dim(c, POSITION, 0) < (from_context ? header->context : header->max_length)) return POSITION;
  return is_dynamic(c, OUT) ? OK : OUT;
}

static uint32_t embed_params(checker_t c) {
  if (!in_range(c.op->param[CSC_EMBED_PARAM_SHIFT], 1, 31)) return CSC_EMBED_PARAM_SHIFT;
  int32_t highest = c.model->entries ? 1 : 0;
  int good = in_range(c.op->param[CSC_EMBED_PARAM_POSITIONS], 0, highest);
  return good ? OK : CSC_EMBED_PARAM_POSITIONS;
}

static uint32_t embed_weights(checker_t c) {
  const int16_t *multiplier = weights_of(c, CSC_EMBED_OPERAND_WORD_MULTIPLIER);
  for (uint32_t i = 0; i < dim(c, CSC_EMBED_OPERAND_WORD_MULTIPLIER, 0); i++) {
    if (multiplier[i] < 0) return CSC_EMBED_OPERAND_WORD_MULTIPLIER;
  }
  return OK;
}

// LAYERNORM

static uint32_t layernorm_operands(checker_t c) {
  enum { X, AFFINE_A, OUT_A, AFFINE_B, OUT_B };
  uint32_t columns = dim(c, X, 1);
  if (columns > CSC_MAX_NORM) return X;
  if (!is_pairs(c, AFFINE_A, columns)) return AFFINE_A;
  if (!same_shape(c, X, OUT_A)) return OUT_A;
  if (!tensor_of(c, AFFINE_B) != !tensor_of(c, OUT_B)) return OUT_B;
  if (!tensor_of(c, OUT_B)) return OK;
  if (!is_pairs(c, AFFINE_B, columns)) return AFFINE_B;
  return same_shape(c, X, OUT_B) ? OK : OUT_B;
}

static uint32_t layernorm_params(checker_t c) {
  const int32_t *param = c.op->param;
  int second = tensor_of(c, CSC_LAYERNORM_OPERAND_OUT_B) != NULL;
  uint64_t epsilon = (uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_LOW] |
                     (uint64_t)(uint32_t)param[CSC_LAYERNORM_PARAM_EPSILON_HIGH] << 32;
  if (epsilon == 0) return CSC_LAYERNORM_PARAM_EPSILON_LOW;
  if (epsilon >> CSC_MAX_EPSILON_BITS) return CSC_LAYERNORM_PARAM_EPSILON_HIGH;
  if (!in_range(param[CSC_LAYERNORM_PARAM_SHIFT_A], 1, CSC_MAX_NORM_SHIFT)) {
    return CSC_LAYERNORM_PARAM_SHIFT_A;
  }
  if (!is_zero_point(param[CSC_LAYERNORM_PARAM_ZERO_POINT_A])) {
    return CSC_LAYERNORM_PARAM_ZERO_POINT_A;
  }
  if (!in_range(param[CSC_LAYERNORM_PARAM_SHIFT_B], second, second ? CSC_MAX_NORM_SHIFT : 0)) {
    return CSC_LAYERNORM_PARAM_SHIFT_B;
  }
  int32_t zero_point = param[CSC_LAYERNORM_PARAM_ZERO_POINT_B];
  int good = second ? is_zero_point(zero_point) : zero_point == 0;
  return good ? OK : CSC_LAYERNORM_PARAM_ZERO_POINT_B;
}

static int is_affine(checker_t c, uint32_t operand) {
  if (!tensor_of(c, operand)) return 1;
  const int32_t *pairs = weights_of(c, operand);
  for (uint32_t i = 0; i < dim(c, operand, 0); i++) {
    if (!in_range(pairs[2 * i], -CSC_MAX_BETA, CSC_MAX_BETA)) return 0;
    if (!in_range(pairs[2 * i + 1], -CSC_MAX_MULTIPLIER, CSC_MAX_MULTIPLIER)) return 0;
  }
  return 1;
}

static uint32_t layernorm_weights(checker_t c) {
  if (!is_affine(c, CSC_LAYERNORM_OPERAND_AFFINE_A)) return CSC_LAYERNORM_OPERAND_AFFINE_A;
  return is_affine(c, CSC_LAYERNORM_OPERAND_AFFINE_B) ? OK : CSC_LAYERNORM_OPERAND_AFFINE_B;
}

// GEMM

static uint32_t gemm_operands(checker_t c) {
  enum { X, WEIGHTS, REQUANT, TABLE, OUT, SCRATCH };
  uint32_t k = dim(c, X, 1);
  uint32_t n = dim(c, OUT, 1);
  uint32_t limit = tensor_of(c, X)->dtype == CSC_DTYPE_INT8 ? CSC_MAX_K_S8 : CSC_MAX_K_S16;
  if (k > limit) return X;
  int blocks = dim(c, WEIGHTS, 0) == UP8(n) / 8 && dim(c, WEIGHTS, 1) == UP8(k) / 8 &&
               dim(c, WEIGHTS, 2) == 8 && dim(c, WEIGHTS, 3) == 8;
  if (!blocks) return WEIGHTS;
  if (!is_pairs(c, REQUANT, UP8(n))) return REQUANT;
  const csc_blob_tensor_t *table = tensor_of(c, TABLE);
  if (table && table->dims[0] != CSC_TABLE_ENTRIES) return TABLE;
  if (table && table->dtype != tensor_of(c, OUT)->dtype) return TABLE;
  if (!same_rows(c, X, OUT) || n > CSC_MAX_N) return OUT;
  int tile = dim(c, SCRATCH, 0) == 8 && dim(c, SCRATCH, 1) == UP8(n) && !is_dynamic(c, SCRATCH);
  return tile ? OK : SCRATCH;
}

static uint32_t gemm_params(checker_t c) {
  const int32_t *param = c.op->param;
  int32_t low = param[CSC_GEMM_PARAM_CLAMP_LOW];
  int32_t high = param[CSC_GEMM_PARAM_CLAMP_HIGH];
  int narrow = tensor_of(c, CSC_GEMM_OPERAND_OUT)->dtype == CSC_DTYPE_INT8;
  if (!is_zero_point(param[CSC_GEMM_PARAM_ZERO_POINT])) return CSC_GEMM_PARAM_ZERO_POINT;
  if (tensor_of(c, CSC_GEMM_OPERAND_TABLE)) {
    if (low != 0) return CSC_GEMM_PARAM_CLAMP_LOW;
    return high == CSC_TABLE_ENTRIES - 1 ? OK : CSC_GEMM_PARAM_CLAMP_HIGH;
  }
  if (low < (narrow ? INT8_MIN : INT16_MIN)) return CSC_GEMM_PARAM_CLAMP_LOW;
  return in_range(high, low, narrow ? INT8_MAX : INT16_MAX) ? OK : CSC_GEMM_PARAM_CLAMP_HIGH;
}

// The columns k >= K of the last blocks are 0, since padding of x meets them.
static int is_padded_with_zero(checker_t c, uint32_t k) {
  const int8_t *w = weights_of(c, CSC_GEMM_OPERAND_WEIGHTS);
  uint32_t k_blocks = dim(c, CSC_GEMM_OPERAND_WEIGHTS, 1);
  uint32_t rows = dim(c, CSC_GEMM_OPERAND_WEIGHTS, 0) * 8;
  for (uint32_t n = 0; k % 8 && n < rows; n++) {
    const int8_t *last = w + (((size_t)(n / 8) * k_blocks + k_blocks - 1) * 8 + n % 8) * 8;
    for (uint32_t i = k % 8; i < 8; i++) {
      if (last[i]) return 0;
    }
  }
  return 1;
}

static uint32_t gemm_weights(checker_t c) {
  const int32_t *pairs = weights_of(c, CSC_GEMM_OPERAND_REQUANT);
  for (uint32_t i = 0; i < dim(c, CSC_GEMM_OPERAND_REQUANT, 0); i++) {
    if (!in_range(pairs[2 * i], -CSC_MAX_BIAS, CSC_MAX_BIAS)) return CSC_GEMM_OPERAND_REQUANT;
    if (!is_scale(pairs[2 * i + 1])) return CSC_GEMM_OPERAND_REQUANT;
  }
  uint32_t k = dim(c, CSC_GEMM_OPERAND_X, 1);
  return is_padded_with_zero(c, k) ? OK : CSC_GEMM_OPERAND_WEIGHTS;
}

// ATTENTION. Its parameters are checked before its operands, which are read through them.

static uint32_t attention_params(checker_t c) {
  const int32_t *param = c.op->param;
  if (!in_range(param[CSC_ATTENTION_PARAM_HEADS], 1, CSC_MAX_HEADS)) {
    return CSC_ATTENTION_PARAM_HEADS;
  }
  if (!in_range(param[CSC_ATTENTION_PARAM_HEAD_DIM], 1, CSC_MAX_HEAD_DIM)) {
    return CSC_ATTENTION_PARAM_HEAD_DIM;
  }
  for (uint32_t i = CSC_ATTENTION_PARAM_Q_COLUMN; i <= CSC_ATTENTION_PARAM_V_COLUMN; i++) {
    if (!in_range(param[i], 0, CSC_MAX_WIDTH)) return i;
  }
  if (!is_zero_point(param[CSC_ATTENTION_PARAM_ZERO_POINT])) return CSC_ATTENTION_PARAM_ZERO_POINT;
  int32_t highest = c.model->entries ? CSC_KEYS_CONTEXT : CSC_KEYS_ROWS;
  if (!in_range(param[CSC_ATTENTION_PARAM_KEYS], CSC_KEYS_ROWS, highest)) {
    return CSC_ATTENTION_PARAM_KEYS;
  }
  return is_switch(c, CSC_ATTENTION_PARAM_CAUSAL) ? OK : CSC_ATTENTION_PARAM_CAUSAL;
}

// Which tensors hold the keys: k and v have the same rows, those of the context or any others.
static uint32_t attention_keys(checker_t c) {
  enum { Q, K, V, MASK };
  if (!is_dynamic(c, Q)) return Q;
  if (dim(c, K, 0) > CSC_MAX_LENGTH) return K;
  if (!same_rows(c, K, V)) return V;
  int in_context = c.op->param[CSC_ATTENTION_PARAM_KEYS] == CSC_KEYS_CONTEXT;
  if (in_context && !is_context(c, K)) return K;
  if (in_context && !is_context(c, V)) return V;
  if (!tensor_of(c, MASK)) return OK;
  return is_dynamic(c, K) && is_dynamic(c, MASK) ? OK : MASK;
}

static uint32_t attention_operands(checker_t c) {
  enum { Q, K, V, MASK, HEAD_REQUANT, OUT, SCRATCH };
  uint32_t heads = (uint32_t)c.op->param[CSC_ATTENTION_PARAM_HEADS];
  uint32_t depth = (uint32_t)c.op->param[CSC_ATTENTION_PARAM_HEAD_DIM];
  for (uint32_t i = Q; i <= V; i++) {
    uint32_t first = (uint32_t)c.op->param[CSC_ATTENTION_PARAM_Q_COLUMN + i];
    if (dim(c, i, 1) < first + heads * depth) return i;
  }
  uint32_t bad = attention_keys(c);
  if (bad != OK) return bad;
  if (!is_pairs(c, HEAD_REQUANT, heads)) return HEAD_REQUANT;
  if (!is_dynamic(c, OUT) || dim(c, OUT, 1) != heads * depth) return OUT;
  uint32_t room = 40 * UP8(dim(c, K, 0)) + 32 * UP8(depth);
  return dim(c, SCRATCH, 0) == room && !is_dynamic(c, SCRATCH) ? OK : SCRATCH;
}

static uint32_t attention_weights(checker_t c) {
  const int32_t *scales = weights_of(c, CSC_ATTENTION_OPERAND_HEAD_REQUANT);
  for (uint32_t i = 0; i < 2 * dim(c, CSC_ATTENTION_OPERAND_HEAD_REQUANT, 0); i++) {
    if (!is_scale(scales[i])) return CSC_ATTENTION_OPERAND_HEAD_REQUANT;
  }
  return OK;
}

// ADD

static uint32_t add_operands(checker_t c) {
  enum { A, B, OUT };
  if (!same_shape(c, A, B)) return B;
  return same_shape(c, A, OUT) ? OK : OUT;
}

static uint32_t add_params(checker_t c) {
  const int32_t *param = c.op->param;
  for (uint32_t i = CSC_ADD_PARAM_MULTIPLIER_A; i <= CSC_ADD_PARAM_MULTIPLIER_B; i++) {
    if (!in_range(param[i], 0, CSC_MAX_ADD_MULTIPLIER)) return i;
  }
  return in_range(param[CSC_ADD_PARAM_SHIFT], 1, CSC_MAX_NORM_SHIFT) ? OK : CSC_ADD_PARAM_SHIFT;
}

// POOL

static uint32_t pool_operands(checker_t c) {
  enum { X, MASK, OUT };
  if (!is_dynamic(c, X)) return X;
  int mean = c.op->param[CSC_POOL_PARAM_MODE] == CSC_POOL_MEAN;
  if (tensor_of(c, MASK) && (!mean || !is_dynamic(c, MASK))) return MASK;
  int one_row = dim(c, OUT, 0) == 1 && !is_dynamic(c, OUT);
  return one_row && dim(c, OUT, 1) == dim(c, X, 1) ? OK : OUT;
}

static uint32_t pool_params(checker_t c) {
  const int32_t *param = c.op->param;
  if (!in_range(param[CSC_POOL_PARAM_MODE], CSC_POOL_FIRST, CSC_POOL_LAST)) {
    return CSC_POOL_PARAM_MODE;
  }
  if (!in_range(param[CSC_POOL_PARAM_MULTIPLIER], 0, CSC_MAX_MULTIPLIER)) {
    return CSC_POOL_PARAM_MULTIPLIER;
  }
  if (!in_range(param[CSC_POOL_PARAM_SHIFT], 1, CSC_MAX_SHIFT)) return CSC_POOL_PARAM_SHIFT;
  if (!is_zero_point(param[CSC_POOL_PARAM_ZERO_POINT_IN])) return CSC_POOL_PARAM_ZERO_POINT_IN;
  return is_zero_point(param[CSC_POOL_PARAM_ZERO_POINT]) ? OK : CSC_POOL_PARAM_ZERO_POINT;
}

// APPEND

static uint32_t append_operands(checker_t c) {
  enum { X, STATE };
  if (!is_dynamic(c, X)) return X;
  if (!c.model->entries || !is_context(c, STATE)) return STATE;
  uint32_t column = (uint32_t)c.op->param[CSC_APPEND_PARAM_COLUMN];
  return dim(c, X, 1) >= column + dim(c, STATE, 1) ? OK : X;
}

static uint32_t append_params(checker_t c) {
  int good = in_range(c.op->param[CSC_APPEND_PARAM_COLUMN], 0, CSC_MAX_WIDTH);
  return good ? OK : CSC_APPEND_PARAM_COLUMN;
}

static uint32_t nothing(checker_t c) {
  (void)c;
  return OK;
}

typedef struct {
  uint32_t (*params)(checker_t c);
  uint32_t (*operands)(checker_t c);
  uint32_t (*weights)(checker_t c);
} meaning_t;

csc_status_t csc_check_op_meaning(const csc_model_t *model, uint32_t index, csc_error_t *error) {
  static const meaning_t meanings[] = {
      [CSC_OP_EMBED] = {embed_params, embed_operands, embed_weights},
      [CSC_OP_LAYERNORM] = {layernorm_params, layernorm_operands, layernorm_weights},
      [CSC_OP_GEMM] = {gemm_params, gemm_operands, gemm_weights},
      [CSC_OP_ATTENTION] = {attention_params, attention_operands, attention_weights},
      [CSC_OP_ADD] = {add_params, add_operands, nothing},
      [CSC_OP_POOL] = {pool_params, pool_operands, nothing},
      [CSC_OP_APPEND] = {append_params, append_operands, nothing},
  };
  checker_t c = {model, &model->ops[index]};
  const meaning_t *meaning = &meanings[c.op->kind];
  uint32_t bad = meaning->params(c);
  if (bad != OK) {
    uint32_t field = (uint32_t)offsetof(csc_blob_op_t, param) + 4 * bad;
    return csc_fail(error, CSC_ERR_OP, index, field, 0, c.op->param[bad]);
  }
  bad = meaning->operands(c);
  if (bad != OK) return csc_fail(error, CSC_ERR_OPERAND, index, bad, 0, 0);
  bad = meaning->weights(c);
  return bad == OK ? CSC_OK : csc_fail(error, CSC_ERR_WEIGHTS, index, bad, 0, 0);
}
