// run.c: walk the ops of a checked model.

#include "check.h"
#include "csc_memory.h"

size_t csc_arena_bytes(const csc_model_t *model) { return model->header->arena_bytes; }

const char *csc_name(const csc_model_t *model, uint32_t offset) { return model->strings + offset; }

void *csc_tensor_data(const csc_model_t *model, uint8_t *arena, uint32_t tensor) {
  return arena + model->tensors[tensor].offset;
}

csc_plan_state_t csc_plan_state(const csc_job_t *job) {
  const csc_blob_plan_t *plan = job->model->plan;
  const csc_backend_t *backend = job->backend;
  if (!plan) return CSC_PLAN_NONE;
  if (!backend->run_plan) return CSC_PLAN_BACKEND;
  if (job->length > plan->max_length) return CSC_PLAN_LENGTH;
  return backend->plan_state(backend->ctx, job);
}

static csc_status_t check_run(const csc_job_t *job, csc_error_t *error) {
  if (!job || !job->model || !job->arena || !job->backend) {
    return csc_fail(error, CSC_ERR_ARGUMENT, 0, 0, 0, 0);
  }
  const csc_blob_header_t *header = job->model->header;
  if ((uintptr_t)job->arena % CSC_ALIGN) {
    return csc_fail(error, CSC_ERR_ALIGNMENT, 0, 0, CSC_ALIGN, 0);
  }
  if (job->arena_bytes < header->arena_bytes && csc_plan_state(job) != CSC_PLAN_USED) {
    return csc_fail(error, CSC_ERR_ARENA, 0, 0, header->arena_bytes, (int64_t)job->arena_bytes);
  }
  if (job->length < 1 || job->length > header->max_length) {
    return csc_fail(error, CSC_ERR_LENGTH, 0, 0, header->max_length, job->length);
  }
  return CSC_OK;
}

// Inputs are rank 1, int32 or uint8.
static void fill_default(const csc_job_t *job, uint32_t number) {
  const csc_blob_tensor_t *tensor = &job->model->tensors[number];
  void *data = csc_tensor_data(job->model, job->arena, number);
  if (tensor->dtype == CSC_DTYPE_UINT8) {
    memset(data, tensor->default_value, job->length);
    return;
  }
  for (uint32_t t = 0; t < job->length; t++) ((int32_t *)data)[t] = tensor->default_value;
}

csc_status_t csc_start(const csc_job_t *job, csc_error_t *error) {
  csc_status_t status = check_run(job, error);
  if (status) return status;
  for (uint32_t i = 0; i < job->model->header->tensor_count; i++) {
    if (job->model->tensors[i].flags & CSC_FLAG_OPTIONAL) fill_default(job, i);
  }
  return CSC_OK;
}

static void call_hook(const csc_hook_t *hook, const csc_call_t *call, int done) {
  if (hook) hook->on_op(hook->ctx, call, done);
}

static csc_status_t run_plan(const csc_job_t *job, csc_error_t *error) {
  const csc_call_t call = {job->model, NULL, job->arena, CSC_NONE, job->length};
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
  for (uint32_t i = 0; i < job->model->header->op_count; i++) {
    csc_call_t call = {job->model, &job->model->ops[i], job->arena, i, job->length};
    call_hook(job->hook, &call, 0);
    status = job->backend->run_op(job->backend->ctx, &call, error);
    if (status) return status;
    call_hook(job->hook, &call, 1);
  }
  return CSC_OK;
}
