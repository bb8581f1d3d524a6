// avx512_rows.c: the ops that take row by row, or one row: LAYERNORM, EMBED, ADD, POOL.

#include "avx512_inner.h"

#if CSC_HAS_AVX512

// Products of int16 in int32 elements: pmaddwd with upper halves of 0 is quicker than pmulld.
V512_INLINE __m512i multiply_low(__m512i a, int32_t b) {
  return _mm512_madd_epi16(a, _mm512_set1_epi32(b & 0xFFFF));
}

V512_INLINE __m512i round_shift_by(__m512i a, uint32_t shift) {
  a = _mm512_add_epi32(a, _mm512_set1_epi32((int32_t)1 << (shift - 1)));
  return _mm512_sra_epi32(a, _mm_cvtsi32_si128((int)shift));
}

// 16 or fewer int16, widened; the others are 0.
V512_INLINE __m512i load_halves(const int16_t *from, size_t count) {
  return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16((__mmask16)first_bits(count), from));
}

// How many of `count` elements lie behind the first i panels.
static inline size_t rest(size_t count, size_t i) {
  return count > PANEL * i ? count - PANEL * i : 0;
}

// pmaddwd(x, x) reaches 2^31, so it is taken as unsigned.
V512 static csc_norm_t norm_row(const int16_t *x, size_t columns, uint64_t epsilon) {
  const __m512i low_half = _mm512_set1_epi64(0xFFFFFFFF);
  __m512i sums = _mm512_setzero_si512();
  __m512i squares = sums;
  for (size_t c = 0; c < columns; c += 32) {
    __m512i here = _mm512_maskz_loadu_epi16((__mmask32)first_bits(columns - c), x + c);
    __m512i square = _mm512_madd_epi16(here, here);
    sums = _mm512_dpwssd_epi32(sums, here, _mm512_set1_epi16(1));
    squares = _mm512_add_epi64(squares, _mm512_srli_epi64(square, 32));
    squares = _mm512_add_epi64(squares, _mm512_and_si512(square, low_half));
  }
  int32_t sum = _mm512_reduce_add_epi32(sums);
  int64_t square = _mm512_reduce_add_epi64(squares);
  uint64_t variance = (uint64_t)((int64_t)columns * square - (int64_t)sum * sum);
  csc_norm_t norm = {sum, csc_rsqrt(variance + epsilon)};
  return norm;
}

// 64 or fewer normalized values. |n| < 2^10 * sqrt(C) <= 2^16 before its clamp.
V512_INLINE void normalize_group(const int16_t *x, size_t count, int32_t columns, csc_norm_t norm,
                                 __m512i n[4]) {
  for (size_t i = 0; i < 4; i++) {
    __m512i scaled = multiply_low(load_halves(x + PANEL * i, rest(count, i)), columns);
    __m512i d = _mm512_sub_epi32(scaled, _mm512_set1_epi32(norm.sum));
    d = scale_all(d, norm.root.r, (uint32_t)(12 + norm.root.h));
    d = _mm512_min_epi32(d, _mm512_set1_epi32(32767));
    n[i] = _mm512_max_epi32(d, _mm512_set1_epi32(-32767));
  }
}

// The outputs of normalized values n; entries: (offset, gain) each.
V512_INLINE void affine_group(const __m512i n[4], const csc_affine_t *affine, csc_line_t line,
                              size_t column, size_t count) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const int32_t *entries = affine->affine + 2 * column;
  __m512i v[4];
  for (size_t i = 0; i < 4; i++, entries += 2 * PANEL) {
    uint64_t live = first_bits(rest(count, i));
    __m512i first = _mm512_maskz_loadu_epi64((__mmask8)live, entries);
    __m512i second = _mm512_maskz_loadu_epi64((__mmask8)(live >> 8), entries + PANEL);
    __m512i gain = _mm512_permutex2var_epi32(first, odd, second);
    v[i] = _mm512_madd_epi16(n[i], _mm512_and_si512(gain, _mm512_set1_epi32(0xFFFF)));
    v[i] = _mm512_add_epi32(v[i], _mm512_permutex2var_epi32(first, even, second));
    v[i] = round_shift_by(v[i], affine->shift);
    v[i] = _mm512_add_epi32(v[i], _mm512_set1_epi32(affine->zero_point));
  }
  store_group(line, column, count, v, line.low, line.high);
}

V512_INLINE void layernorm_group(const csc_layernorm_t *layernorm, const int16_t *x,
                                 int32_t columns, csc_norm_t norm, const csc_line_t lines[2],
                                 size_t column, size_t count) {
  __m512i n[4];
  normalize_group(x + column, count, columns, norm, n);
  affine_group(n, &layernorm->a, lines[0], column, count);
  if (layernorm->b.affine) affine_group(n, &layernorm->b, lines[1], column, count);
}

