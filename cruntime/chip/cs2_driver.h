// Driver of the CS2 chip: gives its command queue a whole program and waits for the end.
//
// The matrix products of a CS1 block engine, which CS2 has too, are cs1_driver.h.

#ifndef CSC_CS2_DRIVER_H
#define CSC_CS2_DRIVER_H

#include <stdint.h>

#include "csc_bus.h"

#if defined(__GNUC__)
#define CSC_CS2_CHECKED __attribute__((warn_unused_result))
#else
#define CSC_CS2_CHECKED
#endif

// Reads of QUEUE_STATUS in one run, each of at least 10 clocks on the chip's own processor: more
// than a second of a program that goes on.
#define CSC_CS2_POLL_LIMIT (1u << 24)

// Clocks of one command. The longest product that fits into the SRAM takes 150,000; rows of one
// byte, each a burst of its own, take longest of all.
#define CSC_CS2_WATCHDOG_CLOCKS (1u << 24)

typedef enum {
  CSC_CS2_OK = 0,
  CSC_CS2_BUS_ERROR = 1,  // a transfer failed
  CSC_CS2_NOT_CS2 = 2,    // ID or VERSION are not those of a chip this driver knows
  CSC_CS2_TIMEOUT = 3,    // neither idle nor failed within poll_limit reads
  CSC_CS2_EARLY = 4,      // idle, but not all commands were executed
  CSC_CS2_FAILED = 5      // the chip reports an error, see csc_cs2_failure_t
} csc_cs2_status_t;

// One chip. The caller owns it.
typedef struct {
  const csc_bus_t *bus;  // must outlive this structure
  uint32_t base;         // bus address of the registers
  uint32_t poll_limit;
  uint32_t watchdog;
  uint32_t id;          // as the chip says
  uint32_t version;     //
  uint32_t sram_bytes;  //
} csc_cs2_t;

// Commands that lie in space WEIGHTS. Places are offsets in the external memory and multiples
// of 64.
typedef struct {
  uint32_t weights;        // space WEIGHTS
  uint32_t weights_bytes;  //
  uint32_t store;          // space STORE
  uint32_t store_bytes;    //
  uint32_t commands;       // the first descriptor, counted from the start of space WEIGHTS
  uint32_t command_count;  //
  uint32_t length;         // parameter register 0; the others get 0
} csc_cs2_program_t;

// What the chip says of a failed command.
typedef struct {
  uint32_t cause;    // csc_cs2_cause_t of cs2_commands.h
  uint32_t command;  // its number
  uint32_t info;     // depends on the cause
  uint32_t tag;      // its TAG: the number of the op
} csc_cs2_failure_t;

// Fills the structure with what ID, VERSION and SRAM_BYTES say.
csc_cs2_status_t csc_cs2_init(csc_cs2_t *cs2, const csc_bus_t *bus, uint32_t base) CSC_CS2_CHECKED;

// Runs a program from a soft reset to the last command. Whatever it returns, unless the bus itself
// fails, the chip is left in soft reset's state with its results in SRAM, ready for the next run.
// *failure is filled for CSC_CS2_FAILED.
csc_cs2_status_t csc_cs2_run(const csc_cs2_t *cs2, const csc_cs2_program_t *program,
                             csc_cs2_failure_t *failure) CSC_CS2_CHECKED;

#endif  // CSC_CS2_DRIVER_H
