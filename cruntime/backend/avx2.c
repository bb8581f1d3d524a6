// avx2.c: the kernels with AVX2 instructions, bit for bit those of kernels.h.
//
// Products widen both sides to int16 and use pmaddwd, which adds two int16 products in int32 and
// is exact. What is left of a row after groups of 8 goes to the portable kernel where that can
// start inside a row.

#include "avx2.h"

#if defined(__GNUC__) && defined(__x86_64__) && defined(__SSE2__)

#include <immintrin.h>
#include <string.h>

#include "kernel_table.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))
#define ROOM 1024u  // elements of a row of a tile

// The left side of a product: up to 8 rows, widened.
typedef struct {
  int16_t row[8][ROOM];
} tile_t;

_Static_assert(ROOM % 16 == 0 && ROOM >= CSC_MAX_HEAD_DIM, "a query or a key row fits a tile");

AVX2_INLINE __m256i load256(const void *from) { return _mm256_loadu_si256(from); }
AVX2_INLINE __m128i load128(const void *from) { return _mm_loadu_si128(from); }
AVX2_INLINE __m128i load64(const void *from) { return _mm_loadl_epi64(from); }
AVX2_INLINE void store256(void *to, __m256i value) { _mm256_storeu_si256(to, value); }
AVX2_INLINE __m256i widen(const int8_t *from) { return _mm256_cvtepi8_epi16(load128(from)); }

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

// `count` rows from `first` on; those that are not there repeat the last, and are not stored.
static void point_at_rows(const int16_t **x, uint32_t count, const tile_t *tile, uint32_t first,
                          uint32_t rows) {
  for (uint32_t i = 0; i < count; i++) x[i] = tile->row[least(first + i, rows - 1)];
}

// ------------------------------------------------------------------------- GEMM products

