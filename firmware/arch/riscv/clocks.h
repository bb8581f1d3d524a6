// clocks.h: the 64-bit cycle counter every RISC-V core here has.

#ifndef CSC_RISCV_CLOCKS_H
#define CSC_RISCV_CLOCKS_H

#include <stdint.h>

static inline uint64_t csc_riscv_clocks(void *ctx) {
  (void)ctx;
  uint32_t high;
  uint32_t low;
  uint32_t again;
  do {
    __asm__ volatile("rdcycleh %0" : "=r"(high));
    __asm__ volatile("rdcycle %0" : "=r"(low));
    __asm__ volatile("rdcycleh %0" : "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}

#endif
