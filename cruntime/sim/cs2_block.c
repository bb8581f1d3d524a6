#include "cs2_block.h"

#include "cs2_chip.h"
#include "cs2_window.h"

static int has(const csc_cs2_block_t *block, uint32_t flag) {
  return (block->job.flags & flag) != 0;
}

static int is_image(const csc_cs2_block_t *block) {
  return has(block, CSC_CS2_GEMM_FLAG_CONV | CSC_CS2_GEMM_FLAG_DEPTHWISE);
}

// The next step of the nest of loops; `depth` is the length of the innermost one.
static void advance(const csc_cs2_product_t *job, csc_cs2_place_t *place, uint32_t depth) {
  if (++place->depth < depth) return;
  place->depth = 0;
  if (++place->row < job->rows) return;
  place->row = 0;
  if (++place->column < job->columns) return;
  place->column = 0;
  if (++place->batch == job->batches) place->is_done = 1;
}

// --- writer and drain ----------------------------------------------------------------------------

static int is_due(const csc_cs2_block_t *block) {
  return block->result_count != 0 && block->results[block->result_first].due <= block->time;
}

// A line that leaves the pipeline goes into the stream; while it cannot, drain and pipeline stand.
static void write_result(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_writes_t *writes = &sim->writes[CSC_CS2_WRITE_BLOCK];
  const csc_cs2_result_t *result = &block->results[block->result_first];
  if (!is_due(block) || !csc_cs2_can_put(writes)) return;
  memcpy(csc_cs2_put(writes, result->line, CSC_CS2_WHOLE_LINE), result->bytes, CSC_CS2_LINE);
  block->result_first = (block->result_first + 1) % CSC_CS2_DRAIN_LINES;
  block->result_count--;
}

static void move_drain(csc_cs2_block_t *block) {
  if (is_due(block)) return;
  block->time++;
  if (block->draining != 0) block->draining--;
}

// Parameter lines that the tile at `place` needs: of its columns or batch, and of its rows.
static uint32_t column_params(const csc_cs2_block_t *block, csc_cs2_place_t place) {
  if (has(block, CSC_CS2_GEMM_FLAG_OUT_INT32) || place.row != 0) return 0;
  return !has(block, CSC_CS2_GEMM_FLAG_CONTEXT) || place.column == 0;
}

static uint32_t row_params(const csc_cs2_block_t *block) {
  return has(block, CSC_CS2_GEMM_FLAG_CONTEXT) && !has(block, CSC_CS2_GEMM_FLAG_OUT_INT32);
}

static uint32_t params_of(const csc_cs2_block_t *block, csc_cs2_place_t place) {
  return column_params(block, place) + row_params(block);
}

static void take_params(csc_cs2_block_t *block, csc_cs2_reads_t *reads) {
  if (column_params(block, block->drain)) {
    if (has(block, CSC_CS2_GEMM_FLAG_CONTEXT)) {
      csc_cs2_load_context(block, csc_cs2_peek(reads), block->drain.batch);
    } else {
      csc_cs2_load_requant(block, csc_cs2_peek(reads));
    }
    csc_cs2_take(reads);
  }
  if (row_params(block)) {
    csc_cs2_load_recips(block, csc_cs2_peek(reads));
    csc_cs2_take(reads);
  }
}

// The lines of the tile that has moved to the drain, each due when its last row has passed.
static void send_results(csc_cs2_block_t *block) {
  const csc_cs2_product_t *job = &block->job;
  const csc_cs2_place_t place = block->drain;
  const uint32_t tile =
      job->c + place.batch * job->c_batch + place.row * job->c_row + place.column * job->c_lines;
  int32_t elements[CSC_CS2_TILE];
  csc_cs2_requantize(block, elements);
  for (uint32_t i = 0; i < job->c_lines; i++) {
    const uint32_t at = (block->result_first + block->result_count++) % CSC_CS2_DRAIN_LINES;
    csc_cs2_result_t *result = &block->results[at];
    result->due =
        block->time + (i + 1) * job->drain_clocks / job->c_lines - 1 + CSC_CS2_DRAIN_PIPELINE;
    result->line = tile + i;
    csc_cs2_pack(elements + CSC_CS2_TILE / job->c_lines * i, job->c_lines, result->bytes);
  }
}