// The sums of (n0 n0 n0 n0 | n1 n1 n1 n1) and (n2 n2 n2 n2 | n3 n3 n3 n3): n0 n1 n2 n3.
AVX2_INLINE __m128i fold_pairs(__m256i first, __m256i second) {
  __m256i sums = _mm256_hadd_epi32(first, second);
  sums = _mm256_hadd_epi32(sums, sums);
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// Four rows times four outputs: half of each of `blocks` blocks, 32 bytes at w, w + 64, ...
AVX2 static void multiply_half_blocks(const int16_t *const x[4], const int8_t *w, uint32_t blocks,
                                      __m128i sum[4]) {
  __m256i first[4], second[4];
  for (int i = 0; i < 4; i++) first[i] = second[i] = _mm256_setzero_si256();
  for (uint32_t k = 0; k < blocks; k++, w += 64) {
    __m256i w01 = widen(w);
    __m256i w23 = widen(w + 16);
    for (int i = 0; i < 4; i++) {
      __m256i both = _mm256_broadcastsi128_si256(load128(x[i] + 8 * k));
      first[i] = _mm256_add_epi32(first[i], _mm256_madd_epi16(both, w01));
      second[i] = _mm256_add_epi32(second[i], _mm256_madd_epi16(both, w23));
    }
  }
  for (int i = 0; i < 4; i++) sum[i] = fold_pairs(first[i], second[i]);
}

// acc[r][..] += tile * w; blocks: of the tile; w_step: bytes from one n block to the next.
AVX2 static void multiply_tile(const tile_t *tile, uint32_t rows, uint32_t blocks, const int8_t *w,
                               size_t w_step, uint32_t n_blocks, int32_t *acc) {
  size_t outputs = (size_t)n_blocks * 8;
  for (size_t n = 0; n < outputs; n += 4) {
    const int8_t *half = w + n / 8 * w_step + n % 8 * 8;
    for (uint32_t r = 0; r < rows; r += 4) {
      const int16_t *x[4];
      __m128i sum[4];
      point_at_rows(x, 4, tile, r, rows);
      multiply_half_blocks(x, half, blocks, sum);
      for (uint32_t i = 0; i < least(4, rows - r); i++) {
        int32_t *to = acc + (r + i) * outputs + n;
        _mm_storeu_si128((void *)to, _mm_add_epi32(load128(to), sum[i]));
      }
    }
  }
}

AVX2 static void widen_row_s8(const int8_t *x, uint32_t count, int16_t *out) {
  for (uint32_t k = 0; k < count; k += 8) {
    _mm_storeu_si128((void *)(out + k), _mm_cvtepi8_epi16(load64(x + k)));
  }
}

AVX2 static void clamp_row_s16(const int16_t *x, uint32_t count, int16_t *out) {
  __m128i low = _mm_set1_epi16(CSC_WIDE_MIN);
  __m128i high = _mm_set1_epi16(CSC_WIDE_MAX);
  for (uint32_t k = 0; k < count; k += 8) {
    __m128i clamped = _mm_min_epi16(_mm_max_epi16(load128(x + k), low), high);
    _mm_storeu_si128((void *)(out + k), clamped);
  }
}

static csc_status_t blocks_s8(void *ctx, const int8_t *x, size_t x_stride, uint32_t rows,
                              const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc) {
  (void)ctx;
  memset(acc, 0, rows * (size_t)n_blocks * 8 * sizeof *acc);
  for (uint32_t k = 0; k < k_blocks; k += ROOM / 8) {
    uint32_t blocks = least(k_blocks - k, ROOM / 8);
    tile_t tile;
    for (uint32_t r = 0; r < rows; r++) {
      widen_row_s8(x + r * x_stride + k * 8, blocks * 8, tile.row[r]);
    }
    multiply_tile(&tile, rows, blocks, w + k * 64, (size_t)k_blocks * 64, n_blocks, acc);
  }
  return CSC_OK;
}

static csc_status_t blocks_s16(void *ctx, const int16_t *x, size_t x_stride, uint32_t rows,
                               const int8_t *w, uint32_t k_blocks, uint32_t n_blocks,
                               int32_t *acc) {
  (void)ctx;
  memset(acc, 0, rows * (size_t)n_blocks * 8 * sizeof *acc);
  for (uint32_t k = 0; k < k_blocks; k += ROOM / 8) {
    uint32_t blocks = least(k_blocks - k, ROOM / 8);
    tile_t tile;
    for (uint32_t r = 0; r < rows; r++) {
      clamp_row_s16(x + r * x_stride + k * 8, blocks * 8, tile.row[r]);
    }
    multiply_tile(&tile, rows, blocks, w + k * 64, (size_t)k_blocks * 64, n_blocks, acc);
  }
  return CSC_OK;
}

// -------------------------------------------------------------------- ATTENTION products

// 16 bytes, of which `left` may be read; the others become 0.
AVX2_INLINE __m256i widen_part(const int8_t *from, uint32_t left) {
  int8_t part[16] = {0};
  if (left >= 16) return widen(from);
  memcpy(part, from, left);
  return widen(part);
}

// The sums of the 8 elements of each: a b c d.
AVX2_INLINE __m128i fold_four(__m256i a, __m256i b, __m256i c, __m256i d) {
  __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// Two rows times four rows: sum[i] = x[i] * b[0..3].
AVX2 static void multiply_rows(const int16_t *const x[2], const int8_t *const b[4], uint32_t depth,
                               __m128i sum[2]) {
  __m256i first[4], second[4];
  for (int j = 0; j < 4; j++) first[j] = second[j] = _mm256_setzero_si256();
  for (uint32_t d = 0; d < depth; d += 16) {
    __m256i x0 = load256(x[0] + d);
    __m256i x1 = load256(x[1] + d);
    for (int j = 0; j < 4; j++) {
      __m256i right = widen_part(b[j] + d, depth - d);
      first[j] = _mm256_add_epi32(first[j], _mm256_madd_epi16(x0, right));
      second[j] = _mm256_add_epi32(second[j], _mm256_madd_epi16(x1, right));
    }
  }
  sum[0] = fold_four(first[0], first[1], first[2], first[3]);
  sum[1] = fold_four(second[0], second[1], second[2], second[3]);
}

// Four columns of nt_s8 for all rows of the tile.
AVX2 static void multiply_columns(const tile_t *tile, uint32_t rows, const int8_t *const b[4],
                                  uint32_t columns, uint32_t depth, int32_t *acc,
                                  size_t acc_stride) {
  for (uint32_t r = 0; r < rows; r += 2) {
    const int16_t *x[2];
    __m128i sum[2];
    point_at_rows(x, 2, tile, r, rows);
    multiply_rows(x, b, depth, sum);
    for (uint32_t i = 0; i < least(2, rows - r); i++) {
      memcpy(acc + (r + i) * acc_stride, &sum[i], columns * sizeof *acc);
    }
  }
}

// depth <= CSC_MAX_HEAD_DIM, so that a row fits the tile.
AVX2 static csc_status_t nt_s8(void *ctx, const int8_t *a, size_t a_stride, uint32_t rows,
                               const int8_t *b, size_t b_stride, uint32_t columns, uint32_t depth,
                               int32_t *acc, size_t acc_stride) {
  tile_t tile;
  (void)ctx;
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t d = 0; d < depth; d += 16) {
      store256(tile.row[r] + d, widen_part(a + r * a_stride + d, depth - d));
    }
  }
  for (uint32_t j = 0; j < columns; j += 4) {
    const int8_t *right[4];
    for (uint32_t i = 0; i < 4; i++) right[i] = b + least(j + i, columns - 1) * b_stride;
    multiply_columns(&tile, rows, right, least(4, columns - j), depth, acc + j, acc_stride);
  }
  return CSC_OK;
}

