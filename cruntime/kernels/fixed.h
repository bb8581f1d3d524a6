// fixed.h: the one home of rounding, shifting and saturation (SPEC.md, section 2).

#ifndef CSC_FIXED_H
#define CSC_FIXED_H

#include <stdint.h>

#include "csc_tables.h"

// Without a multiplier, products are sums of multiples, and 64-bit numbers are avoided.
#if defined(__riscv) && !defined(__riscv_mul)
#define CSC_HAS_MULTIPLIER 0
#else
#define CSC_HAS_MULTIPLIER 1
#endif

// min(max(a, low), high)
static inline int32_t csc_clamp(int32_t a, int32_t low, int32_t high) {
  return a < low ? low : (a > high ? high : a);
}

// RS(a, s) = (a + 2^(s-1)) >> s, 1 <= s <= 31, where the sum fits int32. The shift of a negative
// number is arithmetic.
static inline int32_t csc_round_shift(int32_t a, uint32_t s) {
  return (a + ((int32_t)1 << (s - 1))) >> s;
}

// --- products ------------------------------------------------------------------------------------

// A product of more than 32 bits: high * 2^16 + low.
typedef struct {
  int32_t high;
  uint32_t low;
} csc_split_t;

// One factor of many products.
typedef struct {
#if CSC_HAS_MULTIPLIER
  int32_t value;
#else
  uint32_t multiples[4][16];  // [i][n]: n * 16^i times the factor; [3][n] from n = 8 on: n - 16
#endif
} csc_factor_t;

#if CSC_HAS_MULTIPLIER

static inline int32_t csc_multiply(int32_t a, int32_t b) { return a * b; }

static inline csc_split_t csc_multiply_split(int32_t a, uint32_t m) {
  csc_split_t product = {(a >> 16) * (int32_t)m, ((uint32_t)a & 0xFFFFu) * m};
  return product;
}

static inline void csc_set_factor(csc_factor_t *factor, int32_t value) { factor->value = value; }

static inline int32_t csc_times(const csc_factor_t *factor, int32_t a) { return a * factor->value; }

#else

// a * b, |b| <= 65535, where the product fits int32.
int32_t csc_multiply(int32_t a, int32_t b);
// a * m, m <= 2^15: |high| <= 2^30, low < 2^31.
csc_split_t csc_multiply_split(int32_t a, uint32_t m);
// What csc_times needs; |value| <= 32767.
void csc_set_factor(csc_factor_t *factor, int32_t value);

// The entry at a byte offset: each step of an address costs as much as an addition.
static inline uint32_t csc_multiple(const uint32_t *multiples, uint32_t offset) {
  return *(const uint32_t *)(const void *)((const uint8_t *)multiples + offset);
}

// a times the factor, -32768 <= a <= 32767.
static inline int32_t csc_times(const csc_factor_t *factor, int32_t a) {
  const uint32_t digits = (uint32_t)a;
  return (int32_t)(csc_multiple(factor->multiples[0], digits << 2 & 60) +
                   csc_multiple(factor->multiples[1], digits >> 2 & 60) +
                   csc_multiple(factor->multiples[2], digits >> 6 & 60) +
                   csc_multiple(factor->multiples[3], digits >> 10 & 60));
}

#endif

// --- requantization ------------------------------------------------------------------------------

// A multiplier and a shift as they stand in a blob: multiplier + 65536 * shift.
typedef struct {
  uint32_t multiplier;  // 0..2^15
  uint32_t shift;       // 1..46
} csc_scale_t;

static inline csc_scale_t csc_unpack_scale(int32_t packed) {
  csc_scale_t scale = {(uint32_t)packed & 0xFFFFu, (uint32_t)packed >> 16};
  return scale;
}

// csc_requant for CPUs with 64-bit registers: |a * M| <= 2^46, so int64 holds the sum.
static inline int32_t csc_requant_wide(int32_t a, csc_scale_t scale, int32_t low, int32_t high) {
  int64_t product = (int64_t)a * (int32_t)scale.multiplier;
  int64_t rounded = (product + ((int64_t)1 << (scale.shift - 1))) >> scale.shift;
  return (int32_t)(rounded < low ? low : (rounded > high ? high : rounded));
}

