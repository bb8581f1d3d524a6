// csc.h: the whole public face of the CSC runtime.
//
// The runtime executes a blob (SPEC.md) in integers. It allocates nothing, keeps no state of its
// own, uses no float and needs no libc beyond memcpy and memset. The caller owns
// every byte: the blob (read only, may lie in flash), a csc_model_t view of it, and one arena.
//
//   csc_model_t model;
//   csc_load_model(&model, blob, blob_bytes, &error);      // checks everything, once
//   ... an arena of csc_arena_bytes(&model) bytes, aligned to CSC_ALIGN ...
//   csc_job_t job = {.model = &model, .arena = arena, .arena_bytes = n, .length = tokens,
//                    .backend = &backend};
//   csc_start(&job, &error);                               // checks sizes, fills optional inputs
//   memcpy(csc_tensor_data(&model, arena, input), ids, tokens * sizeof(int32_t));
//   csc_run(&job, &error);                                 // runs all ops
//
// A model with entries has a position and states, which stay in the arena from run to run:
//   job.entry = csc_entry(&model, "prefill");
//   csc_reset(&job, &error);                               // fills the states; job.position is 0
//   csc_start(&job, &error); ... csc_run(&job, &error);
//   job.position += job.length;                            // the caller keeps the position
//
// A csc_model_t may be shared by any number of threads; each needs an arena of its own.

#ifndef CSC_H
#define CSC_H

#include <stddef.h>
#include <stdint.h>

#include "csc_blob.h"

#if defined(__GNUC__)
#define CSC_MUST_CHECK __attribute__((warn_unused_result))
#else
#define CSC_MUST_CHECK
#endif

typedef enum {
  CSC_OK = 0,
  CSC_ERR_ARGUMENT,      // a null pointer, or a call out of order
  CSC_ERR_ALIGNMENT,     // blob or arena is not aligned to CSC_ALIGN
  CSC_ERR_TRUNCATED,     // need: bytes the blob says it has; have: bytes given
  CSC_ERR_MAGIC,         // not a CSC blob
  CSC_ERR_VERSION,       // need: version this reader takes; have: the blob's, 65536 * major + minor
  CSC_ERR_HEADER_CRC,    // need: CRC computed; have: CRC stored
  CSC_ERR_SECTION_CRC,   // index: section kind; need: CRC computed; have: CRC stored
  CSC_ERR_HEADER,        // index: byte offset of the bad header field
  CSC_ERR_SECTION,       // index: section kind whose place or size is wrong
  CSC_ERR_TENSOR,        // index: tensor; item: byte offset of the bad field in its record
  CSC_ERR_OP,            // index: op; item: byte offset of the bad field in its record
  CSC_ERR_OPERAND,       // index: op; item: operand whose tensor does not fit (SPEC.md, rule 9)
  CSC_ERR_WEIGHTS,       // index: op; item: operand whose weights hold a forbidden value
  CSC_ERR_DATA_FLOW,     // index: op (or tensor, for an output); item: operand (SPEC.md, rule 12)
  CSC_ERR_ARENA,         // need: bytes of arena; have: bytes given
  CSC_ERR_LENGTH,        // need: largest length; have: length given
  CSC_ERR_TOKEN,         // index: op; item: token position; need: rows of the table; have: the id
  CSC_ERR_BUS,           // index: op; the chip's bus reported an error
  CSC_ERR_CHIP_TIMEOUT,  // index: op; item: command, or CSC_NONE; the chip did not finish in time
  CSC_ERR_CHIP_EARLY,    // index: op, or CSC_NONE; a run ended before its results were there
  CSC_ERR_CHIP_COMMAND,  // index: op; item: command; need: cause (csc_cs2_cause_t); have: its info
  CSC_ERR_PLAN,          // item: byte offset of the bad field in the plan's record
  CSC_ERR_ENTRY,         // index: entry; item: byte offset of the bad field in its record
  CSC_ERR_NO_ENTRY,      // need: number of entries; have: number of the entry given
  CSC_ERR_POSITION,      // need: positions of the context; have: position and length together
} csc_status_t;

// What went wrong and where; fields a status does not name are 0. Filled only on failure.
typedef struct {
  csc_status_t status;
  uint32_t index;
  uint32_t item;
  int64_t need;
  int64_t have;
} csc_error_t;

// A checked, read-only view of a blob. Valid as long as the blob's bytes stay in place.
typedef struct {
  const csc_blob_header_t *header;
  const csc_blob_op_t *ops;          // [header->op_count]
  const csc_blob_tensor_t *tensors;  // [header->tensor_count]
  const char *strings;               // names, see csc_name
  const char *metadata;              // JSON, [metadata_bytes], padded with zero bytes
  const uint8_t *weights;            // start of the WEIGHTS section, [weights_bytes]
  const csc_blob_plan_t *plan;       // commands for one chip, which follow it; null without
  const csc_blob_entry_t *entries;   // [header->entry_count]; null without
  uint32_t metadata_bytes;
  uint32_t weights_bytes;
} csc_model_t;

// One op as a backend sees it.
typedef struct {
  const csc_model_t *model;
  const csc_blob_op_t *op;
  uint8_t *arena;
  uint32_t index;     // number of the op
  uint32_t length;    // T of this run
  uint32_t position;  // P of this run
} csc_call_t;

