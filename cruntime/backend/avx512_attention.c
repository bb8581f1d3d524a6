// avx512_attention.c: ATTENTION: keys and values of a head are packed as right sides of products;
// 32 queries at a time become scores, weights, contexts and output.

#include "avx512_inner.h"
#include "csc_tables.h"

#if CSC_HAS_AVX512

// What one part works in.
typedef struct {
  int8_t *keys;           // panels [keys / 16][depth / 4][16][4]
  int32_t *score_starts;  // [keys]: takes off the offset of the queries
  int8_t *values;         // panels [depth / 16][keys / 4][16][4]
  uint8_t *queries;       // [32][depth]
  int32_t *scores;        // [32][keys]
  uint8_t *e;             // [32][keys]
  uint64_t *visible;      // bit j: key j
} room_t;

// One part's share of an ATTENTION. Keys and depth are padded to a multiple of 64.
typedef struct {
  const csc_avx512_t *self;
  const csc_attention_t *att;
  uint32_t keys, padded_keys, padded_depth;
  room_t room;
} job_t;

// Lays out the room at `base`; returns its bytes.
static size_t lay_out(room_t *room, uint8_t *base, size_t keys, size_t depth) {
  size_t sizes[] = {keys * depth,          keys * 4,          keys * depth, BLOCK_ROWS * depth,
                    BLOCK_ROWS * keys * 4, BLOCK_ROWS * keys, keys / 8};
  size_t at[8] = {0};
  for (int i = 0; i < 7; i++) at[i + 1] = at[i] + round_up(sizes[i], CSC_ALIGN);
  room_t filled = {
      .keys = (int8_t *)base,
      .score_starts = (int32_t *)(void *)(base + at[1]),
      .values = (int8_t *)(base + at[2]),
      .queries = base + at[3],
      .scores = (int32_t *)(void *)(base + at[4]),
      .e = base + at[5],
      .visible = (uint64_t *)(void *)(base + at[6]),
  };
  *room = filled;
  return at[7];
}

size_t csc_avx512_attention_room(uint32_t keys, uint32_t depth) {
  room_t room;
  return lay_out(&room, NULL, round_up(keys, GROUP), round_up(depth, GROUP));
}

// --------------------------------------------------------------------------------- packing

// Transposes 4 x 4 times 128 bits.
V512_INLINE void transpose_lanes(__m512i v[4]) {
  __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
  __m512i b = _mm512_shuffle_i32x4(v[0], v[1], 0xEE);
  __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
  __m512i d = _mm512_shuffle_i32x4(v[2], v[3], 0xEE);
  v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  v[1] = _mm512_shuffle_i32x4(a, c, 0xDD);
  v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  v[3] = _mm512_shuffle_i32x4(b, d, 0xDD);
}

// Four rows of 16 int32: afterwards lane l of v[i] holds column 4 l + i of the four rows.
V512_INLINE void transpose_words(__m512i v[4]) {
  __m512i a = _mm512_unpacklo_epi32(v[0], v[1]);
  __m512i b = _mm512_unpackhi_epi32(v[0], v[1]);
  __m512i c = _mm512_unpacklo_epi32(v[2], v[3]);
  __m512i d = _mm512_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm512_unpacklo_epi64(a, c);
  v[1] = _mm512_unpackhi_epi64(a, c);
  v[2] = _mm512_unpacklo_epi64(b, d);
  v[3] = _mm512_unpackhi_epi64(b, d);
}

// 16 keys, 64 elements each: element group i of all keys goes to `to` + 64 i. Returns the sums.
V512_INLINE __m512i pack_key_tile(const int8_t *from, size_t stride, uint32_t keys, uint32_t depth,
                                  int8_t *to, __m512i sums) {
  __m512i t[4][4];  // [group of four keys][...]
  for (uint32_t g = 0; g < 4; g++) {
    for (uint32_t i = 0; i < 4; i++) {
      uint32_t key = 4 * g + i;
      t[g][i] = load_bytes(from + key * stride, key < keys ? depth : 0);
    }
    transpose_words(t[g]);
  }
  for (uint32_t i = 0; i < 4; i++) {
    __m512i column[4] = {t[0][i], t[1][i], t[2][i], t[3][i]};
    transpose_lanes(column);  // column[l]: group 4 l + i
    for (uint32_t l = 0; l < 4; l++) {
      store512(to + (4 * l + i) * 64, column[l]);
      sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), column[l]);
    }
  }
  return sums;
}

