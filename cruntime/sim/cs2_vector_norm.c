// NORM: sums of a row of tiles, its 8 roots, and its outputs.

#include "cs2_vector_op.h"

enum {
  ROOT_CLOCKS = 24,  // the last sums through the pipeline, 8 roots, one a clock, of 12 stages
  PHASE_SUMS = 0,
  PHASE_ROOTS = 1,
  PHASE_OUTPUT = 2,
  PHASES = 3
};

static void decode(const uint32_t *words, csc_cs2_vector_job_t *job) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_NORM_FLAGS);
  const uint32_t line = CSC_CS2_LINE;
  job->flags = flags;
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_NORM_X),
                           csc_cs2_field(words, CSC_CS2_NORM_X_ROW), 2);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_NORM_OUT_A),
                             csc_cs2_field(words, CSC_CS2_NORM_OUT_A_ROW),
                             flags & CSC_CS2_NORM_FLAG_A_INT16 ? 2 : 1);
  job->out_b = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_NORM_OUT_B),
                               csc_cs2_field(words, CSC_CS2_NORM_OUT_B_ROW),
                               flags & CSC_CS2_NORM_FLAG_B_INT16 ? 2 : 1);
  job->affine_a = csc_cs2_field(words, CSC_CS2_NORM_AFFINE_A) / line;
  job->affine_b = csc_cs2_field(words, CSC_CS2_NORM_AFFINE_B) / line;
  job->epsilon = csc_cs2_field(words, CSC_CS2_NORM_EPSILON_LOW) |
                 (uint64_t)csc_cs2_field(words, CSC_CS2_NORM_EPSILON_HIGH) << 32;
  job->shift_a = csc_cs2_field(words, CSC_CS2_NORM_SHIFT_A);
  job->shift_b = csc_cs2_field(words, CSC_CS2_NORM_SHIFT_B);
  job->zero_point = csc_cs2_signed_field(words, CSC_CS2_NORM_ZERO_A);
  job->zero_b = csc_cs2_signed_field(words, CSC_CS2_NORM_ZERO_B);
}

static uint32_t items(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return at->phase == PHASE_ROOTS ? 1 : job->columns;
}

static uint32_t parts(const csc_cs2_vector_job_t *job, const csc_cs2_position_t *at) {
  return at->phase == PHASE_OUTPUT && job->flags & CSC_CS2_NORM_FLAG_HAS_B ? 2 : 1;
}

static void plan(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                 csc_cs2_step_t *step) {
  const csc_cs2_vector_job_t *job = &vector->job;
  if (at->phase == PHASE_ROOTS) {
    csc_cs2_plan_work(step, ROOT_CLOCKS, 8);
    return;
  }
  csc_cs2_plan_work(step, job->tile_clocks, CSC_CS2_TILE);
  if (at->part == 0) csc_cs2_plan_tile(step, CSC_CS2_READ_X, &job->x, 0, at->row, at->item);
  if (at->phase == PHASE_SUMS) return;
  csc_cs2_plan_line(step, CSC_CS2_READ_CONSTANT,
                    (at->part == 0 ? job->affine_a : job->affine_b) + at->item);
}

// Columns beyond the width do not count.
static void add_up(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                   const csc_cs2_step_lines_t *lines) {
  const uint32_t rest = vector->job.column_count - 8 * at->item;
  int32_t x[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&vector->job.x, lines->x, x);
  for (uint32_t r = 0; r < 8; r++) {
    if (at->item == 0) vector->sums[r] = vector->squares[r] = 0;
    for (uint32_t c = 0; c < 8 && c < rest; c++) {
      vector->sums[r] += x[8 * r + c];
      vector->squares[r] += (int64_t)x[8 * r + c] * x[8 * r + c];
    }
  }
}

static void take_roots(csc_cs2_vector_t *vector) {
  const int64_t width = vector->job.column_count;
  for (uint32_t r = 0; r < 8; r++) {
    const int64_t sum = vector->sums[r];
    const uint64_t variance = (uint64_t)(width * vector->squares[r] - sum * sum);
    vector->roots[r] = csc_cs2_rsqrt(variance + vector->job.epsilon);
  }
}

// An output, decoded: constants of the 8 columns.
typedef struct {
  int64_t gain[8], offset[8];
  uint32_t shift;
  int32_t zero;
} norm_output_t;

static norm_output_t load_affine(const csc_cs2_vector_job_t *job, uint32_t part,
                                 const uint8_t *affine) {
  norm_output_t output;
  output.shift = part == 0 ? job->shift_a : job->shift_b;
  output.zero = part == 0 ? job->zero_point : job->zero_b;
  for (uint32_t c = 0; c < 8; c++) {
    output.offset[c] = (int32_t)csc_cs2_load32(affine + 8 * c);
    output.gain[c] = (int32_t)csc_cs2_load32(affine + 8 * c + 4);
  }
  return output;
}

// Normalized values of a row, in place.
static void normalize(const csc_cs2_vector_t *vector, uint32_t r, int32_t values[8]) {
  const int64_t width = vector->job.column_count;
  const int64_t root = vector->roots[r].r;
  const uint32_t shift = (uint32_t)(12 + vector->roots[r].h);
  for (uint32_t c = 0; c < 8; c++) {
    const int64_t deviation = width * values[c] - vector->sums[r];
    values[c] = (int32_t)csc_cs2_clamp(csc_cs2_rs(deviation * root, shift), -32767, 32767);
  }
}

static void send_output(csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                        const uint8_t *affine) {
  const csc_cs2_vector_job_t *job = &vector->job;
  const csc_cs2_tiles_t *out = at->part == 0 ? &job->out : &job->out_b;
  const norm_output_t output = load_affine(job, at->part, affine);
  int32_t elements[CSC_CS2_TILE];
  memcpy(elements, vector->x, sizeof elements);
  for (uint32_t r = 0; r < 8; r++) {
    int32_t *values = elements + 8 * r;
    normalize(vector, r, values);
    for (uint32_t c = 0; c < 8; c++) {
      const int64_t scaled = values[c] * output.gain[c] + output.offset[c];
      values[c] = csc_cs2_saturate(out, csc_cs2_rs(scaled, output.shift) + output.zero);
    }
  }
  csc_cs2_send_tile(vector, csc_cs2_tile_line(out, 0, at->row, at->item), out->bytes, elements);
}

static void execute(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                    const csc_cs2_step_lines_t *lines) {
  csc_cs2_vector_t *vector = &sim->vector;
  switch (at->phase) {
    case PHASE_SUMS: add_up(vector, at, lines); break;
    case PHASE_ROOTS: take_roots(vector); break;
    default:
      if (at->part == 0) csc_cs2_unpack_tile(&vector->job.x, lines->x, vector->x);
      send_output(vector, at, lines->constant[0]);
  }
}

const csc_cs2_vector_op_t csc_cs2_vector_norm = {
    .phases = PHASES,
    .decode = decode,
    .items = items,
    .parts = parts,
    .plan = plan,
    .execute = execute,
};
