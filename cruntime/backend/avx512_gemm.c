// avx512_gemm.c: GEMM: a chunk of rows is copied as unsigned bytes, each group of 64 outputs is
// multiplied 32 rows at a time, and the sums are finished while they are in the L1 cache.

#include "avx512_inner.h"

#if CSC_HAS_AVX512

// One part's share of a GEMM.
typedef struct {
  const csc_avx512_t *self;
  const csc_gemm_t *gemm;
  csc_packed_gemm_t packed;
  csc_span_t rows;
  csc_span_t groups;
} job_t;

// Copies of the rows from `first` on.
typedef struct {
  uint32_t first, rows;
  const uint8_t *bytes;  // x + 128; of wide rows the high 6 bits of x + 4096
  const uint8_t *rests;  // of wide rows the low 7 bits of x + 4096, else null
} chunk_t;

// ------------------------------------------------------------------------------------ left

V512 static void copy_row_s8(const int8_t *x, uint32_t k, uint8_t *to) {
  for (uint32_t at = 0; at < k; at += 64) {
    store512(to + at, _mm512_xor_si512(load_bytes(x + at, k - at), _mm512_set1_epi8(-128)));
  }
}

V512 static void copy_row_s16(const int16_t *x, uint32_t k, uint8_t *high, uint8_t *low) {
  const __m512i least_x = _mm512_set1_epi16(CSC_WIDE_MIN);
  for (uint32_t at = 0; at < k; at += 32) {
    __m512i values = _mm512_maskz_loadu_epi16((__mmask32)first_bits(k - at), x + at);
    values = _mm512_min_epi16(values, _mm512_set1_epi16(CSC_WIDE_MAX));
    values = _mm512_sub_epi16(_mm512_max_epi16(values, least_x), least_x);
    __m256i tops = _mm512_cvtepi16_epi8(_mm512_srli_epi16(values, 7));
    __m256i rests = _mm512_cvtepi16_epi8(_mm512_and_si512(values, _mm512_set1_epi16(127)));
    _mm256_storeu_si256((void *)(high + at), tops);
    _mm256_storeu_si256((void *)(low + at), rests);
  }
}

// What lies behind a row's end meets weights of 0; the last half of a wide row may be stale.
static chunk_t copy_rows(const job_t *job, uint32_t first, uint32_t rows) {
  csc_view_t x = job->gemm->x;
  size_t depth = job->packed.depth;
  uint8_t *bytes = job->self->room;
  uint8_t *rests = bytes + round_up(rows, BLOCK_ROWS) * depth;
  chunk_t chunk = {first, rows, bytes, x.dtype == CSC_DTYPE_INT8 ? NULL : rests};
  for (uint32_t r = 0; r < rows; r++) {
    size_t at = (first + r) * x.stride;
    if (chunk.rests) {
      copy_row_s16((const int16_t *)x.data + at, x.columns, bytes + r * depth, rests + r * depth);
    } else {
      copy_row_s8((const int8_t *)x.data + at, x.columns, bytes + r * depth);
    }
  }
  return chunk;
}

// ---------------------------------------------------------------------------------- finish

// What the rows of one group of outputs share.
typedef struct {
  const csc_finish_t *finish;
  const int32_t *multiplier;
  const int32_t *shift;
  csc_out_t out;
  size_t column;
  size_t count;  // outputs, up to GROUP
} group_t;

// 64 entries of a table of 1024 int8: eight look-ups among 128 entries, then a choice of one by
// the upper three bits.
VBMI_INLINE __m512i look_up_bytes(const int8_t *table, __m512i first, __m512i second) {
  const __m512i ones = _mm512_set1_epi16(127);
  __m512i low = _mm512_packus_epi16(_mm512_and_si512(first, ones), _mm512_and_si512(second, ones));
  __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(first, 7), _mm512_srli_epi16(second, 7));
  __mmask64 bit0 = _mm512_movepi8_mask(_mm512_slli_epi16(high, 7));
  __mmask64 bit1 = _mm512_movepi8_mask(_mm512_slli_epi16(high, 6));
  __mmask64 bit2 = _mm512_movepi8_mask(_mm512_slli_epi16(high, 5));
  __m512i found[8];
  for (size_t i = 0; i < 8; i++) {
    const int8_t *part = table + 128 * i;
    found[i] = _mm512_permutex2var_epi8(load512(part), low, load512(part + 64));
  }
  for (int i = 0; i < 4; i++) found[i] = _mm512_mask_mov_epi8(found[2 * i], bit0, found[2 * i + 1]);
  for (int i = 0; i < 2; i++) found[i] = _mm512_mask_mov_epi8(found[2 * i], bit1, found[2 * i + 1]);
  return _mm512_mask_mov_epi8(found[0], bit2, found[1]);
}