V512 static void pack_keys(const job_t *job, const int8_t *k) {
  const csc_attention_t *att = job->att;
  for (uint32_t first = 0; first < job->keys; first += PANEL) {
    const int8_t *from = k + first * att->k.stride;
    int8_t *to = job->room.keys + (size_t)first * job->padded_depth;
    __m512i sums = _mm512_setzero_si512();
    for (uint32_t d = 0; d < att->depth; d += 64) {
      sums = pack_key_tile(from + d, att->k.stride, job->keys - first, att->depth - d,
                           to + (size_t)d * PANEL, sums);
    }
    sums = _mm512_slli_epi32(sums, 7);
    store512(job->room.score_starts + first, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
  }
}

// Four keys, 64 elements of values each.
V512_INLINE void pack_value_tile(const int8_t *from, size_t stride, uint32_t keys, uint32_t depth,
                                 int8_t *to, size_t step) {
  __m512i v[4];
  for (uint32_t i = 0; i < 4; i++) v[i] = load_bytes(from + i * stride, i < keys ? depth : 0);
  __m512i a = _mm512_unpacklo_epi8(v[0], v[1]);
  __m512i b = _mm512_unpackhi_epi8(v[0], v[1]);
  __m512i c = _mm512_unpacklo_epi8(v[2], v[3]);
  __m512i d = _mm512_unpackhi_epi8(v[2], v[3]);
  v[0] = _mm512_unpacklo_epi16(a, c);
  v[1] = _mm512_unpackhi_epi16(a, c);
  v[2] = _mm512_unpacklo_epi16(b, d);
  v[3] = _mm512_unpackhi_epi16(b, d);
  transpose_lanes(v);
  for (uint32_t i = 0; i < 4; i++) store512(to + i * step, v[i]);
}

V512 static void pack_values(const job_t *job, const int8_t *v) {
  const csc_attention_t *att = job->att;
  size_t step = (size_t)job->padded_keys * PANEL;
  for (uint32_t d = 0; d < att->depth; d += 64) {
    int8_t *to = job->room.values + d / PANEL * step;
    for (uint32_t key = 0; key < job->padded_keys; key += 4, to += 64) {
      uint32_t left = key < job->keys ? job->keys - key : 0;
      pack_value_tile(v + key * att->v.stride + d, att->v.stride, left, att->depth - d, to, step);
    }
  }
}

V512 static void find_visible(const job_t *job) {
  const uint8_t *mask = job->att->mask;
  for (uint32_t j = 0; j < job->keys; j += 64) {
    uint64_t live = first_bits(job->keys - j);
    if (mask) {
      __m512i bytes = load_bytes(mask + j, job->keys - j);
      live &= _mm512_test_epi8_mask(bytes, bytes);
    }
    job->room.visible[j / 64] = live;
  }
}

// --------------------------------------------------------------------------------- softmax

VBMI_INLINE __m512i permuted_exponentials(const __m512i v[4]) {
  __m512i index = pack_unsigned(v);
  const uint8_t *table = csc_exp_table;
  __m512i near = _mm512_permutex2var_epi8(load512(table), index, load512(table + 64));
  __m512i far = _mm512_permutex2var_epi8(load512(table + 128), index, load512(table + 192));
  return _mm512_mask_mov_epi8(near, _mm512_movepi8_mask(index), far);
}

// EXP is 0 from its 200th entry on, so a gather that reads 4 bytes may stop before the end.
V512_INLINE __m512i gathered_exponentials(const __m512i v[4]) {
  const __m512i last = _mm512_set1_epi32(252);
  __m512i found[4];
  for (int i = 0; i < 4; i++) {
    __m512i index = _mm512_min_epu32(v[i], last);  // hidden keys give anything
    found[i] = _mm512_i32gather_epi32(index, csc_exp_table, 1);
    found[i] = _mm512_and_si512(found[i], _mm512_set1_epi32(255));
  }
  return pack_unsigned(found);
}

// Which of the 64 keys from j on a row sees that sees none from `own` on.
static inline uint64_t visible_from(const job_t *job, uint32_t own, uint32_t j) {
  return j < own ? job->room.visible[j / GROUP] & first_bits(own - j) : 0;
}

V512_INLINE __m512i highest_visible(const job_t *job, const int32_t *score, uint32_t own) {
  __m512i top = _mm512_set1_epi32(INT32_MIN);
  for (uint32_t j = 0; j < own; j += GROUP) {
    uint64_t live = visible_from(job, own, j);
    for (uint32_t i = 0; i < GROUP; i += PANEL) {
      top = _mm512_mask_max_epi32(top, (__mmask16)(live >> i), top, load512(score + j + i));
    }
  }
  return _mm512_set1_epi32(_mm512_reduce_max_epi32(top));
}

// 64 indices of EXP; those above 255 mean 255.
V512_INLINE void exponents(const int32_t *score, __m512i top, csc_scale_t scale, const int narrow,
                           __m512i v[4]) {
  __m512i multiplier =
      _mm512_set1_epi32(narrow ? narrow_multiplier(scale) : (int32_t)scale.multiplier);
  __m512i shift = _mm512_set1_epi32((int32_t)scale.shift);
  __m512i offset = _mm512_set1_epi64((int64_t)1 << 31);
  for (size_t i = 0; i < 4; i++) {
    __m512i below = _mm512_sub_epi32(top, load512(score + PANEL * i));
    v[i] = narrow ? requant_narrow(below, multiplier, offset)
                  : requant_any(below, multiplier, shift, 0, 255);
  }
}

// Stores the weights of visible keys, 0 for the others; returns the sum with them added.
V512_INLINE __m512i store_weights(uint8_t *e, __m512i weights, uint64_t visible, __m512i sum) {
  weights = _mm512_maskz_mov_epi8(visible, weights);
  store512(e, weights);
  return _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi8(1));
}

