// Commands of the vector engine that take one tile after another: ADD, MUL, LOOKUP, TRANSPOSE, and
// VECTOR_TABLE, which takes lines.

#include "cs2_vector_op.h"

enum { LOOKUPS = 4 };  // a clock

static uint32_t bytes_if(uint32_t flags, uint32_t flag) { return flags & flag ? 2 : 1; }

static void send(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                 const int32_t elements[CSC_CS2_TILE]) {
  const csc_cs2_tiles_t *out = &sim->vector.job.out;
  csc_cs2_send_tile(&sim->vector, csc_cs2_tile_line(out, 0, at->row, at->item), out->bytes,
                    elements);
}

static void plan_two(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                     csc_cs2_step_t *step) {
  const csc_cs2_vector_job_t *job = &vector->job;
  csc_cs2_plan_tile(step, CSC_CS2_READ_X, &job->x, 0, at->row, at->item);
  csc_cs2_plan_tile(step, CSC_CS2_READ_Y, &job->y, 0, at->row, at->item);
  csc_cs2_plan_work(step, job->tile_clocks, CSC_CS2_TILE);
}

// --- ADD -----------------------------------------------------------------------------------------

static void decode_add(const uint32_t *words, csc_cs2_vector_job_t *job) {
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_ADD_X),
                           csc_cs2_field(words, CSC_CS2_ADD_X_ROW), 2);
  job->y = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_ADD_Y),
                           csc_cs2_field(words, CSC_CS2_ADD_Y_ROW), 2);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_ADD_OUT),
                             csc_cs2_field(words, CSC_CS2_ADD_OUT_ROW), 2);
  job->multiplier_x = (int32_t)csc_cs2_field(words, CSC_CS2_ADD_MULTIPLIER_X);
  job->multiplier_y = (int32_t)csc_cs2_field(words, CSC_CS2_ADD_MULTIPLIER_Y);
  job->shift_a = csc_cs2_field(words, CSC_CS2_ADD_SHIFT);
}

static void execute_add(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                        const csc_cs2_step_lines_t *lines) {
  const csc_cs2_vector_job_t *job = &sim->vector.job;
  int32_t x[CSC_CS2_TILE], y[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&job->x, lines->x, x);
  csc_cs2_unpack_tile(&job->y, lines->y, y);
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int64_t sum = (int64_t)x[i] * job->multiplier_x + (int64_t)y[i] * job->multiplier_y;
    x[i] = csc_cs2_saturate(&job->out, csc_cs2_rs(sum, job->shift_a));
  }
  send(sim, at, x);
}

const csc_cs2_vector_op_t csc_cs2_vector_add = {
    .phases = 1,
    .decode = decode_add,
    .items = csc_cs2_tile_items,
    .plan = plan_two,
    .execute = execute_add,
};

// --- MUL -----------------------------------------------------------------------------------------

static void decode_mul(const uint32_t *words, csc_cs2_vector_job_t *job) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_MUL_FLAGS);
  job->x =
      csc_cs2_operand(csc_cs2_field(words, CSC_CS2_MUL_X), csc_cs2_field(words, CSC_CS2_MUL_X_ROW),
                      bytes_if(flags, CSC_CS2_ELEMENT_FLAG_X_INT16));
  job->y =
      csc_cs2_operand(csc_cs2_field(words, CSC_CS2_MUL_Y), csc_cs2_field(words, CSC_CS2_MUL_Y_ROW),
                      bytes_if(flags, CSC_CS2_ELEMENT_FLAG_Y_INT16));
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_MUL_OUT),
                             csc_cs2_field(words, CSC_CS2_MUL_OUT_ROW),
                             bytes_if(flags, CSC_CS2_ELEMENT_FLAG_OUT_INT16));
  job->scale = csc_cs2_scale(csc_cs2_field(words, CSC_CS2_MUL_MULTIPLIER),
                             csc_cs2_field(words, CSC_CS2_MUL_SHIFT));
  job->zero_x = csc_cs2_signed_field(words, CSC_CS2_MUL_ZERO_X);
  job->zero_y = csc_cs2_signed_field(words, CSC_CS2_MUL_ZERO_Y);
  job->zero_point = csc_cs2_signed_field(words, CSC_CS2_MUL_ZERO_POINT);
}

static int64_t factor(int32_t element, int32_t zero) {
  return csc_cs2_clamp((int64_t)element - zero, -32768, 32767);
}

static void execute_mul(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                        const csc_cs2_step_lines_t *lines) {
  const csc_cs2_vector_job_t *job = &sim->vector.job;
  int32_t x[CSC_CS2_TILE], y[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&job->x, lines->x, x);
  csc_cs2_unpack_tile(&job->y, lines->y, y);
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int64_t product = factor(x[i], job->zero_x) * factor(y[i], job->zero_y);
    x[i] = csc_cs2_saturate(&job->out, csc_cs2_rq(product, job->scale) + job->zero_point);
  }
  send(sim, at, x);
}

const csc_cs2_vector_op_t csc_cs2_vector_mul = {
    .phases = 1,
    .decode = decode_mul,
    .items = csc_cs2_tile_items,
    .plan = plan_two,
    .execute = execute_mul,
};

// --- VECTOR_TABLE, LOOKUP ------------------------------------------------------------------------

