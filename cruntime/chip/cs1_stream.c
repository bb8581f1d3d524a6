// The engine multiplies one block while the CPU adds up its results and writes the next block
// behind it. What makes this safe (CHIP.md, timing of a run), with clock 0 the start:
//
// * C(n, r) can be read from clock 10 + 64 n + 8 r on. A transfer takes the CPU at least 5 clocks,
//   so after a read of CTRL and a load of acc the first C is read in clock 15 or later. Each C
//   takes at least 15 clocks (load acc, load C, store acc: all volatile, so in this order) and each
//   row of the next A at least 40 (eight volatile stores): C(n, r) is read in clock 15 + n (15 rows
//   + 40) + 15 r or later. That is never too early with 2 rows or more; a single row spends two
//   more reads of CTRL for each n: 15 + n (15 + 40 + 10).
// * Row n of A has been used for all results that count when C(n, rows - 1) is readable; only
//   then the next A's row is written over it.
// * Where the first products of 8 rows are stored and not added, each C takes at least 10 clocks:
//   C(n, r) is read in clock 10 + n (10 * 8 + 40) + 10 r or later.
// * The last block has no next A. With 8 rows C(n, r) is still read in clock 10 + 10 (8 n + r) or
//   later, and the engine is waited for afterwards; with fewer rows before.
//
// Memory that makes the CPU wait only adds clocks to these.

#include "cs1_stream.h"

#include "cs1_regs.h"

enum { EDGE = 8, WORDS = CSC_CS1_A_ROW_BYTES / 4, BLOCK_CLOCKS = 512 };

#define INLINE static inline __attribute__((always_inline))

typedef struct {
  volatile uint32_t *ctrl;
  volatile const uint32_t *perf;
  volatile uint32_t *a;
  volatile const uint32_t *c;
} engine_t;

static engine_t engine_of(const csc_cs1_t *cs1) {
  volatile uint32_t *window = cs1->window;
  engine_t engine = {window + CSC_CS1_CTRL / 4, window + CSC_CS1_PERF_CYCLES / 4,
                     window + CSC_CS1_A / 4, window + CSC_CS1_C / 4};
  return engine;
}

INLINE void write_row(volatile uint32_t *a, const int8_t *w) {
#pragma GCC unroll 8
  for (uint32_t k = 0; k < EDGE; k++) a[k] = (uint32_t)(int32_t)w[k];
}

INLINE void write_block(volatile uint32_t *a, const int8_t *w) {
#pragma GCC unroll 8
  for (uint32_t n = 0; n < EDGE; n++) write_row(a + n * WORDS, w + n * EDGE);
}

// Modulo 2^32; the caller's bound keeps the sums exact.
INLINE void add_one(volatile const uint32_t *c, volatile int32_t *acc, int is_first) {
  const uint32_t sum = is_first ? 0 : (uint32_t)*acc;
  *acc = (int32_t)(sum + *c);
}

INLINE void add_row(volatile const uint32_t *c, int32_t *const *acc, uint32_t n, uint32_t rows,
                    int is_first) {
#pragma GCC unroll 8
  for (uint32_t r = 0; r < rows; r++) add_one(c + r, acc[r] + n, is_first);
}

// Two transfers of at least 5 clocks.
INLINE void wait_10_clocks(engine_t engine) {
  (void)*engine.ctrl;
  (void)*engine.ctrl;
}

// Starts the block in A, adds its results and puts the next block into A.
INLINE void overlap_block(engine_t engine, const int8_t *next, int32_t *const *acc, uint32_t rows,
                          int is_first) {
  *engine.ctrl = CSC_CS1_CTRL_START_MASK;
  (void)*engine.ctrl;
#pragma GCC unroll 8
  for (uint32_t n = 0; n < EDGE; n++) {
    add_row(engine.c + n * WORDS, acc, n, rows, is_first);
    if (rows == 1) wait_10_clocks(engine);
    write_row(engine.a + n * WORDS, next + n * EDGE);
  }
}

INLINE csc_cs1_status_t last_block(csc_cs1_t *cs1, engine_t engine, int32_t *const *acc,
                                   uint32_t rows, int is_first) {
  *engine.ctrl = CSC_CS1_CTRL_START_MASK;
  if (rows == EDGE) {
    (void)*engine.ctrl;
#pragma GCC unroll 8
    for (uint32_t n = 0; n < EDGE; n++) add_row(engine.c + n * WORDS, acc, n, rows, is_first);
    return csc_cs1_finish_run(cs1);
  }
  const csc_cs1_status_t status = csc_cs1_finish_run(cs1);
  if (status != CSC_CS1_OK) return status;
#pragma GCC unroll 1
  for (uint32_t n = 0; n < EDGE; n++) add_row(engine.c + n * WORDS, acc, n, rows, is_first);
  return CSC_CS1_OK;
}

// `rows` is a constant, so the products below become shifts. Reads of CTRL in csc_cs1_finish_run
// count themselves.
INLINE void count_transfers(csc_cs1_t *cs1, uint32_t n_blocks, uint32_t rows) {
  // Of each block but the last: CTRL behind the start, CTRL and PERF_CYCLES at the end.
  const uint32_t polls = rows == 1 ? 3 + 2 * EDGE : 3;
  cs1->blocks += n_blocks;
  cs1->engine_clocks += n_blocks * BLOCK_CLOCKS;
  cs1->reads += n_blocks * (EDGE * rows + polls) - (rows == EDGE ? polls - 1 : polls);
  cs1->writes += n_blocks * (1 + EDGE * EDGE);
}

// Code for `rows` rows, of which `used` count: the zeros behind them are added to the last one.
INLINE csc_cs1_status_t stream(csc_cs1_t *cs1, const int8_t *w, size_t step, uint32_t n_blocks,
                               uint32_t rows, int32_t *first, size_t stride, uint32_t used,
                               int is_first) {
  const engine_t engine = engine_of(cs1);
  int32_t *acc[EDGE];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < EDGE; r++, first += r < used ? stride : 0) acc[r] = first;
  write_block(engine.a, w);
  for (uint32_t left = n_blocks - 1; left > 0; left--) {
    w += step;
    overlap_block(engine, w, acc, rows, is_first);
#pragma GCC unroll 8
    for (uint32_t r = 0; r < EDGE; r++) acc[r] += EDGE;
    if ((*engine.ctrl | (*engine.perf ^ BLOCK_CLOCKS)) == 0) continue;  // a whole run has ended
    const csc_cs1_status_t status = csc_cs1_finish_run(cs1);
    if (status != CSC_CS1_OK) return status;
  }
  count_transfers(cs1, n_blocks, rows);
  return last_block(cs1, engine, acc, rows, is_first);
}

csc_cs1_status_t csc_cs1_stream(csc_cs1_t *cs1, const int8_t *w, size_t step, uint32_t n_blocks,
                                uint32_t rows, int32_t *acc, size_t stride) {
  if (n_blocks == 0) return CSC_CS1_OK;
  if (rows == 1) return stream(cs1, w, step, n_blocks, 1, acc, stride, 1, 0);
  if (rows <= 4) return stream(cs1, w, step, n_blocks, 4, acc, stride, rows, 0);
  return stream(cs1, w, step, n_blocks, EDGE, acc, stride, rows, 0);
}

csc_cs1_status_t csc_cs1_stream_first(csc_cs1_t *cs1, const int8_t *w, size_t step,
                                      uint32_t n_blocks, int32_t *acc, size_t stride) {
  if (n_blocks == 0) return CSC_CS1_OK;
  return stream(cs1, w, step, n_blocks, EDGE, acc, stride, EDGE, 1);
}
