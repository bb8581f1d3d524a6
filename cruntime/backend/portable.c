// portable.c: the reference backend: the portable kernels.

#include "kernel_table.h"

static csc_status_t blocks_s8(void *ctx, const int8_t *x, size_t x_stride, uint32_t rows,
                              const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc) {
  (void)ctx;
  csc_matmul_blocks_s8(x, x_stride, rows, w, k_blocks, n_blocks, acc);
  return CSC_OK;
}

static csc_status_t blocks_s16(void *ctx, const int16_t *x, size_t x_stride, uint32_t rows,
                               const int8_t *w, uint32_t k_blocks, uint32_t n_blocks,
                               int32_t *acc) {
  (void)ctx;
  csc_matmul_blocks_s16(x, x_stride, rows, w, k_blocks, n_blocks, acc);
  return CSC_OK;
}

static csc_status_t nt_s8(void *ctx, const int8_t *a, size_t a_stride, uint32_t rows,
                          const int8_t *b, size_t b_stride, uint32_t columns, uint32_t depth,
                          int32_t *acc, size_t acc_stride) {
  (void)ctx;
  csc_matmul_nt_s8(a, a_stride, rows, b, b_stride, columns, depth, acc, acc_stride);
  return CSC_OK;
}

static csc_status_t nn_u8s8(void *ctx, const uint8_t *p, size_t p_stride, uint32_t rows,
                            const int8_t *v, size_t v_stride, uint32_t depth, uint32_t columns,
                            int32_t *acc, size_t acc_stride) {
  (void)ctx;
  csc_matmul_nn_u8s8(p, p_stride, rows, v, v_stride, depth, columns, acc, acc_stride);
  return CSC_OK;
}

static const csc_kernel_table_t portable = {
    .gemm = csc_gemm_tiles,
    .attention = csc_attention_tiles,
    .blocks_s8 = blocks_s8,
    .blocks_s16 = blocks_s16,
    .nt_s8 = nt_s8,
    .nn_u8s8 = nn_u8s8,
    .layernorm_row = csc_layernorm_row,
    .finish_row = csc_finish_row,
    .embed_row = csc_embed_row,
    .add_row = csc_add_row,
    .pool_mean = csc_pool_mean,
};

csc_kernel_table_t csc_portable_kernels(void) { return portable; }

csc_backend_t csc_portable_backend(void) {
  // csc_ops_run only reads its context; the cast lets one signature serve all backends.
  csc_backend_t backend = {.ctx = (void *)(uintptr_t)&portable, .run_op = csc_ops_run};
  return backend;
}