// The sums move into the drain when it is empty, or in its last clock.
static void move_sums(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_PARAMS];
  if (!block->is_full || block->draining != 0) return;
  if (csc_cs2_lines(reads) < params_of(block, block->drain)) return;
  take_params(block, reads);
  send_results(block);
  memset(block->sums, 0, sizeof block->sums);
  block->is_full = 0;
  block->draining = block->job.drain_clocks;
  sim->totals.drained += CSC_CS2_TILE;
  advance(&block->job, &block->drain, 1);
}

// --- array ---------------------------------------------------------------------------------------

// Whether the next step begins with a new window.
static int needs_window(const csc_cs2_block_t *block) {
  return is_image(block) && (has(block, CSC_CS2_GEMM_FLAG_DEPTHWISE) ||
                             block->array.depth % block->geometry.kernel_width == 0);
}

static int has_operands(const csc_sim_cs2_t *sim) {
  const csc_cs2_block_t *block = &sim->block;
  if (needs_window(block) && !csc_cs2_window_is_passed(block, &block->filling)) return 0;
  if (has(block, CSC_CS2_GEMM_FLAG_DEPTHWISE)) return block->weights == block->job.weight_lines;
  if (csc_cs2_lines(&sim->reads[CSC_CS2_READ_B]) == 0) return 0;
  return is_image(block) || csc_cs2_lines(&sim->reads[CSC_CS2_READ_A]) >= block->job.a_lines;
}

// The window that was filled becomes the current one, and the next one is opened.
static void turn_window(csc_cs2_block_t *block) {
  csc_cs2_place_t place = block->filling.place;
  block->current = 1 - block->current;
  advance(&block->job, &place, block->job.groups);
  if (!place.is_done) csc_cs2_window_open(block, place);
}

static void load_operands(csc_sim_cs2_t *sim, csc_cs2_operands_t *operands) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_reads_t *a = &sim->reads[CSC_CS2_READ_A];
  csc_cs2_reads_t *b = &sim->reads[CSC_CS2_READ_B];
  csc_cs2_load_right(&block->job, csc_cs2_peek(b), operands->b);
  csc_cs2_take(b);
  if (is_image(block)) {
    csc_cs2_window_left(block, block->array, block->array.depth % block->geometry.kernel_width,
                        operands->a);
    return;
  }
  const uint8_t *lines[2] = {a->bytes[a->taken % CSC_CS2_STREAM],
                             a->bytes[(a->taken + 1) % CSC_CS2_STREAM]};
  csc_cs2_load_left(&block->job, lines, operands->a);
  for (uint32_t i = 0; i < block->job.a_lines; i++) csc_cs2_take(a);
}

static void start_step(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_operands_t operands;
  if (needs_window(block)) turn_window(block);
  if (has(block, CSC_CS2_GEMM_FLAG_DEPTHWISE)) {
    csc_cs2_window_depthwise(block, block->array);
    if (block->array.row == block->job.rows - 1) block->weights = 0;
  } else {
    load_operands(sim, &operands);
    csc_cs2_multiply_blocks(&operands, block->sums);
  }
  block->busy = block->job.step_clocks;
  sim->totals.macs += block->job.macs;
  advance(&block->job, &block->array, block->job.depth);
}

static void try_step(csc_sim_cs2_t *sim) {
  if (sim->block.is_full) {
    csc_cs2_stall(sim, CSC_CS2_ENGINE_BLOCK, CSC_CS2_STALL_DRAIN);
  } else if (!has_operands(sim)) {
    csc_cs2_stall(sim, CSC_CS2_ENGINE_BLOCK, CSC_CS2_STALL_BANK);
  } else {
    start_step(sim);
  }
}

// Returns whether a product is made in this clock.
static int multiply(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  if (block->busy == 0 && !block->array.is_done) try_step(sim);
  if (block->busy == 0) return 0;
  block->busy--;
  // The tile is complete when the step under way is its last.
  if (block->busy == 0 && block->array.depth == 0) block->is_full = 1;
  return 1;
}

// --- loaders -------------------------------------------------------------------------------------

static void fill_window(csc_sim_cs2_t *sim) {
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_A];
  if (csc_cs2_window_is_passed(&sim->block, &sim->block.filling)) return;
  if (csc_cs2_lines(reads) == 0) return;
  csc_cs2_window_fill(&sim->block, csc_cs2_peek(reads));
  csc_cs2_take(reads);
}

