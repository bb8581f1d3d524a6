// check_ops.c: op records against the rule of their kind (SPEC.md, section 4, rule 8 and the
// storage, dtype and rank part of rule 9).

#include "check.h"

#define FIELD(name) ((uint32_t)offsetof(csc_blob_op_t, name))
#define OPERANDS 10u
#define PARAMS 12u

#define I8 (1u << CSC_DTYPE_INT8)
#define U8 (1u << CSC_DTYPE_UINT8)
#define I16 (1u << CSC_DTYPE_INT16)
#define I32 (1u << CSC_DTYPE_INT32)
#define READ(dtypes, rank) {CSC_STORAGE_ARENA, dtypes, rank, 0, 0}
#define READ_OR_NONE(dtypes, rank) {CSC_STORAGE_ARENA, dtypes, rank, 0, 1}
#define WRITE(dtypes, rank) {CSC_STORAGE_ARENA, dtypes, rank, 1, 0}
#define WRITE_OR_NONE(dtypes, rank) {CSC_STORAGE_ARENA, dtypes, rank, 1, 1}
#define SCRATCH(dtypes, rank) {CSC_STORAGE_ARENA, dtypes, rank, CSC_SCRATCH, 0}
#define CONST(dtypes, rank) {CSC_STORAGE_WEIGHTS, dtypes, rank, 0, 0}
#define CONST_OR_NONE(dtypes, rank) {CSC_STORAGE_WEIGHTS, dtypes, rank, 0, 1}

static const csc_operand_rule_t embed[] = {
    READ(I32, 1),  READ_OR_NONE(I32, 1),  CONST(I8, 2), CONST(I16, 1),
    CONST(I16, 2), CONST_OR_NONE(I16, 2), WRITE(I16, 2)};
static const csc_operand_rule_t layernorm[] = {READ(I16, 2), CONST(I32, 2), WRITE(I8 | I16, 2),
                                               CONST_OR_NONE(I32, 2), WRITE_OR_NONE(I8 | I16, 2)};
static const csc_operand_rule_t gemm[] = {READ(I8 | I16, 2),  CONST(I8, 4),
                                          CONST(I32, 2),      CONST_OR_NONE(I8 | I16, 1),
                                          WRITE(I8 | I16, 2), SCRATCH(I32, 2)};
static const csc_operand_rule_t attention[] = {
    READ(I8, 2),   READ(I8, 2),        READ(I8, 2),   READ_OR_NONE(U8, 1),
    CONST(I32, 2), WRITE(I8 | I16, 2), SCRATCH(U8, 1)};
static const csc_operand_rule_t add[] = {READ(I16, 2), READ(I16, 2), WRITE(I16, 2)};
static const csc_operand_rule_t append[] = {READ(I8, 2), WRITE(I8, 2)};
static const csc_operand_rule_t pool[] = {READ(I8 | I16, 2), READ_OR_NONE(U8, 1),
                                          WRITE(I8 | I16, 2)};

#define RULE(operands, params) {operands, sizeof operands / sizeof *operands, params}

csc_op_rule_t csc_op_rule(uint32_t kind) {
  static const csc_op_rule_t rules[] = {
      {NULL, 0, 0},
      [CSC_OP_EMBED] = RULE(embed, 2),
      [CSC_OP_LAYERNORM] = RULE(layernorm, 6),
      [CSC_OP_GEMM] = RULE(gemm, 3),
      [CSC_OP_ATTENTION] = RULE(attention, 8),
      [CSC_OP_ADD] = RULE(add, 3),
      [CSC_OP_POOL] = RULE(pool, 5),
      [CSC_OP_APPEND] = RULE(append, 1),
  };
  return rules[kind < sizeof rules / sizeof *rules ? kind : 0];
}

static int operand_fits(const csc_model_t *model, uint32_t number, const csc_operand_rule_t *rule) {
  if (number == CSC_NONE) return rule->optional;
  if (number >= model->header->tensor_count) return 0;
  const csc_blob_tensor_t *tensor = &model->tensors[number];
  return tensor->storage == rule->storage && tensor->rank == rule->rank &&
         (rule->dtypes >> tensor->dtype & 1u);
}

static csc_status_t check_record(const csc_model_t *model, uint32_t index, uint32_t strings_bytes,
                                 csc_error_t *error) {
  const csc_blob_op_t *op = &model->ops[index];
  csc_op_rule_t rule = csc_op_rule(op->kind);
  if (rule.operand_count == 0) return csc_fail(error, CSC_ERR_OP, index, FIELD(kind), 0, op->kind);
  if (op->reserved) return csc_fail(error, CSC_ERR_OP, index, FIELD(reserved), 0, op->reserved);
  if (op->name >= strings_bytes)
    return csc_fail(error, CSC_ERR_OP, index, FIELD(name), 0, op->name);
  for (uint32_t i = 0; i < OPERANDS; i++) {
    uint32_t number = op->operand[i];
    int fits = i < rule.operand_count ? operand_fits(model, number, &rule.operands[i])
                                      : number == CSC_NONE;
    if (!fits) return csc_fail(error, CSC_ERR_OPERAND, index, i, 0, 0);
  }
  for (uint32_t i = rule.param_count; i < PARAMS; i++) {
    if (op->param[i]) return csc_fail(error, CSC_ERR_OP, index, FIELD(param) + 4 * i, 0, 0);
  }
  return CSC_OK;
}

csc_status_t csc_check_ops(const csc_model_t *model, uint32_t strings_bytes, csc_error_t *error) {
  for (uint32_t i = 0; i < model->header->op_count; i++) {
    csc_status_t status = check_record(model, i, strings_bytes, error);
    if (!status) status = csc_check_op_meaning(model, i, error);
    if (status) return status;
  }
  return CSC_OK;
}