// 8 bytes, of which `left` may be read; the others become 0.
AVX2_INLINE __m128i load_part(const int8_t *from, uint32_t left) {
  int8_t part[8] = {0};
  if (left >= 8) return load64(from);
  memcpy(part, from, left);
  return load64(part);
}

AVX2_INLINE __m256i two_weights(const int16_t *from) {
  int32_t both;
  memcpy(&both, from, sizeof both);
  return _mm256_set1_epi32(both);
}

// 8 rows times 8 columns: sum[i][j] = sum over d of x[i][d] * v[d][j]; x[i][depth] is 0.
AVX2 static void weigh_columns(const int16_t *const x[8], const int8_t *v, size_t v_stride,
                               uint32_t depth, uint32_t columns, __m256i sum[8]) {
  __m256i total[8];
  for (int i = 0; i < 8; i++) total[i] = _mm256_setzero_si256();
  for (uint32_t d = 0; d < depth; d += 2, v += 2 * v_stride) {
    __m128i here = load_part(v, columns);
    __m128i next = d + 1 < depth ? load_part(v + v_stride, columns) : here;
    __m256i pairs = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(here, next));
    for (int i = 0; i < 8; i++) {
      total[i] = _mm256_add_epi32(total[i], _mm256_madd_epi16(two_weights(x[i] + d), pairs));
    }
  }
  for (int i = 0; i < 8; i++) sum[i] = total[i];
}

// acc[i][j] += ..., for `depth` <= ROOM rows of v.
AVX2 static void weigh_rows(const tile_t *tile, uint32_t rows, const int8_t *v, size_t v_stride,
                            uint32_t depth, uint32_t columns, int32_t *acc, size_t acc_stride) {
  const int16_t *x[8];
  point_at_rows(x, 8, tile, 0, rows);
  for (uint32_t j = 0; j < columns; j += 8) {
    __m256i sum[8];
    uint32_t count = least(8, columns - j);
    weigh_columns(x, v + j, v_stride, depth, count, sum);
    for (uint32_t r = 0; r < rows; r++) {
      int32_t *to = acc + r * acc_stride + j;
      int32_t sums[8];
      store256(sums, sum[r]);
      for (uint32_t i = 0; i < count; i++) to[i] += sums[i];
    }
  }
}

static csc_status_t nn_u8s8(void *ctx, const uint8_t *p, size_t p_stride, uint32_t rows,
                            const int8_t *v, size_t v_stride, uint32_t depth, uint32_t columns,
                            int32_t *acc, size_t acc_stride) {
  (void)ctx;
  for (uint32_t r = 0; r < rows; r++) memset(acc + r * acc_stride, 0, columns * sizeof *acc);
  for (uint32_t first = 0; first < depth; first += ROOM) {
    uint32_t count = least(depth - first, ROOM);
    tile_t tile;
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t d = 0; d < count; d++) tile.row[r][d] = p[r * p_stride + first + d];
      if (count % 2) tile.row[r][count] = 0;
    }
    weigh_rows(&tile, rows, v + first * v_stride, v_stride, count, columns, acc, acc_stride);
  }
  return CSC_OK;
}

// ---------------------------------------------------------------------------------- rows

// RS(a, s) of 64-bit elements, |a| < 2^61, without the arithmetic shift AVX2 lacks: adding 2^62
// makes them positive, and since 2^s divides it, its own shift comes off again.
AVX2_INLINE __m256i round_shift(__m256i a, __m256i s) {
  __m256i far = _mm256_set1_epi64x(1LL << 62);
  __m256i half = _mm256_srli_epi64(_mm256_sllv_epi64(_mm256_set1_epi64x(1), s), 1);
  __m256i shifted = _mm256_srlv_epi64(_mm256_add_epi64(_mm256_add_epi64(a, half), far), s);
  return _mm256_sub_epi64(shifted, _mm256_srlv_epi64(far, s));
}

AVX2_INLINE __m256i clamp64(__m256i a, __m256i low, __m256i high) {
  a = _mm256_blendv_epi8(a, low, _mm256_cmpgt_epi64(low, a));
  return _mm256_blendv_epi8(a, high, _mm256_cmpgt_epi64(a, high));
}

