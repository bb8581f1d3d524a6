// The window of CONV and DEPTHWISE: which lines of the image it needs, and its pixels.

#ifndef CSC_SIM_CS2_WINDOW_H
#define CSC_SIM_CS2_WINDOW_H

#include "cs2_product.h"

// A cursor at the first line of the window of `place`.
csc_cs2_cursor_t csc_cs2_window_begin(const csc_cs2_block_t *block, csc_cs2_place_t place);

// Whether every line of the window has passed.
static inline int csc_cs2_window_is_passed(const csc_cs2_block_t *block,
                                           const csc_cs2_cursor_t *cursor) {
  return cursor->row == block->job.window_rows;
}

// The line of the SRAM under the cursor.
uint32_t csc_cs2_window_line(const csc_cs2_block_t *block, const csc_cs2_cursor_t *cursor);

// Go to the next line.
void csc_cs2_window_advance(const csc_cs2_block_t *block, csc_cs2_cursor_t *cursor);

// Prepare the half of the window that is not current for `place`: what the current one holds is
// taken over, the rest is still to come.
void csc_cs2_window_open(csc_cs2_block_t *block, csc_cs2_place_t place);

// The line under block->filling has come.
void csc_cs2_window_fill(csc_cs2_block_t *block, const uint8_t *bytes);

// The left operand of tap kx of the current window.
void csc_cs2_window_left(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t kx,
                         int16_t a[8][8]);

// DEPTHWISE: the sums of all taps.
void csc_cs2_window_depthwise(csc_cs2_block_t *block, csc_cs2_place_t place);

#endif  // CSC_SIM_CS2_WINDOW_H
