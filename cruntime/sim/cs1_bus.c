#include "cs1_bus.h"

static int is_engine(uint32_t address) {
  return address - CSC_CS1_ENGINE_BASE < CSC_CS1_ENGINE_BYTES;  // wraps below the base
}

int csc_sim_cs1_bus_read32(void *ctx, uint32_t address, uint32_t *value) {
  const csc_sim_cs1_bus_t *bus = ctx;
  if (!is_engine(address)) return 1;
  *value = csc_sim_cs1_read(bus->engine, address - CSC_CS1_ENGINE_BASE);
  return 0;
}

int csc_sim_cs1_bus_write32(void *ctx, uint32_t address, uint32_t value) {
  const csc_sim_cs1_bus_t *bus = ctx;
  if (!is_engine(address)) return 1;
  csc_sim_cs1_write(bus->engine, address - CSC_CS1_ENGINE_BASE, value);
  return 0;
}
