// The CS2 chip: PicoRV32 without interrupts, polled UART, command queue with SRAM and external
// memory. Code and stack are in RAM, blob and work memory in external memory, arenas in SRAM where
// they fit.

#include "board.h"

#include "compactscale.h"
#include "cs2.h"
#include "cs2_regs.h"
#include "image.h"

#define SRAM 0x30000000u
#define EXTERNAL 0x40000000u
#define EXTERNAL_BYTES 0x01000000u  // unless the image says otherwise

CSC_IMAGE("cs2", 868, {EXTERNAL, EXTERNAL + EXTERNAL_BYTES, CSC_FRAME_MEMORY_OPEN_END, 0},
          {CSC_LINKED(csc_data_end), CSC_LINKED(csc_ram_end), CSC_FRAME_MEMORY_RAM, 0});

static csc_cs1_t engine;
static csc_cs2_t chip;
static csc_cs2_backend_t own;

// Whatever lies behind `work` is for the plan: space STORE takes the place of the arena.
static void give_store(void *ctx, uint8_t *work, uint32_t bytes) {
  (void)ctx;
  const uint32_t offset = (uint32_t)(uintptr_t)work - EXTERNAL;
  own.store = offset;
  own.store_bytes = offset < own.external_bytes ? bytes : 0;
}

void csc_board_start(csc_board_t *board) {
  csc_compactscale_start(board, &engine, csc_image.uart_divisor);
  own.sram = (const uint8_t *)(uintptr_t)SRAM;
  own.external = (const uint8_t *)(uintptr_t)EXTERNAL;
  own.external_bytes = csc_image.regions[0].end - EXTERNAL;
  if (!csc_cs2_init(&chip, &csc_compactscale_bus, CSC_CS2_ENGINE2_BASE)) {
    own.chip = &chip;
    board->sram = (uint8_t *)(uintptr_t)SRAM;
    board->sram_bytes = chip.sram_bytes;
    board->give_store = give_store;
  }
  board->image = &csc_image;
  board->backend = csc_cs2_backend(&own, &engine);
}
