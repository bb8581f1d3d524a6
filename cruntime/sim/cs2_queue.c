// The front of the command queue: fetch, decode, dispatch.

#include "cs2_chip.h"

static void fail_fetch(csc_sim_cs2_t *sim, csc_cs2_cause_t cause, uint32_t info) {
  csc_cs2_fail(sim, CSC_CS2_ENGINE_CONTROL, cause, info);
}

csc_cs2_spaces_t csc_cs2_spaces(const csc_sim_cs2_t *sim) {
  csc_cs2_spaces_t spaces = {
      {sim->config.sram_bytes, sim->registers.weights_bytes, sim->registers.store_bytes, 0}};
  return spaces;
}

// --- fetch ---------------------------------------------------------------------------------------

static uint32_t load_32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[3] << 24;
}

void csc_cs2_fetched(csc_sim_cs2_t *sim, const uint8_t *bytes) {
  csc_cs2_queue_t *queue = &sim->queue;
  csc_cs2_command_t *command = &queue->held[(queue->first + queue->count) % CSC_CS2_PREFETCH];
  for (uint32_t n = 0; n < CSC_CS2_COMMAND_WORDS; n++) command->words[n] = load_32(bytes + 4 * n);
  command->number = queue->head++;
  command->ordinal = ++sim->fetched;
  if (command->ordinal == sim->faults.change_command) {
    command->words[sim->faults.change_word % CSC_CS2_COMMAND_WORDS] ^= sim->faults.change_mask;
  }
  queue->count += 1;
  if (queue->coming != 0) queue->coming -= 1;
}

// Returns whether the ring can be fetched from.
static int check_ring(csc_sim_cs2_t *sim) {
  const csc_cs2_registers_t *registers = &sim->registers;
  const csc_cs2_spaces_t spaces = csc_cs2_spaces(sim);
  const uint32_t base = registers->queue_base;
  const uint64_t end =
      csc_cs2_offset_of(base) + (uint64_t)registers->queue_size * CSC_CS2_COMMAND_BYTES;
  if (base % CSC_CS2_COMMAND_BYTES != 0 || registers->queue_size == 0 ||
      end > spaces.bytes[csc_cs2_space_of(base)]) {
    fail_fetch(sim, CSC_CS2_CAUSE_QUEUE, base);
    return 0;
  }
  if (registers->tail - sim->queue.head <= registers->queue_size) return 1;
  fail_fetch(sim, CSC_CS2_CAUSE_OVERRUN, registers->tail);
  return 0;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void ask_burst(csc_sim_cs2_t *sim, uint32_t place, uint32_t free) {
  const csc_cs2_registers_t *registers = &sim->registers;
  csc_cs2_queue_t *queue = &sim->queue;
  const uint32_t base = csc_cs2_space_of(registers->queue_base) == CSC_CS2_SPACE_WEIGHTS
                            ? registers->weights_base
                            : registers->store_base;
  uint32_t count = least(CSC_CS2_FETCH, sim->config.ext_burst / CSC_CS2_COMMAND_BYTES);
  count = least(count, registers->queue_size - place);
  count = least(count, registers->tail - queue->head);
  if (count > free) return;
  queue->wanted = count;
  queue->address = base + csc_cs2_offset_of(registers->queue_base) + place * CSC_CS2_COMMAND_BYTES;
}

static void ask_line(csc_sim_cs2_t *sim, uint32_t place) {
  const uint32_t base = csc_cs2_offset_of(sim->registers.queue_base);
  sim->queue.line_is_asked = 1;
  sim->queue.address = base / CSC_CS2_LINE + place;
}

// The request of this clock; one that was not served before is made anew.
static void fetch(csc_sim_cs2_t *sim) {
  csc_cs2_queue_t *queue = &sim->queue;
  const csc_cs2_registers_t *registers = &sim->registers;
  const uint32_t free = CSC_CS2_PREFETCH - queue->count;
  queue->wanted = 0;
  queue->line_is_asked = 0;
  if (!registers->is_enabled || registers->tail == queue->head || queue->coming != 0) return;
  if (free == 0 || !check_ring(sim)) return;
  const uint32_t place = queue->head % registers->queue_size;
  if (csc_cs2_space_of(registers->queue_base) == CSC_CS2_SPACE_SRAM) {
    ask_line(sim, place);
  } else {
    ask_burst(sim, place, free);
  }
}

// --- decode --------------------------------------------------------------------------------------

static int engines_are_idle(const csc_sim_cs2_t *sim) {
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    if (sim->engines[n].is_running || sim->engines[n].count != 0) return 0;
  }
  return 1;
}

// Commands of the dispatcher itself are completed here. Returns whether the command has gone.
static int pass_control(csc_sim_cs2_t *sim, const csc_cs2_command_t *command) {
  const uint32_t code = csc_cs2_field(command->words, CSC_CS2_HEADER_CODE);
  if (code == CSC_CS2_CODE_FENCE && !engines_are_idle(sim)) return 0;
  sim->queue.completed += 1;
  sim->queue.has_completed = 1;
  sim->totals.commands += 1;
  return 1;
}

static int dispatch(csc_sim_cs2_t *sim, const csc_cs2_command_t *command) {
  const uint32_t code = csc_cs2_field(command->words, CSC_CS2_HEADER_CODE);
  const csc_cs2_engine_t number = csc_cs2_engine_of(code);
  if (number == CSC_CS2_ENGINE_CONTROL) return pass_control(sim, command);
  csc_cs2_engine_state_t *engine = &sim->engines[number];
  if (engine->count == CSC_CS2_FIFO) return 0;
  csc_cs2_command_t *place = &engine->fifo[(engine->first + engine->count) % CSC_CS2_FIFO];
  *place = *command;
  place->dispatched = sim->clock;
  engine->count += 1;
  return 1;
}

// The check is done with the last clock of decoding. Returns whether the command may go on.
static int decode(csc_sim_cs2_t *sim, const csc_cs2_command_t *command) {
  csc_cs2_queue_t *queue = &sim->queue;
  uint32_t info = 0;
  if (queue->decoding == CSC_CS2_DECODE) return 1;
  queue->decoding += 1;
  if (queue->decoding != CSC_CS2_DECODE) return 0;
  const csc_cs2_spaces_t spaces = csc_cs2_spaces(sim);
  const csc_cs2_cause_t cause = csc_cs2_check(&queue->checked, &spaces, command->words, &info);
  if (cause == CSC_CS2_CAUSE_NONE) return 1;
  csc_cs2_fail_command(sim, command, cause, info);
  return 0;
}

void csc_cs2_queue_tick(csc_sim_cs2_t *sim) {
  csc_cs2_queue_t *queue = &sim->queue;
  if (queue->error != 0) return;
  if (queue->count != 0) {
    const csc_cs2_command_t *command = &queue->held[queue->first];
    if (decode(sim, command) && dispatch(sim, command)) {
      queue->first = (queue->first + 1) % CSC_CS2_PREFETCH;
      queue->count -= 1;
      queue->decoding = 0;
    }
  }
  fetch(sim);
}
