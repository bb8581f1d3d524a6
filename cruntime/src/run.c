// run.c: walk the ops of a checked model.

#include "check.h"
#include "csc_memory.h"

size_t csc_arena_bytes(const csc_model_t *model) { return model->header->arena_bytes; }

const char *csc_name(const csc_model_t *model, uint32_t offset) { return model->strings + offset; }

void *csc_tensor_data(const csc_model_t *model, uint8_t *arena, uint32_t tensor) {
  return arena + model->tensors[tensor].offset;
}

csc_ops_t csc_entry_ops(const csc_model_t *model, uint32_t entry) {
  csc_ops_t all = {0, model->header->op_count};
  if (!model->entries) return all;
  uint32_t first = model->entries[entry].first_op;
  csc_ops_t own = {first, first + model->entries[entry].op_count};
  return own;
}

int csc_entry_has(const csc_model_t *model, uint32_t entry, uint32_t tensor) {
  if (!model->entries) return 1;
  csc_ops_t ops = csc_entry_ops(model, entry);
  for (uint32_t i = ops.first; i < ops.end; i++) {
    const csc_blob_op_t *op = &model->ops[i];
    for (uint32_t j = 0; j < sizeof op->operand / sizeof *op->operand; j++) {
      if (op->operand[j] == tensor) return 1;
    }
  }
  return 0;
}

csc_plan_state_t csc_plan_state(const csc_job_t *job) {
  const csc_blob_plan_t *plan = job->model->plan;
  const csc_backend_t *backend = job->backend;
  if (!plan || job->model->entries) return CSC_PLAN_NONE;  // a plan knows no entry and no state
  if (!backend->run_plan) return CSC_PLAN_BACKEND;
  if (job->length > plan->max_length) return CSC_PLAN_LENGTH;
  return backend->plan_state(backend->ctx, job);
}

static csc_status_t check_arena(const csc_job_t *job, csc_error_t *error) {
  if (!job || !job->model || !job->arena || !job->backend) {
    return csc_fail(error, CSC_ERR_ARGUMENT, 0, 0, 0, 0);
  }
  uint32_t needed = job->model->header->arena_bytes;
  if ((uintptr_t)job->arena % CSC_ALIGN) {
    return csc_fail(error, CSC_ERR_ALIGNMENT, 0, 0, CSC_ALIGN, 0);
  }
  if (job->arena_bytes < needed && csc_plan_state(job) != CSC_PLAN_USED) {
    return csc_fail(error, CSC_ERR_ARENA, 0, 0, needed, (int64_t)job->arena_bytes);
  }
  return CSC_OK;
}

static csc_status_t check_run(const csc_job_t *job, csc_error_t *error) {
  csc_status_t status = check_arena(job, error);
  if (status) return status;
  const csc_blob_header_t *header = job->model->header;
  const csc_blob_entry_t *entries = job->model->entries;
  uint32_t count = entries ? header->entry_count : 1;
  if (job->entry >= count) return csc_fail(error, CSC_ERR_NO_ENTRY, 0, 0, count, job->entry);
  uint32_t longest = entries ? entries[job->entry].max_length : header->max_length;
  if (job->length < 1 || job->length > longest) {
    return csc_fail(error, CSC_ERR_LENGTH, 0, 0, longest, job->length);
  }
  uint64_t end = (uint64_t)job->position + job->length;
  int good = entries ? end <= header->context : job->position == 0;
  return good ? CSC_OK : csc_fail(error, CSC_ERR_POSITION, 0, 0, header->context, (int64_t)end);
}

static void fill(void *data, uint32_t dtype, size_t count, int32_t value) {
  if (dtype == CSC_DTYPE_INT8 || dtype == CSC_DTYPE_UINT8) {
    memset(data, value, count);
    return;
  }
  if (dtype == CSC_DTYPE_INT16) {
    for (size_t i = 0; i < count; i++) ((int16_t *)data)[i] = (int16_t)value;
    return;
  }
  for (size_t i = 0; i < count; i++) ((int32_t *)data)[i] = value;
}

// Padding included.
static void fill_default(const csc_job_t *job, uint32_t number) {
  const csc_blob_tensor_t *tensor = &job->model->tensors[number];
  uint32_t rows = tensor->flags & CSC_FLAG_DYNAMIC ? job->length : tensor->dims[0];
  void *data = csc_tensor_data(job->model, job->arena, number);
  fill(data, tensor->dtype, (size_t)rows * tensor->row_stride, tensor->default_value);
}

csc_status_t csc_reset(const csc_job_t *job, csc_error_t *error) {
  csc_status_t status = check_arena(job, error);
  if (status) return status;
  for (uint32_t i = 0; i < job->model->header->tensor_count; i++) {
    if (job->model->tensors[i].flags & CSC_FLAG_STATE) fill_default(job, i);
  }
  return CSC_OK;
}

// Inputs of other entries may lie in the place of this one's.
csc_status_t csc_start(const csc_job_t *job, csc_error_t *error) {
  csc_status_t status = check_run(job, error);
  if (status) return status;
  const csc_model_t *model = job->model;
  for (uint32_t i = 0; i < model->header->tensor_count; i++) {
    if (!(model->tensors[i].flags & CSC_FLAG_OPTIONAL)) continue;
    if (csc_entry_has(model, job->entry, i)) fill_default(job, i);
  }
  return CSC_OK;
}

static void call_hook(const csc_hook_t *hook, const csc_call_t *call, int done) {
  if (hook) hook->on_op(hook->ctx, call, done);
}

static csc_status_t run_plan(const csc_job_t *job, csc_error_t *error) {
  const csc_call_t call = {job->model, NULL, job->arena, CSC_NONE, job->length, 0};
  call_hook(job->hook, &call, 0);
  csc_status_t status = job->backend->run_plan(job->backend->ctx, job, error);
  if (!status) call_hook(job->hook, &call, 1);
  return status;
}

csc_status_t csc_run(const csc_job_t *job, csc_error_t *error) {
  csc_error_t ignored;
  csc_status_t status = check_run(job, error);
  if (status) return status;
  if (!error) error = &ignored;
  if (csc_plan_state(job) == CSC_PLAN_USED) return run_plan(job, error);
  csc_ops_t ops = csc_entry_ops(job->model, job->entry);
  for (uint32_t i = ops.first; i < ops.end; i++) {
    const csc_blob_op_t *op = &job->model->ops[i];
    csc_call_t call = {job->model, op, job->arena, i, job->length, job->position};
    call_hook(job->hook, &call, 0);
    status = job->backend->run_op(job->backend->ctx, &call, error);
    if (status) return status;
    call_hook(job->hook, &call, 1);
  }
  return CSC_OK;
}