// The even (0) or odd (1) ones of the 16 int32 of a and b, in order.
#define PICK(a, b, odd)                                                                            \
  _mm256_permute4x64_epi64(                                                                        \
      _mm256_castps_si256(                                                                         \
          _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), (odd) ? 0xDD : 0x88)), \
      0xD8)

// The low halves of 64-bit elements 0 2 4 6 and 1 3 5 7, as 8 int32 in order.
AVX2_INLINE __m256i join(__m256i even, __m256i odd) {
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}

// Address of element [row][column].
static void *element(const csc_out_t *out, size_t row, size_t column) {
  size_t bytes = out->dtype == CSC_DTYPE_INT8 ? 1 : 2;
  return (uint8_t *)out->data + (row * out->stride + column) * bytes;
}

AVX2_INLINE void store_eight(const csc_out_t *out, size_t row, size_t column, __m256i value) {
  __m128i narrow =
      _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
  void *to = element(out, row, column);
  if (out->dtype == CSC_DTYPE_INT8) {
    _mm_storel_epi64(to, _mm_packs_epi16(narrow, narrow));
  } else {
    _mm_storeu_si128(to, narrow);
  }
}

// Four outputs: requantized and clamped, as int64. requant: [4] of (bias, multiplier, shift).
AVX2_INLINE __m256i finish_four(const int32_t *acc, const int32_t *requant, __m256i low,
                                __m256i high) {
  __m256i entry = load256(requant);
  __m256i sum = _mm256_add_epi32(_mm256_cvtepi32_epi64(load128(acc)), entry);  // low halves
  __m256i multiplier = _mm256_and_si256(_mm256_srli_epi64(entry, 32), _mm256_set1_epi64x(0xFFFF));
  __m256i product = _mm256_mul_epi32(sum, multiplier);
  return clamp64(round_shift(product, _mm256_srli_epi64(entry, 48)), low, high);
}

AVX2_INLINE __m256i look_up(const void *table, csc_dtype_t dtype, __m256i index) {
  int32_t at[8], value[8];
  store256(at, index);
  for (int i = 0; i < 8; i++) {
    value[i] =
        dtype == CSC_DTYPE_INT8 ? ((const int8_t *)table)[at[i]] : ((const int16_t *)table)[at[i]];
  }
  return load256(value);
}

AVX2 static void finish_row(const csc_finish_t *finish, const int32_t *acc, size_t outputs,
                            const csc_out_t *out, size_t row) {
  __m256i zero_point = _mm256_set1_epi32(finish->zero_point);
  __m256i low = _mm256_set1_epi64x((int64_t)finish->clamp_low - finish->zero_point);
  __m256i high = _mm256_set1_epi64x((int64_t)finish->clamp_high - finish->zero_point);
  size_t n = 0;
  for (; n + 8 <= outputs; n += 8) {
    __m256i first = finish_four(acc + n, finish->requant + 2 * n, low, high);
    __m256i second = finish_four(acc + n + 4, finish->requant + 2 * n + 8, low, high);
    __m256i u = _mm256_add_epi32(PICK(first, second, 0), zero_point);
    store_eight(out, row, n, finish->table ? look_up(finish->table, out->dtype, u) : u);
  }
  csc_finish_t rest = *finish;
  csc_out_t rest_out = {element(out, row, n), out->dtype, out->stride};
  rest.requant += 2 * n;
  csc_finish_row(&rest, acc + n, outputs - n, &rest_out, 0);
}

// pmaddwd(x, x) reaches 2^31, so it is taken as unsigned.
AVX2 static csc_norm_t norm_row(const int16_t *x, size_t columns, uint64_t epsilon) {
  __m256i sums = _mm256_setzero_si256();
  __m256i squares = sums;
  size_t c = 0;
  for (; c + 16 <= columns; c += 16) {
    __m256i here = load256(x + c);
    __m256i square = _mm256_madd_epi16(here, here);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(here, _mm256_set1_epi16(1)));
    squares = _mm256_add_epi64(squares, _mm256_srli_epi64(square, 32));
    squares = _mm256_add_epi64(squares, _mm256_blend_epi32(square, _mm256_setzero_si256(), 0xAA));
  }
  int32_t sum_of[8];
  int64_t square_of[4];
  store256(sum_of, sums);
  store256(square_of, squares);
  int32_t sum = 0;
  int64_t square = square_of[0] + square_of[1] + square_of[2] + square_of[3];
  for (int i = 0; i < 8; i++) sum += sum_of[i];
  for (; c < columns; c++) {
    sum += x[c];
    square += (int32_t)x[c] * x[c];
  }
  uint64_t variance = (uint64_t)((int64_t)columns * square - (int64_t)sum * sum);
  csc_norm_t norm = {sum, csc_rsqrt(variance + epsilon)};
  return norm;
}

