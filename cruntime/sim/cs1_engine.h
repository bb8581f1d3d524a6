// The CS1 block engine model, complete type. The functions stand in csc_sim.h.

#ifndef CSC_SIM_CS1_ENGINE_H
#define CSC_SIM_CS1_ENGINE_H

#include <stdint.h>

#include "cs1_regs.h"
#include "csc_sim.h"

typedef enum {
  CSC_SIM_CS1_STATE_IDLE,      // looks at CTRL
  CSC_SIM_CS1_STATE_MULTIPLY,  // one multiply in every clock
  CSC_SIM_CS1_STATE_END        // one clock: interrupt, then CTRL is cleared
} csc_sim_cs1_state_t;

// State at the beginning of a clock. The caller may look at it, and changes nothing.
struct csc_sim_cs1 {
  uint64_t clock;             // number of the current clock
  uint32_t has_run;           // 1 once a clock has passed or a reset was seen
  uint32_t ctrl;              // the four registers
  uint32_t status;            //
  uint32_t size;              //
  uint32_t perf;              //
  csc_sim_cs1_state_t state;  //
  uint32_t i;                 // 0..15, row of the element being summed up
  uint32_t j;                 // 0..15, its column
  uint32_t k;                 // 0..15, the next product of its sum
  uint32_t sum;               // products so far, modulo 2^32
  uint64_t runs;              // starts since power-up
  uint64_t busy;              // multiplies since power-up, which are clocks
  uint32_t a[CSC_CS1_A_WORDS];
  uint32_t b[CSC_CS1_B_WORDS];
  uint32_t c[CSC_CS1_C_WORDS];
};

#endif  // CSC_SIM_CS1_ENGINE_H
