// cs1_stream.h: inside of the CS1 driver: a stream of weight blocks through an engine whose
// registers the CPU reaches by plain loads and stores.

#ifndef CSC_CS1_STREAM_H
#define CSC_CS1_STREAM_H

#include "cs1_driver.h"

// Waits until CTRL reads 0, at most poll_limit reads, and looks whether the run was a whole one.
csc_cs1_status_t csc_cs1_finish_run(csc_cs1_t *cs1) CSC_CS1_CHECKED;

// With B loaded and the engine idle: acc[r][8 * b + n] += product with block b of w.
//   w    [n_blocks][...], 64 elements [8 n][8 k] each, `step` elements from block to block
//   acc  [rows][stride], rows 1..8; the columns of B behind `rows` are 0
// Needs cs1->window.
csc_cs1_status_t csc_cs1_stream(csc_cs1_t *cs1, const int8_t *w, size_t step, uint32_t n_blocks,
                                uint32_t rows, int32_t *acc, size_t stride) CSC_CS1_CHECKED;

// The same for 8 rows and acc[r][8 * b + n] = product.
csc_cs1_status_t csc_cs1_stream_first(csc_cs1_t *cs1, const int8_t *w, size_t step,
                                      uint32_t n_blocks, int32_t *acc,
                                      size_t stride) CSC_CS1_CHECKED;

#endif  // CSC_CS1_STREAM_H
