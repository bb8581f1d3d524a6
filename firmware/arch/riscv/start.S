// Reset and trap entry of RISC-V boards. Nothing is known of the registers at reset.

  .section .csc_boot, "ax"
  .globl csc_boot
csc_boot:
  la sp, csc_stack_high
#ifndef CSC_NO_TRAP_VECTOR
  la t0, trap
  csrw mtvec, t0
#endif
  la t0, csc_stack_low
  li t1, 0xA5A5A5A5
1:
  sw t1, 0(t0)
  addi t0, t0, 4
  bltu t0, sp, 1b
  la t0, csc_bss_first
  la t1, csc_bss_end
2:
  sw zero, 0(t0)
  addi t0, t0, 4
  bltu t0, t1, 2b
  j csc_main

#ifndef CSC_NO_TRAP_VECTOR
  .balign 4
trap:
  la sp, csc_stack_high
  j csc_fault
#endif
