#include "kernels.h"

// |S| <= 2^27, C * sum of squares <= 2^54, V + E < 2^55.
csc_norm_t csc_norm_row(const int16_t *x, size_t columns, uint64_t epsilon) {
  int32_t sum = 0;
  int64_t squares = 0;
  for (size_t c = 0; c < columns; c++) {
    sum += x[c];
    squares += csc_multiply(x[c], x[c]);
  }
  int64_t variance = (int64_t)columns * squares - (int64_t)sum * sum;
  csc_norm_t norm = {sum, csc_rsqrt((uint64_t)variance + epsilon)};
  return norm;
}

// |d| < 2^28 and r <= 2^15; |n| <= 32767 and |gain| <= 32767, so with
// |offset| <= 2^29 and half of 2^shift <= 2^28 the last sum fits int32.
void csc_affine_row(const int16_t *x, size_t columns, csc_norm_t norm, const csc_affine_t *affine,
                    const csc_out_t *out, size_t row) {
  const csc_affine_t fixed = *affine;  // stores through `line` cannot change it
  csc_line_t line = csc_line(out, row);
  csc_scale_t scale = {norm.root.r, (uint32_t)(12 + norm.root.h)};
  csc_factor_t count;
  csc_set_factor(&count, (int32_t)columns);
  for (size_t c = 0; c < columns; c++) {
    int32_t d = csc_times(&count, x[c]) - norm.sum;
    int32_t n = csc_requant(d, scale, -32767, 32767);
    int32_t y = csc_multiply(n, fixed.affine[2 * c + 1]) + fixed.affine[2 * c];
    y = csc_round_shift(y, fixed.shift) + fixed.zero_point;
    csc_store(line, c, csc_clamp(y, line.low, line.high));
  }
}

void csc_layernorm_row(const csc_layernorm_t *layernorm, const int16_t *x, size_t columns,
                       size_t row) {
  csc_norm_t norm = csc_norm_row(x, columns, layernorm->epsilon);
  csc_affine_row(x, columns, norm, &layernorm->a, &layernorm->out_a, row);
  if (!layernorm->b.affine) return;
  csc_affine_row(x, columns, norm, &layernorm->b, &layernorm->out_b, row);
}
