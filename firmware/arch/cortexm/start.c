// start.c: vectors, reset and faults of the Cortex-M boards.

#include "board.h"
#include "image.h"
#include "restart.h"
#include "systick.h"

extern uint32_t csc_bss_first[];
extern uint32_t csc_bss_end[];

static void fault(void);

typedef void (*csc_vector_t)(void);

// Entry 0 is the stack pointer, 1 reset, 2 to 6 faults, 15 SysTick; the others are not used.
static const struct {
  const uint32_t *stack;
  csc_vector_t vectors[15];
} csc_vectors __attribute__((section(".csc_boot"), used)) = {
    csc_stack_high,
    {csc_boot, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, 0, 0, fault,
     csc_systick_wrapped},
};

// Without a frame of its own: it paints the whole stack.
__attribute__((naked, used)) _Noreturn void csc_boot(void) {
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

// From thread mode a jump. From a fault's handler the way out is a return from the exception, to a
// frame that says: go on at csc_boot.
__attribute__((naked)) void csc_cortexm_restart(void *ctx) {
  (void)ctx;
  __asm__ volatile(
      "  mrs r0, ipsr\n"
      "  cbnz r0, 1f\n"
      "  b csc_boot\n"
      "1: ldr r0, =csc_stack_high\n"
      "  sub r0, #32\n"
      "  ldr r1, =csc_boot\n"
      "  bic r1, #1\n"
      "  str r1, [r0, #24]\n"
      "  ldr r1, =0x01000000\n"
      "  str r1, [r0, #28]\n"
      "  mov sp, r0\n"
      "  ldr lr, =0xFFFFFFF9\n"
      "  bx lr\n"
      "  .ltorg\n");
}