// One row of scores to weights; returns their sum. Scores of hidden keys may be anything.
V512_INLINE uint32_t softmax_row(const job_t *job, const int32_t *score, uint32_t own,
                                 csc_scale_t scale, uint8_t *e, const int narrow) {
  __m512i top = highest_visible(job, score, own);
  __m512i sum = _mm512_setzero_si512();
  for (uint32_t j = 0; j < job->padded_keys; j += GROUP) {
    __m512i v[4];
    exponents(score + j, top, scale, narrow, v);
    sum = store_weights(e + j, gathered_exponentials(v), visible_from(job, own, j), sum);
  }
  return (uint32_t)_mm512_reduce_add_epi32(sum);
}

// The same for narrow scales on CPUs with VBMI.
VBMI_INLINE uint32_t softmax_row_permuted(const job_t *job, const int32_t *score, uint32_t own,
                                          csc_scale_t scale, uint8_t *e) {
  __m512i top = highest_visible(job, score, own);
  __m512i sum = _mm512_setzero_si512();
  for (uint32_t j = 0; j < job->padded_keys; j += GROUP) {
    __m512i v[4];
    exponents(score + j, top, scale, 1, v);
    sum = store_weights(e + j, permuted_exponentials(v), visible_from(job, own, j), sum);
  }
  return (uint32_t)_mm512_reduce_add_epi32(sum);
}

V512 static void softmax_rows(job_t job, csc_scale_t scale, uint32_t first, uint32_t rows,
                              uint32_t *sums) {
  int narrow = narrow_scale(scale);
  for (uint32_t r = 0; r < rows; r++) {
    uint32_t own = csc_keys_before(job.att, first + r);
    const int32_t *score = job.room.scores + r * (size_t)job.padded_keys;
    uint8_t *e = job.room.e + r * (size_t)job.padded_keys;
    sums[r] = narrow ? softmax_row(&job, score, own, scale, e, 1)
                     : softmax_row(&job, score, own, scale, e, 0);
  }
}

VBMI static void softmax_rows_permuted(job_t job, csc_scale_t scale, uint32_t first, uint32_t rows,
                                       uint32_t *sums) {
  for (uint32_t r = 0; r < rows; r++) {
    uint32_t own = csc_keys_before(job.att, first + r);
    size_t at = r * (size_t)job.padded_keys;
    sums[r] = softmax_row_permuted(&job, job.room.scores + at, own, scale, job.room.e + at);
  }
}

// -------------------------------------------------------------------------------- contexts

// clamp(rq(m, M, s)) of |m| <= 2^15 + 2: |m * M| < 2^30 + 2^15, so int32 holds it, rounded too for
// shifts up to 30, and shifts above 32 leave 0.
V512_INLINE __m512i scale_mean(__m512i mean, csc_scale_t scale) {
  if (scale.shift > 32) return _mm512_setzero_si512();
  if (scale.shift > 30) return scale_all(mean, scale.multiplier, scale.shift);
  __m512i product = _mm512_mullo_epi32(mean, _mm512_set1_epi32((int32_t)scale.multiplier));
  product = _mm512_add_epi32(product, _mm512_set1_epi32((int32_t)1 << (scale.shift - 1)));
  return _mm512_sra_epi32(product, _mm_cvtsi32_si128((int)scale.shift));
}

V512_INLINE void context_row(const int32_t *c, uint32_t sum, csc_scale_t scale, int32_t zero_point,
                             csc_line_t line, size_t column, size_t count) {
  csc_recip_t recip = csc_recip(sum ? sum : 1);  // c is 0 where sum is
  __m512i v[4];
  for (size_t i = 0; i < 4; i++) {
    v[i] = scale_mean(scale_all(load512(c + PANEL * i), recip.r, 6 + recip.length), scale);
    v[i] = _mm512_add_epi32(v[i], _mm512_set1_epi32(zero_point));
  }
  store_group(line, column, count, v, line.low, line.high);
}

