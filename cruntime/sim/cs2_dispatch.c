// The back of the command queue: when commands start and complete, errors, the watchdog.

#include "cs2_chip.h"

// --- errors --------------------------------------------------------------------------------------

static void set_error(csc_sim_cs2_t *sim, uint32_t engine, const csc_cs2_command_t *command,
                      uint32_t cause, uint32_t info) {
  csc_cs2_queue_t *queue = &sim->queue;
  if (queue->error != 0) return;
  const uint32_t code = command ? csc_cs2_field(command->words, CSC_CS2_HEADER_CODE) : 0;
  queue->error = cause | engine << 8 | code << 16;
  queue->error_command = command ? command->number : queue->head;
  queue->error_info = info;
  queue->error_tag = command ? csc_cs2_field(command->words, CSC_CS2_HEADER_TAG) : 0;
  queue->is_failing = 1;
}

void csc_cs2_fail(csc_sim_cs2_t *sim, csc_cs2_engine_t engine, csc_cs2_cause_t cause,
                  uint32_t info) {
  set_error(sim, engine, engine == CSC_CS2_ENGINE_CONTROL ? NULL : &sim->engines[engine].command,
            cause, info);
}

void csc_cs2_fail_command(csc_sim_cs2_t *sim, const csc_cs2_command_t *command,
                          csc_cs2_cause_t cause, uint32_t info) {
  set_error(sim, csc_cs2_engine_of(csc_cs2_field(command->words, CSC_CS2_HEADER_CODE)), command,
            cause, info);
}

// What stops at the end of the clock of an error, and with a soft reset.
void csc_cs2_stop(csc_sim_cs2_t *sim) {
  csc_cs2_queue_t *queue = &sim->queue;
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    sim->engines[n].is_running = 0;
    sim->engines[n].is_head_known = 0;
    sim->engines[n].count = 0;
  }
  memset(sim->reads, 0, sizeof sim->reads);
  memset(sim->writes, 0, sizeof sim->writes);
  queue->count = 0;
  queue->wanted = 0;
  queue->coming = 0;
  queue->line_is_asked = 0;
  sim->dma.wanted = 0;
  if (sim->bus.user != CSC_CS2_BUS_CPU) sim->bus.user = CSC_CS2_BUS_FREE;
}

// --- start ---------------------------------------------------------------------------------------

// Bit n: the command waits for engine n.
static uint32_t missing(const csc_sim_cs2_t *sim, const uint32_t *words) {
  const uint32_t wait[CSC_CS2_ENGINES] = {
      csc_cs2_field(words, CSC_CS2_HEADER_WAIT_DMA),
      csc_cs2_field(words, CSC_CS2_HEADER_WAIT_BLOCK),
      csc_cs2_field(words, CSC_CS2_HEADER_WAIT_VECTOR),
  };
  const uint32_t wait_on = csc_cs2_field(words, CSC_CS2_HEADER_WAIT_ON);
  uint32_t found = 0;
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    const uint32_t ahead = (sim->engines[n].completed - wait[n]) & 0xFFFFu;
    if ((wait_on >> n & 1) && ahead >= 0x8000u) found |= 1u << n;
  }
  return found;
}

static void meet_head(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine, uint32_t number) {
  const csc_cs2_command_t *head = &engine->fifo[engine->first];
  memset(&engine->event, 0, sizeof engine->event);
  engine->event.dispatched = head->dispatched;
  engine->event.ready = sim->clock;
  engine->event.number = head->number;
  engine->event.tag = csc_cs2_field(head->words, CSC_CS2_HEADER_TAG);
  engine->event.code = csc_cs2_field(head->words, CSC_CS2_HEADER_CODE);
  engine->event.engine = number;
  engine->is_head_known = 1;
}

static void start(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine) {
  engine->stall = CSC_CS2_STALL_NONE;
  engine->command = engine->fifo[engine->first];
  engine->first = (engine->first + 1) % CSC_CS2_FIFO;
  engine->count -= 1;
  engine->is_running = 1;
  engine->is_finishing = 0;
  engine->is_hanging = engine->command.ordinal == sim->faults.hang_command;
  engine->age = 0;
  engine->shape = csc_cs2_shape_of(engine->command.words, sim->registers.param);
  engine->event.started = sim->clock + 1;
}

static void try_start(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine, uint32_t number) {
  if (!engine->is_head_known) meet_head(sim, engine, number);
  const uint32_t engines = missing(sim, engine->fifo[engine->first].words);
  if (engines == 0) {
    start(sim, engine);
    return;
  }
  engine->event.waited_for |= engines;
  engine->wait += 1;
  sim->totals.wait[number] += 1;
}

// --- execution -----------------------------------------------------------------------------------

static const struct {
  void (*start)(csc_sim_cs2_t *sim);
  void (*tick)(csc_sim_cs2_t *sim);
} drivers[CSC_CS2_ENGINES] = {
    {csc_cs2_dma_start, csc_cs2_dma_tick},
    {csc_cs2_block_start, csc_cs2_block_tick},
    {csc_cs2_vector_start, csc_cs2_vector_tick},
};

static int is_empty(const csc_cs2_shape_t *shape) {
  return shape->rows == 0 || shape->columns == 0 || shape->depth == 0;
}