// Weights of the next channels are taken when the products of those before are made.
static void fill_weights(csc_sim_cs2_t *sim, int is_multiplying) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_B];
  if (is_multiplying || block->weights == block->job.weight_lines) return;
  if (csc_cs2_lines(reads) == 0) return;
  memcpy(block->weight[block->weights++], csc_cs2_peek(reads), CSC_CS2_LINE);
  csc_cs2_take(reads);
}

static void ask_left(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  const csc_cs2_product_t *job = &block->job;
  const csc_cs2_place_t place = block->load_a;
  if (place.is_done || !csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_A])) return;
  csc_cs2_ask(&sim->reads[CSC_CS2_READ_A], job->a + place.batch * job->a_batch +
                                               place.row * job->a_row + place.depth * job->a_lines +
                                               block->sub_a);
  if (++block->sub_a < job->a_lines) return;
  block->sub_a = 0;
  advance(job, &block->load_a, job->depth);
}

// Windows without a line inside the image cost nothing.
static void ask_pixels(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_cursor_t *cursor = &block->asking;
  if (!csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_A])) return;
  while (!cursor->place.is_done && csc_cs2_window_is_passed(block, cursor)) {
    advance(&block->job, &cursor->place, block->job.groups);
    if (!cursor->place.is_done) *cursor = csc_cs2_window_begin(block, cursor->place);
  }
  if (cursor->place.is_done) return;
  csc_cs2_ask(&sim->reads[CSC_CS2_READ_A], csc_cs2_window_line(block, cursor));
  csc_cs2_window_advance(block, cursor);
}

// DEPTHWISE reads the weights of a block of channels once.
static void ask_right(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  const csc_cs2_product_t *job = &block->job;
  csc_cs2_place_t *place = &block->load_b;
  if (place->is_done || !csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_B])) return;
  const int is_depthwise = has(block, CSC_CS2_GEMM_FLAG_DEPTHWISE);
  const uint32_t stride = is_depthwise ? 1 : job->b_depth;
  csc_cs2_ask(
      &sim->reads[CSC_CS2_READ_B],
      job->b + place->batch * job->b_batch + place->column * job->b_column + place->depth * stride);
  if (is_depthwise && place->depth == job->weight_lines - 1) place->row = job->rows - 1;
  advance(job, place, is_depthwise ? job->weight_lines : job->depth);
}

// Line number `sub` of the parameters of a tile.
static uint32_t param_line(const csc_cs2_block_t *block, csc_cs2_place_t place, uint32_t sub) {
  const csc_cs2_product_t *job = &block->job;
  if (sub == column_params(block, place)) {
    return job->recip + place.batch * job->recip_batch + place.row;
  }
  if (has(block, CSC_CS2_GEMM_FLAG_CONTEXT)) {
    return (job->requant + 8 * place.batch) / CSC_CS2_LINE;
  }
  return job->requant / CSC_CS2_LINE + place.column;
}

static void ask_params(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_place_t *place = &block->load_params;
  if (!csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_PARAMS])) return;
  while (!place->is_done && block->sub_params == params_of(block, *place)) {
    block->sub_params = 0;
    advance(&block->job, place, 1);
  }
  if (place->is_done) return;
  csc_cs2_ask(&sim->reads[CSC_CS2_READ_PARAMS], param_line(block, *place, block->sub_params++));
}

static void ask_for_lines(csc_sim_cs2_t *sim) {
  if (is_image(&sim->block)) {
    ask_pixels(sim);
  } else {
    ask_left(sim);
  }
  ask_right(sim);
  ask_params(sim);
}

// --- commands ------------------------------------------------------------------------------------

static void tick_product(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  write_result(sim);
  move_drain(block);
  move_sums(sim);
  const int is_multiplying = multiply(sim);
  if (is_image(block)) fill_window(sim);
  if (has(block, CSC_CS2_GEMM_FLAG_DEPTHWISE)) fill_weights(sim, is_multiplying);
  ask_for_lines(sim);
  if (block->drain.is_done && block->result_count == 0) csc_cs2_finish(sim, CSC_CS2_ENGINE_BLOCK);
}

static void start_product(csc_sim_cs2_t *sim) {
  csc_cs2_block_t *block = &sim->block;
  block->job = csc_cs2_decode_product(sim);
  const csc_cs2_product_t *job = &block->job;
  csc_cs2_place_t first = {0};
  first.is_done = job->batches == 0 || job->rows == 0 || job->columns == 0 || job->depth == 0;
  block->load_a = block->load_b = block->load_params = block->array = block->drain = first;
  block->sub_a = block->sub_params = block->weights = 0;
  block->busy = block->is_full = block->draining = block->result_count = 0;
  memset(block->sums, 0, sizeof block->sums);
  block->asking.place = first;
  if (!is_image(block) || first.is_done) return;
  block->asking = csc_cs2_window_begin(block, first);
  csc_cs2_window_open(block, first);
}

