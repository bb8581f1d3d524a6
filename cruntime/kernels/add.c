#include "kernels.h"

// Each product is at most 2^29, so int32 holds the sum.
void csc_add_row(const csc_add_t *add, const int16_t *a, const int16_t *b, size_t columns,
                 int16_t *out) {
  for (size_t c = 0; c < columns; c++) {
    int32_t sum = a[c] * add->multiplier_a + b[c] * add->multiplier_b;
    out[c] = (int16_t)csc_clamp(csc_round_shift(sum, add->shift), INT16_MIN, INT16_MAX);
  }
}
