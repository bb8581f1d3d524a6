#include "cs1.h"

static csc_status_t status_of(csc_cs1_status_t status) {
  switch (status) {
    case CSC_CS1_OK: return CSC_OK;
    case CSC_CS1_BUS_ERROR: return CSC_ERR_BUS;
    case CSC_CS1_TIMEOUT: return CSC_ERR_CHIP_TIMEOUT;
    case CSC_CS1_EARLY: return CSC_ERR_CHIP_EARLY;
  }
  return CSC_ERR_BUS;
}

static csc_status_t blocks_s8(void *ctx, const int8_t *x, size_t x_stride, uint32_t rows,
                              const int8_t *w, uint32_t k_blocks, uint32_t n_blocks, int32_t *acc) {
  return status_of(csc_cs1_matmul_blocks_s8(ctx, x, x_stride, rows, w, k_blocks, n_blocks, acc));
}

static csc_status_t blocks_s16(void *ctx, const int16_t *x, size_t x_stride, uint32_t rows,
                               const int8_t *w, uint32_t k_blocks, uint32_t n_blocks,
                               int32_t *acc) {
  return status_of(csc_cs1_matmul_blocks_s16(ctx, x, x_stride, rows, w, k_blocks, n_blocks, acc));
}

static csc_status_t nt_s8(void *ctx, const int8_t *a, size_t a_stride, uint32_t rows,
                          const int8_t *b, size_t b_stride, uint32_t columns, uint32_t depth,
                          int32_t *acc, size_t acc_stride) {
  return status_of(
      csc_cs1_matmul_nt_s8(ctx, a, a_stride, rows, b, b_stride, columns, depth, acc, acc_stride));
}

static csc_status_t nn_u8s8(void *ctx, const uint8_t *p, size_t p_stride, uint32_t rows,
                            const int8_t *v, size_t v_stride, uint32_t depth, uint32_t columns,
                            int32_t *acc, size_t acc_stride) {
  return status_of(
      csc_cs1_matmul_nn_u8s8(ctx, p, p_stride, rows, v, v_stride, depth, columns, acc, acc_stride));
}

csc_backend_t csc_cs1_backend(csc_kernel_table_t *kernels, csc_cs1_t *driver) {
  *kernels = csc_portable_kernels();
  kernels->ctx = driver;
  kernels->blocks_s8 = blocks_s8;
  kernels->blocks_s16 = blocks_s16;
  kernels->nt_s8 = nt_s8;
  kernels->nn_u8s8 = nn_u8s8;
  csc_backend_t backend = {.ctx = kernels, .run_op = csc_ops_run};
  return backend;
}
