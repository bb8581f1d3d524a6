// check_flow.c: what an op reads is there and intact (SPEC.md, section 4, rule 12).
//
// No memory is needed: for each operand the ops before are walked backwards to its writer, and
// none of them may write into its place. The cost is ops^2, which MAX_OPS bounds.

#include "check.h"

static int overlap(const csc_blob_tensor_t *a, const csc_blob_tensor_t *b) {
  // offset + bytes <= arena_bytes < 2^32, checked before
  return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

// Does op `index` write into the place of `tensor`? 2: it writes the tensor itself.
static int writes_into(const csc_model_t *model, uint32_t index, uint32_t tensor) {
  const csc_blob_op_t *op = &model->ops[index];
  csc_op_rule_t rule = csc_op_rule(op->kind);
  int found = 0;
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (!rule.operands[i].written || op->operand[i] == CSC_NONE) continue;
    if (op->operand[i] == tensor) return 2;
    if (overlap(&model->tensors[op->operand[i]], &model->tensors[tensor])) found = 1;
  }
  return found;
}

// Is `tensor` written (or an input) before op `index`, and its place left alone since?
static int is_intact(const csc_model_t *model, uint32_t index, uint32_t tensor) {
  for (uint32_t i = index; i-- > 0;) {
    int written = writes_into(model, i, tensor);
    if (written) return written == 2;
  }
  return (model->tensors[tensor].flags & CSC_FLAG_INPUT) != 0;
}

// Operand `item` is written by the op: it is no input and apart from the op's other operands.
static int is_writable(const csc_model_t *model, const csc_blob_op_t *op, csc_op_rule_t rule,
                       uint32_t item) {
  const csc_blob_tensor_t *tensor = &model->tensors[op->operand[item]];
  if (tensor->flags & CSC_FLAG_INPUT) return 0;
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (i == item || op->operand[i] == CSC_NONE) continue;
    if (rule.operands[i].storage != CSC_STORAGE_ARENA) continue;
    if (overlap(tensor, &model->tensors[op->operand[i]])) return 0;
  }
  return 1;
}

static csc_status_t check_op_flow(const csc_model_t *model, uint32_t index, csc_error_t *error) {
  const csc_blob_op_t *op = &model->ops[index];
  csc_op_rule_t rule = csc_op_rule(op->kind);
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (op->operand[i] == CSC_NONE || rule.operands[i].storage != CSC_STORAGE_ARENA) continue;
    int good = rule.operands[i].written ? is_writable(model, op, rule, i)
                                        : is_intact(model, index, op->operand[i]);
    if (!good) return csc_fail(error, CSC_ERR_DATA_FLOW, index, i, 0, 0);
  }
  return CSC_OK;
}

static int overlaps_earlier_input(const csc_model_t *model, uint32_t tensor) {
  for (uint32_t i = 0; i < tensor; i++) {
    if (!(model->tensors[i].flags & CSC_FLAG_INPUT)) continue;
    if (overlap(&model->tensors[i], &model->tensors[tensor])) return 1;
  }
  return 0;
}

csc_status_t csc_check_data_flow(const csc_model_t *model, csc_error_t *error) {
  uint32_t ops = model->header->op_count;
  for (uint32_t i = 0; i < ops; i++) {
    csc_status_t status = check_op_flow(model, i, error);
    if (status) return status;
  }
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    uint32_t flags = model->tensors[i].flags;
    int lost = flags & CSC_FLAG_OUTPUT && !is_intact(model, ops, i);
    if (lost || (flags & CSC_FLAG_INPUT && overlaps_earlier_input(model, i))) {
      return csc_fail(error, CSC_ERR_DATA_FLOW, i, CSC_NONE, 0, 0);
    }
  }
  return CSC_OK;
}