VBMI_INLINE __m512i clamp_index(__m512i halves) {
  halves = _mm512_max_epi16(halves, _mm512_setzero_si512());
  return _mm512_min_epi16(halves, _mm512_set1_epi16(CSC_TABLE_ENTRIES - 1));
}

VBMI_INLINE void store_from_bytes(const group_t *group, csc_line_t line, const __m512i v[4]) {
  __m512i first = clamp_index(_mm512_packs_epi32(v[0], v[1]));
  __m512i second = clamp_index(_mm512_packs_epi32(v[2], v[3]));
  __m512i found = look_up_bytes(group->finish->table, first, second);
  _mm512_mask_storeu_epi8(line.bytes + group->column, first_bits(group->count),
                          _mm512_permutexvar_epi32(packed_order(), found));
}

// Gathers read 4 bytes: the entry and what stands before it. Before every table stands something
// of the blob; not so behind.
V512_INLINE void store_gathered(const group_t *group, csc_line_t line, __m512i v[4]) {
  const uint8_t *table = group->finish->table;
  const __m512i last = _mm512_set1_epi32(CSC_TABLE_ENTRIES - 1);
  for (int i = 0; i < 4; i++) {
    __m512i index = _mm512_min_epi32(_mm512_max_epi32(v[i], _mm512_setzero_si512()), last);
    v[i] = line.bytes ? _mm512_srai_epi32(_mm512_i32gather_epi32(index, table - 3, 1), 24)
                      : _mm512_srai_epi32(_mm512_i32gather_epi32(index, table - 2, 2), 16);
  }
  store_group(line, group->column, group->count, v, line.low, line.high);
}

V512_INLINE void store_plain(const group_t *group, csc_line_t line, const __m512i v[4]) {
  store_group(line, group->column, group->count, v, group->finish->clamp_low,
              group->finish->clamp_high);
}

V512_INLINE void requant_row(const group_t *group, const int32_t *c, const __m512i multiplier[4],
                             __m512i v[4]) {
  int64_t zero_point = group->finish->zero_point;
  __m512i offset = _mm512_set1_epi64(((int64_t)1 << 31) + zero_point * ((int64_t)1 << 32));
  for (size_t i = 0; i < 4; i++) {
    v[i] = requant_narrow(load512(c + PANEL * i), multiplier[i], offset);
  }
}

V512_INLINE void requant_row_any(const group_t *group, const int32_t *c, __m512i v[4]) {
  int32_t zero_point = group->finish->zero_point;
  int64_t low = (int64_t)group->finish->clamp_low - zero_point;
  int64_t high = (int64_t)group->finish->clamp_high - zero_point;
  for (size_t i = 0; i < 4; i++) {
    v[i] = requant_any(load512(c + PANEL * i), load512(group->multiplier + PANEL * i),
                       load512(group->shift + PANEL * i), low, high);
    v[i] = _mm512_add_epi32(v[i], _mm512_set1_epi32(zero_point));
  }
}

V512_INLINE void load_multipliers(const group_t *group, __m512i multiplier[4]) {
  for (size_t i = 0; i < 4; i++) multiplier[i] = load512(group->multiplier + PANEL * i);
}

typedef void finish_t(group_t group, const int32_t *c, uint32_t first, uint32_t rows);

V512 static void finish_narrow(group_t group, const int32_t *c, uint32_t first, uint32_t rows) {
  __m512i multiplier[4], v[4];
  load_multipliers(&group, multiplier);
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    requant_row(&group, c, multiplier, v);
    store_plain(&group, csc_line(&group.out, first + r), v);
  }
}

V512 static void finish_gathered(group_t group, const int32_t *c, uint32_t first, uint32_t rows) {
  __m512i multiplier[4], v[4];
  load_multipliers(&group, multiplier);
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    requant_row(&group, c, multiplier, v);
    store_gathered(&group, csc_line(&group.out, first + r), v);
  }
}

VBMI static void finish_permuted(group_t group, const int32_t *c, uint32_t first, uint32_t rows) {
  __m512i multiplier[4], v[4];
  load_multipliers(&group, multiplier);
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    requant_row(&group, c, multiplier, v);
    store_from_bytes(&group, csc_line(&group.out, first + r), v);
  }
}

