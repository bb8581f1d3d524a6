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

// --- The CS2 chip: the CS1 block engine, command queue, three engines, SRAM ----------------------

typedef struct csc_sim_cs2 csc_sim_cs2_t;

typedef struct {
  uint32_t sram_bytes;           // a multiple of 4096, 64 KiB to 16 MiB
  uint32_t array;                // multiply-accumulates a clock: 1, 8, 64 or 512
  uint32_t lanes;                // of the vector engine: 1, 2, 4, ... 64
  uint32_t ext_bytes_per_clock;  // 1, 2, 4, ... 64
  uint32_t ext_latency;          // clocks before the first byte of a burst, 0 to 10000
  uint32_t ext_burst;            // longest burst in bytes, 64 to 65536, a power of two
} csc_sim_cs2_config_t;

// The chip as CHIP.md describes it.
csc_sim_cs2_config_t csc_sim_cs2_published(void);

// Faults of the hardware to test software with; all zeros is a sound chip.
// Commands and bursts are counted from 1 since power-up.
typedef struct {
  uint64_t hang_command;      // the engine that executes this command never completes it
  uint64_t change_command;    // this descriptor arrives with
  uint32_t change_word;       //   word number change_word
  uint32_t change_mask;       //   changed by exclusive or with change_mask
  uint64_t external_error;    // this burst of DMA engine or descriptor fetch ends with an error
  uint64_t lose_doorbell_at;  // this write of QUEUE_TAIL has no effect
} csc_sim_cs2_faults_t;

// A command from dispatch to completion.
typedef struct {
  uint64_t dispatched;   // clock in which it entered the FIFO
  uint64_t ready;        // first clock at the head of its engine, the command before it complete
  uint64_t started;      // first clock of execution
  uint64_t completed;    // first clock in which it counts as completed
  uint32_t number;       // from 0 since the last soft reset
  uint32_t tag;          // field TAG
  uint32_t code;         // field CODE
  uint32_t engine;       //
  uint32_t waited_for;   // bit n: engine n was waited for between ready and started
  uint32_t stall_bank;   // clocks of execution lost to a busy bank or an empty stream
  uint32_t stall_bus;    // clocks of execution lost to a busy external bus
  uint32_t stall_drain;  // clocks of execution in which products waited for the drain
} csc_sim_cs2_event_t;

// What has happened since power-up; energy is computed from it.
typedef struct {
  uint64_t clocks;
  uint64_t macs;           // multiply-accumulates of the block engine, padding included
  uint64_t drained;        // results that left the block engine's drain
  uint64_t lane_steps;     // element steps of the vector engine
  uint64_t line_reads;     // accesses of SRAM banks
  uint64_t line_writes;    //
  uint64_t conflicts;      // requests that a bank made wait a clock
  uint64_t ext_read;       // bytes over the external bus
  uint64_t ext_written;    //
  uint64_t ext_bursts;     //
  uint64_t ext_busy;       // clocks with a burst, latency included
  uint64_t commands;       // completed
  uint64_t busy[3];        // clocks each engine executed a command
  uint64_t wait[3];        // clocks its next command waited for another engine
  uint64_t stall_bank[3];  // sums of the fields of csc_sim_cs2_event_t
  uint64_t stall_bus[3];   //
  uint64_t stall_drain[3];
} csc_sim_cs2_totals_t;

// Bytes of a model, or 0 if the configuration is not one of the above.
size_t csc_sim_cs2_sizeof(const csc_sim_cs2_config_t *config);

// Power-up in memory that is all zeros, aligned to 64. The external memory is the caller's; the
// chip writes it only in space STORE and for the processor.
void csc_sim_cs2_init(csc_sim_cs2_t *sim, const csc_sim_cs2_config_t *config, uint8_t *external,
                      uint32_t external_bytes);

// As of the CS1 engine: one clock each, `offset` within the registers, its low 12 bits count.
void csc_sim_cs2_reset(csc_sim_cs2_t *sim, uint64_t clocks);
uint32_t csc_sim_cs2_read(csc_sim_cs2_t *sim, uint32_t offset);
void csc_sim_cs2_write(csc_sim_cs2_t *sim, uint32_t offset, uint32_t value);
void csc_sim_cs2_step(csc_sim_cs2_t *sim, uint64_t clocks);
uint32_t csc_sim_cs2_irq(const csc_sim_cs2_t *sim);  // bit 0: CS1's interrupt, bit 1: CS2's
uint64_t csc_sim_cs2_clock(const csc_sim_cs2_t *sim);

// The processor's windows. `strobes` 0 is a read, which returns the word; else one bit for each
// byte written. SRAM: one clock, bank taken with priority. External: as many clocks as CHIP.md
// says; the transfer takes place in the last one. Beyond the memory reads give 0 and writes do
// nothing.
uint32_t csc_sim_cs2_sram_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                 uint32_t data);
uint32_t csc_sim_cs2_external_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                     uint32_t data);

