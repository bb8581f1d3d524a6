// kernel_table.h: the kernels an op is made of, as functions a backend fills in.
//
// ops.c finds the operands of an op and calls the functions of one table, so each backend replaces
// what is worth it and the rest keeps one home. A block engine replaces the products: `gemm` and
// `attention` stay the tiled forms of tiles.c, which call the products. A SIMD backend may also
// replace `gemm` and `attention` as a whole and then has no products.
// Shapes and bounds: kernels.h, functions of the same names. Products may fail, rows may not.

#ifndef CSC_KERNEL_TABLE_H
#define CSC_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "csc.h"
#include "kernels.h"
#include "operand.h"

typedef struct csc_kernel_table csc_kernel_table_t;

// One GEMM op.
typedef struct {
  csc_view_t x, weights, out;
  csc_finish_t finish;
  int32_t *scratch;       // [8][scratch_stride]
  size_t scratch_stride;  // N rounded up to 8
  uint32_t index;         // number of the op
} csc_gemm_t;

// One ATTENTION op.
typedef struct {
  csc_view_t q, k, v, out;
  const int8_t *q_head, *k_head, *v_head;  // row 0 of head 0
  const uint8_t *mask;
  const int32_t *head_requant;  // [heads][2]
  uint32_t heads;
  uint32_t depth;     // D
  uint32_t keys;      // S
  uint32_t position;  // of row 0 among the keys
  int causal;
  int32_t zero_point;
  size_t keys_room;  // most rows of k, rounded up to 8
  int32_t *scores;   // [8][keys_room]
  int32_t *context;  // [8][D rounded up to 8]
  uint8_t *e;        // [8][keys_room]
} csc_attention_t;

// How many keys a row sees, if the mask hides none: those behind them are not there, or later.
static inline uint32_t csc_keys_before(const csc_attention_t *attention, uint32_t row) {
  uint32_t own = attention->position + row;
  return attention->causal && own < attention->keys ? own + 1 : attention->keys;
}

struct csc_kernel_table {
  void *ctx;  // of the backend
  // This table's share of the work of an op: the `part`-th of `parts`; of 0 or 1 parts it is all.
  // At most 255 parts. More than one part is for backends whose gemm and attention leave the
  // arena's scratch alone.
  uint32_t part, parts;

  csc_status_t (*gemm)(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm);
  csc_status_t (*attention)(const csc_kernel_table_t *kernels, const csc_attention_t *attention);

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

  void (*layernorm_row)(const csc_layernorm_t *layernorm, const int16_t *x, size_t columns,
                        size_t row);
  void (*finish_row)(const csc_finish_t *finish, const int32_t *acc, size_t outputs,
                     const csc_out_t *out, size_t row);
  void (*embed_row)(const csc_embed_row_t *row, size_t columns, int16_t *out);
  void (*add_row)(const csc_add_t *add, const int16_t *a, const int16_t *b, size_t columns,
                  int16_t *out);
  void (*pool_mean)(const csc_pooling_t *pool, size_t columns, const csc_out_t *out);
};

// Which of `pieces` <= 2^24 equal pieces of work are this table's: first to end - 1.
typedef struct {
  uint32_t first, end;
} csc_span_t;

static inline csc_span_t csc_share(const csc_kernel_table_t *kernels, uint32_t pieces) {
  csc_span_t span = {0, pieces};
  if (kernels->parts < 2) return span;
  span.first = pieces * kernels->part / kernels->parts;
  span.end = pieces * (kernels->part + 1) / kernels->parts;
  return span;
}

// gemm and attention in tiles of 8 rows with the products of the table, in the arena's scratch.
csc_status_t csc_gemm_tiles(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm);
csc_status_t csc_attention_tiles(const csc_kernel_table_t *kernels,
                                 const csc_attention_t *attention);

// The portable kernels: what a backend starts from.
csc_kernel_table_t csc_portable_kernels(void);

// Runs one op: a backend's run_op, `ctx` being its csc_kernel_table_t, which it only reads.
csc_status_t csc_ops_run(void *ctx, const csc_call_t *call, csc_error_t *error);

// Rows of a tensor as a destination.
static inline csc_out_t csc_rows_of(csc_view_t view) {
  csc_out_t out = {view.data, view.dtype, view.stride};
  return out;
}

#endif
