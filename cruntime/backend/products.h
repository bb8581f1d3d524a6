// products.h: the matrix products an op needs, as functions a backend fills in.
//
// ops.c runs every op with the portable kernels and takes its products from here, so a block
// engine replaces the products alone and everything else keeps one home.
// Shapes and bounds: kernels.h, functions of the same names.

#ifndef CSC_PRODUCTS_H
#define CSC_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#include "csc.h"

typedef struct {
  void *ctx;
  csc_status_t (*blocks_s8)(void *ctx, const int8_t *x, size_t x_stride, uint32_t rows,
                            const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);
  csc_status_t (*blocks_s16)(void *ctx, const int16_t *x, size_t x_stride, uint32_t rows,
                             const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);
  csc_status_t (*nt_s8)(void *ctx, const int8_t *a, size_t a_stride, uint32_t rows,
                        const int8_t *b, size_t b_stride, uint32_t columns, uint32_t depth,
                        int32_t *acc, size_t acc_stride);
  csc_status_t (*nn_u8s8)(void *ctx, const uint8_t *p, size_t p_stride, uint32_t rows,
                          const int8_t *v, size_t v_stride, uint32_t depth, uint32_t columns,
                          int32_t *acc, size_t acc_stride);
} csc_products_t;

// Runs one op: a backend's run_op, `ctx` being its csc_products_t.
csc_status_t csc_ops_run(void *ctx, const csc_call_t *call, csc_error_t *error);

#endif