V512 static void finish_any(group_t group, const int32_t *c, uint32_t first, uint32_t rows) {
  __m512i v[4];
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    csc_line_t line = csc_line(&group.out, first + r);
    requant_row_any(&group, c, v);
    if (group.finish->table) {
      store_gathered(&group, line, v);
    } else {
      store_plain(&group, line, v);
    }
  }
}

static finish_t *finish_of(const job_t *job) {
  const csc_gemm_t *gemm = job->gemm;
  if (!job->packed.narrow) return finish_any;
  if (!gemm->finish.table) return finish_narrow;
  int permute = job->self->unit != CSC_AVX512_VNNI && gemm->out.dtype == CSC_DTYPE_INT8;
  return permute ? finish_permuted : finish_gathered;
}

// -------------------------------------------------------------------------------- products

static const int32_t zeros[GROUP];

// c = 128 * c + start, for the rows of a block.
V512 static void shift_sums(int32_t *c, const int32_t *start, uint32_t rows) {
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    for (uint32_t n = 0; n < GROUP; n += PANEL) {
      store512(c + n, _mm512_add_epi32(_mm512_slli_epi32(load512(c + n), 7), load512(start + n)));
    }
  }
}

// Sums of a block of a chunk, from its row `row` on.
static void multiply_block(const job_t *job, const chunk_t *chunk, uint32_t row, uint32_t group,
                           csc_product_t *product) {
  const int32_t *start = job->packed.start + group * GROUP;
  size_t at = row * (size_t)job->packed.depth;
  product->a = chunk->bytes + at;
  product->start = chunk->rests ? zeros : start;
  product->start_stride = 0;
  multiply(job->self, product);
  if (!chunk->rests) return;
  shift_sums(product->c, start, product->rows);
  product->a = chunk->rests + at;
  product->start = product->c;
  product->start_stride = product->c_stride;
  multiply(job->self, product);
}

static void run_group(const job_t *job, const chunk_t *chunk, uint32_t number) {
  _Alignas(64) int32_t c[BLOCK_ROWS * GROUP];
  finish_t *finish = finish_of(job);
  const csc_packed_gemm_t *packed = &job->packed;
  csc_view_t out = job->gemm->out;
  size_t column = number * (size_t)GROUP;
  group_t group = {&job->gemm->finish,
                   packed->multiplier + column,
                   packed->shift + column,
                   csc_rows_of(out),
                   column,
                   least(GROUP, out.columns - number * GROUP)};
  csc_product_t product = {
      .a_stride = packed->depth,
      .depth = packed->depth,
      .b = packed->panels + column * packed->depth,
      .panels = ((uint32_t)group.count + PANEL - 1) / PANEL,
      .c = c,
      .c_stride = GROUP,
  };
  for (uint32_t row = 0; row < chunk->rows; row += BLOCK_ROWS) {
    product.rows = least(BLOCK_ROWS, chunk->rows - row);
    multiply_block(job, chunk, row, number, &product);
    finish(group, c, chunk->first + row, product.rows);
  }
}

// Few rows are shared out by outputs, so that each part reads its own weights alone.
static job_t share_job(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm) {
  const csc_avx512_t *self = kernels->ctx;
  uint32_t groups = (gemm->out.columns + GROUP - 1) / GROUP;
  job_t job = {
      self, gemm, csc_avx512_packed_gemm(self, gemm->index), {0, gemm->out.rows}, {0, groups}};
  if (gemm->out.rows >= BLOCK_ROWS * kernels->parts) {
    job.rows = csc_share(kernels, gemm->out.rows);
  } else {
    job.groups = csc_share(kernels, groups);
  }
  return job;
}

csc_status_t csc_avx512_gemm(const csc_kernel_table_t *kernels, const csc_gemm_t *gemm) {
  job_t job = share_job(kernels, gemm);
  uint32_t chunk_rows = csc_avx512_chunk_rows(job.packed.depth);
  if (job.groups.first == job.groups.end) return CSC_OK;
  begin_products(job.self);
  for (uint32_t first = job.rows.first; first < job.rows.end; first += chunk_rows) {
    chunk_t chunk = copy_rows(&job, first, least(chunk_rows, job.rows.end - first));
    for (uint32_t group = job.groups.first; group < job.groups.end; group++) {
      run_group(&job, &chunk, group);
    }
  }
  end_products(job.self);
  return CSC_OK;
}

#endif