// csc_requant in 32 bits. With a * M = top * 2^16 + rest, 0 <= rest < 2^16:
// * s > 16: rounding adds a multiple of 2^16, so `rest` is shifted out. |top| <= 2^30 + 2^15 and
//   2^(s-17) <= 2^29, so their sum fits.
// * s <= 16: top * 2^16 is a multiple of 2^s, so only `rest` is rounded. Where |top| is 2^(14+s) or
//   more, the result is 2^30 or more in size, outside the limits; else the sum fits.
static inline int32_t csc_requant_narrow(int32_t a, csc_scale_t scale, int32_t low, int32_t high) {
  csc_split_t product = csc_multiply_split(a, scale.multiplier);
  int32_t top = product.high + (int32_t)(product.low >> 16);
  uint32_t s = scale.shift;
  if (s > 16) return csc_clamp((top + ((int32_t)1 << (s - 17))) >> (s - 16), low, high);
  int32_t limit = (int32_t)1 << (14 + s);
  if (top >= limit) return high;
  if (top < -limit) return low;
  uint32_t rest = (product.low & 0xFFFFu) + (1u << (s - 1));
  return csc_clamp((int32_t)((uint32_t)top << (16 - s)) + (int32_t)(rest >> s), low, high);
}

// clamp(rq(a, M, s), low, high), |low| and |high| at most 2^29.
static inline int32_t csc_requant(int32_t a, csc_scale_t scale, int32_t low, int32_t high) {
#if UINTPTR_MAX > 0xFFFFFFFFu
  return csc_requant_wide(a, scale, low, high);
#else
  return csc_requant_narrow(a, scale, low, high);
#endif
}

// --- roots and reciprocals -----------------------------------------------------------------------

// Number of binary digits of a > 0. CPUs with 64-bit registers have an instruction for it.
static inline uint32_t csc_bit_length(uint64_t a) {
#if defined(__GNUC__) && UINTPTR_MAX > 0xFFFFFFFFu
  return 64 - (uint32_t)__builtin_clzll(a);
#else
  uint32_t length = 0;
  for (uint32_t step = 32; step > 0; step >>= 1) {
    if (a >> step) {
      a >>= step;
      length += step;
    }
  }
  return length + 1;
#endif
}

// 1/sqrt(u) ~ r * 2^-(22 + h), 1 <= u < 2^56; 2^14 <= r <= 2^15, -7 <= h <= 20.
typedef struct {
  uint32_t r;
  int32_t h;
} csc_rsqrt_t;

static inline csc_rsqrt_t csc_rsqrt(uint64_t u) {
  int32_t length = (int32_t)csc_bit_length(u);
  int32_t h = ((length + 1) >> 1) - 8;  // floor((length - 15) / 2)
  uint32_t m = (uint32_t)(h >= 0 ? u >> (2 * h) : u << (-2 * h));
  uint32_t y = csc_rsqrt_table[(m >> 9) - 32];
  uint32_t t = m * ((y * y + (1u << 13)) >> 14);       // within 2 % of 2^30
  uint32_t v = ((3u << 30) - t + (1u << 15)) >> 16;    // about 2^15
  csc_rsqrt_t root = {(y * v + (1u << 14)) >> 15, h};  // y * v < 2^31
  return root;
}

// 1/n ~ r * 2^-(14 + length), 1 <= n < 2^24; 2^14 <= r <= 2^15.
typedef struct {
  uint32_t r;
  uint32_t length;
} csc_recip_t;

static inline csc_recip_t csc_recip(uint32_t n) {
  uint32_t length = csc_bit_length(n);
  uint32_t m = length <= 16 ? n << (16 - length) : n >> (length - 16);
  csc_recip_t recip = {((1u << 30) + (m >> 1)) / m, length};
  return recip;
}

// a / n with 8 fractional bits, given recip(n); the result is below 2^29 in size.
static inline int32_t csc_mean8(int32_t a, csc_recip_t recip) {
  csc_scale_t scale = {recip.r, 6 + recip.length};
  return csc_requant(a, scale, -(1 << 29), 1 << 29);
}

#endif
