#include "systick.h"

#define SYST_CSR 0xE000E010u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define CSR_ON 7u  // counter, exception, CPU clock
#define LAST 0x00FFFFFFu

static volatile uint32_t wraps;

static volatile uint32_t *reg(uint32_t address) { return (volatile uint32_t *)(uintptr_t)address; }

void csc_systick_wrapped(void) { wraps += 1; }

void csc_systick_start(void) {
  *reg(SYST_RVR) = LAST;
  *reg(SYST_CVR) = 0;
  *reg(SYST_CSR) = CSR_ON;
}

// The counter runs down. Behind the barrier the exception of a wrap has been taken, so that a wrap
// before the counter was read shows in `wraps`.
uint64_t csc_systick_clocks(void *ctx) {
  (void)ctx;
  uint32_t high;
  uint32_t low;
  do {
    high = wraps;
    low = LAST - (*reg(SYST_CVR) & LAST);
    __asm__ volatile("isb" ::: "memory");
  } while (high != wraps);
  return (uint64_t)high << 24 | low;
}
