// The CS2 chip model, complete type, and what its engines share. The face stands in csc_sim.h.
//
// In every clock each engine that executes a command makes one step on the state at the beginning
// of the clock; then the banks grant. How engines are driven:
// * start is called once, then tick in every clock from the fifth of the command on.
// * A dynamic shape of 0 is not started: the command completes with the setup.
// * tick calls csc_cs2_stall in a clock in which it could not do what was due.
// * tick calls csc_cs2_finish in the clock with the last step; the command is complete at the end
// of
//   the clock in which its stream of writes is empty, which may be the same.
// * tick calls csc_cs2_fail for an error; it is not called again then.

#ifndef CSC_SIM_CS2_CHIP_H
#define CSC_SIM_CS2_CHIP_H

#include <stdint.h>

#include "cs1_engine.h"
#include "cs2_block.h"
#include "cs2_check.h"
#include "cs2_commands.h"
#include "cs2_dma.h"
#include "cs2_memory.h"
#include "cs2_queue.h"
#include "cs2_regs.h"
#include "cs2_vector.h"
#include "csc_sim.h"

enum {
  CSC_CS2_ENGINES = 3,  // DMA, block engine, vector engine
  CSC_CS2_SETUP = 4     // clocks of a command before its first request
};

typedef enum {
  CSC_CS2_STALL_NONE,
  CSC_CS2_STALL_BANK,  // a busy bank or an empty stream
  CSC_CS2_STALL_BUS,   // the external bus
  CSC_CS2_STALL_DRAIN  // products wait for the drain
} csc_cs2_stall_t;

// Shapes with the parameter registers taken in; fields that a command does not have are 1.
typedef struct {
  uint32_t rows;
  uint32_t columns;
  uint32_t depth;
} csc_cs2_shape_t;

// An engine as the dispatcher sees it.
typedef struct {
  csc_cs2_command_t fifo[CSC_CS2_FIFO];
  uint32_t first;             // place of the oldest command that waits
  uint32_t count;             // commands that wait
  csc_cs2_command_t command;  // the one that is executed
  uint32_t is_running;        //
  uint32_t is_finishing;      // the last step is done
  uint32_t is_hanging;        // a fault: never completes
  uint32_t is_head_known;     // `event` belongs to the oldest command that waits
  uint64_t age;               // clocks of execution so far
  csc_cs2_stall_t stall;      // of this clock
  csc_cs2_shape_t shape;      // of the command that is executed
  csc_sim_cs2_event_t event;  //
  uint32_t completed;         // counters of the registers, since the last soft reset
  uint32_t busy;              //
  uint32_t wait;              //
  uint32_t stalled;           //
} csc_cs2_engine_state_t;

// State at the beginning of a clock.
struct csc_sim_cs2 {
  csc_cs2_reads_t reads[CSC_CS2_READS];
  csc_cs2_writes_t writes[CSC_CS2_WRITES];
  csc_cs2_engine_state_t engines[CSC_CS2_ENGINES];
  csc_cs2_queue_t queue;
  csc_cs2_dma_t dma;
  csc_cs2_block_t block;
  csc_cs2_vector_t vector;
  csc_cs2_registers_t registers;
  csc_cs2_bus_t bus;
  csc_cs2_window_t window;
  csc_sim_cs1_t cs1;
  csc_sim_cs2_config_t config;
  uint64_t clock;
  uint8_t *sram;
  uint8_t *external;
  uint32_t external_bytes;
  uint32_t taken_banks;  // bit n: the processor takes bank n in this clock
  csc_sim_cs2_totals_t totals;
  csc_sim_cs2_faults_t faults;
  uint64_t fetched;    // descriptors since power-up, for the faults
  uint64_t bursts;     // of DMA engine and fetch since power-up
  uint64_t doorbells;  // writes of QUEUE_TAIL since power-up
  csc_sim_cs2_event_t *events;
  size_t event_room;
  size_t event_count;
  size_t event_lost;
};

// --- descriptors ---------------------------------------------------------------------------------

// A field of a descriptor: csc_cs2_field(words, CSC_CS2_GEMM_ROWS).
static inline uint32_t csc_cs2_field_bits(const uint32_t *words, uint32_t word, uint32_t low,
                                          uint32_t bits) {
  return words[word] >> low & (bits == 32 ? UINT32_MAX : (1u << bits) - 1);
}

