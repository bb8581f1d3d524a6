#include "server.h"

#include "csc_memory.h"
#include "memory.h"

// What a handler leaves: the answer's body, or what went wrong.
typedef struct {
  csc_frame_status_t status;
  uint32_t bytes;  // of server->answer.body, for CSC_FRAME_STATUS_OK
  csc_frame_error_t error;
} csc_outcome_t;

typedef struct {
  uint8_t least;    // bytes of the request's record in version 1.0
  uint8_t fixed;    // and today; what a request leaves out of it is 0
  uint8_t data;     // whether data follow it: NO_DATA, SOME_DATA, ANY_DATA
  uint32_t states;  // bits 1 << csc_frame_state_t in which it may come
  csc_outcome_t (*answer)(csc_server_t *server, uint32_t data_bytes);
} csc_request_t;

enum { NO_DATA, SOME_DATA, ANY_DATA };  // at least one byte of them; even none

#define STATE(name) (1u << CSC_FRAME_STATE_##name)
#define LOADED (STATE(READY) | STATE(STARTED) | STATE(DONE))
#define ANY (LOADED | STATE(EMPTY) | STATE(RECEIVING))

static csc_outcome_t good(uint32_t bytes) {
  csc_outcome_t outcome = {CSC_FRAME_STATUS_OK, bytes, {0}};
  return outcome;
}

static csc_outcome_t bad(csc_frame_status_t status, uint64_t need, uint64_t have) {
  csc_outcome_t outcome = {status, 0, {.need = (int64_t)need, .have = (int64_t)have}};
  return outcome;
}

static csc_outcome_t runtime_error(const csc_error_t *error) {
  csc_outcome_t outcome = {
      CSC_FRAME_STATUS_RUNTIME,
      0,
      {(uint32_t)error->status, error->index, error->item, 0, error->need, error->have},
  };
  return outcome;
}

static void send(csc_server_t *server, csc_outcome_t outcome) {
  server->answer.head.status = (uint8_t)outcome.status;
  if (outcome.status) {
    outcome.bytes = sizeof outcome.error;
    memcpy(server->answer.body, &outcome.error, sizeof outcome.error);
  }
  csc_frame_send(&server->board, &server->answer, outcome.bytes);
}

// Fields are read and written by copying: bodies have no alignment.
static csc_outcome_t send_record(csc_server_t *server, const void *record, uint32_t bytes) {
  memcpy(server->answer.body, record, bytes);
  return good(bytes);
}

// Whether `count` bytes from `offset` on lie within `limit`; says it in *outcome if not.
static int in_range(uint32_t offset, uint32_t count, uint32_t limit, csc_outcome_t *outcome) {
  if (offset <= limit && count <= limit - offset) return 1;
  *outcome = bad(CSC_FRAME_STATUS_RANGE, limit, (uint64_t)offset + count);
  return 0;
}

static int fits_answer(uint32_t count, csc_outcome_t *outcome) {
  if (count >= 1 && count <= CSC_FRAME_BODY_MAX) return 1;
  *outcome = bad(CSC_FRAME_STATUS_RANGE, CSC_FRAME_BODY_MAX, count);
  return 0;
}

static uint32_t stack_peak(const csc_board_t *board) {
  const uint32_t *low = board->stack_low;
  while (low < board->stack_high && *low == CSC_STACK_PAINT) low += 1;
  return (uint32_t)((const uint8_t *)board->stack_high - (const uint8_t *)low);
}

static csc_outcome_t on_identify(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  const csc_board_t *board = &server->board;
  const csc_piece_t nothing = {0, 0};
  csc_frame_identity_t identity = {
      .version_major = CSC_FRAME_VERSION_MAJOR,
      .version_minor = CSC_FRAME_VERSION_MINOR,
      .body_max = CSC_FRAME_BODY_MAX,
      .blob_version = 65536u * CSC_BLOB_VERSION_MAJOR + CSC_BLOB_VERSION_MINOR,
      .counter_hz = board->counter_hz,
      .load_room = csc_find_room(board->image, UINT32_MAX, nothing).bytes,
      .stack_bytes =
          (uint32_t)((const uint8_t *)board->stack_high - (const uint8_t *)board->stack_low),
      .stack_peak = stack_peak(board),
  };
  for (uint32_t i = 0; i < sizeof identity.board; i++) identity.board[i] = board->image->board[i];
  if (board->clocks) identity.features |= CSC_FRAME_FEATURE_CLOCKS;
  if (board->engine) identity.features |= CSC_FRAME_FEATURE_ENGINE;
  if (board->sram) identity.features |= CSC_FRAME_FEATURE_PLANS;
  if (board->image->model_bytes) identity.features |= CSC_FRAME_FEATURE_EMBEDDED;
  return send_record(server, &identity, sizeof identity);
}