// n of SPEC.md, section 3.2: |n| < 2^17 before its clamp and 12 + h <= 32, so the low half of the
// logical shift is n, signed.
AVX2_INLINE __m256i normalize(__m256i deviation, csc_rsqrt_t root) {
  __m128i shift = _mm_cvtsi32_si128(12 + root.h);
  __m256i half = _mm256_set1_epi64x(1LL << (11 + root.h));
  __m256i r = _mm256_set1_epi64x(root.r);
  __m256i even = _mm256_mul_epi32(deviation, r);
  __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(deviation, 32), r);
  even = _mm256_srl_epi64(_mm256_add_epi64(even, half), shift);
  odd = _mm256_srl_epi64(_mm256_add_epi64(odd, half), shift);
  __m256i n = _mm256_min_epi32(join(even, odd), _mm256_set1_epi32(32767));
  return _mm256_max_epi32(n, _mm256_set1_epi32(-32767));
}

// Eight outputs; entries: [8] of (offset, gain).
AVX2_INLINE __m256i affine_eight(const int16_t *x, const int32_t *entries, int32_t columns,
                                 csc_norm_t norm, csc_affine_t affine) {
  __m256i scaled =
      _mm256_mullo_epi32(_mm256_cvtepi16_epi32(load128(x)), _mm256_set1_epi32(columns));
  __m256i n = normalize(_mm256_sub_epi32(scaled, _mm256_set1_epi32(norm.sum)), norm.root);
  __m256i first = load256(entries);
  __m256i second = load256(entries + 8);
  __m256i y = _mm256_mullo_epi32(n, PICK(first, second, 1));
  y = _mm256_add_epi32(y, PICK(first, second, 0));
  y = _mm256_add_epi32(y, _mm256_set1_epi32((int32_t)1 << (affine.shift - 1)));
  y = _mm256_sra_epi32(y, _mm_cvtsi32_si128((int)affine.shift));
  return _mm256_add_epi32(y, _mm256_set1_epi32(affine.zero_point));
}

AVX2 static void affine_row(const int16_t *x, size_t columns, csc_norm_t norm,
                            const csc_affine_t *affine, const csc_out_t *out, size_t row) {
  int32_t width = (int32_t)columns;
  csc_affine_t fixed = *affine;
  size_t c = 0;
  for (; c + 8 <= columns; c += 8) {
    store_eight(out, row, c, affine_eight(x + c, fixed.affine + 2 * c, width, norm, fixed));
  }
  if (c == columns) return;
  int16_t x_rest[8] = {0}, values[8];
  int32_t entries[16] = {0};
  csc_out_t rest = {values, out->dtype, 0};
  memcpy(x_rest, x + c, (columns - c) * sizeof *x);
  memcpy(entries, fixed.affine + 2 * c, (columns - c) * 2 * sizeof *entries);
  store_eight(&rest, 0, 0, affine_eight(x_rest, entries, width, norm, fixed));
  memcpy(element(out, row, c), values, (columns - c) * (out->dtype == CSC_DTYPE_INT8 ? 1 : 2));
}

static void layernorm_row(const csc_layernorm_t *layernorm, const int16_t *x, size_t columns,
                          size_t row) {
  csc_norm_t norm = norm_row(x, columns, layernorm->epsilon);
  affine_row(x, columns, norm, &layernorm->a, &layernorm->out_a, row);
  if (!layernorm->b.affine) return;
  affine_row(x, columns, norm, &layernorm->b, &layernorm->out_b, row);
}

static const csc_kernel_table_t avx2 = {
    .gemm = csc_gemm_tiles,
    .attention = csc_attention_tiles,
    .blocks_s8 = blocks_s8,
    .blocks_s16 = blocks_s16,
    .nt_s8 = nt_s8,
    .nn_u8s8 = nn_u8s8,
    .layernorm_row = layernorm_row,
    .finish_row = finish_row,
    .embed_row = csc_embed_row,
    .add_row = csc_add_row,
    .pool_mean = csc_pool_mean,
};

int csc_avx2_backend(csc_backend_t *backend) {
  csc_backend_t filled = {.ctx = (void *)(uintptr_t)&avx2, .run_op = csc_ops_run};
  *backend = filled;
  return 1;
}

#else

int csc_avx2_backend(csc_backend_t *backend) {
  (void)backend;
  return 0;
}

#endif
