// EMBED: for every row of tiles its multipliers and indices; for every 4 tiles the 8 rows of the
// types, then the tiles.

#include "cs2_vector_op.h"

enum { PHASE_INDICES = 0, PHASE_TILES = 1, PHASES = 2, GROUP = 4 };

static int has_types(const csc_cs2_vector_job_t *job) {
  return (job->flags & CSC_CS2_EMBED_FLAG_TYPES) != 0;
}

static void decode(const uint32_t *words, csc_cs2_vector_job_t *job) {
  job->flags = csc_cs2_field(words, CSC_CS2_EMBED_FLAGS);
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_EMBED_X),
                           csc_cs2_field(words, CSC_CS2_EMBED_X_ROW), 1);
  job->y = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_EMBED_Y),
                           csc_cs2_field(words, CSC_CS2_EMBED_Y_ROW), 2);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_EMBED_OUT),
                             csc_cs2_field(words, CSC_CS2_EMBED_OUT_ROW), 2);
  job->word_scale = csc_cs2_field(words, CSC_CS2_EMBED_SCALE) / CSC_CS2_LINE;
  job->index = csc_cs2_field(words, CSC_CS2_EMBED_INDEX) / CSC_CS2_LINE;
  job->index_limit = csc_cs2_field(words, CSC_CS2_EMBED_INDEX_LIMIT);
  job->types.line = csc_cs2_field(words, CSC_CS2_EMBED_TABLE) / CSC_CS2_LINE;
  job->types.row = (csc_cs2_field(words, CSC_CS2_EMBED_COLUMNS) + 31) / 32;
  job->shift_a = csc_cs2_field(words, CSC_CS2_EMBED_SHIFT);
}

static uint32_t items(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return at->phase == PHASE_INDICES ? 1 : job->columns;
}

// Rows inside the operand; the others have no type.
static uint32_t rows_of(const csc_cs2_vector_job_t *job, uint32_t row) {
  const uint32_t rest = job->row_count - 8 * row;
  return rest < 8 ? rest : 8;
}

// Lines of types before the first tile of each group.
static uint32_t type_parts(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  const int is_first = at->phase == PHASE_TILES && at->item % GROUP == 0;
  return has_types(job) && is_first ? rows_of(job, at->row) : 0;
}

static uint32_t parts(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return type_parts(job, at) + 1;
}

static void plan_indices(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at,
                         csc_cs2_step_t *step) {
  csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT, job->word_scale + at->row / 4);
  if (has_types(job)) csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT, job->index + at->row / 2);
  csc_cs2_plan_work(step, 1, 0);
}

static void plan(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                 csc_cs2_step_t *step) {
  const csc_cs2_vector_job_t *job = &vector->job;
  if (at->phase == PHASE_INDICES) {
    plan_indices(job, at, step);
  } else if (at->part < type_parts(job, at)) {
    csc_cs2_plan_line(
        step, CSC_CS2_READ_CONSTANT,
        job->types.line + vector->indices[at->part] * job->types.row + at->item / GROUP);
    csc_cs2_plan_work(step, 1, 0);
    step->needs_indices = 1;
  } else {
    csc_cs2_plan_tile(step, CSC_CS2_READ_X, &job->x, 0, at->row, at->item);
    csc_cs2_plan_tile(step, CSC_CS2_READ_Y, &job->y, 0, at->row, at->item);
    csc_cs2_plan_work(step, job->tile_clocks, CSC_CS2_TILE);
  }
}

static void load_indices(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                         const csc_cs2_step_lines_t *lines) {
  csc_cs2_vector_t *vector = &sim->vector;
  const csc_cs2_vector_job_t *job = &vector->job;
  for (uint32_t r = 0; r < 8; r++) {
    vector->scales[r] = csc_cs2_load16(lines->constant[0] + at->row % 4 * 16 + 2 * r);
  }
  for (uint32_t r = 0; has_types(job) && r < rows_of(job, at->row); r++) {
    vector->indices[r] = csc_cs2_load32(lines->constant[1] + at->row % 2 * 32 + 4 * r);
    if (vector->indices[r] < job->index_limit) continue;
    csc_cs2_fail(sim, CSC_CS2_ENGINE_VECTOR, CSC_CS2_CAUSE_INDEX, 8 * at->row + r);
    return;
  }
  vector->indices_row = at->row + 1;
}

static void load_types(csc_cs2_vector_t *vector, uint32_t row, const uint8_t *line) {
  for (uint32_t i = 0; i < 32; i++) vector->types[row][i] = (int16_t)csc_cs2_load16(line + 2 * i);
}

static int32_t type_of(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at, uint32_t i) {
  if (!has_types(&vector->job) || i / 8 >= rows_of(&vector->job, at->row)) return 0;
  return vector->types[i / 8][at->item % GROUP * 8 + i % 8];
}

static void execute_tile(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                         const csc_cs2_step_lines_t *lines) {
  const csc_cs2_vector_job_t *job = &vector->job;
  int32_t x[CSC_CS2_TILE], y[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&job->x, lines->x, x);
  csc_cs2_unpack_tile(&job->y, lines->y, y);
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int64_t word = csc_cs2_rs((int64_t)x[i] * vector->scales[i / 8], job->shift_a);
    x[i] = csc_cs2_saturate(&job->out, word + y[i] + type_of(vector, at, i));
  }
  csc_cs2_send_tile(vector, csc_cs2_tile_line(&job->out, 0, at->row, at->item), 2, x);
}

static void execute(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                    const csc_cs2_step_lines_t *lines) {
  if (at->phase == PHASE_INDICES) {
    load_indices(sim, at, lines);
  } else if (at->part < type_parts(&sim->vector.job, at)) {
    load_types(&sim->vector, at->part, lines->constant[0]);
  } else {
    execute_tile(&sim->vector, at, lines);
  }
}

const csc_cs2_vector_op_t csc_cs2_vector_embed = {
    .phases = PHASES,
    .decode = decode,
    .items = items,
    .parts = parts,
    .plan = plan,
    .execute = execute,
};