static uint32_t head_bytes(const csc_model_t *model) {
  return (uint32_t)(model->weights - (const uint8_t *)model->header);
}

static csc_outcome_t on_describe(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_frame_description_t description = {.state = server->state, .source = server->source};
  if (LOADED & 1u << server->state) {
    const csc_blob_header_t *header = server->model.header;
    description.blob_bytes = header->file_bytes;
    description.head_bytes = head_bytes(&server->model);
    description.arena_bytes = header->arena_bytes;
    description.max_length = header->max_length;
    description.op_count = header->op_count;
    description.tensor_count = header->tensor_count;
  }
  return send_record(server, &description, sizeof description);
}

static void drop_model(csc_server_t *server) {
  server->state = CSC_FRAME_STATE_EMPTY;
  server->source = CSC_FRAME_SOURCE_NONE;
}

static csc_job_t job_of(const csc_server_t *server, const csc_hook_t *hook) {
  csc_job_t job = {
      .model = &server->model,
      .arena = server->arena,
      .arena_bytes = server->arena_bytes,
      .length = server->length,
      .backend = &server->board.backend,
      .hook = hook,
      .entry = server->entry,
      .position = server->position,
  };
  return job;
}

// The arena of the coming run: the chip's SRAM where its plan or the arena fits, else the work
// memory.
static void choose_arena(csc_server_t *server) {
  const csc_board_t *board = &server->board;
  server->arena = board->sram;
  server->arena_bytes = board->sram_bytes;
  const csc_job_t job = job_of(server, NULL);
  if (board->sram && csc_plan_state(&job) == CSC_PLAN_USED) return;
  if (board->sram && csc_arena_bytes(&server->model) <= board->sram_bytes) return;
  server->arena = server->work;
  server->arena_bytes = csc_arena_bytes(&server->model);
}

static csc_outcome_t reset_states(csc_server_t *server) {
  const csc_job_t job = job_of(server, NULL);
  csc_error_t error = {0};
  server->state = CSC_FRAME_STATE_READY;
  return csc_reset(&job, &error) ? runtime_error(&error) : good(0);
}

// The model has been checked; `work` has room for arena and records.
static csc_outcome_t use_model(csc_server_t *server, csc_frame_source_t source, uint8_t *work) {
  const csc_board_t *board = &server->board;
  uint64_t room = csc_arena_room(&server->model, board->sram != NULL);
  server->work = work;
  server->records = (void *)(work + room);
  if (board->give_store) board->give_store(board->ctx, work, (uint32_t)room);
  server->state = CSC_FRAME_STATE_READY;
  server->source = source;
  server->length = server->entry = server->position = 0;
  choose_arena(server);
  // With states, no run by plan is possible, so this is the arena of all runs.
  csc_outcome_t outcome = reset_states(server);
  return outcome.status ? outcome : on_describe(server, 0);
}

static csc_outcome_t on_use_embedded(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_image_t *image = server->board.image;
  drop_model(server);
  if (image->model_bytes == 0) return bad(CSC_FRAME_STATUS_EMBEDDED, 0, 0);
  const void *blob = (const void *)(uintptr_t)image->model_address;
  csc_error_t error = {0};
  if (csc_load_model(&server->model, blob, image->model_bytes, &error)) {
    return runtime_error(&error);
  }
  uint64_t needed = csc_work_bytes(&server->model, server->board.sram != NULL);
  uint8_t *work = (uint8_t *)(uintptr_t)image->work_address;
  if (image->work_bytes < needed || (uintptr_t)work % CSC_ALIGN) {
    return bad(CSC_FRAME_STATUS_ROOM, needed, image->work_bytes);
  }
  return use_model(server, CSC_FRAME_SOURCE_EMBEDDED, work);
}

static csc_outcome_t on_load_begin(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_frame_load_begin_t request;
  memcpy(&request, server->request.body, sizeof request);
  drop_model(server);
  const csc_piece_t nothing = {0, 0};
  csc_piece_t room = csc_find_room(server->board.image, request.bytes, nothing);
  if (!room.first) return bad(CSC_FRAME_STATUS_ROOM, request.bytes, room.bytes);
  server->room = room.first;
  server->expected = request.bytes;
  server->received = 0;
  server->state = CSC_FRAME_STATE_RECEIVING;
  return good(0);
}

