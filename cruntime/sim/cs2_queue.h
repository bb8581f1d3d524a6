// The command queue of CS2: registers, fetch, decode, dispatch.

#ifndef CSC_SIM_CS2_QUEUE_H
#define CSC_SIM_CS2_QUEUE_H

#include <stdint.h>

#include "cs2_check.h"
#include "cs2_commands.h"
#include "csc_sim.h"

enum { CSC_CS2_COMMAND_WORDS = CSC_CS2_COMMAND_BYTES / 4 };

typedef struct {
  uint32_t words[CSC_CS2_COMMAND_WORDS];
  uint32_t number;      // since the last soft reset
  uint64_t ordinal;     // since power-up, from 1
  uint64_t dispatched;  // clock
} csc_cs2_command_t;

// Registers that hold what was written.
typedef struct {
  uint32_t is_enabled;
  uint32_t irq_status;
  uint32_t irq_enable;
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
  uint32_t irq_raised;  // bits of IRQ_STATUS that rose in the last clock
} csc_cs2_registers_t;

typedef struct {
  csc_cs2_command_t held[CSC_CS2_PREFETCH];
  uint32_t first;          // place of the oldest descriptor held
  uint32_t count;          // descriptors held
  uint32_t head;           // fetched, as the register shows it
  uint32_t wanted;         // descriptors of a burst that is asked for, 0 = none
  uint32_t coming;         // descriptors of the burst under way that have not arrived
  uint32_t line_is_asked;  // a descriptor in SRAM is asked for in this clock
  uint32_t address;        // of the request: a line of SRAM, or a byte of external memory
  uint32_t decoding;       // clocks of decoding so far
  uint32_t completed;      // commands, those without engine included
  uint32_t has_completed;  // in this clock
  uint64_t waiting;        // clocks in a row in which a command waited and none was executed
  csc_cs2_checked_t checked;
  uint32_t is_failing;  // in this clock
  uint32_t error;       // the registers
  uint32_t error_command;
  uint32_t error_info;
  uint32_t error_tag;
} csc_cs2_queue_t;

#endif  // CSC_SIM_CS2_QUEUE_H
