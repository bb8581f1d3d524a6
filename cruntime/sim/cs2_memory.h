// Streams between the engines of CS2 and the banks of its SRAM.
//
// An engine asks for lines and puts lines; once a clock, after all engines have made their step,
// the chip grants requests, at most one to each stream and one to each bank.
// * A line asked for in clock n is granted in n at the earliest, and there in the clock after.
// * A line put in clock n is granted in n + 1 at the earliest, and is then written.

#ifndef CSC_SIM_CS2_MEMORY_H
#define CSC_SIM_CS2_MEMORY_H

#include <stdint.h>
#include <string.h>

#include "cs2_commands.h"

enum {
  CSC_CS2_STREAM = 4  // lines of a stream; a power of two
};

// The streams that read, in order of priority.
typedef enum {
  CSC_CS2_READ_DMA,
  CSC_CS2_READ_A,
  CSC_CS2_READ_B,
  CSC_CS2_READ_PARAMS,    // what the drain of the block engine needs, and its table
  CSC_CS2_READ_X,         // first operand of the vector engine
  CSC_CS2_READ_Y,         // its other operands
  CSC_CS2_READ_CONSTANT,  // its constants of rows and columns
  CSC_CS2_READS
} csc_cs2_read_t;

// The streams that write. The banks serve them all before the reads of block and vector engine.
typedef enum {
  CSC_CS2_WRITE_DMA,
  CSC_CS2_WRITE_BLOCK,
  CSC_CS2_WRITE_VECTOR,
  CSC_CS2_WRITES
} csc_cs2_write_t;

// Counts run on modulo 2^32: taken <= granted <= asked <= taken + CSC_CS2_STREAM.
typedef struct {
  uint32_t asked;
  uint32_t granted;
  uint32_t taken;
  uint32_t line[CSC_CS2_STREAM];
  uint8_t bytes[CSC_CS2_STREAM][CSC_CS2_LINE];
} csc_cs2_reads_t;

// granted <= ready <= put <= granted + CSC_CS2_STREAM; ready is put as of the beginning of the
// clock.
typedef struct {
  uint32_t put;
  uint32_t ready;
  uint32_t granted;
  uint32_t line[CSC_CS2_STREAM];
  uint64_t mask[CSC_CS2_STREAM];  // bit n: byte n is written
  uint8_t bytes[CSC_CS2_STREAM][CSC_CS2_LINE];
} csc_cs2_writes_t;

#define CSC_CS2_WHOLE_LINE UINT64_MAX

// --- reading -------------------------------------------------------------------------------------

static inline int csc_cs2_can_ask(const csc_cs2_reads_t *reads) {
  return reads->asked - reads->taken < CSC_CS2_STREAM;
}

// Ask for line number `line` of the SRAM; only if csc_cs2_can_ask.
static inline void csc_cs2_ask(csc_cs2_reads_t *reads, uint32_t line) {
  reads->line[reads->asked++ % CSC_CS2_STREAM] = line;
}

// Lines that are there; each is one that was granted before this clock.
static inline uint32_t csc_cs2_lines(const csc_cs2_reads_t *reads) {
  return reads->granted - reads->taken;
}

// The oldest line that is there; it stays until csc_cs2_take.
static inline const uint8_t *csc_cs2_peek(const csc_cs2_reads_t *reads) {
  return reads->bytes[reads->taken % CSC_CS2_STREAM];
}

static inline void csc_cs2_take(csc_cs2_reads_t *reads) { reads->taken++; }

// --- writing -------------------------------------------------------------------------------------

static inline int csc_cs2_can_put(const csc_cs2_writes_t *writes) {
  return writes->put - writes->granted < CSC_CS2_STREAM;
}

// Put a line; only if csc_cs2_can_put. The caller fills the bytes in the same clock.
static inline uint8_t *csc_cs2_put(csc_cs2_writes_t *writes, uint32_t line, uint64_t mask) {
  const uint32_t place = writes->put++ % CSC_CS2_STREAM;
  writes->line[place] = line;
  writes->mask[place] = mask;
  return writes->bytes[place];
}

static inline int csc_cs2_is_written(const csc_cs2_writes_t *writes) {
  return writes->put == writes->granted;
}

#endif  // CSC_SIM_CS2_MEMORY_H