static csc_outcome_t on_load_data(csc_server_t *server, uint32_t data_bytes) {
  csc_outcome_t outcome;
  csc_frame_load_data_t request;
  memcpy(&request, server->request.body, sizeof request);
  if (request.offset != server->received) {
    return bad(CSC_FRAME_STATUS_RANGE, server->received, request.offset);
  }
  if (!in_range(request.offset, data_bytes, server->expected, &outcome)) return outcome;
  memcpy(server->room + request.offset, server->request.body + sizeof request, data_bytes);
  server->received += data_bytes;
  return good(0);
}

static csc_outcome_t on_load_end(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  if (server->received != server->expected) {
    return bad(CSC_FRAME_STATUS_ORDER, 0, (uint64_t)server->state);
  }
  csc_piece_t blob = {server->room, server->expected};
  drop_model(server);
  csc_error_t error = {0};
  if (csc_load_model(&server->model, blob.first, blob.bytes, &error)) return runtime_error(&error);
  uint64_t needed = csc_work_bytes(&server->model, server->board.sram != NULL);
  csc_piece_t work = csc_find_room(server->board.image, needed, blob);
  if (!work.first) return bad(CSC_FRAME_STATUS_ROOM, needed, work.bytes);
  return use_model(server, CSC_FRAME_SOURCE_WIRE, work.first);
}

static csc_outcome_t on_read_model(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_outcome_t outcome;
  csc_frame_read_t request;
  memcpy(&request, server->request.body, sizeof request);
  uint32_t limit = server->model.header->file_bytes;
  if (!in_range(request.offset, request.count, limit, &outcome)) return outcome;
  if (!fits_answer(request.count, &outcome)) return outcome;
  const uint8_t *blob = (const uint8_t *)server->model.header;
  return send_record(server, blob + request.offset, request.count);
}

static csc_outcome_t on_start(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_frame_start_t request;
  memcpy(&request, server->request.body, sizeof request);
  server->length = request.length;
  server->entry = request.entry;
  server->position = request.position;
  server->state = CSC_FRAME_STATE_READY;
  choose_arena(server);
  const csc_job_t job = job_of(server, NULL);
  csc_error_t error = {0};
  if (csc_start(&job, &error)) return runtime_error(&error);
  server->state = CSC_FRAME_STATE_STARTED;
  return good(0);
}

// The live bytes of input or output `number`: T rows where it has a length. 0: it is neither.
static uint32_t live_bytes(const csc_server_t *server, uint32_t number, uint32_t flag) {
  if (number >= server->model.header->tensor_count) return 0;
  const csc_blob_tensor_t *tensor = &server->model.tensors[number];
  if (!(tensor->flags & flag)) return 0;
  if (!(tensor->flags & CSC_FLAG_DYNAMIC)) return tensor->bytes;
  // bytes are planned for dims[0] rows, so the product below cannot wrap.
  return tensor->bytes / tensor->dims[0] * server->length;
}

static csc_outcome_t on_set_input(csc_server_t *server, uint32_t data_bytes) {
  csc_outcome_t outcome;
  csc_frame_set_input_t request;
  memcpy(&request, server->request.body, sizeof request);
  uint32_t limit = live_bytes(server, request.tensor, CSC_FLAG_INPUT);
  if (limit == 0) return bad(CSC_FRAME_STATUS_RANGE, 0, request.tensor);
  if (!in_range(request.offset, data_bytes, limit, &outcome)) return outcome;
  uint8_t *data = csc_tensor_data(&server->model, server->arena, request.tensor);
  memcpy(data + request.offset, server->request.body + sizeof request, data_bytes);
  return good(0);
}

static csc_counters_t count(const csc_server_t *server) {
  const csc_board_t *board = &server->board;
  csc_counters_t now = {0};
  if (board->engine) {
    now.engine_clocks = board->engine->engine_clocks;
    now.blocks = board->engine->blocks;
    now.reads = board->engine->reads;
    now.writes = board->engine->writes;
  }
  if (board->clocks) now.clocks = board->clocks(board->ctx);
  return now;
}

