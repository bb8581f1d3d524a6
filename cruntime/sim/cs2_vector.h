// The vector engine of CS2.
//
// A command is a sequence of steps; a step takes lines of its streams, works some clocks, and sends
// lines into a pipeline before the writer. The loader runs through the same sequence ahead of the
// steps and asks for one line a clock; CHIP.md gives the clocks.

#ifndef CSC_SIM_CS2_VECTOR_H
#define CSC_SIM_CS2_VECTOR_H

#include <stdint.h>

#include "cs2_math.h"
#include "cs2_memory.h"
#include "csc_sim.h"

enum {
  CSC_CS2_VECTOR_PIPELINE = 4,  // clocks from the last clock of a line's elements to the writer
  CSC_CS2_VECTOR_RESULTS = 16,  // lines in that pipeline, a power of two
  CSC_CS2_STEP_READS = 6        // most lines of a step
};

// Tiles in the SRAM; everything but `bytes` counts lines.
typedef struct {
  uint32_t line, row, batch;
  uint32_t bytes;  // of an element, which are lines of a tile
} csc_cs2_tiles_t;

// A command, decoded; what it does not have is 0.
typedef struct {
  uint32_t code, flags;
  uint32_t batches, rows, columns;     // the nest of loops: tiles, except for tables
  uint32_t row_count, column_count;    // elements
  uint32_t tile_clocks;                // of all elements of a tile
  csc_cs2_tiles_t x, y, out, out_b;    //
  uint32_t affine_a, affine_b;         // lines
  uint32_t mask, recip, recip_batch;   //
  uint32_t word_scale, index;          //
  csc_cs2_tiles_t types;               // rows of elements, not tiles
  uint32_t requant;                    // byte
  uint32_t index_limit, causal_first;  //
  csc_cs2_scale_t scale;               //
  int32_t multiplier_x, multiplier_y;  //
  uint32_t shift_a, shift_b;           //
  int32_t zero_x, zero_y, zero_point;  //
  int32_t zero_b;                      //
  uint64_t epsilon;                    //
} csc_cs2_vector_job_t;

// A step in the sequence: batch, row of tiles, phase of that row, item of the phase, part of the
// item.
typedef struct {
  uint32_t batch, row, phase, item, part;
  uint32_t is_done;
} csc_cs2_position_t;

typedef struct {
  uint32_t stream;  // csc_cs2_read_t
  uint32_t line;
} csc_cs2_step_read_t;

// What a step needs.
typedef struct {
  csc_cs2_step_read_t reads[CSC_CS2_STEP_READS];  // in the order of asking
  uint32_t count;
  uint32_t clocks;
  uint32_t elements;       // that go through the lanes
  uint32_t needs_indices;  // its lines depend on the index line of its row of tiles
} csc_cs2_step_t;

// A line on its way to the writer.
typedef struct {
  uint64_t due;  // time of the pipeline
  uint32_t line;
  uint8_t bytes[CSC_CS2_LINE];
} csc_cs2_outcome_t;

// Zeros at power-up and after a soft reset.
typedef struct {
  int16_t table[CSC_CS2_TABLE_ENTRIES];
  csc_cs2_vector_job_t job;
  csc_cs2_position_t load, execute;
  csc_cs2_step_t load_step, execute_step;  // at these positions
  uint32_t load_read;                      // next line of load_step
  uint32_t busy;                           // clocks of the step under way still to come
  uint64_t time;                           // clocks in which the pipeline moved
  uint32_t outcome_first, outcome_count;
  csc_cs2_outcome_t outcomes[CSC_CS2_VECTOR_RESULTS];

  uint8_t mask[CSC_CS2_LINE];      // of 64 rows or columns
  int32_t x[CSC_CS2_TILE];         // NORM: kept for the second output
  int64_t sums[8], squares[8];     // NORM, POOL
  csc_cs2_rsqrt_t roots[8];        // NORM
  int32_t tops[8];                 // SOFTMAX
  uint32_t totals[8];              //
  csc_cs2_scale_t score;           //
  uint32_t visible;                // POOL: rows counted
  uint32_t indices_row;            // EMBED: 1 + the row of tiles whose indices are here
  uint32_t indices[8], scales[8];  //
  int16_t types[8][32];            // of 4 tiles
} csc_cs2_vector_t;

// Before the first csc_cs2_vector_tick of a command; its setup is over.
void csc_cs2_vector_start(csc_sim_cs2_t *sim);

// One clock of a command.
void csc_cs2_vector_tick(csc_sim_cs2_t *sim);

#endif  // CSC_SIM_CS2_VECTOR_H
