#include "csc_memory.h"
#include "kernels.h"

// |acc| <= 1024 * 2^14.
void csc_matmul_nt_s8(const int8_t *a, size_t a_stride, uint32_t rows, const int8_t *b,
                      size_t b_stride, uint32_t columns, uint32_t depth, int32_t *acc,
                      size_t acc_stride) {
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < columns; j++) {
      int32_t sum = 0;
      for (uint32_t d = 0; d < depth; d++) {
        sum += (int16_t)a[i * a_stride + d] * (int16_t)b[j * b_stride + d];
      }
      acc[i * acc_stride + j] = sum;
    }
  }
}

// |acc| <= 8192 * 255 * 128 < 2^28.
void csc_matmul_nn_u8s8(const uint8_t *p, size_t p_stride, uint32_t rows, const int8_t *v,
                        size_t v_stride, uint32_t depth, uint32_t columns, int32_t *acc,
                        size_t acc_stride) {
  for (uint32_t i = 0; i < rows; i++) {
    int32_t *row = acc + i * acc_stride;
    memset(row, 0, columns * sizeof *row);
    for (uint32_t d = 0; d < depth; d++) {
      int16_t weight = p[i * p_stride + d];
      if (weight == 0) continue;
      for (uint32_t j = 0; j < columns; j++) row[j] += weight * (int16_t)v[d * v_stride + j];
    }
  }
}

static int visible(const uint8_t *mask, uint32_t key) { return !mask || mask[key] != 0; }

static int32_t highest_visible(const int32_t *score, const uint8_t *mask, uint32_t keys) {
  int32_t top = INT32_MIN;
  for (uint32_t j = 0; j < keys; j++) {
    if (visible(mask, j) && score[j] > top) top = score[j];
  }
  return top;
}

// |score| <= 2^24, so top - score fits int32; keys <= 8192, so the sum is below 2^21.
uint32_t csc_softmax_row(const int32_t *score, const uint8_t *mask, uint32_t keys,
                         csc_scale_t scale, uint8_t *e) {
  int32_t top = highest_visible(score, mask, keys);
  uint32_t sum = 0;
  for (uint32_t j = 0; j < keys; j++) {
    e[j] = 0;
    if (!visible(mask, j)) continue;
    e[j] = csc_exp_table[csc_requant(top - score[j], scale, 0, 255)];
    sum += e[j];
  }
  return sum;
}

void csc_context_row(const int32_t *acc, uint32_t sum, uint32_t depth, csc_scale_t scale,
                     int32_t zero_point, const csc_out_t *out, size_t row, size_t column) {
  csc_recip_t recip = csc_recip(sum ? sum : 1);  // acc is 0 where sum is
  csc_line_t line = csc_line(out, row);
  int32_t low = line.low - zero_point;
  int32_t high = line.high - zero_point;
  for (uint32_t d = 0; d < depth; d++) {
    int32_t value = csc_requant(csc_mean8(acc[d], recip), scale, low, high);
    csc_store(line, column + d, value + zero_point);
  }
}
