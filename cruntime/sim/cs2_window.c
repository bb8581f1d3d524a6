#include "cs2_window.h"

#include <string.h>

static int is_depthwise(const csc_cs2_block_t *block) {
  return (block->job.flags & CSC_CS2_GEMM_FLAG_DEPTHWISE) != 0;
}

// --- which lines ---------------------------------------------------------------------------------

// Row of the image under kernel row `row` of the window; it may lie outside.
static int32_t image_row(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t row) {
  const csc_cs2_geometry_t *geometry = &block->geometry;
  const uint32_t y = place.row / block->job.out_tiles;
  const uint32_t ky = is_depthwise(block) ? row : place.depth / block->job.blocks;
  return (int32_t)(y * geometry->stride_y + ky) - (int32_t)geometry->pad_top;
}

// Column of the image under the first pixel of a tile and the first tap.
static int32_t image_column(const csc_cs2_block_t *block, csc_cs2_place_t place) {
  const csc_cs2_geometry_t *geometry = &block->geometry;
  const uint32_t x = place.row % block->job.out_tiles * 8;
  return (int32_t)(x * geometry->stride_x) - (int32_t)geometry->pad_left;
}

// Tiles of the image, inside it, that a row of the window touches.
static csc_cs2_span_t span_of(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t row) {
  const csc_cs2_geometry_t *geometry = &block->geometry;
  const int32_t y = image_row(block, place, row);
  const int32_t first = image_column(block, place);
  const int32_t last = first + (int32_t)(7 * geometry->stride_x + geometry->kernel_width) - 1;
  const int32_t end = (int32_t)block->job.in_tiles - 1;
  const int32_t low = first < 0 ? 0 : first / 8;
  const int32_t high = last / 8 < end ? last / 8 : end;
  csc_cs2_span_t span = {(uint32_t)low, 0};
  if (y < 0 || y >= (int32_t)geometry->in_height || last < 0 || high < low) return span;
  span.count = (uint32_t)(high - low + 1);
  return span;
}

// The same without the tiles that the window before it holds: DEPTHWISE, moving along a row.
static csc_cs2_span_t new_span(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t row) {
  csc_cs2_span_t span = span_of(block, place, row);
  if (!is_depthwise(block) || place.row % block->job.out_tiles == 0) return span;
  place.row--;
  const csc_cs2_span_t before = span_of(block, place, row);
  const uint32_t end = before.low + before.count;
  if (before.count == 0 || end <= span.low) return span;
  const uint32_t kept = end - span.low < span.count ? end - span.low : span.count;
  span.low += kept;
  span.count -= kept;
  return span;
}

// --- passing over the lines ----------------------------------------------------------------------

// Go to the first row, from the cursor's on, with a line to be read.
static void find_row(const csc_cs2_block_t *block, csc_cs2_cursor_t *cursor) {
  for (; cursor->row < block->job.window_rows; cursor->row++) {
    cursor->index = 0;
    cursor->span = new_span(block, cursor->place, cursor->row);
    if (cursor->span.count != 0) return;
  }
}

csc_cs2_cursor_t csc_cs2_window_begin(const csc_cs2_block_t *block, csc_cs2_place_t place) {
  csc_cs2_cursor_t cursor = {.place = place};
  find_row(block, &cursor);
  return cursor;
}

void csc_cs2_window_advance(const csc_cs2_block_t *block, csc_cs2_cursor_t *cursor) {
  if (++cursor->index < cursor->span.count * block->job.a_lines) return;
  cursor->row++;
  find_row(block, cursor);
}

uint32_t csc_cs2_window_line(const csc_cs2_block_t *block, const csc_cs2_cursor_t *cursor) {
  const csc_cs2_product_t *job = &block->job;
  const csc_cs2_place_t place = cursor->place;
  const uint32_t y = (uint32_t)image_row(block, place, cursor->row);
  const uint32_t x = cursor->span.low + cursor->index / job->a_lines;
  const uint32_t channels = is_depthwise(block) ? place.column : place.depth % job->blocks;
  return job->a + place.batch * job->a_batch + (y * job->in_tiles + x) * job->a_row +
         channels * job->a_lines + cursor->index % job->a_lines;
}

// --- filling -------------------------------------------------------------------------------------

