#include "kernels.h"

static int32_t element(const csc_pooling_t *pool, uint32_t row, size_t column) {
  size_t at = row * pool->stride + column;
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

static void store(const csc_pooling_t *pool, const csc_out_t *out, size_t column, int32_t mean8) {
  csc_store(out, 0, column, csc_requant(mean8, pool->scale) + pool->zero_point);
}

void csc_pool_first(const csc_pooling_t *pool, size_t columns, const csc_out_t *out) {
  for (size_t c = 0; c < columns; c++) store(pool, out, c, element(pool, 0, c) * 256);
}

// |x - zero_point_in| <= 2^16 and rows <= 2^13, so the sum is at most 2^29.
void csc_pool_mean(const csc_pooling_t *pool, size_t columns, const csc_out_t *out) {
  uint32_t count = count_visible(pool);
  csc_recip_t recip = csc_recip(count ? count : 1);  // the sum is 0 where count is
  for (size_t c = 0; c < columns; c++) {
    int32_t sum = 0;
    for (uint32_t t = 0; t < pool->rows; t++) sum += counts(pool, t) ? element(pool, t, c) : 0;
    store(pool, out, c, csc_mean8(sum, recip));
  }
}
