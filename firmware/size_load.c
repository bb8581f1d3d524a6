// What a program has that loads, checks and runs blobs, whatever its backend; for tools/sizes.py.

#include "csc.h"

csc_status_t csc_size_load(csc_model_t *model, const void *blob, size_t bytes, const csc_job_t *job,
                           csc_error_t *error);

csc_status_t csc_size_load(csc_model_t *model, const void *blob, size_t bytes, const csc_job_t *job,
                           csc_error_t *error) {
  csc_status_t status = csc_load_model(model, blob, bytes, error);
  if (!status) status = csc_start(job, error);
  return status ? status : csc_run(job, error);
}
