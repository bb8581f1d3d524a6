#include "compactscale.h"

#include "clocks.h"
#include "cs1_regs.h"
#include "image.h"

#define UART 0x20000000u
#define UART_DATA 0x00u
#define UART_STATUS 0x04u
#define UART_CONTROL 0x08u
#define UART_BAUD_DIV 0x0Cu
#define STATUS_SENDER_FULL 4u
#define STATUS_RECEIVER_EMPTY 8u
#define MARK 0x0F000004u
#define CONTROL_ON 3u  // sender and receiver

static volatile uint32_t *reg(uint32_t address) { return (volatile uint32_t *)(uintptr_t)address; }

static int bus_read(void *ctx, uint32_t address, uint32_t *value) {
  (void)ctx;
  *value = *reg(address);
  return 0;
}

static int bus_write(void *ctx, uint32_t address, uint32_t value) {
  (void)ctx;
  *reg(address) = value;
  return 0;
}

const csc_bus_t csc_compactscale_bus = {0, bus_read, bus_write};

static int read_byte(void *ctx) {
  (void)ctx;
  while (*reg(UART + UART_STATUS) & STATUS_RECEIVER_EMPTY) {
  }
  return (int)(*reg(UART + UART_DATA) & 0xFFu);
}

static void write_byte(void *ctx, uint8_t byte) {
  (void)ctx;
  while (*reg(UART + UART_STATUS) & STATUS_SENDER_FULL) {
  }
  *reg(UART + UART_DATA) = byte;
}

// The chip has no reset register; what is in the sender's queue still goes out.
static void restart(void *ctx) {
  (void)ctx;
  csc_boot();
}

// No memory is there; the model of the chip stops for a moment at a store to this word.
static void mark(void *ctx, uint32_t word) {
  (void)ctx;
  *reg(MARK) = word;
}

void csc_compactscale_start(csc_board_t *board, csc_cs1_t *engine, uint32_t uart_divisor) {
  *reg(UART + UART_BAUD_DIV) = uart_divisor;
  *reg(UART + UART_CONTROL) = CONTROL_ON;
  csc_cs1_init(engine, &csc_compactscale_bus, CSC_CS1_ENGINE_BASE, CSC_CS1_POLL_LIMIT);
  engine->window = reg(CSC_CS1_ENGINE_BASE);
  board->engine = engine;
  board->stack_low = csc_stack_low;
  board->stack_high = csc_stack_high;
  board->read = read_byte;
  board->write = write_byte;
  board->clocks = csc_riscv_clocks;
  board->restart = restart;
  board->mark = mark;
}
