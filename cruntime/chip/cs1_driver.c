// The engine computes C = A * B. Here A is a block of weights (8 n x 8 k), B a transposed block of
// activations (8 k x rows) and C their product (8 n x rows): B is loaded once for all n, and a
// product with few rows leaves columns of B and C alone.
//
// The loops carry addresses and indices along by adding: the chip's CPU has no multiplier.

#include "cs1_driver.h"

#include "cs1_regs.h"
#include "cs1_stream.h"

enum {
  EDGE = CSC_CS1_A_ROW_BYTES / 4,
  ROW_BYTES = CSC_CS1_A_ROW_BYTES,
  WORD_BYTES = 4,
  BLOCK_CLOCKS = EDGE * EDGE * EDGE  // what PERF_CYCLES shows after a run of size 8
};

typedef enum { TYPE_S8, TYPE_U8, TYPE_S16 } element_type_t;

// acc[r][n] = sum over k of x[r][k] * w[n * w_n + k * w_k]
typedef struct {
  const void *x;
  element_type_t x_type;
  size_t x_stride;
  uint32_t rows;  // 1..8
  const int8_t *w;
  size_t w_n;        // elements from n to n + 1 inside a block
  size_t w_k;        // elements from k to k + 1 inside a block
  size_t w_n_block;  // elements from block to block
  size_t w_k_block;
  uint32_t cols;
  uint32_t depth;
  int32_t *acc;
  size_t acc_stride;
} product_t;

void csc_cs1_init(csc_cs1_t *cs1, const csc_bus_t *bus, uint32_t base, uint32_t poll_limit) {
  cs1->bus = bus;
  cs1->window = NULL;
  cs1->base = base;
  cs1->poll_limit = poll_limit;
  cs1->blocks = 0;
  cs1->engine_clocks = 0;
  cs1->reads = 0;
  cs1->writes = 0;
}

static csc_cs1_status_t write_register(csc_cs1_t *cs1, uint32_t offset, uint32_t value) {
  const csc_bus_t *bus = cs1->bus;
  if (bus->write32(bus->ctx, cs1->base + offset, value) != 0) return CSC_CS1_BUS_ERROR;
  cs1->writes += 1;
  return CSC_CS1_OK;
}

// STATUS shows the end of a run for one clock only, CTRL stays 0: poll CTRL.
static csc_cs1_status_t wait_until_idle(csc_cs1_t *cs1) {
  const csc_bus_t *bus = cs1->bus;
  for (uint32_t n = 0; n < cs1->poll_limit; n++) {
    uint32_t ctrl = 1;
    if (bus->read32(bus->ctx, cs1->base + CSC_CS1_CTRL, &ctrl) != 0) return CSC_CS1_BUS_ERROR;
    cs1->reads += 1;
    if (ctrl == 0) return CSC_CS1_OK;
  }
  return CSC_CS1_TIMEOUT;
}

// PERF_CYCLES counts the multiplies of the run: fewer mean results that are not there yet.
csc_cs1_status_t csc_cs1_finish_run(csc_cs1_t *cs1) {
  const csc_cs1_status_t status = wait_until_idle(cs1);
  if (status != CSC_CS1_OK) return status;
  const csc_bus_t *bus = cs1->bus;
  uint32_t done = 0;
  if (bus->read32(bus->ctx, cs1->base + CSC_CS1_PERF_CYCLES, &done) != 0) {
    return CSC_CS1_BUS_ERROR;
  }
  cs1->reads += 1;
  return done == BLOCK_CLOCKS ? CSC_CS1_OK : CSC_CS1_EARLY;
}

// The right size also ends a run that an unfit size keeps going for ever.
static csc_cs1_status_t prepare_engine(csc_cs1_t *cs1) {
  const csc_cs1_status_t status = write_register(cs1, CSC_CS1_MATRIX_SIZE, EDGE);
  return status != CSC_CS1_OK ? status : wait_until_idle(cs1);
}

