// Models of the CompactScale chips, at register and clock level: what Python and C tests see.
//
// A model holds no hidden state: the caller owns its bytes, and two models never meet.
// Nothing here can fail; a model answers whatever the bus does, as the hardware would.

#ifndef CSC_SIM_H
#define CSC_SIM_H

#include <stddef.h>
#include <stdint.h>

// The CS1 block engine. CHIP.md tells what it does; sim/cs1_engine.h shows the structure.
typedef struct csc_sim_cs1 csc_sim_cs1_t;

// Bytes of a model; any memory aligned for uint64_t will do.
size_t csc_sim_cs1_sizeof(void);

// Power-up: registers as after reset, clock 0. A, B and C, undefined in the hardware, hold zeros.
void csc_sim_cs1_init(csc_sim_cs1_t *sim);

// Hold reset for `clocks` clocks. A, B and C keep their contents.
// Time starts with the first clock after the first reset: a reset that comes before any other clock
// leaves the clock number at 0, every later one advances it by `clocks`.
void csc_sim_cs1_reset(csc_sim_cs1_t *sim, uint64_t clocks);

// One clock with a read: returns the value the engine shows in this clock.
// Only the low 12 bits of `offset` count.
uint32_t csc_sim_cs1_read(csc_sim_cs1_t *sim, uint32_t offset);

// One clock with a write, which takes effect at the end of the clock.
void csc_sim_cs1_write(csc_sim_cs1_t *sim, uint32_t offset, uint32_t value);

// `clocks` clocks with an idle bus.
void csc_sim_cs1_step(csc_sim_cs1_t *sim, uint64_t clocks);

// The interrupt output in the current clock, 0 or 1; no clock passes.
int csc_sim_cs1_irq(const csc_sim_cs1_t *sim);

// The number of the current clock; no clock passes.
uint64_t csc_sim_cs1_clock(const csc_sim_cs1_t *sim);

#endif  // CSC_SIM_H
