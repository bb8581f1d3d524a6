// POOL: for 8 columns after the other the rows, then the mean. Rows of the nest of loops are blocks
// of 8 columns here, items are rows of tiles.

#include "cs2_vector_op.h"

enum {
  MEAN_CLOCKS = 24,  // the last sums through the pipeline, 16 steps of a divider, 4 multiplying
  PHASE_ROWS = 0,
  PHASE_MEAN = 1,
  PHASES = 2
};

static void decode(const uint32_t *words, csc_cs2_vector_job_t *job) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_POOL_FLAGS);
  const uint32_t row_tiles = job->rows;
  job->flags = flags;
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_POOL_X),
                           csc_cs2_field(words, CSC_CS2_POOL_X_ROW),
                           flags & CSC_CS2_POOL_FLAG_X_INT16 ? 2 : 1);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_POOL_OUT), 0,
                             flags & CSC_CS2_POOL_FLAG_OUT_INT16 ? 2 : 1);
  job->mask = csc_cs2_field(words, CSC_CS2_POOL_MASK) / CSC_CS2_LINE;
  job->scale = csc_cs2_scale(csc_cs2_field(words, CSC_CS2_POOL_MULTIPLIER),
                             csc_cs2_field(words, CSC_CS2_POOL_SHIFT));
  job->zero_x = csc_cs2_signed_field(words, CSC_CS2_POOL_ZERO_X);
  job->zero_point = csc_cs2_signed_field(words, CSC_CS2_POOL_ZERO_POINT);
  job->rows = job->columns;
  job->columns = flags & CSC_CS2_POOL_FLAG_MEAN ? row_tiles : 1;
}

static uint32_t items(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return at->phase == PHASE_ROWS ? job->columns : 1;
}

static int has_mask(const csc_cs2_vector_job_t *job) {
  const uint32_t both = CSC_CS2_POOL_FLAG_MASK | CSC_CS2_POOL_FLAG_MEAN;
  return (job->flags & both) == both;
}

static void plan(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                 csc_cs2_step_t *step) {
  const csc_cs2_vector_job_t *job = &vector->job;
  if (at->phase == PHASE_MEAN) {
    csc_cs2_plan_work(step, MEAN_CLOCKS, 8);
    return;
  }
  if (has_mask(job) && at->item % 8 == 0) {
    csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT, job->mask + at->item / 8);
  }
  csc_cs2_plan_tile(step, CSC_CS2_READ_X, &job->x, 0, at->item, at->row);
  csc_cs2_plan_work(step, job->tile_clocks, CSC_CS2_TILE);
}

static int counts(const csc_cs2_vector_t *vector, uint32_t row) {
  if (!(vector->job.flags & CSC_CS2_POOL_FLAG_MEAN)) return row == 0;
  if (row >= vector->job.row_count) return 0;
  return !has_mask(&vector->job) || vector->mask[row % CSC_CS2_LINE] != 0;
}

static void add_rows(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                     const csc_cs2_step_lines_t *lines) {
  int32_t x[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&vector->job.x, lines->x, x);
  if (at->item == 0) {
    memset(vector->sums, 0, sizeof vector->sums);
    vector->visible = 0;
  }
  if (has_mask(&vector->job) && at->item % 8 == 0) {
    memcpy(vector->mask, lines->constant[0], CSC_CS2_LINE);
  }
  for (uint32_t r = 0; r < 8; r++) {
    if (!counts(vector, 8 * at->item + r)) continue;
    vector->visible++;
    for (uint32_t c = 0; c < 8; c++) {
      vector->sums[c] += (int64_t)x[8 * r + c] - vector->job.zero_x;
    }
  }
}

static void send_mean(csc_cs2_vector_t *vector, const csc_cs2_position_t *at) {
  const csc_cs2_vector_job_t *job = &vector->job;
  const csc_cs2_recip_t recip = csc_cs2_recip(vector->visible);
  int32_t elements[CSC_CS2_TILE] = {0};
  for (uint32_t c = 0; c < 8; c++) {
    const int64_t sum = vector->sums[c];
    const int64_t mean =
        job->flags & CSC_CS2_POOL_FLAG_MEAN ? csc_cs2_mean8(sum, recip) : sum * 256;
    elements[c] = csc_cs2_saturate(&job->out, csc_cs2_rq(mean, job->scale) + job->zero_point);
  }
  csc_cs2_send_tile(vector, csc_cs2_tile_line(&job->out, 0, 0, at->row), job->out.bytes, elements);
}

static void execute(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                    const csc_cs2_step_lines_t *lines) {
  if (at->phase == PHASE_ROWS) {
    add_rows(&sim->vector, at, lines);
  } else {
    send_mean(&sim->vector, at);
  }
}

const csc_cs2_vector_op_t csc_cs2_vector_pool = {
    .phases = PHASES,
    .decode = decode,
    .items = items,
    .plan = plan,
    .execute = execute,
};
