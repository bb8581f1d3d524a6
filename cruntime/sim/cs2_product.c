#include "cs2_product.h"

#include "cs2_chip.h"

enum { FULL_ARRAY = 512, TAP = 64 };  // multiply-accumulates of a block product, of a tap

static uint32_t tiles_of(uint32_t elements) { return (elements + 7) / 8; }

static int has(const csc_cs2_product_t *job, uint32_t flag) { return (job->flags & flag) != 0; }

// --- decoding ------------------------------------------------------------------------------------

static void decode_fields(csc_cs2_product_t *job, const uint32_t *words) {
  job->flags = csc_cs2_field(words, CSC_CS2_GEMM_FLAGS);
  job->zero_point = csc_cs2_signed_field(words, CSC_CS2_GEMM_ZERO_POINT);
  job->clamp_low = csc_cs2_signed_field(words, CSC_CS2_GEMM_CLAMP_LOW);
  job->clamp_high = csc_cs2_signed_field(words, CSC_CS2_GEMM_CLAMP_HIGH);
  job->a = csc_cs2_field(words, CSC_CS2_GEMM_A) / CSC_CS2_LINE;
  job->b = csc_cs2_field(words, CSC_CS2_GEMM_B) / CSC_CS2_LINE;
  job->c = csc_cs2_field(words, CSC_CS2_GEMM_C) / CSC_CS2_LINE;
  job->requant = csc_cs2_field(words, CSC_CS2_GEMM_REQUANT);
  job->recip = csc_cs2_field(words, CSC_CS2_GEMM_RECIP) / CSC_CS2_LINE;
  job->a_row = csc_cs2_field(words, CSC_CS2_GEMM_A_ROW);
  job->b_column = csc_cs2_field(words, CSC_CS2_GEMM_B_COLUMN);
  job->b_depth = csc_cs2_field(words, CSC_CS2_GEMM_B_DEPTH);
  job->c_row = csc_cs2_field(words, CSC_CS2_GEMM_C_ROW);
  job->a_batch = csc_cs2_field(words, CSC_CS2_GEMM_A_BATCH);
  job->b_batch = csc_cs2_field(words, CSC_CS2_GEMM_B_BATCH);
  job->c_batch = csc_cs2_field(words, CSC_CS2_GEMM_C_BATCH);
  job->recip_batch = csc_cs2_field(words, CSC_CS2_GEMM_RECIP_BATCH);
  job->batches = csc_cs2_field(words, CSC_CS2_HEADER_BATCH);
}

// The nest of loops over an image.
static void decode_image(csc_cs2_product_t *job, const csc_cs2_geometry_t *geometry) {
  const int is_depthwise = has(job, CSC_CS2_GEMM_FLAG_DEPTHWISE);
  job->in_tiles = tiles_of(geometry->in_width);
  job->out_tiles = tiles_of(geometry->out_width);
  job->blocks = job->depth;
  job->rows = job->out_tiles * geometry->out_height;
  job->groups = is_depthwise ? 1 : geometry->kernel_height * job->blocks;
  job->depth = is_depthwise ? 1 : job->groups * geometry->kernel_width;
  job->window_rows = is_depthwise ? geometry->kernel_height : 1;
}

// Without all of the array a tap has it to itself; with all of it there are two taps a clock.
static void decode_clocks(csc_cs2_product_t *job, const csc_cs2_geometry_t *geometry,
                          uint32_t array) {
  const uint32_t passes = has(job, CSC_CS2_GEMM_FLAG_A_WIDE) ? 2 : 1;
  const uint32_t taps = geometry->kernel_width * geometry->kernel_height;
  job->step_clocks = passes * (FULL_ARRAY / array);
  job->macs = passes * FULL_ARRAY;
  job->drain_clocks = has(job, CSC_CS2_GEMM_FLAG_CONTEXT) ? 16 : 8;
  if (!has(job, CSC_CS2_GEMM_FLAG_DEPTHWISE)) return;
  job->step_clocks = passes * (array == FULL_ARRAY ? (taps + 1) / 2 : taps * (TAP / array));
  job->macs = passes * TAP * taps;
  job->weight_lines = tiles_of(taps);
}

csc_cs2_product_t csc_cs2_decode_product(const csc_sim_cs2_t *sim) {
  const csc_cs2_shape_t shape = csc_cs2_shape(sim, CSC_CS2_ENGINE_BLOCK);
  const csc_cs2_geometry_t *geometry = &sim->block.geometry;
  csc_cs2_product_t job = {0};
  decode_fields(&job, csc_cs2_words(sim, CSC_CS2_ENGINE_BLOCK));
  job.rows = tiles_of(shape.rows);
  job.columns = tiles_of(shape.columns);
  job.depth = tiles_of(shape.depth);
  job.a_lines = has(&job, CSC_CS2_GEMM_FLAG_A_WIDE) ? 2 : 1;
  job.c_lines = has(&job, CSC_CS2_GEMM_FLAG_OUT_INT16) ? 2 : 1;
  if (has(&job, CSC_CS2_GEMM_FLAG_OUT_INT32)) job.c_lines = 4;
  if (has(&job, CSC_CS2_GEMM_FLAG_CONV | CSC_CS2_GEMM_FLAG_DEPTHWISE)) {
    decode_image(&job, geometry);
  }
  decode_clocks(&job, geometry, sim->config.array);
  return job;
}