// A window's rows are the geometry's, and the field is 0.
static int has_nothing_to_do(const csc_cs2_engine_state_t *engine) {
  const uint32_t *words = engine->command.words;
  const uint32_t window = CSC_CS2_GEMM_FLAG_CONV | CSC_CS2_GEMM_FLAG_DEPTHWISE;
  if (csc_cs2_field(words, CSC_CS2_HEADER_CODE) == CSC_CS2_CODE_GEMM &&
      (csc_cs2_field(words, CSC_CS2_GEMM_FLAGS) & window) != 0) {
    return 0;
  }
  return is_empty(&engine->shape);
}

static void execute(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine, uint32_t number) {
  engine->stall = CSC_CS2_STALL_NONE;
  engine->age += 1;
  engine->busy += 1;
  sim->totals.busy[number] += 1;
  if (engine->is_finishing) return;
  if (engine->age <= CSC_CS2_SETUP) {
    if (engine->age == CSC_CS2_SETUP && has_nothing_to_do(engine)) engine->is_finishing = 1;
    return;
  }
  if (engine->age == CSC_CS2_SETUP + 1) drivers[number].start(sim);
  if (!sim->queue.is_failing) drivers[number].tick(sim);
}

void csc_cs2_engine_ticks(csc_sim_cs2_t *sim) {
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    csc_cs2_engine_state_t *engine = &sim->engines[n];
    if (engine->is_running) {
      execute(sim, engine, n);
    } else if (engine->count != 0) {
      try_start(sim, engine, n);
    }
  }
}

// --- the end of a clock --------------------------------------------------------------------------

static void record(csc_sim_cs2_t *sim, const csc_sim_cs2_event_t *event) {
  if (sim->event_count < sim->event_room) {
    sim->events[sim->event_count++] = *event;
  } else if (sim->event_room != 0) {
    sim->event_lost += 1;
  }
}

static void finish(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine) {
  engine->is_running = 0;
  engine->is_head_known = 0;
  engine->completed += 1;
  engine->event.completed = sim->clock + 1;
  sim->queue.completed += 1;
  sim->queue.has_completed = 1;
  sim->totals.commands += 1;
  record(sim, &engine->event);
}

static void count_stall(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine, uint32_t number) {
  csc_sim_cs2_event_t *event = &engine->event;
  engine->stalled += 1;
  switch (engine->stall) {
    case CSC_CS2_STALL_BANK:
      event->stall_bank += 1;
      sim->totals.stall_bank[number] += 1;
      break;
    case CSC_CS2_STALL_BUS:
      event->stall_bus += 1;
      sim->totals.stall_bus[number] += 1;
      break;
    default:
      event->stall_drain += 1;
      sim->totals.stall_drain[number] += 1;
      break;
  }
}

// The stream of writes of each engine has its number.
static void end_clock(csc_sim_cs2_t *sim, csc_cs2_engine_state_t *engine, uint32_t number) {
  const uint32_t limit = sim->registers.watchdog;
  if (engine->stall != CSC_CS2_STALL_NONE) count_stall(sim, engine, number);
  if (sim->queue.is_failing || engine->age == 0) return;
  if (engine->is_finishing && !engine->is_hanging && csc_cs2_is_written(&sim->writes[number])) {
    finish(sim, engine);
  } else if (limit != 0 && engine->age >= limit) {
    csc_cs2_fail(sim, (csc_cs2_engine_t)number, CSC_CS2_CAUSE_WATCHDOG, (uint32_t)engine->age);
  }
}

// Commands that wait while nothing is executed may wait for ever.
static void watch_waiting(csc_sim_cs2_t *sim, uint32_t running) {
  const uint32_t limit = sim->registers.watchdog;
  uint32_t first = 0;
  while (first < CSC_CS2_ENGINES && sim->engines[first].count == 0) first++;
  if (running || first == CSC_CS2_ENGINES) {
    sim->queue.waiting = 0;
    return;
  }
  sim->queue.waiting += 1;
  if (limit == 0 || sim->queue.waiting < limit) return;
  csc_cs2_engine_state_t *engine = &sim->engines[first];
  set_error(sim, first, &engine->fifo[engine->first], CSC_CS2_CAUSE_WATCHDOG,
            (uint32_t)sim->queue.waiting);
}

static void raise_interrupts(csc_sim_cs2_t *sim) {
  csc_cs2_queue_t *queue = &sim->queue;
  uint32_t raised = 0;
  if (queue->is_failing) {
    csc_cs2_stop(sim);
    raised = CSC_CS2_IRQ_STATUS_FAILED_MASK;
  } else if (queue->has_completed && queue->completed == sim->registers.tail) {
    raised = CSC_CS2_IRQ_STATUS_DONE_MASK;
  }
  queue->is_failing = 0;
  queue->has_completed = 0;
  sim->registers.irq_raised = raised;
  sim->registers.irq_status |= raised;
}

void csc_cs2_complete(csc_sim_cs2_t *sim) {
  uint32_t running = 0;
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    csc_cs2_engine_state_t *engine = &sim->engines[n];
    running |= engine->is_running;
    if (engine->is_running) end_clock(sim, engine, n);
  }
  watch_waiting(sim, running);
  raise_interrupts(sim);
}

int csc_cs2_is_idle(const csc_sim_cs2_t *sim) {
  const csc_cs2_queue_t *queue = &sim->queue;
  if (sim->bus.user != CSC_CS2_BUS_FREE || sim->bus.cpu_bytes != 0) return 0;
  if (queue->count != 0 || queue->coming != 0) return 0;
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    if (sim->engines[n].is_running || sim->engines[n].count != 0) return 0;
  }
  return queue->error != 0 || !sim->registers.is_enabled || queue->head == sim->registers.tail;
}