static inline uint32_t csc_cs2_field(const uint32_t *words, uint32_t word, uint32_t low,
                                     uint32_t bits, uint32_t is_signed) {
  (void)is_signed;
  return csc_cs2_field_bits(words, word, low, bits);
}

// The same with its sign.
static inline int32_t csc_cs2_signed_field(const uint32_t *words, uint32_t word, uint32_t low,
                                           uint32_t bits, uint32_t is_signed) {
  const uint32_t value = csc_cs2_field_bits(words, word, low, bits);
  const uint32_t sign = is_signed ? 1u << (bits - 1) : 0;
  return (int32_t)((value ^ sign) - sign);
}

// --- what engines call ---------------------------------------------------------------------------

// The descriptor of the command that an engine executes.
static inline const uint32_t *csc_cs2_words(const csc_sim_cs2_t *sim, csc_cs2_engine_t engine) {
  return sim->engines[engine].command.words;
}

static inline csc_cs2_shape_t csc_cs2_shape(const csc_sim_cs2_t *sim, csc_cs2_engine_t engine) {
  return sim->engines[engine].shape;
}

static inline void csc_cs2_stall(csc_sim_cs2_t *sim, csc_cs2_engine_t engine,
                                 csc_cs2_stall_t stall) {
  sim->engines[engine].stall = stall;
}

static inline void csc_cs2_finish(csc_sim_cs2_t *sim, csc_cs2_engine_t engine) {
  sim->engines[engine].is_finishing = 1;
}

// Stop the chip at the end of this clock with an error of the command that `engine` executes; the
// first one counts.
void csc_cs2_fail(csc_sim_cs2_t *sim, csc_cs2_engine_t engine, csc_cs2_cause_t cause,
                  uint32_t info);

// --- parts of the chip, each in its own file -----------------------------------------------------

// cs2_check.c: CSC_CS2_CAUSE_NONE for a command that may be dispatched, else the cause and `info`.
// Keeps what later commands are checked against: the window and the tables.
csc_cs2_cause_t csc_cs2_check(csc_cs2_checked_t *checked, const csc_cs2_spaces_t *spaces,
                              const uint32_t *words, uint32_t *info);
csc_cs2_engine_t csc_cs2_engine_of(uint32_t code);
csc_cs2_shape_t csc_cs2_shape_of(const uint32_t *words, const uint32_t *param);

// cs2_registers.c
uint32_t csc_cs2_show(csc_sim_cs2_t *sim, uint32_t offset);
void csc_cs2_store(csc_sim_cs2_t *sim, uint32_t offset, uint32_t value);
void csc_cs2_soft_reset(csc_sim_cs2_t *sim);

// cs2_dispatch.c
void csc_cs2_engine_ticks(csc_sim_cs2_t *sim);
void csc_cs2_fail_command(csc_sim_cs2_t *sim, const csc_cs2_command_t *command,
                          csc_cs2_cause_t cause, uint32_t info);
void csc_cs2_stop(csc_sim_cs2_t *sim);
void csc_cs2_complete(csc_sim_cs2_t *sim);      // the end of a clock
int csc_cs2_is_idle(const csc_sim_cs2_t *sim);  // only a write of a register changes anything

// cs2_queue.c
void csc_cs2_queue_tick(csc_sim_cs2_t *sim);
void csc_cs2_fetched(csc_sim_cs2_t *sim, const uint8_t *bytes);  // a descriptor has come
csc_cs2_spaces_t csc_cs2_spaces(const csc_sim_cs2_t *sim);

// cs2_bus.c
void csc_cs2_bus_tick(csc_sim_cs2_t *sim);
uint32_t csc_cs2_bus_word(const csc_sim_cs2_t *sim);  // bytes that are due in this clock
void csc_cs2_external_read(const csc_sim_cs2_t *sim, uint32_t address, uint8_t *bytes,
                           uint32_t count);
void csc_cs2_external_write(csc_sim_cs2_t *sim, uint32_t address, const uint8_t *bytes,
                            uint32_t count);

// cs2_dma.c
void csc_cs2_dma_start(csc_sim_cs2_t *sim);
void csc_cs2_dma_tick(csc_sim_cs2_t *sim);
void csc_cs2_dma_granted(csc_sim_cs2_t *sim);  // the bus has taken its request

// cs2_memory.c
void csc_cs2_grant(csc_sim_cs2_t *sim);

#endif  // CSC_SIM_CS2_CHIP_H
