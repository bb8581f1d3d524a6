// kernels.h: the portable kernels, pure functions that define the bits (SPEC.md, section 3).
//
// Strides count elements. No kernel knows a blob record, allocates, or keeps state. Callers hand
// in checked values: ranges stand beside the parameters, and SPEC.md proves that sums fit.

#ifndef CSC_KERNELS_H
#define CSC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "csc_constants.h"
#include "fixed.h"

// A destination of int8 or int16 elements.
typedef struct {
  void *data;
  csc_dtype_t dtype;  // CSC_DTYPE_INT8 or CSC_DTYPE_INT16
  size_t stride;      // elements from one row to the next
} csc_out_t;

// Places in one row of a destination, and the limits of its dtype.
typedef struct {
  int8_t *bytes;  // null for int16
  int16_t *halves;
  int32_t low, high;
} csc_line_t;

static inline csc_line_t csc_line(const csc_out_t *out, size_t row) {
  size_t first = row * out->stride;
  csc_line_t bytes = {(int8_t *)out->data + first, NULL, INT8_MIN, INT8_MAX};
  csc_line_t halves = {NULL, (int16_t *)out->data + first, INT16_MIN, INT16_MAX};
  return out->dtype == CSC_DTYPE_INT8 ? bytes : halves;
}

// Stores a value within the limits.
static inline void csc_store(csc_line_t line, size_t column, int32_t value) {
  if (line.bytes) {
    line.bytes[column] = (int8_t)value;
  } else {
    line.halves[column] = (int16_t)value;
  }
}

// EMBED, one token: out[c] for c < columns.
typedef struct {
  const int8_t *word;       // [columns], the token's row
  int32_t word_multiplier;  // 0..32767
  uint32_t shift;           // 1..31
  const int16_t *position;  // [columns]
  const int16_t *type;      // [columns] or null
} csc_embed_row_t;
void csc_embed_row(const csc_embed_row_t *row, size_t columns, int16_t *out);

// LAYERNORM, one row.
typedef struct {
  const int32_t *affine;  // [columns][2]: offset (|offset| <= 2^29), gain (|gain| <= 32767)
  uint32_t shift;         // 1..29
  int32_t zero_point;
} csc_affine_t;
// What normalizes a row: its sum S and the reciprocal root of V + E.
typedef struct {
  int32_t sum;
  csc_rsqrt_t root;
} csc_norm_t;
csc_norm_t csc_norm_row(const int16_t *x, size_t columns, uint64_t epsilon);  // columns <= 4096
void csc_affine_row(const int16_t *x, size_t columns, csc_norm_t norm, const csc_affine_t *affine,
                    const csc_out_t *out, size_t row);

// GEMM, products: acc[r][n] = sum over k of x[r][k] * w[n][k], without bias.
// rows 1..8; x: [rows][x_stride], 8 * k_blocks readable elements a row;
// w: [n_blocks][k_blocks][8 n][8 k]; acc: [rows][8 * n_blocks].
void csc_matmul_blocks_s8(const int8_t *x, size_t x_stride, uint32_t rows, const int8_t *w,
                          uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);
// The same with x clamped to CSC_WIDE_MIN..CSC_WIDE_MAX.
void csc_matmul_blocks_s16(const int16_t *x, size_t x_stride, uint32_t rows, const int8_t *w,
                           uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);

// GEMM, what follows the products: bias, requantization, clamp, optional table.
typedef struct {
  const int32_t *requant;  // [outputs][2]: bias, multiplier + 65536 * shift
  int32_t zero_point;
  int32_t clamp_low;  // with a table 0 and 1023
  int32_t clamp_high;
  const void *table;  // [1024] of the dtype of the output, or null
} csc_finish_t;
void csc_finish_row(const csc_finish_t *finish, const int32_t *acc, size_t outputs,
                    const csc_out_t *out, size_t row);

// ATTENTION, products. rows 1..8.
// scores: acc[i][j] = sum over d < depth of a[i][d] * b[j][d], j < columns.
void csc_matmul_nt_s8(const int8_t *a, size_t a_stride, uint32_t rows, const int8_t *b,
                      size_t b_stride, uint32_t columns, uint32_t depth, int32_t *acc,
                      size_t acc_stride);
// contexts: acc[i][j] = sum over d < depth of p[i][d] * v[d][j], j < columns.
void csc_matmul_nn_u8s8(const uint8_t *p, size_t p_stride, uint32_t rows, const int8_t *v,
                        size_t v_stride, uint32_t depth, uint32_t columns, int32_t *acc,
                        size_t acc_stride);

// ATTENTION, one row of scores to unnormalized weights e[keys]; mask may be null.
// Returns the sum of e, 0 if no key is visible.
uint32_t csc_softmax_row(const int32_t *score, const uint8_t *mask, uint32_t keys,
                         csc_scale_t scale, uint8_t *e);
// ATTENTION, one row of contexts: out[row][column + d] for d < depth; sum from csc_softmax_row.
void csc_context_row(const int32_t *acc, uint32_t sum, uint32_t depth, csc_scale_t scale,
                     int32_t zero_point, const csc_out_t *out, size_t row, size_t column);

// ADD, one row. Multipliers 0..16384, shift 1..29.
typedef struct {
  int32_t multiplier_a;
  int32_t multiplier_b;
  uint32_t shift;
} csc_add_t;
void csc_add_row(const csc_add_t *add, const int16_t *a, const int16_t *b, size_t columns,
                 int16_t *out);

// POOL. `x` is int8 or int16 [rows][x_stride]; mask may be null; one output row.
typedef struct {
  const void *x;
  csc_dtype_t dtype;
  size_t stride;
  uint32_t rows;
  const uint8_t *mask;
  int32_t zero_point_in;
  csc_scale_t scale;
  int32_t zero_point;
} csc_pooling_t;
void csc_pool_row(const csc_pooling_t *pool, uint32_t row, size_t columns, const csc_out_t *out);
void csc_pool_mean(const csc_pooling_t *pool, size_t columns, const csc_out_t *out);

#endif
