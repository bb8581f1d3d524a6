// systick.h: a 64-bit count of the CPU's clocks, the same on every Cortex-M.

#ifndef CSC_CORTEXM_SYSTICK_H
#define CSC_CORTEXM_SYSTICK_H

#include <stdint.h>

void csc_systick_start(void);
uint64_t csc_systick_clocks(void *ctx);

// Handler of the SysTick exception, taken once in 2^24 clocks.
void csc_systick_wrapped(void);

#endif
