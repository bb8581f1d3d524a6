// check.h: the parts of the loader. Each checks what its name says and trusts what was checked
// before it, in this order: header and sections (load.c), entries, tensors, ops, data flow, plan.

#ifndef CSC_CHECK_H
#define CSC_CHECK_H

#include "csc.h"
#include "csc_crc.h"

#define CSC_SCRATCH 2

// What an op does with an operand, and what the operand must be.
typedef struct {
  uint8_t storage;  // csc_storage_t
  uint8_t dtypes;   // bits 1 << csc_dtype_t of the dtypes allowed
  uint8_t rank;
  uint8_t written;   // 1: an output; CSC_SCRATCH: scratch, which never is a value
  uint8_t optional;  // 1: may be CSC_NONE
} csc_operand_rule_t;

typedef struct {
  const csc_operand_rule_t *operands;
  uint8_t operand_count;
  uint8_t param_count;
} csc_op_rule_t;

// The rule of an op kind; operand_count is 0 for an unknown kind.
csc_op_rule_t csc_op_rule(uint32_t kind);

// Fills *error and returns status.
csc_status_t csc_fail(csc_error_t *error, csc_status_t status, uint32_t index, uint32_t item,
                      int64_t need, int64_t have);

// Bytes of one element.
uint32_t csc_dtype_bytes(uint32_t dtype);

// The records of the model's entries, if it has any.
CSC_MUST_CHECK csc_status_t csc_check_entries(const csc_model_t *model, uint32_t strings_bytes,
                                              csc_error_t *error);
CSC_MUST_CHECK csc_status_t csc_check_tensors(const csc_model_t *model, uint32_t strings_bytes,
                                              uint32_t weights_bytes, csc_error_t *error);
CSC_MUST_CHECK csc_status_t csc_check_ops(const csc_model_t *model, uint32_t strings_bytes,
                                          csc_error_t *error);
// Operands of op `index` against each other (shapes), then parameters, then weights' content.
CSC_MUST_CHECK csc_status_t csc_check_op_meaning(const csc_model_t *model, uint32_t index,
                                                 csc_error_t *error);
CSC_MUST_CHECK csc_status_t csc_check_data_flow(const csc_model_t *model, csc_error_t *error);
// The record of the model's plan, whose section has `bytes` bytes. The tensors have been checked.
CSC_MUST_CHECK csc_status_t csc_check_plan(const csc_model_t *model, uint32_t bytes,
                                           csc_error_t *error);

#endif
