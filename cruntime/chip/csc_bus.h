// The only road to a chip: 32-bit transfers to 32-bit addresses.
//
// The driver cannot tell a model from silicon: both hide behind these two functions.

#ifndef CSC_BUS_H
#define CSC_BUS_H

#include <stdint.h>

typedef struct {
  void *ctx;  // handed to both functions, otherwise left alone
  // Both return 0, or non-zero for a bus error; then *value is not used.
  // Transfers happen in the order of the calls, each once.
  int (*read32)(void *ctx, uint32_t address, uint32_t *value);
  int (*write32)(void *ctx, uint32_t address, uint32_t value);
} csc_bus_t;

#endif  // CSC_BUS_H
