// Arm MPS2 with the image AN500: Cortex-M7.

#include "board.h"

#include "cmsdk.h"
#include "image.h"
#include "restart.h"
#include "systick.h"

#define UART 0x40004000u
#define CLOCK_HZ 25000000u

CSC_IMAGE("mps2-an500", 217,
          {CSC_LINKED(csc_image_end), CSC_LINKED(csc_rom_end), CSC_FRAME_MEMORY_READ, 0},
          {CSC_LINKED(csc_data_end), CSC_LINKED(csc_ram_end), CSC_FRAME_MEMORY_RAM, 0},
          {0x60000000u, 0x61000000u, CSC_FRAME_MEMORY_RAM, 0});

void csc_board_start(csc_board_t *board) {
  csc_cmsdk_start(UART, csc_image.uart_divisor);
  csc_systick_start();
  board->image = &csc_image;
  board->backend = csc_portable_backend();
  board->counter_hz = CLOCK_HZ;
  board->stack_low = csc_stack_low;
  board->stack_high = csc_stack_high;
  board->ctx = (void *)(uintptr_t)UART;
  board->read = csc_cmsdk_read;
  board->write = csc_cmsdk_write;
  board->clocks = csc_systick_clocks;
  board->restart = csc_cortexm_restart;
}
