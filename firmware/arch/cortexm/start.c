// start.c: vectors, reset and faults of the Cortex-M boards.

#include "board.h"
#include "image.h"
#include "systick.h"

extern uint32_t csc_bss_first[];
extern uint32_t csc_bss_end[];

void csc_reset(void);
static void fault(void);

typedef void (*csc_vector_t)(void);

// Entry 0 is the stack pointer, 1 reset, 2 to 6 faults, 15 SysTick; the others are not used.
static const struct {
  const uint32_t *stack;
  csc_vector_t vectors[15];
} csc_vectors __attribute__((section(".csc_reset"), used)) = {
    csc_stack_high,
    {csc_reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, 0, 0, fault,
     csc_systick_wrapped},
};

// Without a frame of its own: it paints the whole stack.
__attribute__((naked, used)) void csc_reset(void) {
  __asm__ volatile(
      "  ldr r0, =csc_stack_high\n"
      "  mov sp, r0\n"
      "  ldr r1, =csc_stack_low\n"
      "  ldr r2, =0xA5A5A5A5\n"
      "1: str r2, [r1], #4\n"
      "  cmp r1, r0\n"
      "  blo 1b\n"
      "  ldr r1, =csc_bss_first\n"
      "  ldr r0, =csc_bss_end\n"
      "  movs r2, #0\n"
      "2: str r2, [r1], #4\n"
      "  cmp r1, r0\n"
      "  blo 2b\n"
      "  bl csc_main\n"
      "3: b 3b\n"
      "  .ltorg\n");
}

// The stack may be what failed: start it afresh.
__attribute__((naked)) static void fault(void) {
  __asm__ volatile(
      "  ldr r0, =csc_stack_high\n"
      "  mov sp, r0\n"
      "  b csc_fault\n"
      "  .ltorg\n");
}
