// What the decoder of CS2 checks descriptors against.

#ifndef CSC_SIM_CS2_CHECK_H
#define CSC_SIM_CS2_CHECK_H

#include <stdint.h>

#include "cs2_commands.h"

enum { CSC_CS2_SPACES = 4 };  // the last one does not exist

// Bytes of each space.
typedef struct {
  uint64_t bytes[CSC_CS2_SPACES];
} csc_cs2_spaces_t;

// What earlier commands have set, in the order of the queue.
typedef struct {
  uint32_t in_rows;       // rows of tiles of an image, 0 = no GEOMETRY yet
  uint32_t out_rows;      // of a result
  uint32_t taps;          // of the window
  uint32_t block_table;   // 0 = none, 1 = int8, 2 = int16
  uint32_t vector_table;  //
} csc_cs2_checked_t;

// Source or target of a COPY before parameters move it.
typedef struct {
  uint32_t address;
  uint32_t stride;
  uint32_t align;  // of address and stride: bytes of a piece in tiles, else 1
  uint64_t reach;  // bytes from the first to the last one
} csc_cs2_copy_side_t;

// Of so many rows; gathering reaches as far as its limit.
csc_cs2_copy_side_t csc_cs2_copy_source(const uint32_t *words, uint32_t rows);
csc_cs2_copy_side_t csc_cs2_copy_target(const uint32_t *words, uint32_t rows);

static inline uint32_t csc_cs2_space_of(uint32_t address) { return address >> 30; }

static inline uint32_t csc_cs2_offset_of(uint32_t address) { return address & 0x3FFFFFFFu; }

#endif  // CSC_SIM_CS2_CHECK_H