// Behind the chip's back: the bytes of the SRAM, no clock passes.
uint8_t *csc_sim_cs2_sram(csc_sim_cs2_t *sim);

csc_sim_cs2_faults_t *csc_sim_cs2_faults(csc_sim_cs2_t *sim);
void csc_sim_cs2_totals(const csc_sim_cs2_t *sim, csc_sim_cs2_totals_t *totals);

// Record completed commands into `events` from now on, or stop if `room` is 0; what finds no room
// is counted and lost.
void csc_sim_cs2_trace(csc_sim_cs2_t *sim, csc_sim_cs2_event_t *events, size_t room);
size_t csc_sim_cs2_traced(const csc_sim_cs2_t *sim);
size_t csc_sim_cs2_trace_lost(const csc_sim_cs2_t *sim);

// --- The systems on chip: processor, bus, RAM, CS1 or CS2, UART, display, GPIO -------------------

typedef struct csc_sim_soc csc_sim_soc_t;

typedef enum {
  CSC_SIM_CPU_RV32I,   // as built into CS1: no multiply, serial shifter
  CSC_SIM_CPU_RV32IMC  // as built into CS2: fast multiply, divide, barrel shifter, compressed
} csc_sim_cpu_t;

typedef enum { CSC_SIM_CHIP_CS1, CSC_SIM_CHIP_CS2 } csc_sim_chip_t;

typedef struct {
  csc_sim_cpu_t cpu;
  uint32_t ram_bytes;  // from address 0; a multiple of 4, 4 to CSC_SIM_RAM_MAX
  uint32_t ram_wait;   // 0: RAM answers in the clock of the request, 1: one clock later
  csc_sim_chip_t chip;
  csc_sim_cs2_config_t cs2;  // of a CS2
  uint32_t external_bytes;   // of a CS2; a multiple of 64, 0 to CSC_SIM_EXTERNAL_MAX
} csc_sim_soc_config_t;

#define CSC_SIM_RAM_MAX 0x0F000000u
#define CSC_SIM_EXTERNAL_MAX 0x04000000u
#define CSC_SIM_WINDOW 0x04000000u  // of the addresses of SRAM and of external memory
#define CSC_SIM_EXIT 0x0F000004u    // a store to this word ends the run

typedef enum {
  CSC_SIM_STOP_LIMIT,  // the clocks are used up
  CSC_SIM_STOP_EXIT,   // a store to CSC_SIM_EXIT
  CSC_SIM_STOP_TRAP,   // the processor has stopped until reset
  CSC_SIM_STOP_DRAIN   // take the UART's output and the recorded transfers, then run on
} csc_sim_stop_kind_t;

typedef enum {
  CSC_SIM_CAUSE_NONE,
  CSC_SIM_CAUSE_ILLEGAL,
  CSC_SIM_CAUSE_ECALL,
  CSC_SIM_CAUSE_EBREAK,
  CSC_SIM_CAUSE_MISALIGNED_LOAD,
  CSC_SIM_CAUSE_MISALIGNED_STORE,
  CSC_SIM_CAUSE_MISALIGNED_JUMP
} csc_sim_cause_t;

typedef struct {
  csc_sim_stop_kind_t kind;
  csc_sim_cause_t cause;  // of a trap
  uint64_t clock;  // exit: of the store; trap: first one with trap high; else the current one
  uint32_t value;  // exit: what was stored
  uint32_t pc;     // trap: of its instruction; else of the next one
} csc_sim_stop_t;

// A data transfer on the processor's bus.
typedef struct {
  uint64_t clock;     // in which it completes
  uint32_t address;   // of the word
  uint32_t strobes;   // 0: read; else one bit for each byte written
  uint32_t data;      // all 32 bits on the bus
  uint32_t is_fetch;  // 1: of an instruction, which is not recorded
} csc_sim_transfer_t;

typedef enum {
  CSC_SIM_REGION_RAM,
  CSC_SIM_REGION_NO_RAM,  // below the engine, but without RAM: reads 0 with the timing of RAM
  CSC_SIM_REGION_ENGINE,
  CSC_SIM_REGION_UART,
  CSC_SIM_REGION_LCD,
  CSC_SIM_REGION_GPIO,
  CSC_SIM_REGION_SRAM,      // of CS2
  CSC_SIM_REGION_EXTERNAL,  //
  CSC_SIM_REGION_OTHER,     // nothing there: reads 0
  CSC_SIM_REGIONS
} csc_sim_region_t;

