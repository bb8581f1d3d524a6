// The same with the portable backend, which has every op; for tools/sizes.py.

#include "csc.h"

csc_status_t csc_size_ops(csc_model_t *model, const void *blob, size_t bytes, csc_job_t *job,
                          csc_error_t *error);

csc_status_t csc_size_ops(csc_model_t *model, const void *blob, size_t bytes, csc_job_t *job,
                          csc_error_t *error) {
  const csc_backend_t backend = csc_portable_backend();
  job->backend = &backend;
  csc_status_t status = csc_load_model(model, blob, bytes, error);
  if (!status) status = csc_start(job, error);
  return status ? status : csc_run(job, error);
}
