// operand.h: the operands of a call as pointers and shapes. The loader has checked them all.

#ifndef CSC_OPERAND_H
#define CSC_OPERAND_H

#include "csc.h"

typedef struct {
  void *data;
  csc_dtype_t dtype;
  uint32_t rows;     // T where the tensor is dynamic, else dims[0]
  uint32_t columns;  // dims[1]
  size_t stride;     // elements from one row to the next
} csc_view_t;

static inline int csc_has_operand(const csc_call_t *call, uint32_t number) {
  return call->op->operand[number] != CSC_NONE;
}

// The tensor of operand `number`; data is null where the operand is absent.
static inline csc_view_t csc_operand(const csc_call_t *call, uint32_t number) {
  csc_view_t view = {0};
  if (!csc_has_operand(call, number)) return view;
  const csc_blob_tensor_t *tensor = &call->model->tensors[call->op->operand[number]];
  int in_arena = tensor->storage == CSC_STORAGE_ARENA;
  // A backend only reads from weights; one type serves both.
  uint8_t *base = in_arena ? call->arena : (uint8_t *)(uintptr_t)call->model->weights;
  view.data = base + tensor->offset;
  view.dtype = (csc_dtype_t)tensor->dtype;
  view.rows = tensor->flags & CSC_FLAG_DYNAMIC ? call->length : tensor->dims[0];
  view.columns = tensor->dims[1];
  view.stride = tensor->row_stride;
  return view;
}

#endif