// The clock is read last before an op and first after it, so that it counts the op alone.
static void on_op(void *ctx, const csc_call_t *call, int done) {
  csc_server_t *server = ctx;
  const csc_board_t *board = &server->board;
  if (!done) {
    if (board->mark) board->mark(board->ctx, 2 * call->index);
    server->before = count(server);
    return;
  }
  uint64_t clocks = board->clocks ? board->clocks(board->ctx) : 0;
  if (board->mark) board->mark(board->ctx, 2 * call->index + 1);
  if (!call->op) return;  // a plan: the ops' own figures stay 0
  csc_counters_t now = count(server);
  csc_frame_op_clocks_t *record = &server->records[call->index];
  record->clocks = clocks - server->before.clocks;
  record->engine_clocks = now.engine_clocks - server->before.engine_clocks;
  record->blocks = (uint32_t)(now.blocks - server->before.blocks);
  record->bus_reads = (uint32_t)(now.reads - server->before.reads);
  record->bus_writes = (uint32_t)(now.writes - server->before.writes);
}

static csc_outcome_t on_run(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  const csc_hook_t hook = {server, on_op};
  const csc_job_t job = job_of(server, &hook);
  csc_error_t error = {0};
  server->state = CSC_FRAME_STATE_READY;
  memset(server->records, 0, server->model.header->op_count * sizeof *server->records);
  csc_frame_ran_t ran = {.plan = (uint32_t)csc_plan_state(&job)};
  uint64_t begin = count(server).clocks;
  if (csc_run(&job, &error)) return runtime_error(&error);
  ran.clocks = count(server).clocks - begin;
  server->state = CSC_FRAME_STATE_DONE;
  return send_record(server, &ran, sizeof ran);
}

static csc_outcome_t on_reset_states(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  return reset_states(server);
}

// Whether a tensor may be what GENERATE writes tokens to or takes logits from.
static int takes_tokens(const csc_model_t *model, uint32_t number) {
  if (number >= model->header->tensor_count) return 0;
  const csc_blob_tensor_t *tensor = &model->tensors[number];
  uint32_t wanted = CSC_FLAG_INPUT | CSC_FLAG_DYNAMIC;
  return (tensor->flags & wanted) == wanted && tensor->rank == 1 &&
         tensor->dtype == CSC_DTYPE_INT32;
}

static int has_logits(const csc_model_t *model, uint32_t number) {
  if (number >= model->header->tensor_count) return 0;
  const csc_blob_tensor_t *tensor = &model->tensors[number];
  return tensor->flags == CSC_FLAG_OUTPUT && tensor->rank == 2 && tensor->dims[0] == 1 &&
         tensor->dtype == CSC_DTYPE_INT16;
}

static int is_requant(uint32_t packed) {
  uint32_t shift = packed >> 16;
  return (packed & 0xFFFFu) <= CSC_MAX_MULTIPLIER && shift >= 1 && shift <= CSC_MAX_SHIFT;
}

static csc_outcome_t check_generate(const csc_server_t *server,
                                    const csc_frame_generate_t *request) {
  const csc_model_t *model = &server->model;
  uint32_t entries = model->header->entry_count;
  if (request->entry >= entries) return bad(CSC_FRAME_STATUS_RANGE, entries, request->entry);
  if (!takes_tokens(model, request->input) ||
      !csc_entry_has(model, request->entry, request->input)) {
    return bad(CSC_FRAME_STATUS_RANGE, 0, request->input);
  }
  // The logits of a run before this request are those of its entry.
  uint32_t first = request->token == CSC_FRAME_NO_TOKEN ? server->entry : request->entry;
  if (!has_logits(model, request->output) ||
      !csc_entry_has(model, request->entry, request->output) ||
      !csc_entry_has(model, first, request->output)) {
    return bad(CSC_FRAME_STATUS_RANGE, 0, request->output);
  }
  uint32_t count = model->tensors[request->output].dims[1];
  if (request->top_k - 1 >= count) return bad(CSC_FRAME_STATUS_RANGE, count, request->top_k);
  if (!is_requant(request->requant)) return bad(CSC_FRAME_STATUS_RANGE, 0, request->requant);
  if (request->random && request->count) return good(0);
  return bad(CSC_FRAME_STATUS_RANGE, 0, 0);
}