V512 void csc_avx512_layernorm_row(const csc_layernorm_t *layernorm, const int16_t *x,
                                   size_t columns, size_t row) {
  const csc_layernorm_t fixed = *layernorm;
  csc_norm_t norm = norm_row(x, columns, fixed.epsilon);
  csc_line_t lines[2] = {csc_line(&fixed.out_a, row), csc_line(&fixed.out_b, row)};
  int32_t width = (int32_t)columns;
  size_t c = 0;
  for (; c + GROUP <= columns; c += GROUP) {
    layernorm_group(&fixed, x, width, norm, lines, c, GROUP);  // a constant: no masks
  }
  if (c < columns) layernorm_group(&fixed, x, width, norm, lines, c, columns - c);
}

V512 void csc_avx512_embed_row(const csc_embed_row_t *row, size_t columns, int16_t *out) {
  const csc_embed_row_t fixed = *row;
  for (size_t c = 0; c < columns; c += PANEL) {
    __mmask16 live = (__mmask16)first_bits(columns - c);
    __m512i word = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(live, fixed.word + c));
    __m512i sum = round_shift_by(multiply_low(word, fixed.word_multiplier), fixed.shift);
    sum = _mm512_add_epi32(sum, load_halves(fixed.position + c, columns - c));
    if (fixed.type) sum = _mm512_add_epi32(sum, load_halves(fixed.type + c, columns - c));
    _mm256_mask_storeu_epi16(out + c, live, _mm512_cvtsepi32_epi16(sum));
  }
}

// Pairs of a and b meet pairs of multipliers; both halves of 128 bits come back in place.
V512 void csc_avx512_add_row(const csc_add_t *add, const int16_t *a, const int16_t *b,
                             size_t columns, int16_t *out) {
  __m512i pair = _mm512_set1_epi32(add->multiplier_a | add->multiplier_b << 16);
  uint32_t shift = add->shift;
  for (size_t c = 0; c < columns; c += 32) {
    __mmask32 live = (__mmask32)first_bits(columns - c);
    __m512i left = _mm512_maskz_loadu_epi16(live, a + c);
    __m512i right = _mm512_maskz_loadu_epi16(live, b + c);
    __m512i low = _mm512_madd_epi16(_mm512_unpacklo_epi16(left, right), pair);
    __m512i high = _mm512_madd_epi16(_mm512_unpackhi_epi16(left, right), pair);
    low = round_shift_by(low, shift);
    high = round_shift_by(high, shift);
    _mm512_mask_storeu_epi16(out + c, live, _mm512_packs_epi32(low, high));
  }
}

// The sums of the visible rows of 16 or fewer columns from `column` on, less their zero points.
V512_INLINE __m512i sum_columns(const csc_pooling_t *pool, size_t column, size_t count) {
  __m512i zero_point = _mm512_set1_epi32(pool->zero_point_in);
  __m512i sum = _mm512_setzero_si512();
  for (size_t t = 0; t < pool->rows; t++) {
    if (pool->mask && !pool->mask[t]) continue;
    size_t at = t * pool->stride + column;
    __m512i x;
    if (pool->dtype == CSC_DTYPE_INT8) {
      x = _mm512_cvtepi8_epi32(
          _mm_maskz_loadu_epi8((__mmask16)first_bits(count), (const int8_t *)pool->x + at));
    } else {
      x = load_halves((const int16_t *)pool->x + at, count);
    }
    sum = _mm512_add_epi32(sum, _mm512_sub_epi32(x, zero_point));
  }
  return sum;
}

static uint32_t count_visible(const csc_pooling_t *pool) {
  uint32_t count = 0;
  for (uint32_t t = 0; t < pool->rows; t++) count += !pool->mask || pool->mask[t] ? 1 : 0;
  return count;
}

// |mean8| <= 2^24 * (1 + 2^-14), so it fits int32 with room.
V512 void csc_avx512_pool_mean(const csc_pooling_t *pool, size_t columns, const csc_out_t *out) {
  uint32_t visible = count_visible(pool);
  csc_recip_t recip = csc_recip(visible ? visible : 1);  // sums are 0 where visible is
  csc_line_t line = csc_line(out, 0);
  int64_t low = (int64_t)line.low - pool->zero_point;
  int64_t high = (int64_t)line.high - pool->zero_point;
  for (size_t c = 0; c < columns; c += GROUP) {
    __m512i v[4];
    for (size_t i = 0; i < 4; i++) {
      size_t at = c + PANEL * i;
      v[i] = at < columns ? sum_columns(pool, at, columns - at) : _mm512_setzero_si512();
      v[i] = scale_all(v[i], recip.r, 6 + recip.length);
      v[i] = requant_any(v[i], _mm512_set1_epi32((int32_t)pool->scale.multiplier),
                         _mm512_set1_epi32((int32_t)pool->scale.shift), low, high);
      v[i] = _mm512_add_epi32(v[i], _mm512_set1_epi32(pool->zero_point));
    }
    store_group(line, c, columns - c, v, line.low, line.high);
  }
}

#endif
