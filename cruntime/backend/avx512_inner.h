// avx512_inner.h: what the files of the AVX-512 backends share.
//
// Every matrix product is of unsigned and signed bytes, as vpdpbusd and tdpbusd want it, added up
// modulo 2^32, which is exact because SPEC.md bounds the results. An int8 left side x goes in as
// x + 128, and 128 times the sum of a column of the right side comes off at the start of the sum.

#ifndef CSC_BACKEND_AVX512_INNER_H
#define CSC_BACKEND_AVX512_INNER_H

#if defined(__GNUC__) && defined(__x86_64__) && defined(__SSE2__)
#define CSC_HAS_AVX512 1

#include <immintrin.h>
#include <string.h>

#include "avx512.h"

#define V512_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define V512 __attribute__((target(V512_TARGET)))
#define V512_INLINE static inline __attribute__((always_inline, target(V512_TARGET)))
#define VBMI __attribute__((target(V512_TARGET ",avx512vbmi")))
#define VBMI_INLINE static inline __attribute__((always_inline, target(V512_TARGET ",avx512vbmi")))

// For loops over arrays that are to become registers, up to 12 times round.
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

#define PANEL 16u       // columns of a panel of a right side
#define GROUP 64u       // columns finished at a time
#define BLOCK_ROWS 32u  // rows multiplied at a time
#define DEPTH_UNIT 64u  // depths are rounded up to this

static inline size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}
static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

// c[r][n] = start[r][n] + sum over k < depth of a[r][k] * b[k][n].
typedef struct {
  const uint8_t *a;  // [BLOCK_ROWS][a_stride]; rows behind the last are read and not used
  size_t a_stride;
  uint32_t rows;    // 1 to BLOCK_ROWS
  uint32_t depth;   // a multiple of DEPTH_UNIT
  const int8_t *b;  // panels, each [depth / 4][PANEL][4]
  uint32_t panels;  // at least 1
  const int32_t *start;
  size_t start_stride;  // 0: one start for all rows; else as c
  int32_t *c;           // [BLOCK_ROWS][c_stride]; rows behind the last are written and mean nothing
  size_t c_stride;      // a multiple of PANEL
} csc_product_t;

void csc_avx512_multiply(const csc_product_t *product);
// The same on the tiles of AMX, between csc_amx_begin and csc_amx_end.
void csc_amx_multiply(const csc_product_t *product);
void csc_amx_begin(void);
void csc_amx_end(void);

static inline void begin_products(const csc_avx512_t *self) {
  if (self->unit == CSC_AVX512_AMX) csc_amx_begin();
}

static inline void end_products(const csc_avx512_t *self) {
  if (self->unit == CSC_AVX512_AMX) csc_amx_end();
}

static inline void multiply(const csc_avx512_t *self, const csc_product_t *product) {
  if (self->unit == CSC_AVX512_AMX) {
    csc_amx_multiply(product);
  } else {
    csc_avx512_multiply(product);
  }
}

// The constants of a GEMM, packed. Vectors are padded to a multiple of GROUP.
typedef struct {
  uint32_t depth;             // K rounded up to DEPTH_UNIT
  int narrow;                 // see narrow_multiplier
  const int32_t *start;       // bias, and what undoes the offset of x
  const int32_t *multiplier;  // the narrow form where `narrow`
  const int32_t *shift;
  const int8_t *panels;  // [N / PANEL, rounded up][depth / 4][PANEL][4]
} csc_packed_gemm_t;

csc_packed_gemm_t csc_avx512_packed_gemm(const csc_avx512_t *self, uint32_t op);

// Rows of A a GEMM copies at a time: what stays in the L2 cache, whole blocks.
uint32_t csc_avx512_chunk_rows(size_t depth);

csc_status_t csc_avx512_gemm(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm);

csc_status_t csc_avx512_attention(const csc_kernel_table_t *kernels,
                                  const csc_attention_t *attention);
size_t csc_avx512_attention_room(uint32_t keys, uint32_t depth);

void csc_avx512_layernorm_row(const csc_layernorm_t *layernorm, const int16_t *x, size_t columns,
                              size_t row);
void csc_avx512_embed_row(const csc_embed_row_t *row, size_t columns, int16_t *out);
void csc_avx512_add_row(const csc_add_t *add, const int16_t *a, const int16_t *b, size_t columns,
                        int16_t *out);
void csc_avx512_pool_mean(const csc_pooling_t *pool, size_t columns, const csc_out_t *out);

// ------------------------------------------------------------------------------ arithmetic

// With M < 2^(s-1) and s <= 32, M * 2^(32-s) fits 31 bits, and rq(a, M, s) is the high half of
// a * M * 2^(32-s) + 2^31: no shift by a variable, and the result is below 2^30 in size.
static inline int narrow_scale(csc_scale_t scale) {
  return scale.shift <= 32 && scale.multiplier < 1u << (scale.shift - 1);
}

static inline int32_t narrow_multiplier(csc_scale_t scale) {
  return (int32_t)(scale.multiplier << (32 - scale.shift));
}

// The low halves of 64-bit `even` and `odd`, which holds its value in the high half.
V512_INLINE __m512i join_halves(__m512i even, __m512i odd) {
  return _mm512_mask_mov_epi32(even, 0xAAAA, odd);
}