// Runs the entry with a token that has not been run yet.
static csc_outcome_t run_token(csc_server_t *server, const csc_frame_generate_t *request,
                               csc_frame_generated_t *made) {
  const csc_hook_t hook = {server, on_op};
  server->length = 1;
  server->entry = request->entry;
  server->position = made->position;
  const csc_job_t job = job_of(server, &hook);
  csc_error_t error = {0};
  server->state = CSC_FRAME_STATE_READY;
  if (csc_start(&job, &error)) return runtime_error(&error);
  memcpy(csc_tensor_data(&server->model, server->arena, request->input), &made->token,
         sizeof made->token);
  if (csc_run(&job, &error)) return runtime_error(&error);
  server->state = CSC_FRAME_STATE_DONE;
  made->position += 1;
  return good(0);
}

static void choose(const csc_server_t *server, const csc_frame_generate_t *request,
                   csc_frame_generated_t *made) {
  const int16_t *logits = csc_tensor_data(&server->model, server->arena, request->output);
  uint32_t count = server->model.tensors[request->output].dims[1];
  csc_choice_t choice = {request->top_k, (int32_t)request->requant, made->random};
  made->token = choice.top_k == 1 ? csc_argmax(logits, count) : csc_sample(logits, count, &choice);
  made->random = choice.random;
}

// Whether the token made is the last one: the ids to stop behind follow the record of the request.
static int is_last(const csc_server_t *server, const csc_frame_generated_t *made,
                   uint32_t stop_bytes) {
  const uint8_t *stops = server->request.body + sizeof(csc_frame_generate_t);
  for (uint32_t i = 0; i < stop_bytes; i += (uint32_t)sizeof made->token) {
    uint32_t stop;
    memcpy(&stop, stops + i, sizeof stop);
    if (stop == made->token) return 1;
  }
  return made->left == 1 || made->position >= server->model.header->context;
}

static csc_outcome_t on_generate(csc_server_t *server, uint32_t data_bytes) {
  csc_frame_generate_t request;
  memcpy(&request, server->request.body, sizeof request);
  uint32_t rest = data_bytes % (uint32_t)sizeof request.token;
  if (rest)
    return bad(CSC_FRAME_STATUS_BODY, sizeof request + data_bytes - rest,
               sizeof request + data_bytes);
  csc_outcome_t outcome = check_generate(server, &request);
  if (outcome.status) return outcome;
  csc_frame_generated_t made = {request.token, request.position, request.random, request.count};
  for (;;) {
    if (made.token != CSC_FRAME_NO_TOKEN) outcome = run_token(server, &request, &made);
    if (outcome.status) return outcome;
    choose(server, &request, &made);
    made.left = is_last(server, &made, data_bytes) ? 0 : made.left - 1;
    outcome = send_record(server, &made, sizeof made);
    if (!made.left) return outcome;
    send(server, outcome);
  }
}

static csc_outcome_t on_get_output(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_outcome_t outcome;
  csc_frame_get_output_t request;
  memcpy(&request, server->request.body, sizeof request);
  uint32_t limit = live_bytes(server, request.tensor, CSC_FLAG_OUTPUT);
  if (limit == 0) return bad(CSC_FRAME_STATUS_RANGE, 0, request.tensor);
  if (!in_range(request.offset, request.count, limit, &outcome)) return outcome;
  if (!fits_answer(request.count, &outcome)) return outcome;
  const uint8_t *data = csc_tensor_data(&server->model, server->arena, request.tensor);
  return send_record(server, data + request.offset, request.count);
}

static csc_outcome_t on_get_clocks(csc_server_t *server, uint32_t data_bytes) {
  (void)data_bytes;
  csc_frame_get_clocks_t request;
  memcpy(&request, server->request.body, sizeof request);
  uint32_t ops = server->model.header->op_count;
  if (request.first >= ops) return bad(CSC_FRAME_STATUS_RANGE, ops, request.first);
  uint32_t records = ops - request.first;
  uint32_t fit = CSC_FRAME_BODY_MAX / (uint32_t)sizeof(csc_frame_op_clocks_t);
  if (records > fit) records = fit;
  return send_record(server, server->records + request.first,
                     records * (uint32_t)sizeof(csc_frame_op_clocks_t));
}

static csc_outcome_t on_reset(csc_server_t *server, uint32_t data_bytes) {
  (void)server;
  (void)data_bytes;
  return good(0);
}

#define SIZE(record) sizeof(csc_frame_##record##_t), sizeof(csc_frame_##record##_t)

