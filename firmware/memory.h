// memory.h: which memory the image leaves free, and what lies in it.

#ifndef CSC_FIRMWARE_MEMORY_H
#define CSC_FIRMWARE_MEMORY_H

#include "board.h"

#define CSC_UP_ALIGN(bytes) (((bytes) + (uint64_t)(CSC_ALIGN - 1)) & ~(uint64_t)(CSC_ALIGN - 1))

// A piece of memory; bytes = 0: there is none.
typedef struct {
  uint8_t *first;
  uint32_t bytes;
} csc_piece_t;

// Bytes of the arena, rounded up. With `runs_plans` the chip of the board stores the model's plan's
// results in its place.
uint64_t csc_arena_room(const csc_model_t *model, int runs_plans);

// The same and op records.
uint64_t csc_work_bytes(const csc_model_t *model, int runs_plans);

// The first `bytes` bytes of the first region of RAM with room for them behind `taken`, should
// that lie in it. Without room first is null and bytes the most that would have fit.
csc_piece_t csc_find_room(csc_image_t *image, uint64_t bytes, csc_piece_t taken);

#endif
