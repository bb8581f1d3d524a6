// board.h: all that differs from board to board.

#ifndef CSC_FIRMWARE_BOARD_H
#define CSC_FIRMWARE_BOARD_H

#include "cs1_driver.h"
#include "csc.h"
#include "csc_frames.h"

// Read where it lies: the tool that puts a model into the image changes it (PROTOCOL.md, 4).
typedef const volatile csc_frame_image_t csc_image_t;

// Memory the stack grows down in, painted with CSC_STACK_PAINT before the first call.
#define CSC_STACK_PAINT 0xA5A5A5A5u

typedef struct {
  csc_image_t *image;
  csc_backend_t backend;
  const csc_cs1_t *engine;  // its counters; null where the CPU does all
  uint8_t *sram;  // memory in which a chip runs plans, the fastest for arenas; may be null
  uint32_t sram_bytes;
  uint32_t counter_hz;  // 0: unknown
  const uint32_t *stack_low;
  const uint32_t *stack_high;

  void *ctx;  // handed to the functions
  // Waits for the next byte of the line; negative: there is no line any more.
  int (*read)(void *ctx);
  void (*write)(void *ctx, uint8_t byte);
  uint64_t (*clocks)(void *ctx);  // null: no counter
  void (*restart)(void *ctx);
  // Tells whoever watches the bus that op word / 2 begins (even) or has ended (odd), or a run by
  // plan where word / 2 is CSC_NONE / 2; may be null.
  void (*mark)(void *ctx, uint32_t word);
  // With `sram`: memory that is free while a plan runs, for what the chip stores outside it.
  void (*give_store)(void *ctx, uint8_t *first, uint32_t bytes);
} csc_board_t;

// Each board's board.c: switches on UART and counter, fills *board.
void csc_board_start(csc_board_t *board);

// main.c: entered by the start code with a stack, cleared memory and the FPU, if any, on.
void csc_main(void);

// main.c: entered by the start code after a processor fault, on a fresh stack. Does not return.
void csc_fault(void);

#endif
