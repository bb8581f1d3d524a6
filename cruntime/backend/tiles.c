// tiles.c: GEMM and ATTENTION in tiles of 8 rows, products by the backend.

#include "csc_memory.h"
#include "kernel_table.h"

#define TILE 8u  // rows a product takes at a time

static csc_status_t tile_product(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm,
                                 uint32_t first, uint32_t rows) {
  csc_view_t x = gemm->x;
  uint32_t n_blocks = gemm->weights.rows;
  uint32_t k_blocks = gemm->weights.columns;
  if (x.dtype == CSC_DTYPE_INT8) {
    return kernels->blocks_s8(kernels->ctx, (const int8_t *)x.data + first * x.stride, x.stride,
                              rows, gemm->weights.data, k_blocks, n_blocks, gemm->scratch);
  }
  return kernels->blocks_s16(kernels->ctx, (const int16_t *)x.data + first * x.stride, x.stride,
                             rows, gemm->weights.data, k_blocks, n_blocks, gemm->scratch);
}

csc_status_t csc_gemm_tiles(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm) {
  csc_out_t out = csc_rows_of(gemm->out);
  size_t stride = gemm->scratch_stride;
  uint32_t all = gemm->out.rows, columns = gemm->out.columns;
  for (uint32_t first = 0; first < all; first += TILE) {
    uint32_t rows = all - first < TILE ? all - first : TILE;
    csc_status_t status = tile_product(kernels, gemm, first, rows);
    if (status) return status;
    for (uint32_t r = 0; r < rows; r++) {
      kernels->finish_row(&gemm->finish, gemm->scratch + r * stride, columns, &out, first + r);
    }
  }
  return CSC_OK;
}

// Eight query rows (or fewer) of one head: scores, weights, contexts, output.
static csc_status_t attend_tile(const csc_kernel_table_t *kernels, const csc_attention_t *att,
                                uint32_t head, uint32_t first, uint32_t rows) {
  size_t column = (size_t)head * att->depth;
  csc_scale_t score_scale = csc_unpack_scale(att->head_requant[2 * head]);
  csc_scale_t context_scale = csc_unpack_scale(att->head_requant[2 * head + 1]);
  csc_out_t out = csc_rows_of(att->out);
  uint32_t keys = csc_keys_before(att, first + rows - 1);  // no row of the tile sees more
  size_t room = att->keys_room;
  size_t context_stride = (att->depth + 7u) & ~7u;
  uint32_t sums[TILE];

  csc_status_t status = kernels->nt_s8(kernels->ctx, att->q_head + column + first * att->q.stride,
                                       att->q.stride, rows, att->k_head + column, att->k.stride,
                                       keys, att->depth, att->scores, room);
  if (status) return status;
  for (uint32_t r = 0; r < rows; r++) {
    uint32_t own = csc_keys_before(att, first + r);
    uint8_t *e = att->e + r * room;
    sums[r] = csc_softmax_row(att->scores + r * room, att->mask, own, score_scale, e);
    memset(e + own, 0, keys - own);
  }
  status = kernels->nn_u8s8(kernels->ctx, att->e, room, rows, att->v_head + column, att->v.stride,
                            keys, att->depth, att->context, context_stride);
  if (status) return status;
  for (uint32_t r = 0; r < rows; r++) {
    csc_context_row(att->context + r * context_stride, sums[r], att->depth, context_scale,
                    att->zero_point, &out, first + r, column);
  }
  return CSC_OK;
}

csc_status_t csc_attention_tiles(const csc_kernel_table_t *kernels,
                                 const csc_attention_t *attention) {
  for (uint32_t head = 0; head < attention->heads; head++) {
    for (uint32_t first = 0; first < attention->out.rows; first += TILE) {
      uint32_t left = attention->out.rows - first;
      csc_status_t status = attend_tile(kernels, attention, head, first, left < TILE ? left : TILE);
      if (status) return status;
    }
  }
  return CSC_OK;
}
