#include "memory.h"

uint64_t csc_arena_room(const csc_model_t *model, int runs_plans) {
  uint64_t bytes = csc_arena_bytes(model);
  if (runs_plans && model->plan && model->plan->store_bytes > bytes) {
    bytes = model->plan->store_bytes;
  }
  return CSC_UP_ALIGN(bytes);
}

uint64_t csc_work_bytes(const csc_model_t *model, int runs_plans) {
  uint64_t records = (uint64_t)model->header->op_count * sizeof(csc_frame_op_clocks_t);
  return csc_arena_room(model, runs_plans) + CSC_UP_ALIGN(records);
}

csc_piece_t csc_find_room(csc_image_t *image, uint64_t bytes, csc_piece_t taken) {
  csc_piece_t largest = {0, 0};
  uint64_t end_of_taken = (uintptr_t)taken.first + (uint64_t)taken.bytes;
  for (uint32_t i = 0; i < CSC_FRAME_REGIONS; i++) {
    uint32_t kind = image->regions[i].kind;
    uint64_t first = image->regions[i].first;
    uint64_t end = image->regions[i].end;
    if (kind != CSC_FRAME_MEMORY_RAM && kind != CSC_FRAME_MEMORY_OPEN_END) continue;
    if (first < end_of_taken && end_of_taken <= end) first = end_of_taken;
    first = CSC_UP_ALIGN(first);
    if (first > end) continue;
    csc_piece_t piece = {(uint8_t *)(uintptr_t)first, (uint32_t)(end - first)};
    if (end - first >= bytes) {
      piece.bytes = (uint32_t)bytes;
      return piece;
    }
    if (piece.bytes > largest.bytes) largest.bytes = piece.bytes;
  }
  return largest;
}
