// The arithmetic of CS2: section 2 of SPEC.md as gates do it, for every pattern of bits.
//
// Where SPEC.md bounds a shift or a multiplier, the chip takes as many bits as the bound needs, and
// whatever those bits say has a result.

#ifndef CSC_SIM_CS2_MATH_H
#define CSC_SIM_CS2_MATH_H

#include <stdint.h>

static inline int64_t csc_cs2_clamp(int64_t a, int64_t low, int64_t high) {
  return a < low ? low : (a > high ? high : a);
}

// RS(a, s), and a itself for s = 0. s <= 62, |a| < 2^62.
static inline int64_t csc_cs2_rs(int64_t a, uint32_t s) {
  return s == 0 ? a : (a + ((int64_t)1 << (s - 1))) >> s;
}

// A multiplier of 16 bits and a shift of 6.
typedef struct {
  int32_t multiplier;
  uint32_t shift;
} csc_cs2_scale_t;

// As they stand in memory: multiplier + 65536 * shift.
static inline csc_cs2_scale_t csc_cs2_unpack_scale(uint32_t packed) {
  csc_cs2_scale_t scale = {(int32_t)(packed & 0xFFFFu), packed >> 16 & 63u};
  return scale;
}

// rq(a, M, s), |a| <= 2^45: the sum of the product and half a unit stays below 2^63.
static inline int64_t csc_cs2_rq(int64_t a, csc_cs2_scale_t scale) {
  return csc_cs2_rs(a * scale.multiplier, scale.shift);
}

// (r, L) = recip(n), or zeros for n = 0; n < 2^24.
typedef struct {
  uint32_t r;
  uint32_t length;
} csc_cs2_recip_t;

csc_cs2_recip_t csc_cs2_recip(uint32_t n);

// mean8 of a sum by the reciprocal of its count: 0 where that is zeros.
static inline int64_t csc_cs2_mean8(int64_t a, csc_cs2_recip_t recip) {
  return csc_cs2_rs(a * (int64_t)recip.r, 6 + recip.length);
}

// (r, h) = rsqrt(u), 1 <= u < 2^56.
typedef struct {
  uint32_t r;
  int32_t h;
} csc_cs2_rsqrt_t;

csc_cs2_rsqrt_t csc_cs2_rsqrt(uint64_t u);

// EXP[min(255, k)], k >= 0.
uint8_t csc_cs2_exp(int64_t k);

// --- elements of lines ---------------------------------------------------------------------------

static inline uint32_t csc_cs2_load16(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8;
}

static inline uint32_t csc_cs2_load32(const uint8_t *bytes) {
  return csc_cs2_load16(bytes) | csc_cs2_load16(bytes + 2) << 16;
}

static inline void csc_cs2_store16(uint8_t *bytes, uint32_t value) {
  bytes[0] = (uint8_t)value;
  bytes[1] = (uint8_t)(value >> 8);
}

static inline void csc_cs2_store32(uint8_t *bytes, uint32_t value) {
  csc_cs2_store16(bytes, value);
  csc_cs2_store16(bytes + 2, value >> 16);
}

enum { CSC_CS2_TILE = 64 };  // elements of a tile

// The elements of a line: 64 of 1 byte, 32 of 2 bytes, 16 of 4 bytes.
static inline void csc_cs2_unpack8(const uint8_t *line, int32_t *elements) {
  for (int i = 0; i < 64; i++) elements[i] = (int8_t)line[i];
}

static inline void csc_cs2_unpack16(const uint8_t *line, int32_t *elements) {
  for (int i = 0; i < 32; i++) elements[i] = (int16_t)csc_cs2_load16(line + 2 * i);
}

static inline void csc_cs2_unpack32(const uint8_t *line, int32_t *elements) {
  for (int i = 0; i < 16; i++) elements[i] = (int32_t)csc_cs2_load32(line + 4 * i);
}

// A line of elements of `bytes` bytes; what does not fit is cut off.
static inline void csc_cs2_pack(const int32_t *elements, uint32_t bytes, uint8_t *line) {
  for (uint32_t i = 0; i < 64 / bytes; i++) {
    const uint32_t value = (uint32_t)elements[i];
    if (bytes == 1) line[i] = (uint8_t)value;
    if (bytes == 2) csc_cs2_store16(line + 2 * i, value);
    if (bytes == 4) csc_cs2_store32(line + 4 * i, value);
  }
}

#endif  // CSC_SIM_CS2_MATH_H
