// fixed.c: products on CPUs without a multiplier: by doubling and adding.

#include "fixed.h"

#if !CSC_HAS_MULTIPLIER

// By an addition, which takes PicoRV32 3 clocks, and not by a shift, which takes it 5.
static inline uint32_t twice(uint32_t a) {
  uint32_t sum;
  __asm__("add %0, %1, %1" : "=r"(sum) : "r"(a));
  return sum;
}

static inline int has_top_bit(uint32_t a) { return (int32_t)a < 0; }

int32_t csc_multiply(int32_t a, int32_t b) {
  const uint32_t addend = (uint32_t)(b < 0 ? -a : a);
  uint32_t bits = (uint32_t)(b < 0 ? -b : b);
  uint32_t sum = 0;
  if (bits < 256) {
    bits <<= 24;
  } else {
    bits <<= 16;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      sum = twice(sum);
      if (has_top_bit(bits)) sum += addend;
      bits = twice(bits);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    sum = twice(sum);
    if (has_top_bit(bits)) sum += addend;
    bits = twice(bits);
  }
  return (int32_t)sum;
}

csc_split_t csc_multiply_split(int32_t a, uint32_t m) {
  const uint32_t high_addend = (uint32_t)(a >> 16);
  const uint32_t low_addend = (uint32_t)a & 0xFFFFu;
  uint32_t bits = m << 16;
  uint32_t high = 0;
  uint32_t low = 0;
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) {
    high = twice(high);
    low = twice(low);
    if (has_top_bit(bits)) {
      high += high_addend;
      low += low_addend;
    }
    bits = twice(bits);
  }
  csc_split_t product = {(int32_t)high, low};
  return product;
}

void csc_set_factor(csc_factor_t *factor, int32_t value) {
  uint32_t step = (uint32_t)value;
  for (int i = 0; i < 4; i++) {
    uint32_t multiple = 0;
    for (int n = 0; n < 16; n++, multiple += step) factor->multiples[i][n] = multiple;
    step = multiple;
  }
  for (int n = 8; n < 16; n++) factor->multiples[3][n] -= step;
}

#endif
