// The DMA engine, the external bus and the processor's windows of CS2.

#ifndef CSC_SIM_CS2_DMA_H
#define CSC_SIM_CS2_DMA_H

#include <stdint.h>

#include "cs2_commands.h"
#include "csc_sim.h"

typedef enum {
  CSC_CS2_BUS_FREE,
  CSC_CS2_BUS_CPU,
  CSC_CS2_BUS_FETCH,
  CSC_CS2_BUS_DMA
} csc_cs2_user_t;

// The external bus carries one burst at a time.
typedef struct {
  csc_cs2_user_t user;
  uint32_t clocks;  // of the burst still to come
} csc_cs2_bus_t;

// The line buffer of the processor's window on external memory.
typedef struct {
  uint32_t is_valid;
  uint32_t line;
} csc_cs2_window_t;

typedef struct {
  uint32_t reserved;
} csc_cs2_dma_t;

#endif  // CSC_SIM_CS2_DMA_H
