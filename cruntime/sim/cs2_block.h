// The block engine of CS2.

#ifndef CSC_SIM_CS2_BLOCK_H
#define CSC_SIM_CS2_BLOCK_H

#include <stdint.h>

#include "cs2_memory.h"
#include "csc_sim.h"

// Zeros at power-up and after a soft reset.
typedef struct {
  uint32_t reserved;
} csc_cs2_block_t;

// Before the first csc_cs2_block_tick of a command; its setup is over.
void csc_cs2_block_start(csc_sim_cs2_t *sim);

// One clock of a command.
void csc_cs2_block_tick(csc_sim_cs2_t *sim);

#endif  // CSC_SIM_CS2_BLOCK_H