// By message; entry 0 is no message.
static const csc_request_t requests[] = {
    [CSC_FRAME_MESSAGE_IDENTIFY] = {0, 0, NO_DATA, ANY, on_identify},
    [CSC_FRAME_MESSAGE_DESCRIBE] = {0, 0, NO_DATA, ANY, on_describe},
    [CSC_FRAME_MESSAGE_USE_EMBEDDED] = {0, 0, NO_DATA, ANY, on_use_embedded},
    [CSC_FRAME_MESSAGE_LOAD_BEGIN] = {SIZE(load_begin), NO_DATA, ANY, on_load_begin},
    [CSC_FRAME_MESSAGE_LOAD_DATA] = {SIZE(load_data), SOME_DATA, STATE(RECEIVING), on_load_data},
    [CSC_FRAME_MESSAGE_LOAD_END] = {0, 0, NO_DATA, STATE(RECEIVING), on_load_end},
    [CSC_FRAME_MESSAGE_READ_MODEL] = {SIZE(read), NO_DATA, LOADED, on_read_model},
    [CSC_FRAME_MESSAGE_START] = {4, sizeof(csc_frame_start_t), NO_DATA, LOADED, on_start},
    [CSC_FRAME_MESSAGE_SET_INPUT] = {SIZE(set_input), SOME_DATA, STATE(STARTED), on_set_input},
    [CSC_FRAME_MESSAGE_RUN] = {0, 0, NO_DATA, STATE(STARTED), on_run},
    [CSC_FRAME_MESSAGE_GET_OUTPUT] = {SIZE(get_output), NO_DATA, STATE(DONE), on_get_output},
    [CSC_FRAME_MESSAGE_GET_CLOCKS] = {SIZE(get_clocks), NO_DATA, STATE(DONE), on_get_clocks},
    [CSC_FRAME_MESSAGE_RESET] = {0, 0, NO_DATA, ANY, on_reset},
    [CSC_FRAME_MESSAGE_RESET_STATES] = {0, 0, NO_DATA, LOADED, on_reset_states},
    [CSC_FRAME_MESSAGE_GENERATE] = {SIZE(generate), ANY_DATA, STATE(DONE), on_generate},
};

// Whether a body has a size the request allows; says it in *outcome if not.
static int is_body(const csc_request_t *request, uint32_t bytes, csc_outcome_t *outcome) {
  uint32_t least = request->fixed + (request->data == SOME_DATA ? 1u : 0u);
  int has_older = request->least < request->fixed;
  if (bytes == least || (bytes > least && request->data != NO_DATA)) return 1;
  if (has_older && bytes == request->least) return 1;
  int is_older = has_older && bytes < request->least;
  *outcome = bad(CSC_FRAME_STATUS_BODY, is_older ? request->least : least, bytes);
  return 0;
}

static csc_outcome_t answer_request(csc_server_t *server, uint32_t body_bytes) {
  uint32_t message = server->request.head.message;
  if (message >= sizeof requests / sizeof *requests || !requests[message].answer ||
      server->request.head.status) {
    return bad(CSC_FRAME_STATUS_MESSAGE, 0, message);
  }
  const csc_request_t *request = &requests[message];
  csc_outcome_t outcome;
  if (!is_body(request, body_bytes, &outcome)) return outcome;
  if (!(request->states & 1u << server->state)) {
    return bad(CSC_FRAME_STATUS_ORDER, 0, (uint64_t)server->state);
  }
  if (body_bytes >= request->fixed) return request->answer(server, body_bytes - request->fixed);
  memset(server->request.body + body_bytes, 0, request->fixed - body_bytes);
  return request->answer(server, 0);
}

// Head of an answer that belongs to no request.
static const csc_frame_head_t unasked = {CSC_FRAME_MESSAGE_NONE | CSC_FRAME_ANSWER, 0, 0};

void csc_serve(csc_server_t *server) {
  const csc_board_t *board = &server->board;
  csc_frame_fault_t fault;
  uint32_t body_bytes = 0;
  while (csc_frame_receive(board, server->wire, &server->request, &body_bytes, &fault)) {
    if (fault.status) {
      server->answer.head = unasked;
      send(server, bad(fault.status, fault.need, fault.have));
      continue;
    }
    server->answer.head = server->request.head;
    server->answer.head.message |= CSC_FRAME_ANSWER;
    csc_outcome_t outcome = answer_request(server, body_bytes);
    send(server, outcome);
    if (!outcome.status && server->request.head.message == CSC_FRAME_MESSAGE_RESET) {
      board->restart(board->ctx);
    }
  }
}

void csc_server_fault(csc_server_t *server) {
  server->answer.head = unasked;
  send(server, bad(CSC_FRAME_STATUS_FAULT, 0, 0));
}
