// QEMU's machine "virt": a 16550 UART.

#include "board.h"

#include "clocks.h"
#include "image.h"

#define UART 0x10000000u
#define UART_DATA 0u
#define UART_LINE_STATUS 5u
#define LINE_RECEIVED 1u
#define LINE_SENDER_EMPTY 0x20u

CSC_IMAGE("qemu-riscv32", 0,
          {CSC_LINKED(csc_data_end), CSC_LINKED(csc_ram_end), CSC_FRAME_MEMORY_RAM, 0});

static volatile uint8_t *uart(uint32_t offset) {
  return (volatile uint8_t *)(uintptr_t)(UART + offset);
}

static int read_byte(void *ctx) {
  (void)ctx;
  while (!(*uart(UART_LINE_STATUS) & LINE_RECEIVED)) {
  }
  return *uart(UART_DATA);
}

static void write_byte(void *ctx, uint8_t byte) {
  (void)ctx;
  while (!(*uart(UART_LINE_STATUS) & LINE_SENDER_EMPTY)) {
  }
  *uart(UART_DATA) = byte;
}

static void restart(void *ctx) {
  (void)ctx;
  csc_boot();
}

void csc_board_start(csc_board_t *board) {
  board->image = &csc_image;
  board->backend = csc_portable_backend();
  board->stack_low = csc_stack_low;
  board->stack_high = csc_stack_high;
  board->read = read_byte;
  board->write = write_byte;
  board->clocks = csc_riscv_clocks;
  board->restart = restart;
}
