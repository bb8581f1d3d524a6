// The CS1 chip's bus in front of the engine model: address decoding, one clock a transfer.
//
// The two functions have the shape of csc_bus_t (chip/csc_bus.h), which the model may not know:
// whoever wires driver and model fills a csc_bus_t with them and a csc_sim_cs1_bus_t as context.

#ifndef CSC_SIM_CS1_BUS_H
#define CSC_SIM_CS1_BUS_H

#include <stdint.h>

#include "cs1_engine.h"

// What stands between driver and engine. Faults on the way would be members of this structure.
typedef struct csc_sim_cs1_bus {
  csc_sim_cs1_t *engine;
} csc_sim_cs1_bus_t;

// `ctx` is a csc_sim_cs1_bus_t. Both return 0, or 1 (bus error) if no device answers at `address`:
// then no clock passes and *value is left alone.
int csc_sim_cs1_bus_read32(void *ctx, uint32_t address, uint32_t *value);
int csc_sim_cs1_bus_write32(void *ctx, uint32_t address, uint32_t value);

#endif  // CSC_SIM_CS1_BUS_H
