// The block engine of CS2.
//
// Four units pass tiles on: loaders (streams A, B, parameters), array, drain, writer. Each looks at
// the state at the beginning of the clock; CHIP.md gives the clocks.

#ifndef CSC_SIM_CS2_BLOCK_H
#define CSC_SIM_CS2_BLOCK_H

#include <stdint.h>

#include "cs2_math.h"
#include "cs2_memory.h"
#include "csc_sim.h"

enum {
  CSC_CS2_DRAIN_PIPELINE = 4,    // clocks from a row in the drain to its line at the writer
  CSC_CS2_DRAIN_LINES = 8,       // lines in that pipeline, a power of two
  CSC_CS2_KERNEL = 15,           // largest edge of a kernel
  CSC_CS2_WINDOW_LINES = 5 * 2,  // most lines of a kernel row's window: 29 pixels of two bytes
  CSC_CS2_WEIGHT_LINES = 29      // (15 * 15 + 7) div 8
};

// The window of CONV and DEPTHWISE.
typedef struct {
  uint32_t in_width, in_height, out_width, out_height;
  uint32_t kernel_width, kernel_height, stride_x, stride_y, pad_left, pad_top;
  int32_t pad_value;
} csc_cs2_geometry_t;

// A product, decoded. Places count lines, but requant, which counts bytes.
typedef struct {
  uint32_t flags;
  int32_t zero_point, clamp_low, clamp_high;
  uint32_t a, b, c, requant, recip;
  uint32_t a_row, b_column, b_depth, c_row, a_batch, b_batch, c_batch, recip_batch;
  uint32_t batches, columns, rows, depth;  // tiles; the nest of loops
  uint32_t a_lines, c_lines;               // of a tile
  uint32_t in_tiles, out_tiles;            // of a row of the image and the result
  uint32_t blocks;                         // of 8 channels of the image
  uint32_t groups;                         // windows of a tile: CONV: (ky, block), DEPTHWISE: 1
  uint32_t window_rows;                    // kernel rows of a window: CONV: 1
  uint32_t weight_lines;                   // DEPTHWISE: for 8 channels
  uint32_t macs;                           // of a step
  uint32_t step_clocks, drain_clocks;
} csc_cs2_product_t;

// A step in the nest of loops; is_done after the last one.
typedef struct {
  uint32_t batch, column, row, depth;
  uint32_t is_done;
} csc_cs2_place_t;

// Lines low to low + count - 1 of a row of pixels.
typedef struct {
  uint32_t low, count;
} csc_cs2_span_t;

// The next line of a window to be read; row is job.window_rows when all were.
typedef struct {
  csc_cs2_place_t place;  // depth is the group
  uint32_t row;           // kernel row of the window
  uint32_t index;         // of the line in `span`
  csc_cs2_span_t span;    // lines of this row that are to be read
} csc_cs2_cursor_t;

// The pixels of a window, row by row the lines of its span.
typedef struct {
  csc_cs2_span_t span[CSC_CS2_KERNEL];
  uint8_t bytes[CSC_CS2_KERNEL][CSC_CS2_WINDOW_LINES][CSC_CS2_LINE];
} csc_cs2_pixels_t;

// A result on its way to the writer.
typedef struct {
  uint64_t due;  // time of the drain
  uint32_t line;
  uint8_t bytes[CSC_CS2_LINE];
} csc_cs2_result_t;

// Zeros at power-up and after a soft reset.
typedef struct {
  csc_cs2_geometry_t geometry;
  int16_t table[CSC_CS2_TABLE_ENTRIES];
  uint32_t table_lines;  // loaded by this command

  csc_cs2_product_t job;
  csc_cs2_place_t load_a, load_b, load_params, array, drain;
  uint32_t sub_a, sub_params;        // next line of that place
  csc_cs2_cursor_t asking, filling;  // CONV, DEPTHWISE: loader A, and the window being filled
  uint32_t current;                  // the other half of `pixels` is filled
  csc_cs2_pixels_t pixels[2];
  uint32_t weights;  // DEPTHWISE: lines of the weights of 8 channels that are here
  uint8_t weight[CSC_CS2_WEIGHT_LINES][CSC_CS2_LINE];
  uint32_t busy;     // clocks of the product under way still to come
  uint32_t is_full;  // the sums are complete and have not moved to the drain
  int32_t sums[CSC_CS2_TILE];
  uint32_t draining;  // clocks of the tile in the drain still to come
  uint64_t time;      // clocks in which drain and pipeline moved
  int32_t bias[8];
  csc_cs2_scale_t scale[8];
  csc_cs2_recip_t recips[8];
  uint32_t result_first, result_count;
  csc_cs2_result_t results[CSC_CS2_DRAIN_LINES];
} csc_cs2_block_t;

// Before the first csc_cs2_block_tick of a command; its setup is over.
void csc_cs2_block_start(csc_sim_cs2_t *sim);

// One clock of a command.
void csc_cs2_block_tick(csc_sim_cs2_t *sim);

#endif  // CSC_SIM_CS2_BLOCK_H