static void load_table_line(csc_cs2_block_t *block, uint32_t is_wide, const uint8_t *line) {
  const uint32_t count = is_wide ? CSC_CS2_LINE / 2 : CSC_CS2_LINE;
  int16_t *entries = block->table + block->table_lines++ * count;
  for (uint32_t i = 0; i < count; i++) {
    entries[i] = is_wide ? (int16_t)csc_cs2_load16(line + 2 * i) : (int8_t)line[i];
  }
}

static void tick_table(csc_sim_cs2_t *sim, const uint32_t *words) {
  csc_cs2_block_t *block = &sim->block;
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_PARAMS];
  const uint32_t is_wide = csc_cs2_field(words, CSC_CS2_BLOCK_TABLE_FLAGS) & 1;
  const uint32_t lines = CSC_CS2_TABLE_ENTRIES / CSC_CS2_LINE * (is_wide + 1);
  if (csc_cs2_lines(reads) != 0) {
    load_table_line(block, is_wide, csc_cs2_peek(reads));
    csc_cs2_take(reads);
  } else {
    csc_cs2_stall(sim, CSC_CS2_ENGINE_BLOCK, CSC_CS2_STALL_BANK);
  }
  if (block->sub_params < lines && csc_cs2_can_ask(reads)) {
    const uint32_t first = csc_cs2_field(words, CSC_CS2_BLOCK_TABLE_A) / CSC_CS2_LINE;
    csc_cs2_ask(reads, first + block->sub_params++);
  }
  if (block->table_lines == lines) csc_cs2_finish(sim, CSC_CS2_ENGINE_BLOCK);
}

static void set_geometry(csc_cs2_geometry_t *geometry, const uint32_t *words) {
  geometry->in_width = csc_cs2_field(words, CSC_CS2_GEOMETRY_IN_WIDTH);
  geometry->in_height = csc_cs2_field(words, CSC_CS2_GEOMETRY_IN_HEIGHT);
  geometry->out_width = csc_cs2_field(words, CSC_CS2_GEOMETRY_OUT_WIDTH);
  geometry->out_height = csc_cs2_field(words, CSC_CS2_GEOMETRY_OUT_HEIGHT);
  geometry->kernel_width = csc_cs2_field(words, CSC_CS2_GEOMETRY_KERNEL_WIDTH);
  geometry->kernel_height = csc_cs2_field(words, CSC_CS2_GEOMETRY_KERNEL_HEIGHT);
  geometry->stride_x = csc_cs2_field(words, CSC_CS2_GEOMETRY_STRIDE_X);
  geometry->stride_y = csc_cs2_field(words, CSC_CS2_GEOMETRY_STRIDE_Y);
  geometry->pad_left = csc_cs2_field(words, CSC_CS2_GEOMETRY_PAD_LEFT);
  geometry->pad_top = csc_cs2_field(words, CSC_CS2_GEOMETRY_PAD_TOP);
  geometry->pad_value = csc_cs2_signed_field(words, CSC_CS2_GEOMETRY_PAD_VALUE);
}

static uint32_t code_of(const uint32_t *words) { return csc_cs2_field(words, CSC_CS2_HEADER_CODE); }

void csc_cs2_block_start(csc_sim_cs2_t *sim) {
  const uint32_t code = code_of(csc_cs2_words(sim, CSC_CS2_ENGINE_BLOCK));
  sim->block.table_lines = 0;
  sim->block.sub_params = 0;
  if (code == CSC_CS2_CODE_GEMM) start_product(sim);
}

void csc_cs2_block_tick(csc_sim_cs2_t *sim) {
  const uint32_t *words = csc_cs2_words(sim, CSC_CS2_ENGINE_BLOCK);
  switch (code_of(words)) {
    case CSC_CS2_CODE_GEMM: tick_product(sim); break;
    case CSC_CS2_CODE_BLOCK_TABLE: tick_table(sim, words); break;
    default: set_geometry(&sim->block.geometry, words); csc_cs2_finish(sim, CSC_CS2_ENGINE_BLOCK);
  }
}
