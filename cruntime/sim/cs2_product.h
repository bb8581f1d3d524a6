// What the block engine computes: products of tiles, requantized.

#ifndef CSC_SIM_CS2_PRODUCT_H
#define CSC_SIM_CS2_PRODUCT_H

#include "cs2_block.h"

// Take a GEMM command apart; GEOMETRY as set before.
csc_cs2_product_t csc_cs2_decode_product(const csc_sim_cs2_t *sim);

// Operands of a product of blocks, of every type: a[row][k], b[k][column].
typedef struct {
  int16_t a[8][8];
  int16_t b[8][8];
} csc_cs2_operands_t;

// A from its lines, one or two. Returns the element at byte i of a tile of pixels, too.
void csc_cs2_load_left(const csc_cs2_product_t *job, const uint8_t *const *lines, int16_t a[8][8]);
void csc_cs2_load_right(const csc_cs2_product_t *job, const uint8_t *line, int16_t b[8][8]);

// Element i of a tile of A in its lines.
static inline int16_t csc_cs2_left_element(uint32_t flags, const uint8_t *bytes, uint32_t i) {
  if (flags & CSC_CS2_GEMM_FLAG_A_WIDE) {
    return (int16_t)csc_cs2_clamp((int16_t)csc_cs2_load16(bytes + 2 * i), -4096, 4095);
  }
  return flags & CSC_CS2_GEMM_FLAG_A_UNSIGNED ? (int16_t)bytes[i] : (int8_t)bytes[i];
}

// sums[row][column] += sum over k of a * b, modulo 2^32.
void csc_cs2_multiply_blocks(const csc_cs2_operands_t *operands, int32_t *sums);

// The parameters of the drain, from the lines that hold them.
void csc_cs2_load_requant(csc_cs2_block_t *block, const uint8_t *line);
void csc_cs2_load_context(csc_cs2_block_t *block, const uint8_t *line, uint32_t batch);
void csc_cs2_load_recips(csc_cs2_block_t *block, const uint8_t *line);

// The results of the sums.
void csc_cs2_requantize(const csc_cs2_block_t *block, int32_t *results);

#endif  // CSC_SIM_CS2_PRODUCT_H
