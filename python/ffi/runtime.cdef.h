typedef enum { CSC_OK, ... } csc_status_t;
const char *csc_status_name(csc_status_t status);

typedef struct {
  csc_status_t status;
  uint32_t index;
  uint32_t item;
  int64_t need;
  int64_t have;
} csc_error_t;

typedef struct { ...; } csc_model_t;

typedef struct {
  uint32_t index;
  uint32_t length;
  uint8_t *arena;
  ...;
} csc_call_t;

typedef struct { ...; } csc_backend_t;

typedef struct {
  void *ctx;
  void (*on_op)(void *ctx, const csc_call_t *call, int done);
} csc_hook_t;

typedef struct {
  const csc_model_t *model;
  uint8_t *arena;
  size_t arena_bytes;
  uint32_t length;
  const csc_backend_t *backend;
  const csc_hook_t *hook;
  uint32_t entry;
  uint32_t position;
} csc_job_t;

typedef enum {
  CSC_PLAN_NONE,
  CSC_PLAN_USED,
  CSC_PLAN_BACKEND,
  CSC_PLAN_CHIP,
  CSC_PLAN_LENGTH,
  CSC_PLAN_SRAM,
  CSC_PLAN_ARENA,
  CSC_PLAN_BLOB,
  CSC_PLAN_STORE,
  ...
} csc_plan_state_t;

csc_plan_state_t csc_plan_state(const csc_job_t *job);
csc_status_t csc_load_model(csc_model_t *model, const void *blob, size_t bytes, csc_error_t *error);
csc_status_t csc_reset(const csc_job_t *job, csc_error_t *error);
csc_status_t csc_start(const csc_job_t *job, csc_error_t *error);
csc_status_t csc_run(const csc_job_t *job, csc_error_t *error);

typedef struct {
  uint32_t top_k;
  int32_t requant;
  uint32_t random;
} csc_choice_t;

uint32_t csc_argmax(const int16_t *logits, uint32_t count);
uint32_t csc_sample(const int16_t *logits, uint32_t count, csc_choice_t *choice);

csc_backend_t csc_portable_backend(void);
int csc_host_avx2_backend(csc_backend_t *backend);

extern "Python" void csc_python_on_op(void *ctx, const csc_call_t *call, int done);

typedef struct {
  uint64_t blocks;
  uint64_t engine_clocks;
  uint64_t reads;
  uint64_t writes;
  ...;
} csc_cs1_t;

typedef struct {
  csc_cs1_t driver;
  csc_backend_t backend;
  ...;
} csc_host_cs1_t;

void csc_host_cs1_init(csc_host_cs1_t *host, csc_sim_cs1_t *engine);

typedef struct {
  uint32_t poll_limit;
  uint32_t watchdog;
  ...;
} csc_cs2_t;

typedef struct {
  csc_cs1_t engine;
  csc_cs2_t chip;
  csc_backend_t backend;
  ...;
} csc_host_cs2_t;

void csc_host_cs2_init(csc_host_cs2_t *host, csc_sim_cs2_t *sim, const uint8_t *blob,
                       uint32_t external_bytes, uint32_t store);
