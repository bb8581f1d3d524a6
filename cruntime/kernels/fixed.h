// fixed.h: the one home of rounding, shifting and saturation (SPEC.md, section 2).

#ifndef CSC_FIXED_H
#define CSC_FIXED_H

#include <stdint.h>

#include "csc_tables.h"

// (a + 2^(s-1)) >> s, 1 <= s <= 46, |a| < 2^62. The shift of a negative number is arithmetic.
static inline int64_t csc_round_shift(int64_t a, uint32_t s) {
  return (a + ((int64_t)1 << (s - 1))) >> s;
}

// min(max(a, low), high)
static inline int64_t csc_clamp(int64_t a, int64_t low, int64_t high) {
  return a < low ? low : (a > high ? high : a);
}

// A multiplier and a shift as they stand in a blob: multiplier + 65536 * shift.
typedef struct {
  uint32_t multiplier;  // 0..32767
  uint32_t shift;       // 1..46
} csc_scale_t;

static inline csc_scale_t csc_unpack_scale(int32_t packed) {
  csc_scale_t scale = {(uint32_t)packed & 0xFFFFu, (uint32_t)packed >> 16};
  return scale;
}

// rq(a, M, s): requantization without clamping. |a * M| < 2^46, so int64 holds the sum.
static inline int64_t csc_requant(int32_t a, csc_scale_t scale) {
  return csc_round_shift((int64_t)a * (int32_t)scale.multiplier, scale.shift);
}

// Number of binary digits of a > 0.
static inline uint32_t csc_bit_length(uint64_t a) {
  uint32_t length = 0;
  for (uint32_t step = 32; step > 0; step >>= 1) {
    if (a >> step) {
      a >>= step;
      length += step;
    }
  }
  return length + 1;
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

// a / n with 8 fractional bits, given recip(n). |a * r| < 2^46.
static inline int32_t csc_mean8(int32_t a, csc_recip_t recip) {
  return (int32_t)csc_round_shift((int64_t)a * (int32_t)recip.r, 6 + recip.length);
}

#endif
