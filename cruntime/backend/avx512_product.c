// avx512_product.c: products with vpdpbusd, a block of sums in registers at a time.

#include "avx512_inner.h"

#if CSC_HAS_AVX512

// rows x panels sums from (row, panel) on. Inlined with constants, so that sums are registers:
// 24 of them, 4 of the right side, one of the left.
V512_INLINE void multiply_block(const csc_product_t *p, uint32_t row, uint32_t panel,
                                const uint32_t rows, const uint32_t panels) {
  const size_t step = (size_t)p->depth * PANEL;
  const uint8_t *a = p->a + row * p->a_stride;
  const int8_t *b = p->b + panel * step;
  __m512i sum[6][4];
  UNROLL
  for (uint32_t r = 0; r < rows; r++) {
    const int32_t *start = p->start + (row + r) * p->start_stride + panel * PANEL;
    UNROLL
    for (uint32_t n = 0; n < panels; n++) sum[r][n] = load512(start + n * PANEL);
  }
  for (uint32_t k = 0; k < p->depth; k += 4) {
    __m512i right[4];
    UNROLL
    for (uint32_t n = 0; n < panels; n++) right[n] = load512(b + n * step + k * PANEL);
    UNROLL
    for (uint32_t r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, a + r * p->a_stride + k, sizeof four);
      __m512i left = _mm512_set1_epi32(four);
      UNROLL
      for (uint32_t n = 0; n < panels; n++) {
        sum[r][n] = _mm512_dpbusd_epi32(sum[r][n], left, right[n]);
      }
    }
  }
  UNROLL
  for (uint32_t r = 0; r < rows; r++) {
    int32_t *c = p->c + (row + r) * p->c_stride + panel * PANEL;
    UNROLL
    for (uint32_t n = 0; n < panels; n++) store512(c + n * PANEL, sum[r][n]);
  }
}

typedef void block_t(const csc_product_t *p, uint32_t row, uint32_t panel);

#define BLOCK(rows, panels)                                                                        \
  V512 static void block_##rows##x##panels(const csc_product_t *p, uint32_t row, uint32_t panel) { \
    multiply_block(p, row, panel, rows, panels);                                                   \
  }
#define BLOCKS(panels) \
  BLOCK(1, panels)     \
  BLOCK(2, panels)     \
  BLOCK(3, panels)     \
  BLOCK(4, panels)     \
  BLOCK(5, panels)     \
  BLOCK(6, panels)
#define NAMES(panels)                                    \
  {block_1x##panels, block_2x##panels, block_3x##panels, \
   block_4x##panels, block_5x##panels, block_6x##panels}

BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)

static block_t *const blocks[4][6] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4)};

void csc_avx512_multiply(const csc_product_t *product) {
  for (uint32_t panel = 0; panel < product->panels; panel += 4) {
    block_t *const *of_rows = blocks[least(4, product->panels - panel) - 1];
    for (uint32_t row = 0; row < product->rows;) {
      uint32_t left = product->rows - row;
      uint32_t pieces = (left + 5) / 6;  // of about the same size: sums hide each other's latency
      uint32_t rows = (left + pieces - 1) / pieces;
      of_rows[rows - 1](product, row, panel);
      row += rows;
    }
  }
}

#endif