static csc_cs1_status_t run_engine(csc_cs1_t *cs1) {
  csc_cs1_status_t status = write_register(cs1, CSC_CS1_CTRL, CSC_CS1_CTRL_START_MASK);
  if (status == CSC_CS1_OK) status = csc_cs1_finish_run(cs1);
  if (status != CSC_CS1_OK) return status;
  cs1->blocks += 1;
  cs1->engine_clocks += BLOCK_CLOCKS;
  return CSC_CS1_OK;
}

// `count` elements, from[0], from[step] ..., into one row of A.
static csc_cs1_status_t write_a_row(csc_cs1_t *cs1, uint32_t address, const int8_t *from,
                                    size_t step, uint32_t count) {
  const csc_bus_t *bus = cs1->bus;
  size_t index = 0;
  for (uint32_t n = 0; n < count; n++) {
    const uint32_t value = (uint32_t)(int32_t)from[index];
    if (bus->write32(bus->ctx, address, value) != 0) return CSC_CS1_BUS_ERROR;
    address += WORD_BYTES;
    index += step;
  }
  cs1->writes += count;
  return CSC_CS1_OK;
}

// Columns of A beyond the depth keep what they hold: they meet the zeros of B.
static csc_cs1_status_t write_a(csc_cs1_t *cs1, const product_t *job, const int8_t *w,
                                uint32_t cols, uint32_t depth) {
  uint32_t address = cs1->base + CSC_CS1_A;
  size_t first = 0;
  for (uint32_t n = 0; n < cols; n++) {
    const csc_cs1_status_t status = write_a_row(cs1, address, w + first, job->w_k, depth);
    if (status != CSC_CS1_OK) return status;
    address += ROW_BYTES;
    first += job->w_n;
  }
  return CSC_CS1_OK;
}

static int32_t saturate_x(int32_t x) {
  if (x < CSC_CS1_X_MIN) return CSC_CS1_X_MIN;
  return x > CSC_CS1_X_MAX ? CSC_CS1_X_MAX : x;
}

static int32_t fetch_x(const product_t *job, size_t index) {
  switch (job->x_type) {
    case TYPE_U8: return ((const uint8_t *)job->x)[index];
    case TYPE_S16: return saturate_x(((const int16_t *)job->x)[index]);
    default: return ((const int8_t *)job->x)[index];
  }
}

// One column of B: `depth` elements of a row of x, then zeros up to 8.
static csc_cs1_status_t write_b_column(csc_cs1_t *cs1, const product_t *job, uint32_t address,
                                       size_t first, uint32_t depth) {
  const csc_bus_t *bus = cs1->bus;
  for (uint32_t k = 0; k < EDGE; k++) {
    const uint32_t value = k < depth ? (uint32_t)fetch_x(job, first + k) : 0;
    if (bus->write32(bus->ctx, address, value) != 0) return CSC_CS1_BUS_ERROR;
    address += ROW_BYTES;
  }
  cs1->writes += EDGE;
  return CSC_CS1_OK;
}

// The same where the registers are within reach: all 8 elements of each row of an int8 x.
static void store_b(csc_cs1_t *cs1, const product_t *job, size_t k) {
  volatile uint32_t *b = cs1->window + CSC_CS1_B / WORD_BYTES;
  const int8_t *x = (const int8_t *)job->x + k;
  for (uint32_t r = 0; r < job->rows; r++) {
#pragma GCC unroll 8
    for (uint32_t i = 0; i < EDGE; i++) b[i * EDGE] = (uint32_t)(int32_t)x[i];
    x += job->x_stride;
    b++;
  }
  cs1->writes += EDGE * job->rows;
}

static csc_cs1_status_t write_b(csc_cs1_t *cs1, const product_t *job, size_t k, uint32_t depth) {
  if (cs1->window && depth == EDGE && job->x_type == TYPE_S8) {
    store_b(cs1, job, k);
    return CSC_CS1_OK;
  }
  uint32_t address = cs1->base + CSC_CS1_B;
  size_t first = k;
  for (uint32_t r = 0; r < job->rows; r++) {
    const csc_cs1_status_t status = write_b_column(cs1, job, address, first, depth);
    if (status != CSC_CS1_OK) return status;
    address += WORD_BYTES;
    first += job->x_stride;
  }
  return CSC_CS1_OK;
}

