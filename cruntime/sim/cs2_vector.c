#include "cs2_vector.h"

#include "cs2_vector_op.h"

static const csc_cs2_vector_op_t *op_of(uint32_t code) {
  switch (code) {
    case CSC_CS2_CODE_NORM: return &csc_cs2_vector_norm;
    case CSC_CS2_CODE_ADD: return &csc_cs2_vector_add;
    case CSC_CS2_CODE_MUL: return &csc_cs2_vector_mul;
    case CSC_CS2_CODE_SOFTMAX: return &csc_cs2_vector_softmax;
    case CSC_CS2_CODE_LOOKUP: return &csc_cs2_vector_lookup;
    case CSC_CS2_CODE_POOL: return &csc_cs2_vector_pool;
    case CSC_CS2_CODE_EMBED: return &csc_cs2_vector_embed;
    case CSC_CS2_CODE_TRANSPOSE: return &csc_cs2_vector_transpose;
    default: return &csc_cs2_vector_table;
  }
}

// --- the sequence of steps -----------------------------------------------------------------------

// Go on to the next phase, row of tiles, batch until there is an item.
static void find_item(const csc_cs2_vector_job_t *job, const csc_cs2_vector_op_t *op,
                      csc_cs2_position_t *at) {
  while (at->item >= op->items(job, at)) {
    at->item = 0;
    if (++at->phase < op->phases) continue;
    at->phase = 0;
    if (++at->row < job->rows) continue;
    at->row = 0;
    if (++at->batch < job->batches) continue;
    at->is_done = 1;
    return;
  }
}

static void plan(const csc_cs2_vector_t *vector, const csc_cs2_position_t *at,
                 csc_cs2_step_t *step) {
  step->count = 0;
  step->needs_indices = 0;
  if (!at->is_done) op_of(vector->job.code)->plan(vector, at, step);
}

static void advance(const csc_cs2_vector_t *vector, csc_cs2_position_t *at, csc_cs2_step_t *step) {
  const csc_cs2_vector_op_t *op = op_of(vector->job.code);
  const uint32_t parts = op->parts ? op->parts(&vector->job, at) : 1;
  if (++at->part == parts) {
    at->part = 0;
    at->item++;
    find_item(&vector->job, op, at);
  }
  plan(vector, at, step);
}

// --- writer --------------------------------------------------------------------------------------

// A line is due when the last of its elements has passed the pipeline, and one clock after the line
// before it at the earliest.
void csc_cs2_send_tile(csc_cs2_vector_t *vector, uint32_t line, uint32_t bytes,
                       const int32_t elements[CSC_CS2_TILE]) {
  const uint32_t clocks = vector->execute_step.clocks;
  for (uint32_t i = 0; i < bytes; i++) {
    const uint32_t at = (vector->outcome_first + vector->outcome_count++) % CSC_CS2_VECTOR_RESULTS;
    csc_cs2_outcome_t *outcome = &vector->outcomes[at];
    const uint32_t passed = ((i + 1) * clocks + bytes - 1) / bytes - 1;
    outcome->due = vector->time + (passed > i ? passed : i) + CSC_CS2_VECTOR_PIPELINE;
    outcome->line = line + i;
    csc_cs2_pack(elements + CSC_CS2_TILE / bytes * i, bytes, outcome->bytes);
  }
}

static int is_due(const csc_cs2_vector_t *vector) {
  return vector->outcome_count != 0 && vector->outcomes[vector->outcome_first].due <= vector->time;
}

static void write_outcome(csc_sim_cs2_t *sim) {
  csc_cs2_vector_t *vector = &sim->vector;
  csc_cs2_writes_t *writes = &sim->writes[CSC_CS2_WRITE_VECTOR];
  const csc_cs2_outcome_t *outcome = &vector->outcomes[vector->outcome_first];
  if (!is_due(vector) || !csc_cs2_can_put(writes)) return;
  memcpy(csc_cs2_put(writes, outcome->line, CSC_CS2_WHOLE_LINE), outcome->bytes, CSC_CS2_LINE);
  vector->outcome_first = (vector->outcome_first + 1) % CSC_CS2_VECTOR_RESULTS;
  vector->outcome_count--;
}

// --- steps ---------------------------------------------------------------------------------------

static uint32_t lines_of(const csc_cs2_step_t *step, uint32_t stream) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < step->count; i++) count += step->reads[i].stream == stream;
  return count;
}

static int has_lines(const csc_sim_cs2_t *sim) {
  const csc_cs2_step_t *step = &sim->vector.execute_step;
  for (uint32_t stream = CSC_CS2_READ_X; stream <= CSC_CS2_READ_CONSTANT; stream++) {
    if (csc_cs2_lines(&sim->reads[stream]) < lines_of(step, stream)) return 0;
  }
  return 1;
}