static void decode_table(const uint32_t *words, csc_cs2_vector_job_t *job) {
  job->flags = csc_cs2_field(words, CSC_CS2_VECTOR_TABLE_FLAGS) & 1;
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_VECTOR_TABLE_X), 0, 1);
  job->rows = 1;
  job->columns = CSC_CS2_TABLE_ENTRIES / CSC_CS2_LINE * (job->flags + 1);
}

static void plan_table(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                       csc_cs2_step_t *step) {
  csc_cs2_plan_line(step, CSC_CS2_READ_X, vector->job.x.line + at->item);
  csc_cs2_plan_work(step, 1, 0);
}

static void execute_table(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                          const csc_cs2_step_lines_t *lines) {
  csc_cs2_vector_t *vector = &sim->vector;
  const uint32_t bytes = vector->job.flags + 1;
  const uint32_t count = CSC_CS2_LINE / bytes;
  int32_t entries[CSC_CS2_LINE];
  if (bytes == 1) csc_cs2_unpack8(lines->x[0], entries);
  if (bytes == 2) csc_cs2_unpack16(lines->x[0], entries);
  for (uint32_t i = 0; i < count; i++) vector->table[at->item * count + i] = (int16_t)entries[i];
}

const csc_cs2_vector_op_t csc_cs2_vector_table = {
    .phases = 1,
    .decode = decode_table,
    .items = csc_cs2_tile_items,
    .plan = plan_table,
    .execute = execute_table,
};

static void decode_lookup(const uint32_t *words, csc_cs2_vector_job_t *job) {
  const uint32_t flags = csc_cs2_field(words, CSC_CS2_LOOKUP_FLAGS);
  const uint32_t lookup_clocks = CSC_CS2_TILE / LOOKUPS;
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_LOOKUP_X),
                           csc_cs2_field(words, CSC_CS2_LOOKUP_X_ROW),
                           bytes_if(flags, CSC_CS2_ELEMENT_FLAG_X_INT16));
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_LOOKUP_OUT),
                             csc_cs2_field(words, CSC_CS2_LOOKUP_OUT_ROW),
                             bytes_if(flags, CSC_CS2_ELEMENT_FLAG_OUT_INT16));
  job->scale = csc_cs2_scale(csc_cs2_field(words, CSC_CS2_LOOKUP_MULTIPLIER),
                             csc_cs2_field(words, CSC_CS2_LOOKUP_SHIFT));
  job->zero_point = csc_cs2_signed_field(words, CSC_CS2_LOOKUP_ZERO_POINT);
  if (job->tile_clocks < lookup_clocks) job->tile_clocks = lookup_clocks;
}

static void plan_lookup(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                        csc_cs2_step_t *step) {
  csc_cs2_plan_tile(step, CSC_CS2_READ_X, &vector->job.x, 0, at->row, at->item);
  csc_cs2_plan_work(step, vector->job.tile_clocks, CSC_CS2_TILE);
}

static void execute_lookup(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                           const csc_cs2_step_lines_t *lines) {
  const csc_cs2_vector_t *vector = &sim->vector;
  const csc_cs2_vector_job_t *job = &vector->job;
  int32_t x[CSC_CS2_TILE];
  csc_cs2_unpack_tile(&job->x, lines->x, x);
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) {
    const int64_t place = csc_cs2_rq(x[i], job->scale) + job->zero_point;
    x[i] = vector->table[csc_cs2_clamp(place, 0, CSC_CS2_TABLE_ENTRIES - 1)];
  }
  send(sim, at, x);
}

const csc_cs2_vector_op_t csc_cs2_vector_lookup = {
    .phases = 1,
    .decode = decode_lookup,
    .items = csc_cs2_tile_items,
    .plan = plan_lookup,
    .execute = execute_lookup,
};

// --- TRANSPOSE -----------------------------------------------------------------------------------

static void decode_transpose(const uint32_t *words, csc_cs2_vector_job_t *job) {
  job->x = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_TRANSPOSE_X),
                           csc_cs2_field(words, CSC_CS2_TRANSPOSE_X_ROW), 1);
  job->out = csc_cs2_operand(csc_cs2_field(words, CSC_CS2_TRANSPOSE_OUT),
                             csc_cs2_field(words, CSC_CS2_TRANSPOSE_OUT_ROW), 1);
}

// A row of 8 elements goes into the array of registers in each clock.
static void plan_transpose(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                           csc_cs2_step_t *step) {
  csc_cs2_plan_tile(step, CSC_CS2_READ_X, &vector->job.x, 0, at->row, at->item);
  csc_cs2_plan_work(step, 8, CSC_CS2_TILE);
}

static void execute_transpose(csc_sim_cs2_t *sim, const csc_cs2_position_t *at,
                              const csc_cs2_step_lines_t *lines) {
  csc_cs2_vector_t *vector = &sim->vector;
  const csc_cs2_tiles_t *out = &vector->job.out;
  int32_t turned[CSC_CS2_TILE];
  for (uint32_t i = 0; i < CSC_CS2_TILE; i++) turned[i % 8 * 8 + i / 8] = lines->x[0][i];
  csc_cs2_send_tile(vector, csc_cs2_tile_line(out, 0, at->item, at->row), 1, turned);
}

const csc_cs2_vector_op_t csc_cs2_vector_transpose = {
    .phases = 1,
    .decode = decode_transpose,
    .items = csc_cs2_tile_items,
    .plan = plan_transpose,
    .execute = execute_transpose,
};