// Add one column of C to `cols` neighbours in acc, modulo 2^32; the caller's bound keeps it exact.
static csc_cs1_status_t add_c_column(csc_cs1_t *cs1, uint32_t address, int32_t *acc,
                                     uint32_t cols) {
  const csc_bus_t *bus = cs1->bus;
  for (uint32_t n = 0; n < cols; n++) {
    uint32_t value = 0;
    if (bus->read32(bus->ctx, address, &value) != 0) return CSC_CS1_BUS_ERROR;
    acc[n] = (int32_t)((uint32_t)acc[n] + value);
    address += ROW_BYTES;
  }
  cs1->reads += cols;
  return CSC_CS1_OK;
}

static csc_cs1_status_t add_c(csc_cs1_t *cs1, const product_t *job, size_t n, uint32_t cols) {
  uint32_t address = cs1->base + CSC_CS1_C;
  size_t first = n;
  for (uint32_t r = 0; r < job->rows; r++) {
    const csc_cs1_status_t status = add_c_column(cs1, address, job->acc + first, cols);
    if (status != CSC_CS1_OK) return status;
    address += WORD_BYTES;
    first += job->acc_stride;
  }
  return CSC_CS1_OK;
}

// Whole blocks of 64 neighbouring elements, and registers within reach of the CPU.
static int can_stream(const csc_cs1_t *cs1, const product_t *job, uint32_t depth) {
  return cs1->window && depth == EDGE && job->cols % EDGE == 0 && job->w_k == 1 && job->w_n == EDGE;
}

static uint32_t smaller_of(uint32_t a, uint32_t b) { return a < b ? a : b; }

// Whether the first block of the depth stores its results; else they are added to zeros.
static int stores_first(const csc_cs1_t *cs1, const product_t *job) {
  return job->rows == EDGE && job->depth >= EDGE && can_stream(cs1, job, EDGE);
}

// All columns for one block of the depth, B being loaded; `w` is the first block of weights.
static csc_cs1_status_t multiply_columns(csc_cs1_t *cs1, const product_t *job, const int8_t *w,
                                         uint32_t depth, int is_first) {
  if (is_first && stores_first(cs1, job)) {
    return csc_cs1_stream_first(cs1, w, job->w_n_block, job->cols / EDGE, job->acc,
                                job->acc_stride);
  }
  if (can_stream(cs1, job, depth)) {
    return csc_cs1_stream(cs1, w, job->w_n_block, job->cols / EDGE, job->rows, job->acc,
                          job->acc_stride);
  }
  size_t w_first = 0;
  for (uint32_t n = 0, cols = 0; n < job->cols; n += cols) {
    cols = smaller_of(EDGE, job->cols - n);
    csc_cs1_status_t status = write_a(cs1, job, w + w_first, cols, depth);
    if (status == CSC_CS1_OK) status = run_engine(cs1);
    if (status == CSC_CS1_OK) status = add_c(cs1, job, n, cols);
    if (status != CSC_CS1_OK) return status;
    w_first += job->w_n_block;
  }
  return CSC_CS1_OK;
}

// csc_cs1_stream takes rows that are not there as rows of zeros.
static void clear_b(csc_cs1_t *cs1, uint32_t rows) {
  volatile uint32_t *b = cs1->window + CSC_CS1_B / WORD_BYTES;
  for (uint32_t k = 0; k < EDGE; k++, b += EDGE) {
    for (uint32_t r = rows; r < EDGE; r++) b[r] = 0;
    cs1->writes += EDGE - rows;
  }
}

static void clear_acc(const product_t *job) {
  size_t first = 0;
  for (uint32_t r = 0; r < job->rows; r++) {
    for (uint32_t n = 0; n < job->cols; n++) job->acc[first + n] = 0;
    first += job->acc_stride;
  }
}

