// Driver of the CS1 block engine: integer matrix products through the bus.
//
// Each product is cut into blocks of 8 x 8 x 8 and is exact in int32. The caller keeps it so: the
// sum of |x * w| over the depth must stay below 2^31 for every element.
//
// In all products `rows` is 1 to 8: the rows of the left operand are the columns the engine works
// on at a time. Strides count elements. `acc` is written, not added to, and must not overlap the
// inputs.
//
// A product returns CSC_CS1_OK or the first failure; then `acc` holds nothing of use. After a
// failure the driver may be called again: it waits first for a run that is still going on. What the
// caller finds is always one of the codes below, after at most `poll_limit` reads for each wait.

#ifndef CSC_CS1_DRIVER_H
#define CSC_CS1_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "csc_bus.h"

#if defined(__GNUC__)
#define CSC_CS1_CHECKED __attribute__((warn_unused_result))
#else
#define CSC_CS1_CHECKED
#endif

// Enough for a bus that reads CTRL in every clock: such a run takes 515 reads.
#define CSC_CS1_POLL_LIMIT 1024u

// What 16-bit operands are saturated to: 13 bits.
#define CSC_CS1_X_MIN (-4096)
#define CSC_CS1_X_MAX 4095

typedef enum {
  CSC_CS1_OK = 0,
  CSC_CS1_BUS_ERROR = 1,  // a transfer failed
  CSC_CS1_TIMEOUT = 2,    // CTRL did not read 0 within poll_limit reads
  CSC_CS1_EARLY = 3       // CTRL read 0 before all multiplies were done
} csc_cs1_status_t;

// One engine. The caller owns it and may read or clear the counters at any time.
typedef struct csc_cs1 {
  const csc_bus_t *bus;  // must outlive this structure
  // The engine's registers where the CPU reaches them by loads and stores of at least 5 clocks, as
  // on CS1; else null, and every access goes through `bus`. GEMM is about 3 times as fast with it.
  volatile uint32_t *window;
  uint32_t base;           // bus address of the engine
  uint32_t poll_limit;     // most reads of CTRL in one wait
  uint64_t blocks;         // block products done
  uint64_t engine_clocks;  // clocks the engine spent multiplying: the sum of PERF_CYCLES
  uint64_t reads;          // bus reads and writes, as far as they succeeded;
  uint64_t writes;         // those of a row that failed half-way are left out
} csc_cs1_t;

// Fill the structure; the bus is not touched.
void csc_cs1_init(csc_cs1_t *cs1, const csc_bus_t *bus, uint32_t base, uint32_t poll_limit);

// GEMM with weights packed in blocks: acc[r][n] = sum over k of x[r][k] * w(n, k).
//   x    [rows][x_stride], the first 8 * k_blocks of each row are used
//   w    [n_blocks][k_blocks][8 n][8 k]
//   acc  [rows][8 * n_blocks]
csc_cs1_status_t csc_cs1_matmul_blocks_s8(csc_cs1_t *cs1, const int8_t *x, size_t x_stride,
                                          uint32_t rows, const int8_t *w, uint32_t k_blocks,
                                          uint32_t n_blocks, int32_t *acc) CSC_CS1_CHECKED;

// The same with 16-bit x, saturated to CSC_CS1_X_MIN..CSC_CS1_X_MAX (SPEC.md, section 3.3); the
// engine takes it in one pass, its elements have 32 bits.
csc_cs1_status_t csc_cs1_matmul_blocks_s16(csc_cs1_t *cs1, const int16_t *x, size_t x_stride,
                                           uint32_t rows, const int8_t *w, uint32_t k_blocks,
                                           uint32_t n_blocks, int32_t *acc) CSC_CS1_CHECKED;

// Product with a transposed right side (Q K^T): acc[i][j] = sum over d of a[i][d] * b[j][d].
//   a    [rows][a_stride]
//   b    [cols][b_stride], any number of columns
//   acc  [rows][acc_stride]
// The first `depth` elements of the rows of a and b are read, the first `cols` of acc written.
csc_cs1_status_t csc_cs1_matmul_nt_s8(csc_cs1_t *cs1, const int8_t *a, size_t a_stride,
                                      uint32_t rows, const int8_t *b, size_t b_stride,
                                      uint32_t cols, uint32_t depth, int32_t *acc,
                                      size_t acc_stride) CSC_CS1_CHECKED;

// Product with unsigned left side (P V): acc[i][j] = sum over d of p[i][d] * v[d][j].
//   p    [rows][p_stride], the first `depth` of each row are read
//   v    [depth][v_stride], the first `cols` of each row are read
//   acc  [rows][acc_stride], the first `cols` of each row are written
csc_cs1_status_t csc_cs1_matmul_nn_u8s8(csc_cs1_t *cs1, const uint8_t *p, size_t p_stride,
                                        uint32_t rows, const int8_t *v, size_t v_stride,
                                        uint32_t depth, uint32_t cols, int32_t *acc,
                                        size_t acc_stride) CSC_CS1_CHECKED;

#endif  // CSC_CS1_DRIVER_H