static void point_at(const csc_cs2_reads_t *reads, const uint8_t **lines) {
  for (uint32_t i = 0; i < CSC_CS2_STREAM; i++) {
    lines[i] = reads->bytes[(reads->taken + i) % CSC_CS2_STREAM];
  }
}

static void start_step(csc_sim_cs2_t *sim) {
  csc_cs2_vector_t *vector = &sim->vector;
  const csc_cs2_step_t *step = &vector->execute_step;
  csc_cs2_step_lines_t lines;
  point_at(&sim->reads[CSC_CS2_READ_X], lines.x);
  point_at(&sim->reads[CSC_CS2_READ_Y], lines.y);
  point_at(&sim->reads[CSC_CS2_READ_CONSTANT], lines.constant);
  op_of(vector->job.code)->execute(sim, &vector->execute, &lines);
  for (uint32_t i = 0; i < step->count; i++) csc_cs2_take(&sim->reads[step->reads[i].stream]);
  sim->totals.lane_steps += step->elements;
  vector->busy = step->clocks;
  advance(vector, &vector->execute, &vector->execute_step);
}

// While a line that is due finds no room in the stream, lanes and pipeline stand.
static void work(csc_sim_cs2_t *sim) {
  csc_cs2_vector_t *vector = &sim->vector;
  const int is_idle = vector->busy == 0 && !vector->execute.is_done;
  if (is_due(vector) || (is_idle && !has_lines(sim))) {
    csc_cs2_stall(sim, CSC_CS2_ENGINE_VECTOR, CSC_CS2_STALL_BANK);
    if (is_due(vector)) return;
  } else if (is_idle) {
    start_step(sim);
  }
  if (vector->busy != 0) vector->busy--;
  vector->time++;
}

// One line a clock. `known` is vector.indices_row at the beginning of the clock.
static void ask_for_line(csc_sim_cs2_t *sim, uint32_t known) {
  csc_cs2_vector_t *vector = &sim->vector;
  while (!vector->load.is_done && vector->load_read == vector->load_step.count) {
    vector->load_read = 0;
    advance(vector, &vector->load, &vector->load_step);
  }
  if (vector->load.is_done) return;
  if (vector->load_step.needs_indices) {
    if (known != vector->load.row + 1) return;
    plan(vector, &vector->load, &vector->load_step);
  }
  const csc_cs2_step_read_t read = vector->load_step.reads[vector->load_read];
  if (!csc_cs2_can_ask(&sim->reads[read.stream])) return;
  csc_cs2_ask(&sim->reads[read.stream], read.line);
  vector->load_read++;
}

// --- commands ------------------------------------------------------------------------------------

void csc_cs2_vector_start(csc_sim_cs2_t *sim) {
  csc_cs2_vector_t *vector = &sim->vector;
  csc_cs2_vector_job_t *job = &vector->job;
  const csc_cs2_position_t first = {0};
  const csc_cs2_shape_t shape = csc_cs2_shape(sim, CSC_CS2_ENGINE_VECTOR);
  const uint32_t *words = csc_cs2_words(sim, CSC_CS2_ENGINE_VECTOR);
  memset(job, 0, sizeof *job);
  job->code = csc_cs2_field(words, CSC_CS2_HEADER_CODE);
  job->batches = csc_cs2_field(words, CSC_CS2_HEADER_BATCH);
  job->row_count = shape.rows;
  job->column_count = shape.columns;
  job->rows = csc_cs2_tiles(shape.rows);
  job->columns = csc_cs2_tiles(shape.columns);
  job->tile_clocks = CSC_CS2_TILE / sim->config.lanes;
  op_of(job->code)->decode(words, job);
  vector->load = vector->execute = first;
  vector->load_read = vector->busy = vector->outcome_count = vector->indices_row = 0;
  find_item(job, op_of(job->code), &vector->load);
  vector->execute = vector->load;
  plan(vector, &vector->load, &vector->load_step);
  plan(vector, &vector->execute, &vector->execute_step);
}

void csc_cs2_vector_tick(csc_sim_cs2_t *sim) {
  csc_cs2_vector_t *vector = &sim->vector;
  const uint32_t known = vector->indices_row;
  write_outcome(sim);
  work(sim);
  ask_for_line(sim, known);
  if (vector->execute.is_done && vector->busy == 0 && vector->outcome_count == 0) {
    csc_cs2_finish(sim, CSC_CS2_ENGINE_VECTOR);
  }
}