static csc_cs1_status_t multiply(csc_cs1_t *cs1, const product_t *job) {
  csc_cs1_status_t status = prepare_engine(cs1);
  if (status != CSC_CS1_OK) return status;
  if (!stores_first(cs1, job)) clear_acc(job);
  if (can_stream(cs1, job, EDGE)) clear_b(cs1, job->rows);
  size_t w_first = 0;
  for (uint32_t k = 0, depth = 0; k < job->depth; k += depth) {
    depth = smaller_of(EDGE, job->depth - k);
    status = write_b(cs1, job, k, depth);
    if (status == CSC_CS1_OK) status = multiply_columns(cs1, job, job->w + w_first, depth, k == 0);
    if (status != CSC_CS1_OK) return status;
    w_first += job->w_k_block;
  }
  return CSC_CS1_OK;
}

// Weights in blocks of 64, k inside n: the steps of [n_blocks][k_blocks][8 n][8 k].
static csc_cs1_status_t multiply_blocks(csc_cs1_t *cs1, product_t *job, uint32_t k_blocks,
                                        uint32_t n_blocks) {
  job->w_n = EDGE;
  job->w_k = 1;
  job->w_n_block = (size_t)EDGE * EDGE * k_blocks;
  job->w_k_block = (size_t)EDGE * EDGE;
  job->cols = EDGE * n_blocks;
  job->depth = EDGE * k_blocks;
  job->acc_stride = job->cols;
  return multiply(cs1, job);
}

csc_cs1_status_t csc_cs1_matmul_blocks_s8(csc_cs1_t *cs1, const int8_t *x, size_t x_stride,
                                          uint32_t rows, const int8_t *w, uint32_t k_blocks,
                                          uint32_t n_blocks, int32_t *acc) {
  product_t job = {
      .x = x, .x_type = TYPE_S8, .x_stride = x_stride, .rows = rows, .w = w, .acc = acc};
  return multiply_blocks(cs1, &job, k_blocks, n_blocks);
}

csc_cs1_status_t csc_cs1_matmul_blocks_s16(csc_cs1_t *cs1, const int16_t *x, size_t x_stride,
                                           uint32_t rows, const int8_t *w, uint32_t k_blocks,
                                           uint32_t n_blocks, int32_t *acc) {
  product_t job = {
      .x = x, .x_type = TYPE_S16, .x_stride = x_stride, .rows = rows, .w = w, .acc = acc};
  return multiply_blocks(cs1, &job, k_blocks, n_blocks);
}

csc_cs1_status_t csc_cs1_matmul_nt_s8(csc_cs1_t *cs1, const int8_t *a, size_t a_stride,
                                      uint32_t rows, const int8_t *b, size_t b_stride,
                                      uint32_t cols, uint32_t depth, int32_t *acc,
                                      size_t acc_stride) {
  const product_t job = {.x = a,
                         .x_type = TYPE_S8,
                         .x_stride = a_stride,
                         .rows = rows,
                         .w = b,
                         .w_n = b_stride,
                         .w_k = 1,
                         .w_n_block = EDGE * b_stride,
                         .w_k_block = EDGE,
                         .cols = cols,
                         .depth = depth,
                         .acc = acc,
                         .acc_stride = acc_stride};
  return multiply(cs1, &job);
}

csc_cs1_status_t csc_cs1_matmul_nn_u8s8(csc_cs1_t *cs1, const uint8_t *p, size_t p_stride,
                                        uint32_t rows, const int8_t *v, size_t v_stride,
                                        uint32_t depth, uint32_t cols, int32_t *acc,
                                        size_t acc_stride) {
  const product_t job = {.x = p,
                         .x_type = TYPE_U8,
                         .x_stride = p_stride,
                         .rows = rows,
                         .w = v,
                         .w_n = 1,
                         .w_k = v_stride,
                         .w_n_block = EDGE,
                         .w_k_block = EDGE * v_stride,
                         .cols = cols,
                         .depth = depth,
                         .acc = acc,
                         .acc_stride = acc_stride};
  return multiply(cs1, &job);
}
