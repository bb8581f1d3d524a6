#include "systick.h"

#define SYST_CSR 0xE000E010u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define SCB_AIRCR 0xE000ED0Cu
#define CSR_ON 7u  // counter, exception, CPU clock
#define AIRCR_RESET 0x05FA0004u
#define LAST 0x00FFFFFFu

static volatile uint32_t wraps;

static volatile uint32_t *reg(uint32_t address) { return (volatile uint32_t *)(uintptr_t)address; }

void csc_systick_wrapped(void) { wraps += 1; }

void csc_systick_start(void) {
  *reg(SYST_RVR) = LAST;
  *reg(SYST_CVR) = 0;
  *reg(SYST_CSR) = CSR_ON;
}

// The counter runs down; the exception comes as soon as it wraps, so a wrap between the readings
// shows in the second.
uint64_t csc_systick_clocks(void *ctx) {
  (void)ctx;
  uint32_t high;
  uint32_t low;
  do {
    high = wraps;
    low = LAST - (*reg(SYST_CVR) & LAST);
  } while (high != wraps);
  return (uint64_t)high << 24 | low;
}

void csc_system_reset(void *ctx) {
  (void)ctx;
  *reg(SCB_AIRCR) = AIRCR_RESET;
  for (;;) {
  }
}