// --- the product ---------------------------------------------------------------------------------

// Loops that compilers turn into vectors: a product is made in nearly every clock.
void csc_cs2_load_left(const csc_cs2_product_t *job, const uint8_t *const *lines, int16_t a[8][8]) {
  int16_t *elements = &a[0][0];
  if (has(job, CSC_CS2_GEMM_FLAG_A_WIDE)) {
    for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
      elements[i] = csc_cs2_left_element(job->flags, lines[i / 32], i % 32);
    }
  } else if (has(job, CSC_CS2_GEMM_FLAG_A_UNSIGNED)) {
    for (uint32_t i = 0; i < CSC_CS2_TILE; i++) elements[i] = lines[0][i];
  } else {
    for (uint32_t i = 0; i < CSC_CS2_TILE; i++) elements[i] = (int8_t)lines[0][i];
  }
}

void csc_cs2_load_right(const csc_cs2_product_t *job, const uint8_t *line, int16_t b[8][8]) {
  if (has(job, CSC_CS2_GEMM_FLAG_B_TRANSPOSED)) {
    for (uint32_t i = 0; i < CSC_CS2_TILE; i++) b[i / 8][i % 8] = (int8_t)line[i];
    return;
  }
  for (uint32_t k = 0; k < 8; k++) {
    for (uint32_t n = 0; n < 8; n++) b[k][n] = (int8_t)line[8 * n + k];
  }
}

void csc_cs2_multiply_blocks(const csc_cs2_operands_t *operands, int32_t *sums) {
  for (uint32_t r = 0; r < 8; r++) {
    uint32_t row[8];
    for (uint32_t n = 0; n < 8; n++) row[n] = (uint32_t)sums[8 * r + n];
    for (uint32_t k = 0; k < 8; k++) {
      const int16_t a = operands->a[r][k];
      for (uint32_t n = 0; n < 8; n++) row[n] += (uint32_t)(a * operands->b[k][n]);
    }
    for (uint32_t n = 0; n < 8; n++) sums[8 * r + n] = (int32_t)row[n];
  }
}

// --- the drain -----------------------------------------------------------------------------------

void csc_cs2_load_requant(csc_cs2_block_t *block, const uint8_t *line) {
  for (uint32_t n = 0; n < 8; n++) {
    block->bias[n] = (int32_t)csc_cs2_load32(line + 8 * n);
    block->scale[n] = csc_cs2_unpack_scale(csc_cs2_load32(line + 8 * n + 4));
  }
}

void csc_cs2_load_context(csc_cs2_block_t *block, const uint8_t *line, uint32_t batch) {
  const uint32_t entry = (block->job.requant + 8 * batch) % CSC_CS2_LINE;
  block->scale[0] = csc_cs2_unpack_scale(csc_cs2_load32(line + entry + 4));
}

void csc_cs2_load_recips(csc_cs2_block_t *block, const uint8_t *line) {
  for (uint32_t r = 0; r < 8; r++) {
    const uint32_t word = csc_cs2_load32(line + 4 * r);
    block->recips[r].r = word & 0xFFFFu;
    block->recips[r].length = word >> 16 & 31u;
  }
}

// The result of a sum before the table.
static int32_t requantize_sum(const csc_cs2_block_t *block, uint32_t r, uint32_t n) {
  const csc_cs2_product_t *job = &block->job;
  const int64_t sum = block->sums[8 * r + n];
  int64_t result;
  if (has(job, CSC_CS2_GEMM_FLAG_CONTEXT)) {
    result = csc_cs2_rq(csc_cs2_mean8(sum, block->recips[r]), block->scale[0]);
  } else {
    result = csc_cs2_rq(sum + block->bias[n], block->scale[n]);
  }
  return (int32_t)csc_cs2_clamp(result + job->zero_point, job->clamp_low, job->clamp_high);
}

void csc_cs2_requantize(const csc_cs2_block_t *block, int32_t *results) {
  if (has(&block->job, CSC_CS2_GEMM_FLAG_OUT_INT32)) {
    memcpy(results, block->sums, sizeof block->sums);
    return;
  }
  const int has_table = has(&block->job, CSC_CS2_GEMM_FLAG_TABLE);
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int32_t result = requantize_sum(block, i / 8, i % 8);
    results[i] = has_table ? block->table[(uint32_t)result % CSC_CS2_TABLE_ENTRIES] : result;
  }
}
