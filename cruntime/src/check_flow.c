// check_flow.c: what an op reads is there and intact (SPEC.md, section 4, rules 12 and 16).
//
// No memory is needed: for each operand the ops before, of the same entry, are walked backwards to
// its writer, and none of them may write into its place. The cost is ops^2, which MAX_OPS bounds.

#include "check.h"

static int overlap(const csc_blob_tensor_t *a, const csc_blob_tensor_t *b) {
  // offset + bytes <= arena_bytes < 2^32, checked before
  return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

// Does op `index` write into the place of `tensor`? 2: it gives the tensor its value.
static int writes_into(const csc_model_t *model, uint32_t index, uint32_t tensor) {
  const csc_blob_op_t *op = &model->ops[index];
  csc_op_rule_t rule = csc_op_rule(op->kind);
  int found = 0;
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (!rule.operands[i].written || op->operand[i] == CSC_NONE) continue;
    if (op->operand[i] == tensor) return rule.operands[i].written == CSC_SCRATCH ? 1 : 2;
    if (overlap(&model->tensors[op->operand[i]], &model->tensors[tensor])) found = 1;
  }
  return found;
}

// Is `tensor` written (or an input, or a state) before op `index`, and its place left alone since?
// `first` is the first op of the entry.
static int is_intact(const csc_model_t *model, uint32_t first, uint32_t index, uint32_t tensor) {
  for (uint32_t i = index; i-- > first;) {
    int written = writes_into(model, i, tensor);
    if (written) return written == 2;
  }
  return (model->tensors[tensor].flags & (CSC_FLAG_INPUT | CSC_FLAG_STATE)) != 0;
}

// Operand `item` is written by the op: it is no input, a state of an APPEND alone, and apart from
// the op's other operands.
static int is_writable(const csc_model_t *model, const csc_blob_op_t *op, csc_op_rule_t rule,
                       uint32_t item) {
  const csc_blob_tensor_t *tensor = &model->tensors[op->operand[item]];
  if (tensor->flags & CSC_FLAG_INPUT) return 0;
  if (tensor->flags & CSC_FLAG_STATE && op->kind != CSC_OP_APPEND) return 0;
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (i == item || op->operand[i] == CSC_NONE) continue;
    if (rule.operands[i].storage != CSC_STORAGE_ARENA) continue;
    if (overlap(tensor, &model->tensors[op->operand[i]])) return 0;
  }
  return 1;
}

static csc_status_t check_op_flow(const csc_model_t *model, uint32_t first, uint32_t index,
                                  csc_error_t *error) {
  const csc_blob_op_t *op = &model->ops[index];
  csc_op_rule_t rule = csc_op_rule(op->kind);
  for (uint32_t i = 0; i < rule.operand_count; i++) {
    if (op->operand[i] == CSC_NONE || rule.operands[i].storage != CSC_STORAGE_ARENA) continue;
    int good = rule.operands[i].written ? is_writable(model, op, rule, i)
                                        : is_intact(model, first, index, op->operand[i]);
    if (!good) return csc_fail(error, CSC_ERR_DATA_FLOW, index, i, 0, 0);
  }
  return CSC_OK;
}

// Does `tensor` overlap an input that an op of the entry reads, other than itself?
static int meets_input(const csc_model_t *model, csc_ops_t ops, uint32_t tensor) {
  for (uint32_t i = ops.first; i < ops.end; i++) {
    csc_op_rule_t rule = csc_op_rule(model->ops[i].kind);
    for (uint32_t j = 0; j < rule.operand_count; j++) {
      uint32_t other = model->ops[i].operand[j];
      if (other == CSC_NONE || other == tensor) continue;
      if (!(model->tensors[other].flags & CSC_FLAG_INPUT)) continue;
      if (overlap(&model->tensors[other], &model->tensors[tensor])) return 1;
    }
  }
  return 0;
}

// The inputs that the entry's ops read lie apart.
static csc_status_t check_inputs(const csc_model_t *model, csc_ops_t ops, csc_error_t *error) {
  for (uint32_t i = ops.first; i < ops.end; i++) {
    csc_op_rule_t rule = csc_op_rule(model->ops[i].kind);
    for (uint32_t j = 0; j < rule.operand_count; j++) {
      uint32_t tensor = model->ops[i].operand[j];
      if (tensor == CSC_NONE || !(model->tensors[tensor].flags & CSC_FLAG_INPUT)) continue;
      if (meets_input(model, ops, tensor)) {
        return csc_fail(error, CSC_ERR_DATA_FLOW, tensor, CSC_NONE, 0, 0);
      }
    }
  }
  return CSC_OK;
}

// Everything about one entry, but that each output is written by one.
static csc_status_t check_entry_flow(const csc_model_t *model, uint32_t entry, csc_error_t *error) {
  csc_ops_t ops = csc_entry_ops(model, entry);
  for (uint32_t i = ops.first; i < ops.end; i++) {
    csc_status_t status = check_op_flow(model, ops.first, i, error);
    if (status) return status;
  }
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    int is_output = (model->tensors[i].flags & CSC_FLAG_OUTPUT) != 0;
    if (!is_output || !csc_entry_has(model, entry, i)) continue;
    if (!is_intact(model, ops.first, ops.end, i)) {
      return csc_fail(error, CSC_ERR_DATA_FLOW, i, CSC_NONE, 0, 0);
    }
  }
  return model->entries ? check_inputs(model, ops, error) : CSC_OK;
}

static int overlaps_earlier_input(const csc_model_t *model, uint32_t tensor) {
  for (uint32_t i = 0; i < tensor; i++) {
    if (!(model->tensors[i].flags & CSC_FLAG_INPUT)) continue;
    if (overlap(&model->tensors[i], &model->tensors[tensor])) return 1;
  }
  return 0;
}

static int is_written(const csc_model_t *model, uint32_t tensor) {
  for (uint32_t i = 0; i < model->header->op_count; i++) {
    if (writes_into(model, i, tensor) == 2) return 1;
  }
  return 0;
}

// Does a state lie apart from every other arena tensor?
static int is_alone(const csc_model_t *model, uint32_t state) {
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    if (i == state || model->tensors[i].storage != CSC_STORAGE_ARENA) continue;
    if (overlap(&model->tensors[i], &model->tensors[state])) return 0;
  }
  return 1;
}

static int is_bad_tensor(const csc_model_t *model, uint32_t tensor) {
  uint32_t flags = model->tensors[tensor].flags;
  if (flags & CSC_FLAG_OUTPUT) return !is_written(model, tensor);
  if (flags & CSC_FLAG_STATE) return !is_alone(model, tensor);
  // with entries, inputs have been checked entry by entry
  return flags & CSC_FLAG_INPUT && !model->entries && overlaps_earlier_input(model, tensor);
}

csc_status_t csc_check_data_flow(const csc_model_t *model, csc_error_t *error) {
  uint32_t entries = model->entries ? model->header->entry_count : 1;
  for (uint32_t i = 0; i < entries; i++) {
    csc_status_t status = check_entry_flow(model, i, error);
    if (status) return status;
  }
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    if (is_bad_tensor(model, i)) return csc_fail(error, CSC_ERR_DATA_FLOW, i, CSC_NONE, 0, 0);
  }
  return CSC_OK;
}