// Whether a run follows the blob's plan, and if not, why: then it walks the ops.
typedef enum {
  CSC_PLAN_NONE = 0,  // the blob has no plan
  CSC_PLAN_USED,      // the chip runs the plan
  CSC_PLAN_BACKEND,   // the backend has no chip that runs plans
  CSC_PLAN_CHIP,      // the plan is for another chip, or another version of it
  CSC_PLAN_LENGTH,    // the run is longer than the plan
  CSC_PLAN_SRAM,      // the plan needs more SRAM than the chip has
  CSC_PLAN_ARENA,     // the arena is not the chip's SRAM, or not as much of it as the plan needs
  CSC_PLAN_BLOB,      // the blob does not lie in the chip's external memory
  CSC_PLAN_STORE,     // no external memory is left for what the plan stores there
} csc_plan_state_t;

typedef struct csc_job csc_job_t;

// Executes ops. `run_op` gets checked operands only; on failure it fills *error and returns its
// status. A backend gives the bits of SPEC.md or an error, never anything else.
// A backend whose chip runs whole plans has two functions more: `plan_state` tells whether it would
// run the plan of the job's model, which has one long enough, and `run_plan` does.
typedef struct {
  void *ctx;
  csc_status_t (*run_op)(void *ctx, const csc_call_t *call, csc_error_t *error);
  csc_status_t (*run_plan)(void *ctx, const csc_job_t *job, csc_error_t *error);  // may be null
  csc_plan_state_t (*plan_state)(void *ctx, const csc_job_t *job);  // null exactly when run_plan is
} csc_backend_t;

// Called before (done = 0) and after (done = 1) every op: clocks, counters, traces. A run that
// follows a plan is one call, with `op` null and `index` CSC_NONE.
typedef struct {
  void *ctx;
  void (*on_op)(void *ctx, const csc_call_t *call, int done);
} csc_hook_t;

// One run: what the caller brings. `hook` may be null.
struct csc_job {
  const csc_model_t *model;
  uint8_t *arena;                // aligned to CSC_ALIGN
  size_t arena_bytes;            // >= csc_arena_bytes(model); a run by plan has enough with SRAM
  uint32_t length;               // T: 1 .. max_length of the entry
  const csc_backend_t *backend;  // for example csc_portable_backend()
  const csc_hook_t *hook;
  uint32_t entry;     // number of the entry to run; 0 without entries
  uint32_t position;  // P: tokens before this run; 0 without entries
};

// Numbers of ops, from `first` to the one before `end`.
typedef struct {
  uint32_t first;
  uint32_t end;
} csc_ops_t;

// Checks the blob (SPEC.md, section 4) and fills *model. `blob` must be aligned to CSC_ALIGN.
// Cost: one pass over all bytes. On failure *model is not usable.
CSC_MUST_CHECK csc_status_t csc_load_model(csc_model_t *model, const void *blob, size_t bytes,
                                           csc_error_t *error);

// Bytes of arena a run needs, the same for every length.
size_t csc_arena_bytes(const csc_model_t *model);

// The zero-ended name at `offset` of STRINGS.
const char *csc_name(const csc_model_t *model, uint32_t offset);

// Address of an arena tensor: inputs may be written after csc_start, outputs read after csc_run.
void *csc_tensor_data(const csc_model_t *model, uint8_t *arena, uint32_t tensor);

// Number of the entry of a name; CSC_NONE where the model has none of this name.
uint32_t csc_entry(const csc_model_t *model, const char *name);

// The ops of an entry; all ops without entries.
csc_ops_t csc_entry_ops(const csc_model_t *model, uint32_t entry);

// Whether an input or output belongs to an entry; without entries each does.
int csc_entry_has(const csc_model_t *model, uint32_t entry, uint32_t tensor);

// Whether csc_run will follow the blob's plan, for a job with all its members.
csc_plan_state_t csc_plan_state(const csc_job_t *job);

// Fills the states of the model with their default values. Call it before the first run and where
// a sequence begins; the next job has position 0.
CSC_MUST_CHECK csc_status_t csc_reset(const csc_job_t *job, csc_error_t *error);

// Checks arena, entry, length and position, and fills the entry's optional inputs with their
// default values.
CSC_MUST_CHECK csc_status_t csc_start(const csc_job_t *job, csc_error_t *error);

// Runs all ops of the entry, or the blob's plan where csc_plan_state says so. Call csc_start and
// write the inputs first; one csc_start serves one csc_run, since inputs may be overwritten by the
// run.
CSC_MUST_CHECK csc_status_t csc_run(const csc_job_t *job, csc_error_t *error);

// How a token is drawn from logits (SPEC.md, section 3.8).
typedef struct {
  uint32_t top_k;   // 1 .. number of logits
  int32_t requant;  // 32 * scale of the logits / temperature: multiplier + 65536 * shift
  uint32_t random;  // state of the generator, not 0; csc_sample moves it on
} csc_choice_t;

// The smallest index with the largest logit; count is at least 1.
uint32_t csc_argmax(const int16_t *logits, uint32_t count);

// Draws one of the top_k largest logits; count is 1 to CSC_MAX_N.
uint32_t csc_sample(const int16_t *logits, uint32_t count, csc_choice_t *choice);

// The reference backend: portable C on the CPU. Needs no set-up.
csc_backend_t csc_portable_backend(void);

// A short name such as "CSC_ERR_MAGIC".
const char *csc_status_name(csc_status_t status);

#endif
