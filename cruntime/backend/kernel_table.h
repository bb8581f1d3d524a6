// kernel_table.h: the kernels an op is made of, as functions a backend fills in.
//
// ops.c runs every op with the portable kernels and the functions of one table, so a block engine
// replaces the products alone, a SIMD backend what is worth it, and the rest keeps one home.
// Shapes and bounds: kernels.h, functions of the same names. Products may fail, rows may not.

#ifndef CSC_KERNEL_TABLE_H
#define CSC_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "csc.h"
#include "kernels.h"

typedef struct {
  void *ctx;  // of the products
  csc_status_t (*blocks_s8)(void *ctx, const int8_t *x, size_t x_stride, uint32_t rows,
                            const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);
  csc_status_t (*blocks_s16)(void *ctx, const int16_t *x, size_t x_stride, uint32_t rows,
                             const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc);
  csc_status_t (*nt_s8)(void *ctx, const int8_t *a, size_t a_stride, uint32_t rows, const int8_t *b,
                        size_t b_stride, uint32_t columns, uint32_t depth, int32_t *acc,
                        size_t acc_stride);
  csc_status_t (*nn_u8s8)(void *ctx, const uint8_t *p, size_t p_stride, uint32_t rows,
                          const int8_t *v, size_t v_stride, uint32_t depth, uint32_t columns,
                          int32_t *acc, size_t acc_stride);

  csc_norm_t (*norm_row)(const int16_t *x, size_t columns, uint64_t epsilon);
  void (*affine_row)(const int16_t *x, size_t columns, csc_norm_t norm, const csc_affine_t *affine,
                     const csc_out_t *out, size_t row);
  void (*finish_row)(const csc_finish_t *finish, const int32_t *acc, size_t outputs,
                     const csc_out_t *out, size_t row);
} csc_kernel_table_t;

// The portable kernels: what a backend starts from.
csc_kernel_table_t csc_portable_kernels(void);

// Runs one op: a backend's run_op, `ctx` being its csc_kernel_table_t, which it only reads.
csc_status_t csc_ops_run(void *ctx, const csc_call_t *call, csc_error_t *error);

#endif