// Elements `d` to d + count - 1 of the contexts of a head.
V512 static void context_rows(const csc_attention_t *att, uint32_t head, uint32_t first,
                              uint32_t rows, uint32_t d, const int32_t *c, const uint32_t *sums) {
  csc_scale_t scale = csc_unpack_scale(att->head_requant[2 * head + 1]);
  csc_out_t out = csc_rows_of(att->out);
  int32_t zero_point = att->zero_point;
  size_t column = (size_t)head * att->depth + d;
  size_t count = least(GROUP, att->depth - d);
  for (uint32_t r = 0; r < rows; r++, c += GROUP) {
    context_row(c, sums[r], scale, zero_point, csc_line(&out, first + r), column, count);
  }
}

static const int32_t zeros[GROUP];

// Contexts of 64 elements of a head, from `d` on, of the queries from `first` on.
static void weigh_values(const job_t *job, uint32_t head, uint32_t first, uint32_t rows, uint32_t d,
                         const uint32_t *sums) {
  _Alignas(64) int32_t c[BLOCK_ROWS * GROUP];
  const csc_attention_t *att = job->att;
  csc_product_t product = {
      .a = job->room.e,
      .a_stride = job->padded_keys,
      .rows = rows,
      .depth = job->padded_keys,
      .b = job->room.values + (size_t)d * job->padded_keys,
      .panels = (least(GROUP, att->depth - d) + PANEL - 1) / PANEL,
      .start = zeros,
      .c = c,
      .c_stride = GROUP,
  };
  multiply(job->self, &product);
  context_rows(att, head, first, rows, d, c, sums);
}

V512 static void copy_queries(const job_t *job, const int8_t *q, uint32_t rows) {
  const csc_attention_t *att = job->att;
  for (uint32_t r = 0; r < rows; r++) {
    uint8_t *to = job->room.queries + (size_t)r * job->padded_depth;
    for (uint32_t d = 0; d < att->depth; d += 64) {
      __m512i bytes = load_bytes(q + r * att->q.stride + d, att->depth - d);
      store512(to + d, _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)));
    }
  }
}

static void attend_block(const job_t *job, uint32_t head, uint32_t first, uint32_t rows) {
  const csc_attention_t *att = job->att;
  csc_scale_t scale = csc_unpack_scale(att->head_requant[2 * head]);
  uint32_t sums[BLOCK_ROWS];
  csc_product_t product = {
      .a = job->room.queries,
      .a_stride = job->padded_depth,
      .rows = rows,
      .depth = job->padded_depth,
      .b = job->room.keys,
      .panels = (job->keys + PANEL - 1) / PANEL,
      .start = job->room.score_starts,
      .c = job->room.scores,
      .c_stride = job->padded_keys,
  };
  copy_queries(job, att->q_head + (size_t)head * att->depth + first * att->q.stride, rows);
  multiply(job->self, &product);
  int permute = job->self->unit != CSC_AVX512_VNNI && narrow_scale(scale);
  (permute ? softmax_rows_permuted : softmax_rows)(*job, scale, first, rows, sums);
  for (uint32_t d = 0; d < att->depth; d += GROUP) weigh_values(job, head, first, rows, d, sums);
}

static void pack_head(const job_t *job, uint32_t head) {
  size_t column = (size_t)head * job->att->depth;
  pack_keys(job, job->att->k_head + column);
  pack_values(job, job->att->v_head + column);
}

csc_status_t csc_avx512_attention(const csc_kernel_table_t *kernels,
                                  const csc_attention_t *attention) {
  const csc_avx512_t *self = kernels->ctx;
  uint32_t rows = attention->out.rows;
  uint32_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
  csc_span_t span = csc_share(kernels, attention->heads * blocks);
  job_t job = {.self = self, .att = attention, .keys = attention->keys};
  job.padded_keys = (uint32_t)round_up(job.keys, GROUP);
  job.padded_depth = (uint32_t)round_up(attention->depth, GROUP);
  lay_out(&job.room, self->room, job.padded_keys, job.padded_depth);
  find_visible(&job);
  begin_products(self);
  for (uint32_t at = span.first; at < span.end; at++) {
    uint32_t first = at % blocks * BLOCK_ROWS;
    if (at == span.first || first == 0) pack_head(&job, at / blocks);
    attend_block(&job, at / blocks, first, least(BLOCK_ROWS, rows - first));
  }
  end_products(self);
  return CSC_OK;
}

#endif
