#include "cs2.h"

#include "cs1.h"
#include "cs2_commands.h"

// Space WEIGHTS goes on behind the section of this name to the end of the plan, whose descriptors
// are fetched from there.
static uint32_t commands_end(const csc_model_t *model) {
  const uint32_t record = sizeof *model->plan;
  return model->weights_bytes + record + model->plan->command_count * CSC_CS2_COMMAND_BYTES;
}

// Whether the CPU's `bytes` bytes at `first` are in the chip's external memory.
static int is_external(const csc_cs2_backend_t *own, const uint8_t *first, uint32_t bytes) {
  const uintptr_t offset = (uintptr_t)first - (uintptr_t)own->external;  // wraps below the start
  return offset <= own->external_bytes && bytes <= own->external_bytes - offset &&
         offset % CSC_ALIGN == 0;
}

// A chip runs what was made for the same major version and no later minor one.
static int runs_version(const csc_cs2_t *chip, uint32_t version) {
  return version >> 16 == chip->version >> 16 && version <= chip->version;
}

static csc_plan_state_t plan_state(void *ctx, const csc_job_t *job) {
  const csc_cs2_backend_t *own = ctx;
  const csc_blob_plan_t *plan = job->model->plan;
  const csc_cs2_t *chip = own->chip;
  if (!chip) return CSC_PLAN_BACKEND;
  if (plan->chip != chip->id || !runs_version(chip, plan->version)) return CSC_PLAN_CHIP;
  if (plan->sram_bytes > chip->sram_bytes) return CSC_PLAN_SRAM;
  if (job->arena != own->sram || plan->sram_bytes > job->arena_bytes) return CSC_PLAN_ARENA;
  if (!is_external(own, job->model->weights, commands_end(job->model))) return CSC_PLAN_BLOB;
  return plan->store_bytes > own->store_bytes ? CSC_PLAN_STORE : CSC_PLAN_USED;
}

static csc_status_t fail(csc_error_t *error, csc_status_t status, uint32_t op, uint32_t item,
                         int64_t need, int64_t have) {
  csc_error_t filled = {status, op, item, need, have};
  *error = filled;
  return status;
}

// Whether an EMBED's id at a position is no row of its table; says it in *error.
static int is_bad_id(const csc_job_t *job, const csc_blob_op_t *op, uint32_t ids, uint32_t table,
                     csc_error_t *error) {
  const csc_model_t *model = job->model;
  if (op->operand[ids] == CSC_NONE) return 0;
  const int32_t *id = csc_tensor_data(model, job->arena, op->operand[ids]);
  const uint32_t rows = model->tensors[op->operand[table]].dims[0];
  if ((uint32_t)id[error->item] < rows) return 0;
  error->need = rows;
  error->have = id[error->item];
  return 1;
}

// A gather has met a bad index. The chip knows the row of its command; the ids say the rest, since
// inputs lie in SRAM as the caller wrote them until the plan reuses their place.
static csc_status_t fail_token(const csc_job_t *job, const csc_cs2_failure_t *failure,
                               csc_error_t *error) {
  const csc_blob_header_t *header = job->model->header;
  const csc_status_t status = fail(error, CSC_ERR_TOKEN, failure->tag, 0, 0, 0);
  const int is_op = failure->tag < header->op_count;
  const csc_blob_op_t *op = is_op ? &job->model->ops[failure->tag] : NULL;
  if (op && op->kind == CSC_OP_EMBED) {
    for (; error->item < job->length; error->item++) {
      if (is_bad_id(job, op, CSC_EMBED_OPERAND_IDS, CSC_EMBED_OPERAND_WORD, error) ||
          is_bad_id(job, op, CSC_EMBED_OPERAND_TYPES, CSC_EMBED_OPERAND_TYPE, error)) {
        return status;
      }
    }
  }
  error->item = failure->info;
  return status;
}

static csc_status_t fail_command(const csc_job_t *job, const csc_cs2_failure_t *failure,
                                 csc_error_t *error) {
  const uint32_t op = failure->tag, command = failure->command;
  switch (failure->cause) {
    case CSC_CS2_CAUSE_INDEX: return fail_token(job, failure, error);
    case CSC_CS2_CAUSE_WATCHDOG:
      return fail(error, CSC_ERR_CHIP_TIMEOUT, op, command, 0, failure->info);
    default: return fail(error, CSC_ERR_CHIP_COMMAND, op, command, failure->cause, failure->info);
  }
}

static csc_status_t run_plan(void *ctx, const csc_job_t *job, csc_error_t *error) {
  const csc_cs2_backend_t *own = ctx;
  const csc_model_t *model = job->model;
  const csc_cs2_program_t program = {
      .weights = (uint32_t)(model->weights - own->external),
      .weights_bytes = commands_end(model),
      .store = own->store,
      .store_bytes = model->plan->store_bytes,
      .commands = model->weights_bytes + (uint32_t)sizeof *model->plan,
      .command_count = model->plan->command_count,
      .length = job->length,
  };
  csc_cs2_failure_t failure = {0};
  switch (csc_cs2_run(own->chip, &program, &failure)) {
    case CSC_CS2_OK: return CSC_OK;
    case CSC_CS2_FAILED: return fail_command(job, &failure, error);
    case CSC_CS2_TIMEOUT: return fail(error, CSC_ERR_CHIP_TIMEOUT, CSC_NONE, CSC_NONE, 0, 0);
    case CSC_CS2_EARLY: return fail(error, CSC_ERR_CHIP_EARLY, CSC_NONE, 0, 0, 0);
    default: return fail(error, CSC_ERR_BUS, CSC_NONE, 0, 0, 0);
  }
}

csc_backend_t csc_cs2_backend(csc_cs2_backend_t *own, csc_cs1_t *engine) {
  csc_backend_t backend = csc_cs1_backend(&own->kernels, engine);
  backend.run_plan = run_plan;
  backend.plan_state = plan_state;
  return backend;
}
