// The command queue of CS2: registers, fetch, decode, dispatch.

#ifndef CSC_SIM_CS2_QUEUE_H
#define CSC_SIM_CS2_QUEUE_H

#include <stdint.h>

#include "cs2_commands.h"
#include "csc_sim.h"

enum { CSC_CS2_COMMAND_WORDS = CSC_CS2_COMMAND_BYTES / 4 };

typedef struct {
  uint32_t words[CSC_CS2_COMMAND_WORDS];
  uint32_t number;      // since the last soft reset
  uint64_t ordinal;     // since power-up, from 1
  uint64_t dispatched;  // clock
} csc_cs2_command_t;

typedef struct {
  uint32_t control;
  uint32_t irq_status;
  uint32_t irq_enable;
  uint32_t error;
  uint32_t error_command;
  uint32_t error_info;
  uint32_t error_tag;
  uint32_t queue_base;
  uint32_t queue_size;
  uint32_t tail;
  uint32_t weights_base;
  uint32_t weights_bytes;
  uint32_t store_base;
  uint32_t store_bytes;
  uint32_t param[CSC_CS2_PARAMS];
  uint32_t watchdog;
  uint32_t clock_high;
} csc_cs2_registers_t;

typedef struct {
  csc_cs2_command_t held[CSC_CS2_PREFETCH];
  uint32_t first;
  uint32_t count;
  uint32_t head;       // commands fetched
  uint32_t fetching;   // descriptors of the burst or line under way, 0 = none
  uint32_t decode;     // clocks of decoding so far
  uint32_t completed;  // commands completed, those of the dispatcher included
} csc_cs2_queue_t;

#endif  // CSC_SIM_CS2_QUEUE_H
