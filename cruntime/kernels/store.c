#include "kernels.h"

void csc_store(const csc_out_t *out, size_t row, size_t column, int64_t value) {
  size_t at = row * out->stride + column;
  if (out->dtype == CSC_DTYPE_INT8) {
    ((int8_t *)out->data)[at] = (int8_t)csc_clamp(value, INT8_MIN, INT8_MAX);
  } else {
    ((int16_t *)out->data)[at] = (int16_t)csc_clamp(value, INT16_MIN, INT16_MAX);
  }
}