// What has happened since power-up.
typedef struct {
  uint64_t clocks;
  uint64_t instructions;             // started
  uint64_t ram_wait_clocks;          // clocks a RAM that answers a clock later has cost
  uint64_t bus_stall_clocks;         // clocks in which a device made the bus wait
  uint64_t engine_runs;              //
  uint64_t engine_busy_clocks;       // clocks with a multiply
  uint64_t reads[CSC_SIM_REGIONS];   // data transfers; instruction fetches are not counted
  uint64_t writes[CSC_SIM_REGIONS];  //
} csc_sim_totals_t;

// Faults of the hardware to test software with; all zeros is a sound chip. Those of a CS2 itself
// are in csc_sim_cs2_faults_t.
typedef struct {
  uint32_t never_done;      // 1: once started, CTRL keeps bit 0 and STATUS reads running, for ever
  uint32_t done_after;      // CTRL reads 0 once a run has done this many multiplies; 0 = off
  uint64_t change_read_at;  // this read of the engine, counted from 1, is wrong; 0 = none
  uint32_t change_read;     // by exclusive or with this
  uint32_t change_byte;     // the same for a byte the UART has sent
  uint64_t change_byte_at;  // its number, counted from 1; 0 = none
  uint64_t lose_byte_at;    // this byte the UART has sent is lost; 0 = none
  uint32_t interrupts;      // lines that are always high
  uint32_t reserved;        // 0
} csc_sim_faults_t;

// Bytes of a model, or 0 if the configuration is not one of the above. Most of them are touched
// only when used, so memory that the system hands out page by page is best.
size_t csc_sim_soc_sizeof(const csc_sim_soc_config_t *config);

// Power-up: clock 0, the processor about to fetch from address 0. The memory must be all zeros, and
// RAM and registers, undefined in the hardware, stay so. Holds pointers into itself: never copy it.
void csc_sim_soc_init(csc_sim_soc_t *soc, const csc_sim_soc_config_t *config);

// Run until something stops it, at the latest at the first instruction that would start in
// `end_clock` or later. After a trap it stops again at once.
csc_sim_stop_t csc_sim_soc_run(csc_sim_soc_t *soc, uint64_t end_clock);

uint64_t csc_sim_soc_clock(const csc_sim_soc_t *soc);
uint32_t csc_sim_soc_pc(const csc_sim_soc_t *soc);
uint32_t csc_sim_soc_register(const csc_sim_soc_t *soc, uint32_t number);
void csc_sim_soc_totals(csc_sim_soc_t *soc, csc_sim_totals_t *totals);

// RAM, SRAM and external memory behind the processor's back; a line the processor has buffered
// stays as it is. Both return 0, or 1 if not all of it is one of these memories.
int csc_sim_soc_load(csc_sim_soc_t *soc, uint32_t address, const uint8_t *bytes, size_t count);
int csc_sim_soc_read(const csc_sim_soc_t *soc, uint32_t address, uint8_t *bytes, size_t count);

// Bytes that have left by the UART's transmit pin; takes up to `room` of them and returns how many.
size_t csc_sim_soc_uart_output(csc_sim_soc_t *soc, uint8_t *bytes, size_t room);
// Bytes on their way: the one being sent and those in the queue; up to 17.
size_t csc_sim_soc_uart_pending(csc_sim_soc_t *soc, uint8_t *bytes, size_t room);
// Send bytes to the UART's receive pin from the current clock on, in place of those not sent yet.
// They stay the caller's. `bit_65536` is the sender's clocks per bit times 65536, 0 the chip's own.
void csc_sim_soc_uart_input(csc_sim_soc_t *soc, const uint8_t *bytes, size_t count,
                            uint64_t bit_65536);
// Bytes of the input that are not sent to the end.
size_t csc_sim_soc_uart_unsent(csc_sim_soc_t *soc);

uint32_t csc_sim_soc_gpio_out(const csc_sim_soc_t *soc);
void csc_sim_soc_gpio_in(csc_sim_soc_t *soc, uint32_t pins);

// The interrupt lines in the current clock: bit 16 engine, 17 command queue of CS2, 18 UART
// transmit, 19 UART receive.
uint32_t csc_sim_soc_interrupts(csc_sim_soc_t *soc);

// Record data transfers into `transfers` from now on, or stop recording if `room` is 0.
// When they are full the run stops with CSC_SIM_STOP_DRAIN, and this is to be called again.
void csc_sim_soc_trace(csc_sim_soc_t *soc, csc_sim_transfer_t *transfers, size_t room);
size_t csc_sim_soc_traced(const csc_sim_soc_t *soc);

// The faults, for the caller to change between runs.
csc_sim_faults_t *csc_sim_soc_faults(csc_sim_soc_t *soc);

// The CS2 inside, brought to the current clock, for its totals, trace, faults and SRAM; null in a
// CS1. It must not be stepped or accessed.
csc_sim_cs2_t *csc_sim_soc_cs2(csc_sim_soc_t *soc);

#endif  // CSC_SIM_H
