#include "kernels.h"

// Each product is at most 2^29, so int32 holds the sum.
void csc_add_row(const csc_add_t *add, const int16_t *a, const int16_t *b, size_t columns,
                 int16_t *out) {
  csc_factor_t factor_a, factor_b;
  csc_set_factor(&factor_a, add->multiplier_a);
  csc_set_factor(&factor_b, add->multiplier_b);
  for (size_t c = 0; c < columns; c++) {
    int32_t sum = csc_times(&factor_a, a[c]) + csc_times(&factor_b, b[c]);
    out[c] = (int16_t)csc_clamp(csc_round_shift(sum, add->shift), INT16_MIN, INT16_MAX);
  }
}
