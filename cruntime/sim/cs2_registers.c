// The registers of CS2 beyond those of CS1.

#include "cs2_chip.h"

// --- registers that hold what was written --------------------------------------------------------

enum { BASE_MASK = ~63 };  // bases are multiples of 64

static uint32_t *plain(csc_cs2_registers_t *registers, uint32_t offset) {
  switch (offset) {
    case CSC_CS2_IRQ_ENABLE: return &registers->irq_enable;
    case CSC_CS2_QUEUE_BASE: return &registers->queue_base;
    case CSC_CS2_QUEUE_SIZE: return &registers->queue_size;
    case CSC_CS2_QUEUE_TAIL: return &registers->tail;
    case CSC_CS2_WEIGHTS_BASE: return &registers->weights_base;
    case CSC_CS2_WEIGHTS_BYTES: return &registers->weights_bytes;
    case CSC_CS2_STORE_BASE: return &registers->store_base;
    case CSC_CS2_STORE_BYTES: return &registers->store_bytes;
    case CSC_CS2_WATCHDOG: return &registers->watchdog;
    default: break;
  }
  const uint32_t number = (offset - CSC_CS2_PARAM) / 4;
  return offset % 4 == 0 && number < CSC_CS2_PARAMS ? &registers->param[number] : NULL;
}

static uint32_t writable_bits(uint32_t offset) {
  switch (offset) {
    case CSC_CS2_WEIGHTS_BASE:
    case CSC_CS2_STORE_BASE: return (uint32_t)BASE_MASK;
    case CSC_CS2_IRQ_ENABLE: return CSC_CS2_IRQ_ENABLE_DONE_MASK | CSC_CS2_IRQ_ENABLE_FAILED_MASK;
    default: return UINT32_MAX;
  }
}

// --- reading -------------------------------------------------------------------------------------

static uint32_t show_status(const csc_sim_cs2_t *sim) {
  const csc_cs2_queue_t *queue = &sim->queue;
  uint32_t status = 0;
  if (queue->error != 0) {
    status |= CSC_CS2_QUEUE_STATUS_FAILED_MASK;
  } else if (queue->completed == sim->registers.tail) {
    status |= CSC_CS2_QUEUE_STATUS_IDLE_MASK;
  }
  for (uint32_t n = 0; n < CSC_CS2_ENGINES; n++) {
    if (sim->engines[n].is_running) status |= CSC_CS2_QUEUE_STATUS_DMA_BUSY_MASK << n;
  }
  return status;
}

// Four counters for each engine.
static uint32_t show_counter(const csc_sim_cs2_t *sim, uint32_t offset) {
  enum { STEP = CSC_CS2_BLOCK_BUSY - CSC_CS2_DMA_BUSY };
  const uint32_t number = (offset - CSC_CS2_DMA_BUSY) / STEP;
  if (number >= CSC_CS2_ENGINES) return 0;
  const csc_cs2_engine_state_t *engine = &sim->engines[number];
  switch (offset - number * STEP) {
    case CSC_CS2_DMA_BUSY: return engine->busy;
    case CSC_CS2_DMA_WAIT: return engine->wait;
    case CSC_CS2_DMA_STALL: return engine->stalled;
    case CSC_CS2_DMA_DONE: return engine->completed;
    default: return 0;
  }
}

static uint32_t show_constant(const csc_sim_cs2_t *sim, uint32_t offset) {
  switch (offset) {
    case CSC_CS2_ID: return CSC_CS2_ID_RESET;
    case CSC_CS2_VERSION: return CSC_CS2_VERSION_RESET;
    case CSC_CS2_CAPS: return sim->config.array | sim->config.lanes << 16;
    case CSC_CS2_SRAM_BYTES: return sim->config.sram_bytes;
    default: return show_counter(sim, offset);
  }
}

uint32_t csc_cs2_show(csc_sim_cs2_t *sim, uint32_t offset) {
  const csc_cs2_queue_t *queue = &sim->queue;
  const uint32_t *held = plain(&sim->registers, offset);
  if (held != NULL) return *held;
  switch (offset) {
    case CSC_CS2_QUEUE_CONTROL: return sim->registers.is_enabled;
    case CSC_CS2_QUEUE_STATUS: return show_status(sim);
    case CSC_CS2_IRQ_STATUS: return sim->registers.irq_status;
    case CSC_CS2_ERROR: return queue->error;
    case CSC_CS2_ERROR_COMMAND: return queue->error_command;
    case CSC_CS2_ERROR_INFO: return queue->error_info;
    case CSC_CS2_ERROR_TAG: return queue->error_tag;
    case CSC_CS2_QUEUE_HEAD: return queue->head;
    case CSC_CS2_CLOCK_LOW:
      sim->registers.clock_high = (uint32_t)(sim->clock >> 32);
      return (uint32_t)sim->clock;
    case CSC_CS2_CLOCK_HIGH: return sim->registers.clock_high;
    default: return show_constant(sim, offset);
  }
}

// --- writing -------------------------------------------------------------------------------------

void csc_cs2_soft_reset(csc_sim_cs2_t *sim) {
  csc_cs2_stop(sim);
  memset(sim->engines, 0, sizeof sim->engines);
  memset(&sim->queue, 0, sizeof sim->queue);
  memset(&sim->dma, 0, sizeof sim->dma);
  memset(&sim->block, 0, sizeof sim->block);
  memset(&sim->vector, 0, sizeof sim->vector);
  sim->registers.tail = 0;
  sim->registers.irq_status = 0;
}

void csc_cs2_store(csc_sim_cs2_t *sim, uint32_t offset, uint32_t value) {
  csc_cs2_registers_t *registers = &sim->registers;
  uint32_t *held = plain(registers, offset);
  if (offset == CSC_CS2_QUEUE_TAIL && ++sim->doorbells == sim->faults.lose_doorbell_at) return;
  if (held != NULL) {
    *held = value & writable_bits(offset);
  } else if (offset == CSC_CS2_QUEUE_CONTROL) {
    registers->is_enabled = value & CSC_CS2_QUEUE_CONTROL_ENABLE_MASK;
    if (value & CSC_CS2_QUEUE_CONTROL_SOFT_RESET_MASK) csc_cs2_soft_reset(sim);
  } else if (offset == CSC_CS2_IRQ_STATUS) {
    // What rises in the clock of the write stays.
    registers->irq_status &= ~value | registers->irq_raised;
  }
}
