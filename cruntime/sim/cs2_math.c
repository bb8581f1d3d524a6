#include "cs2_math.h"

#include "csc_tables.h"

// Number of binary digits of a, 0 for 0.
static uint32_t bit_length(uint64_t a) {
  uint32_t length = 0;
  for (; a != 0; a >>= 1) length++;
  return length;
}

csc_cs2_recip_t csc_cs2_recip(uint32_t n) {
  const uint32_t length = bit_length(n);
  csc_cs2_recip_t recip = {0, length};
  if (n == 0) return recip;
  const uint32_t m = length <= 16 ? n << (16 - length) : n >> (length - 16);
  recip.r = ((1u << 30) + (m >> 1)) / m;
  return recip;
}

csc_cs2_rsqrt_t csc_cs2_rsqrt(uint64_t u) {
  const int32_t length = (int32_t)bit_length(u);
  const int32_t h = (length - 15) >> 1;
  const uint64_t m = h >= 0 ? u >> (2 * h) : u << (-2 * h);
  const uint64_t y = csc_rsqrt_table[(m >> 9) - 32];
  const uint64_t t = m * (uint64_t)csc_cs2_rs((int64_t)(y * y), 14);
  const uint64_t step = (uint64_t)csc_cs2_rs((int64_t)(((uint64_t)3 << 30) - t), 16);
  csc_cs2_rsqrt_t root = {(uint32_t)csc_cs2_rs((int64_t)(y * step), 15), h};
  return root;
}

// k is negative only where somebody changes the scores between the two passes over them.
uint8_t csc_cs2_exp(int64_t k) { return csc_exp_table[k < 0 ? 0 : (k < 255 ? k : 255)]; }