// Where tile x of a row of the window lies.
static uint8_t *tile_bytes(csc_cs2_pixels_t *pixels, uint32_t a_lines, uint32_t row, uint32_t x) {
  return pixels->bytes[row][(x - pixels->span[row].low) * a_lines];
}

static void keep_row(csc_cs2_block_t *block, uint32_t row) {
  csc_cs2_pixels_t *from = &block->pixels[block->current];
  csc_cs2_pixels_t *to = &block->pixels[1 - block->current];
  const uint32_t lines = block->job.a_lines;
  const uint32_t end = from->span[row].low + from->span[row].count;
  for (uint32_t x = to->span[row].low; x < end && x < to->span[row].low + to->span[row].count;
       x++) {
    memcpy(tile_bytes(to, lines, row, x), tile_bytes(from, lines, row, x),
           (size_t)lines * CSC_CS2_LINE);
  }
}

void csc_cs2_window_open(csc_cs2_block_t *block, csc_cs2_place_t place) {
  csc_cs2_pixels_t *pixels = &block->pixels[1 - block->current];
  block->filling = csc_cs2_window_begin(block, place);
  for (uint32_t row = 0; row < block->job.window_rows; row++) {
    pixels->span[row] = span_of(block, place, row);
    if (is_depthwise(block) && place.row % block->job.out_tiles != 0) keep_row(block, row);
  }
}

void csc_cs2_window_fill(csc_cs2_block_t *block, const uint8_t *bytes) {
  csc_cs2_pixels_t *pixels = &block->pixels[1 - block->current];
  const csc_cs2_cursor_t *cursor = &block->filling;
  const uint32_t lines = block->job.a_lines;
  uint8_t *tile = tile_bytes(pixels, lines, cursor->row, cursor->span.low + cursor->index / lines);
  memcpy(tile + cursor->index % lines * CSC_CS2_LINE, bytes, CSC_CS2_LINE);
  csc_cs2_window_advance(block, &block->filling);
}

// --- taps ----------------------------------------------------------------------------------------

// The 8 channels of pixel r of the tile under tap kx of a row of the window.
static void load_pixel(const csc_cs2_block_t *block, uint32_t row, int32_t column,
                       int16_t channels[8]) {
  const csc_cs2_pixels_t *pixels = &block->pixels[block->current];
  const csc_cs2_span_t span = pixels->span[row];
  const int is_inside =
      span.count != 0 && column >= 0 && column < (int32_t)block->geometry.in_width;
  const uint32_t x = is_inside ? (uint32_t)column / 8 - span.low : 0;
  const uint8_t *bytes = pixels->bytes[row][x * block->job.a_lines];
  for (uint32_t c = 0; c < 8; c++) {
    channels[c] = is_inside
                      ? csc_cs2_left_element(block->job.flags, bytes, (uint32_t)column % 8 * 8 + c)
                      : (int16_t)block->geometry.pad_value;
  }
}

static void load_pixels(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t row,
                        uint32_t kx, int16_t a[8][8]) {
  const int32_t first = image_column(block, place) + (int32_t)kx;
  for (uint32_t r = 0; r < 8; r++) {
    load_pixel(block, row, first + (int32_t)(r * block->geometry.stride_x), a[r]);
  }
}

void csc_cs2_window_left(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t kx,
                         int16_t a[8][8]) {
  load_pixels(block, place, 0, kx, a);
}

static void add_tap(csc_cs2_block_t *block, int16_t a[8][8], uint32_t tap) {
  const uint8_t *weights = block->weight[tap / 8] + tap % 8 * 8;
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int32_t product = a[i / 8][i % 8] * (int8_t)weights[i % 8];
    block->sums[i] = (int32_t)((uint32_t)block->sums[i] + (uint32_t)product);
  }
}

void csc_cs2_window_depthwise(csc_cs2_block_t *block, csc_cs2_place_t place) {
  const csc_cs2_geometry_t *geometry = &block->geometry;
  int16_t a[8][8];
  for (uint32_t ky = 0; ky < geometry->kernel_height; ky++) {
    for (uint32_t kx = 0; kx < geometry->kernel_width; kx++) {
      load_pixels(block, place, ky, kx, a);
      add_tap(block, a, ky * geometry->kernel_width + kx);
    }
  }
}
