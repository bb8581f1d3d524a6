// SOFTMAX: the largest score of each row, the exponentials and their sums, the reciprocals.

#include "cs2_vector_op.h"

enum {
  GAP_CLOCKS = 4,     // the last maxima through the pipeline
  RECIP_CLOCKS = 20,  // the last sums through the pipeline, 16 steps of 8 dividers
  PHASE_ENTRY = 0,    // once a batch
  PHASE_TOP = 1,
  PHASE_GAP = 2,
  PHASE_EXP = 3,
  PHASE_RECIP = 4,
  PHASES = 5
};

static void decode(const uint32_t *words, csc_cs2_vector_job_t *job) {
  job->flags = csc_cs2_field(words, CSC_CS2_SOFTMAX_FLAGS);
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_SOFTMAX_X),
                           csc_cs2_field(words, CSC_CS2_SOFTMAX_X_ROW), 4);
  job->x.batch = csc_cs2_field(words, CSC_CS2_SOFTMAX_X_BATCH);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_SOFTMAX_OUT),
                             csc_cs2_field(words, CSC_CS2_SOFTMAX_OUT_ROW), 1);
  job->out.batch = csc_cs2_field(words, CSC_CS2_SOFTMAX_OUT_BATCH);
  job->mask = csc_cs2_field(words, CSC_CS2_SOFTMAX_MASK) / CSC_CS2_LINE;
  job->recip = csc_cs2_field(words, CSC_CS2_SOFTMAX_RECIP) / CSC_CS2_LINE;
  job->recip_batch = csc_cs2_field(words, CSC_CS2_SOFTMAX_RECIP_BATCH);
  job->requant = csc_cs2_field(words, CSC_CS2_SOFTMAX_REQUANT);
  job->causal_first = csc_cs2_field(words, CSC_CS2_SOFTMAX_CAUSAL_FIRST) +
                      csc_cs2_field(words, CSC_CS2_SOFTMAX_ROW_FIRST);
}

static uint32_t items(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  switch (at->phase) {
    case PHASE_ENTRY: return at->row == 0;
    case PHASE_TOP:
    case PHASE_EXP: return job->columns;
    default: return 1;
  }
}

static int has_mask_line(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return job->flags & CSC_CS2_SOFTMAX_FLAG_MASK && at->item % 8 == 0;
}

static uint32_t entry_byte(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return job->requant + 8 * at->batch;
}

static void plan(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                 csc_cs2_step_t *step) {
  const csc_cs2_vector_job_t *job = &vector->job;
  switch (at->phase) {
    case PHASE_ENTRY:
      csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT, entry_byte(job, at) / CSC_CS2_LINE);
      csc_cs2_plan_work(step, 1, 0);
      return;
    case PHASE_GAP: csc_cs2_plan_work(step, GAP_CLOCKS, 0); return;
    case PHASE_RECIP: csc_cs2_plan_work(step, RECIP_CLOCKS, 8); return;
    default: break;
  }
  if (has_mask_line(job, at)) {
    csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT, job->mask + at->item / 8);
  }
  csc_cs2_plan_tile(step, CSC_CS2_READ_X, &job->x, at->batch, at->row, at->item);
  csc_cs2_plan_work(step, job->tile_clocks, CSC_CS2_TILE);
}

static int is_visible(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at, uint32_t i) {
  const csc_cs2_vector_job_t *job = &vector->job;
  const uint32_t row = 8 * at->row + i / 8;
  const uint32_t key = 8 * at->item + i % 8;
  if (key >= job->column_count) return 0;
  if (job->flags & CSC_CS2_SOFTMAX_FLAG_CAUSAL && key > job->causal_first + row) return 0;
  return !(job->flags & CSC_CS2_SOFTMAX_FLAG_MASK) || vector->mask[key % CSC_CS2_LINE] != 0;
}

static void find_tops(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                      const int32_t scores[CSC_CS2_TILE]) {
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    int32_t *top = &vector->tops[i / 8];
    if (at->item == 0 && i % 8 == 0) *top = INT32_MIN;
    if (is_visible(vector, at, i) && scores[i] > *top) *top = scores[i];
  }
}

static void exponentiate(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                         int32_t scores[CSC_CS2_TILE]) {
  const csc_cs2_tiles_t *out = &vector->job.out;
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    uint32_t *total = &vector->totals[i / 8];
    const int64_t below = (int64_t)vector->tops[i / 8] - scores[i];
    if (at->item == 0 && i % 8 == 0) *total = 0;
    scores[i] = is_visible(vector, at, i) ? csc_cs2_exp(csc_cs2_rq(below, vector->score)) : 0;
    *total += (uint32_t)scores[i];
  }
  csc_cs2_send_tile(vector, csc_cs2_tile_line(out, at->batch, at->row, at->item), 1, scores);
}

// Words of the 8 rows, zeros behind them: a tile of words of which one line is written.
static void send_recips(csc_cs2_vector_t *vector, const csc_cs2_position_t *at) {
  const csc_cs2_vector_job_t *job = &vector->job;
  int32_t bytes[CSC_CS2_TILE] = {0};
  for (uint32_t r = 0; r < 8; r++) {
    const csc_cs2_recip_t recip = csc_cs2_recip(vector->totals[r]);
    const uint32_t word = recip.r | recip.length << 16;
    for (uint32_t i = 0; i < 4; i++) bytes[4 * r + i] = (int32_t)(word >> 8 * i & 0xFFu);
  }
  csc_cs2_send_tile(vector, job->recip + at->batch * job->recip_batch + at->row, 1, bytes);
}

static void execute_tile(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                         const csc_cs2_step_lines_t *lines) {
  int32_t scores[CSC_CS2_TILE];
  if (has_mask_line(&vector->job, at)) memcpy(vector->mask, lines->constant[0], CSC_CS2_LINE);
  csc_cs2_unpack_tile(&vector->job.x, lines->x, scores);
  if (at->phase == PHASE_TOP) find_tops(vector, at, scores);
  if (at->phase == PHASE_EXP) exponentiate(vector, at, scores);
}

static void execute(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                    const csc_cs2_step_lines_t *lines) {
  csc_cs2_vector_t *vector = &sim->vector;
  switch (at->phase) {
    case PHASE_ENTRY:
      vector->score = csc_cs2_unpack_scale(
          csc_cs2_load32(lines->constant[0] + entry_byte(&vector->job, at) % CSC_CS2_LINE));
      break;
    case PHASE_GAP: break;
    case PHASE_RECIP: send_recips(vector, at); break;
    default: execute_tile(vector, at, lines);
  }
}

const csc_cs2_vector_op_t csc_cs2_vector_softmax = {
    .phases = PHASES,
    .decode = decode,
    .items = items,
    .plan = plan,
    .execute = execute,
};
