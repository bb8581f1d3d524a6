#include "kernels.h"

// |S| <= 2^27, C * sum of squares <= 2^54, V + E < 2^55.
csc_norm_t csc_norm_row(const int16_t *x, size_t columns, uint64_t epsilon) {
  int32_t sum = 0;
  int64_t squares = 0;
  for (size_t c = 0; c < columns; c++) {
    sum += x[c];
    squares += (int32_t)x[c] * x[c];
  }
  int64_t variance = (int64_t)columns * squares - (int64_t)sum * sum;
  csc_norm_t norm = {sum, csc_rsqrt((uint64_t)variance + epsilon)};
  return norm;
}

// |d| < 2^28 and r <= 2^15, so d * r fits int64; |n| <= 32767 and |gain| <= 32767, so with
// |offset| <= 2^29 and half of 2^shift <= 2^28 the last sum fits int32.
void csc_affine_row(const int16_t *x, size_t columns, csc_norm_t norm, const csc_affine_t *affine,
                    const csc_out_t *out, size_t row) {
  uint32_t shift = (uint32_t)(12 + norm.root.h);
  for (size_t c = 0; c < columns; c++) {
    int64_t d = (int64_t)((int32_t)columns * x[c] - norm.sum);
    int32_t n = (int32_t)csc_clamp(csc_round_shift(d * norm.root.r, shift), -32767, 32767);
    int32_t y = n * affine->affine[2 * c + 1] + affine->affine[2 * c];
    csc_store(out, row, c, csc_round_shift(y, affine->shift) + affine->zero_point);
  }
}
