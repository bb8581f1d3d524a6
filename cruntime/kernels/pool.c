#include "kernels.h"

static int32_t element(const csc_pooling_t *pool, size_t at) {
  int32_t x = pool->dtype == CSC_DTYPE_INT8 ? ((const int8_t *)pool->x)[at]
                                            : ((const int16_t *)pool->x)[at];
  return x - pool->zero_point_in;
}

static int counts(const csc_pooling_t *pool, uint32_t row) {
  return !pool->mask || pool->mask[row];
}

static uint32_t count_visible(const csc_pooling_t *pool) {
  uint32_t count = 0;
  for (uint32_t t = 0; t < pool->rows; t++) count += counts(pool, t) ? 1 : 0;
  return count;
}

static void store(const csc_pooling_t *pool, csc_line_t line, size_t column, int32_t mean8) {
  int32_t low = line.low - pool->zero_point;
  int32_t high = line.high - pool->zero_point;
  csc_store(line, column, csc_requant(mean8, pool->scale, low, high) + pool->zero_point);
}

void csc_pool_row(const csc_pooling_t *pool, uint32_t row, size_t columns, const csc_out_t *out) {
  csc_line_t line = csc_line(out, 0);
  size_t first = row * pool->stride;
  for (size_t c = 0; c < columns; c++) store(pool, line, c, element(pool, first + c) * 256);
}

// |x - zero_point_in| <= 2^16 and rows <= 2^13, so the sum is at most 2^29.
void csc_pool_mean(const csc_pooling_t *pool, size_t columns, const csc_out_t *out) {
  uint32_t count = count_visible(pool);
  csc_recip_t recip = csc_recip(count ? count : 1);  // the sum is 0 where count is
  csc_line_t line = csc_line(out, 0);
  for (size_t c = 0; c < columns; c++) {
    int32_t sum = 0;
    size_t at = c;
    for (uint32_t t = 0; t < pool->rows; t++, at += pool->stride) {
      sum += counts(pool, t) ? element(pool, at) : 0;
    }
    store(pool, line, c, csc_mean8(sum, recip));
  }
}
