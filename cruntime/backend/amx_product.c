// amx_product.c: products with tdpbusd: 16 x 16 sums of 64 products each.
//
// A panel of the right side is a column of tiles as it lies; so is a block of 16 rows of the left.

#include "avx512_inner.h"

#if CSC_HAS_AVX512

#define AMX __attribute__((target("amx-tile,amx-int8")))
#define TILE_ROWS 16u
#define TILE_BYTES 1024u

// All eight tiles: 16 rows of 64 bytes. Constant, since compilers do not know that it is read.
static const struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} configuration = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};
_Static_assert(sizeof configuration == 64, "what ldtilecfg reads");

AMX void csc_amx_begin(void) { _tile_loadconfig(&configuration); }

AMX void csc_amx_end(void) { _tile_release(); }

// Where the sums of a tile start, and where they go.
static const int32_t *start_of(const csc_product_t *p, uint32_t row, uint32_t panel) {
  return p->start + row * p->start_stride + panel * PANEL;
}

static int32_t *sums_of(const csc_product_t *p, uint32_t row, uint32_t panel) {
  return p->c + row * p->c_stride + panel * PANEL;
}

#define LOAD(tile, from, stride) _tile_loadd(tile, from, (long)(stride))
#define LOAD_START(tile, row, panel) LOAD(tile, start_of(p, row, panel), 4 * p->start_stride)
#define STORE_SUMS(tile, row, panel) \
  _tile_stored(tile, sums_of(p, row, panel), (long)(4 * p->c_stride))

// 32 rows x 2 panels.
AMX static void multiply_2x2(const csc_product_t *p, uint32_t panel) {
  const uint8_t *a = p->a;
  const int8_t *b = p->b + (size_t)panel * p->depth * PANEL;
  const size_t step = (size_t)p->depth * PANEL;
  LOAD_START(0, 0, panel);
  LOAD_START(1, 0, panel + 1);
  LOAD_START(2, TILE_ROWS, panel);
  LOAD_START(3, TILE_ROWS, panel + 1);
  for (uint32_t k = 0; k < p->depth; k += DEPTH_UNIT, a += DEPTH_UNIT, b += TILE_BYTES) {
    LOAD(4, a, p->a_stride);
    LOAD(6, b, 64);
    _tile_dpbusd(0, 4, 6);
    LOAD(7, b + step, 64);
    _tile_dpbusd(1, 4, 7);
    LOAD(5, a + TILE_ROWS * p->a_stride, p->a_stride);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  STORE_SUMS(0, 0, panel);
  STORE_SUMS(1, 0, panel + 1);
  STORE_SUMS(2, TILE_ROWS, panel);
  STORE_SUMS(3, TILE_ROWS, panel + 1);
}

// 16 rows x 4 panels.
AMX static void multiply_1x4(const csc_product_t *p, uint32_t panel) {
  const uint8_t *a = p->a;
  const int8_t *b = p->b + (size_t)panel * p->depth * PANEL;
  const size_t step = (size_t)p->depth * PANEL;
  LOAD_START(0, 0, panel);
  LOAD_START(1, 0, panel + 1);
  LOAD_START(2, 0, panel + 2);
  LOAD_START(3, 0, panel + 3);
  for (uint32_t k = 0; k < p->depth; k += DEPTH_UNIT, a += DEPTH_UNIT, b += TILE_BYTES) {
    LOAD(4, a, p->a_stride);
    LOAD(5, b, 64);
    _tile_dpbusd(0, 4, 5);
    LOAD(6, b + step, 64);
    _tile_dpbusd(1, 4, 6);
    LOAD(7, b + 2 * step, 64);
    _tile_dpbusd(2, 4, 7);
    LOAD(5, b + 3 * step, 64);
    _tile_dpbusd(3, 4, 5);
  }
  STORE_SUMS(0, 0, panel);
  STORE_SUMS(1, 0, panel + 1);
  STORE_SUMS(2, 0, panel + 2);
  STORE_SUMS(3, 0, panel + 3);
}

// 16 rows x 1 panel.
AMX static void multiply_1x1(const csc_product_t *p, uint32_t row, uint32_t panel) {
  const uint8_t *a = p->a + row * p->a_stride;
  const int8_t *b = p->b + (size_t)panel * p->depth * PANEL;
  LOAD_START(0, row, panel);
  for (uint32_t k = 0; k < p->depth; k += DEPTH_UNIT, a += DEPTH_UNIT, b += TILE_BYTES) {
    LOAD(4, a, p->a_stride);
    LOAD(5, b, 64);
    _tile_dpbusd(0, 4, 5);
  }
  STORE_SUMS(0, row, panel);
}

// The barrier: GCC does not know either that tiles are read from memory.
void csc_amx_multiply(const csc_product_t *product) {
  uint32_t panel = 0;
  uint32_t panels = product->panels;
  __asm__ volatile("" ::: "memory");
  if (product->rows > TILE_ROWS) {
    for (; panel + 2 <= panels; panel += 2) multiply_2x2(product, panel);
  } else {
    for (; panel + 4 <= panels; panel += 4) multiply_1x4(product, panel);
  }
  for (; panel < panels; panel++) {
    for (uint32_t row = 0; row < product->rows; row += TILE_ROWS) {
      multiply_1x1(product, row, panel);
    }
  }
}

#endif