// 16 times rq with narrow multipliers; `offset` is 2^31 in every 64-bit element, plus 2^32 times
// what is added to the result.
V512_INLINE __m512i requant_narrow(__m512i a, __m512i multiplier, __m512i offset) {
  __m512i even = _mm512_mul_epi32(a, multiplier);
  __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(multiplier, 32));
  even = _mm512_srli_epi64(_mm512_add_epi64(even, offset), 32);
  return join_halves(even, _mm512_add_epi64(odd, offset));
}

V512_INLINE __m512i round_shift64(__m512i a, __m512i s, __m512i low, __m512i high) {
  __m512i half = _mm512_srli_epi64(_mm512_sllv_epi64(_mm512_set1_epi64(1), s), 1);
  a = _mm512_srav_epi64(_mm512_add_epi64(a, half), s);
  return _mm512_min_epi64(_mm512_max_epi64(a, low), high);
}

// 16 times clamp(rq(a, M, s), low, high) for any M and s.
V512_INLINE __m512i requant_any(__m512i a, __m512i multiplier, __m512i shift, int64_t low,
                                int64_t high) {
  __m512i lowest = _mm512_set1_epi64(low);
  __m512i highest = _mm512_set1_epi64(high);
  __m512i even_shift = _mm512_and_si512(shift, _mm512_set1_epi64(63));
  __m512i even = _mm512_mul_epi32(a, multiplier);
  __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(multiplier, 32));
  even = round_shift64(even, even_shift, lowest, highest);
  odd = round_shift64(odd, _mm512_srli_epi64(shift, 32), lowest, highest);
  return join_halves(even, _mm512_slli_epi64(odd, 32));
}

// 16 times RS(a * multiplier, shift) where the result fits int32; one multiplier below 2^16 and
// one shift, 1..32. Bits shift to shift + 31 of a sum are the result, so logical shifts do.
V512_INLINE __m512i scale_all(__m512i a, uint32_t multiplier, uint32_t shift) {
  __m512i factor = _mm512_set1_epi64(multiplier);
  __m512i half = _mm512_set1_epi64((int64_t)1 << (shift - 1));
  __m512i even = _mm512_add_epi64(_mm512_mul_epi32(a, factor), half);
  __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), factor), half);
  even = _mm512_srl_epi64(even, _mm_cvtsi32_si128((int)shift));
  return join_halves(even, _mm512_sll_epi64(odd, _mm_cvtsi32_si128((int)(32 - shift))));
}

// ------------------------------------------------------------------------- loads and stores

// The lowest `count` bits, all for 64 and more.
static inline uint64_t first_bits(size_t count) {
  return count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
}

V512_INLINE __m512i load512(const void *from) { return _mm512_loadu_si512(from); }
V512_INLINE void store512(void *to, __m512i value) { _mm512_storeu_si512(to, value); }

// 64 or fewer bytes; the others are 0 and not read.
V512_INLINE __m512i load_bytes(const void *from, size_t count) {
  return _mm512_maskz_loadu_epi8(first_bits(count), from);
}

// Packs work within lanes of 128 bits: where the fours of bytes are after two of them.
V512_INLINE __m512i packed_order(void) {
  return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

// 64 int32 in order, saturated to int8.
V512_INLINE __m512i pack_bytes(const __m512i v[4]) {
  __m512i low = _mm512_packs_epi32(v[0], v[1]);
  __m512i high = _mm512_packs_epi32(v[2], v[3]);
  return _mm512_permutexvar_epi32(packed_order(), _mm512_packs_epi16(low, high));
}

// 64 int32 from 0 on in order, saturated to uint8.
V512_INLINE __m512i pack_unsigned(const __m512i v[4]) {
  __m512i low = _mm512_packs_epi32(v[0], v[1]);
  __m512i high = _mm512_packs_epi32(v[2], v[3]);
  return _mm512_permutexvar_epi32(packed_order(), _mm512_packus_epi16(low, high));
}

// 32 int32 in order, saturated to int16.
V512_INLINE __m512i pack_halves(__m512i first, __m512i second) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm512_permutexvar_epi64(order, _mm512_packs_epi32(first, second));
}

// Saturates 64 int32 to int8 or int16, clamps them and stores the first `count`.
V512_INLINE void store_group(csc_line_t line, size_t column, size_t count, const __m512i v[4],
                             int32_t low, int32_t high) {
  if (line.bytes) {
    __m512i bytes = _mm512_max_epi8(pack_bytes(v), _mm512_set1_epi8((int8_t)low));
    bytes = _mm512_min_epi8(bytes, _mm512_set1_epi8((int8_t)high));
    _mm512_mask_storeu_epi8(line.bytes + column, first_bits(count), bytes);
    return;
  }
  uint64_t live = first_bits(count);
  for (int i = 0; i < 2; i++) {
    __m512i halves = pack_halves(v[2 * i], v[2 * i + 1]);
    halves = _mm512_max_epi16(halves, _mm512_set1_epi16((int16_t)low));
    halves = _mm512_min_epi16(halves, _mm512_set1_epi16((int16_t)high));
    _mm512_mask_storeu_epi16(line.halves + column + 32 * i, (__mmask32)(live >> (32 * i)), halves);
  }
}

#else
#define CSC_HAS_AVX512 0
#endif

#endif
