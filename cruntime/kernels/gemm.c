#include "csc_memory.h"
#include "kernels.h"

// One block product for one row: acc[n] += sum of x[k] * w[n][k], 8 x 8.
static inline void multiply_block_s8(const int8_t *x, const int8_t *w, int32_t *acc) {
  for (int n = 0; n < 8; n++) {
    int32_t sum = 0;
    for (int k = 0; k < 8; k++) sum += (int16_t)x[k] * (int16_t)w[8 * n + k];
    acc[n] += sum;
  }
}

static inline void multiply_block_s16(const int16_t *x, const int8_t *w, int32_t *acc) {
  int16_t clamped[8];
  for (int k = 0; k < 8; k++) clamped[k] = (int16_t)csc_clamp(x[k], CSC_WIDE_MIN, CSC_WIDE_MAX);
  for (int n = 0; n < 8; n++) {
    int32_t sum = 0;
    for (int k = 0; k < 8; k++) sum += clamped[k] * (int16_t)w[8 * n + k];
    acc[n] += sum;
  }
}

void csc_matmul_blocks_s8(const int8_t *x, size_t x_stride, uint32_t rows, const int8_t *w,
                          uint32_t k_blocks, uint32_t n_blocks, int32_t *acc) {
  size_t outputs = (size_t)n_blocks * 8;
  memset(acc, 0, rows * outputs * sizeof *acc);
  for (uint32_t n = 0; n < n_blocks; n++) {
    for (uint32_t k = 0; k < k_blocks; k++, w += 64) {
      for (uint32_t r = 0; r < rows; r++) {
        multiply_block_s8(x + r * x_stride + k * 8, w, acc + r * outputs + n * 8);
      }
    }
  }
}

void csc_matmul_blocks_s16(const int16_t *x, size_t x_stride, uint32_t rows, const int8_t *w,
                           uint32_t k_blocks, uint32_t n_blocks, int32_t *acc) {
  size_t outputs = (size_t)n_blocks * 8;
  memset(acc, 0, rows * outputs * sizeof *acc);
  for (uint32_t n = 0; n < n_blocks; n++) {
    for (uint32_t k = 0; k < k_blocks; k++, w += 64) {
      for (uint32_t r = 0; r < rows; r++) {
        multiply_block_s16(x + r * x_stride + k * 8, w, acc + r * outputs + n * 8);
      }
    }
  }
}

static int32_t look_up(const void *table, csc_dtype_t dtype, int32_t index) {
  return dtype == CSC_DTYPE_INT8 ? ((const int8_t *)table)[index] : ((const int16_t *)table)[index];
}

// |acc| <= 2^30 and |bias| < 2^30, so their sum fits int32 (SPEC.md, section 3.3).
void csc_finish_row(const csc_finish_t *finish, const int32_t *acc, size_t outputs,
                    const csc_out_t *out, size_t row) {
  const csc_finish_t fixed = *finish;  // stores through `line` cannot change it
  csc_line_t line = csc_line(out, row);
  int32_t low = fixed.clamp_low - fixed.zero_point;
  int32_t high = fixed.clamp_high - fixed.zero_point;
  for (size_t n = 0; n < outputs; n++) {
    int32_t sum = acc[n] + fixed.requant[2 * n];
    csc_scale_t scale = csc_unpack_scale(fixed.requant[2 * n + 1]);
    int32_t u = csc_requant(sum, scale, low, high) + fixed.zero_point;
    csc_store(line, n, fixed.table ? look_up(fixed.table, out->dtype, u) : u);
  }
}
