// The CompactScale chip as published: PicoRV32 without interrupts, polled UART, block engine.

#include "board.h"

#include "compactscale.h"
#include "cs1.h"
#include "image.h"

CSC_IMAGE("cs1", 868,
          {CSC_LINKED(csc_data_end), CSC_LINKED(csc_ram_end), CSC_FRAME_MEMORY_OPEN_END, 0});

static csc_cs1_t engine;
static csc_kernel_table_t kernels;

void csc_board_start(csc_board_t *board) {
  csc_compactscale_start(board, &engine, csc_image.uart_divisor);
  board->image = &csc_image;
  board->backend = csc_cs1_backend(&kernels, &engine);
}
