// image.h: the record a model is put in by (PROTOCOL.md, section 4), and the linker's addresses.

#ifndef CSC_FIRMWARE_IMAGE_H
#define CSC_FIRMWARE_IMAGE_H

#include "board.h"

extern const uint32_t csc_stack_low[];
extern const uint32_t csc_stack_high[];
extern const uint8_t csc_image_end[];  // behind code and constants
extern const uint8_t csc_data_end[];   // behind the firmware's own RAM
extern const uint8_t csc_rom_end[];    // of the memory for code and constants
extern const uint8_t csc_ram_end[];    // of the RAM

// The start code: starts the firmware again, with what the UART has received.
_Noreturn void csc_boot(void);

// An address the linker knows, as a constant.
#define CSC_LINKED(symbol) ((uint32_t)(uintptr_t)(symbol))

// Defines the image record: CSC_IMAGE(name, divisor, {first, end, kind, 0}, ...).
#define CSC_IMAGE(name, divisor, ...)                                           \
  static csc_image_t csc_image __attribute__((section(".csc_image"), used)) = { \
      CSC_FRAME_IMAGE_MAGIC, CSC_FRAME_IMAGE_VERSION, divisor, name, 0, 0, 0, 0, {__VA_ARGS__}}

#endif
