// What a command of the vector engine gives the machine that runs its steps.

#ifndef CSC_SIM_CS2_VECTOR_OP_H
#define CSC_SIM_CS2_VECTOR_OP_H

#include "cs2_chip.h"

// Lines of a step, by stream and in the order of asking.
typedef struct {
  const uint8_t *x[CSC_CS2_STREAM];
  const uint8_t *y[CSC_CS2_STREAM];
  const uint8_t *constant[CSC_CS2_STREAM];
} csc_cs2_step_lines_t;

typedef struct {
  uint32_t phases;  // of a row of tiles
  void (*decode)(const uint32_t *words, csc_cs2_vector_job_t *job);
  // Steps of a phase, or none; parts of an item, where that is not always 1.
  uint32_t (*items)(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at);
  uint32_t (*parts)(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at);
  void (*plan)(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at, csc_cs2_step_t *step);
  void (*execute)(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                  const csc_cs2_step_lines_t *lines);
} csc_cs2_vector_op_t;

extern const csc_cs2_vector_op_t csc_cs2_vector_norm;
extern const csc_cs2_vector_op_t csc_cs2_vector_add;
extern const csc_cs2_vector_op_t csc_cs2_vector_mul;
extern const csc_cs2_vector_op_t csc_cs2_vector_softmax;
extern const csc_cs2_vector_op_t csc_cs2_vector_lookup;
extern const csc_cs2_vector_op_t csc_cs2_vector_pool;
extern const csc_cs2_vector_op_t csc_cs2_vector_embed;
extern const csc_cs2_vector_op_t csc_cs2_vector_table;
extern const csc_cs2_vector_op_t csc_cs2_vector_transpose;

// --- decoding ------------------------------------------------------------------------------------

static inline uint32_t csc_cs2_tiles(uint32_t elements) { return (elements + 7) / 8; }

static inline csc_cs2_tiles_t csc_cs2_operand(uint32_t address, uint32_t row, uint32_t bytes) {
  csc_cs2_tiles_t tiles = {address / CSC_CS2_LINE, row, 0, bytes};
  return tiles;
}

static inline csc_cs2_scale_t csc_cs2_scale(uint32_t multiplier, uint32_t shift) {
  csc_cs2_scale_t scale = {(int32_t)multiplier, shift};
  return scale;
}

// A step for every tile of a row of tiles.
static inline uint32_t csc_cs2_tile_items(const csc_cs2_vector_job_t *job,
                                          const csc_cs2_position_t *at) {
  (void)at;
  return job->columns;
}

// --- planning ------------------------------------------------------------------------------------

static inline uint32_t csc_cs2_tile_line(const csc_cs2_tiles_t *tiles, uint32_t batch, uint32_t row,
                                         uint32_t column) {
  return tiles->line + batch * tiles->batch + row * tiles->row + column * tiles->bytes;
}

static inline void csc_cs2_plan_line(csc_cs2_step_t *step, csc_cs2_read_t stream, uint32_t line) {
  step->reads[step->count].stream = stream;
  step->reads[step->count++].line = line;
}

static inline void csc_cs2_plan_tile(csc_cs2_step_t *step, csc_cs2_read_t stream,
                                     const csc_cs2_tiles_t *tiles, uint32_t batch, uint32_t row,
                                     uint32_t column) {
  const uint32_t line = csc_cs2_tile_line(tiles, batch, row, column);
  for (uint32_t i = 0; i < tiles->bytes; i++) csc_cs2_plan_line(step, stream, line + i);
}

static inline void csc_cs2_plan_work(csc_cs2_step_t *step, uint32_t clocks, uint32_t elements) {
  step->clocks = clocks;
  step->elements = elements;
}

// --- executing -----------------------------------------------------------------------------------

static inline void csc_cs2_unpack_tile(const csc_cs2_tiles_t *tiles, const uint8_t *const *lines,
                                       int32_t elements[CSC_CS2_TILE]) {
  for (uint32_t i = 0; i < tiles->bytes; i++) {
    if (tiles->bytes == 1) csc_cs2_unpack8(lines[i], elements);
    if (tiles->bytes == 2) csc_cs2_unpack16(lines[i], elements + 32 * i);
    if (tiles->bytes == 4) csc_cs2_unpack32(lines[i], elements + 16 * i);
  }
}

// Clamp to the type of the elements of `tiles`, int8 or int16.
static inline int32_t csc_cs2_saturate(const csc_cs2_tiles_t *tiles, int64_t value) {
  const int64_t limit = tiles->bytes == 2 ? 32768 : 128;
  return (int32_t)csc_cs2_clamp(value, -limit, limit - 1);
}

// Send a tile that begins at `line` into the pipeline, as a result of the step under way.
void csc_cs2_send_tile(csc_cs2_vector_t *vector, uint32_t line, uint32_t bytes,
                       const int32_t elements[CSC_CS2_TILE]);

#endif  // CSC_SIM_CS2_VECTOR_OP_H
