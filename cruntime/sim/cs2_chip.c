// The CS2 chip model: its face, and the order of things in a clock.

#include "cs2_chip.h"

enum { ALIGNMENT = 64 };

// --- configurations ------------------------------------------------------------------------------

csc_sim_cs2_config_t csc_sim_cs2_published(void) {
  csc_sim_cs2_config_t config = {
      CSC_CS2_SRAM_SIZE,           CSC_CS2_ARRAY,       CSC_CS2_LANES,
      CSC_CS2_EXT_BYTES_PER_CLOCK, CSC_CS2_EXT_LATENCY, CSC_CS2_EXT_BURST,
  };
  return config;
}

static int is_power_of_two(uint32_t value, uint32_t low, uint32_t high) {
  return value >= low && value <= high && (value & (value - 1)) == 0;
}

static int is_valid(const csc_sim_cs2_config_t *config) {
  const uint32_t array = config->array;
  if (config->sram_bytes % 4096 != 0) return 0;
  if (config->sram_bytes < 1u << 16 || config->sram_bytes > 1u << 24) return 0;
  if (array != 1 && array != 8 && array != 64 && array != 512) return 0;
  return is_power_of_two(config->lanes, 1, 64) &&
         is_power_of_two(config->ext_bytes_per_clock, 1, 64) && config->ext_latency <= 10000 &&
         is_power_of_two(config->ext_burst, 64, 65536);
}

static size_t state_bytes(void) {
  return (sizeof(csc_sim_cs2_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t csc_sim_cs2_sizeof(const csc_sim_cs2_config_t *config) {
  return is_valid(config) ? state_bytes() + config->sram_bytes : 0;
}

// --- power-up and reset --------------------------------------------------------------------------

void csc_sim_cs2_init(csc_sim_cs2_t *sim, const csc_sim_cs2_config_t *config, uint8_t *external,
                      uint32_t external_bytes) {
  memset(sim, 0, sizeof *sim);
  csc_sim_cs1_init(&sim->cs1);
  sim->config = *config;
  sim->sram = (uint8_t *)sim + state_bytes();
  sim->external = external;
  sim->external_bytes = external_bytes;
}

void csc_sim_cs2_reset(csc_sim_cs2_t *sim, uint64_t clocks) {
  if (clocks == 0) return;
  csc_sim_cs1_reset(&sim->cs1, clocks);
  sim->clock = csc_sim_cs1_clock(&sim->cs1);
  csc_cs2_soft_reset(sim);
  memset(&sim->registers, 0, sizeof sim->registers);
  memset(&sim->bus, 0, sizeof sim->bus);
  sim->window.is_valid = 0;
}

// --- clocks --------------------------------------------------------------------------------------

static void tick(csc_sim_cs2_t *sim) {
  csc_cs2_engine_ticks(sim);
  csc_cs2_queue_tick(sim);
  csc_cs2_grant(sim);
  csc_cs2_bus_tick(sim);
  csc_cs2_complete(sim);
  sim->clock += 1;
}

static void pass(csc_sim_cs2_t *sim, uint64_t clocks) {
  while (clocks != 0) {
    if (csc_cs2_is_idle(sim)) {
      sim->clock += clocks;
      sim->registers.irq_raised = 0;
      sim->taken_banks = 0;
      return;
    }
    tick(sim);
    clocks -= 1;
  }
}

void csc_sim_cs2_step(csc_sim_cs2_t *sim, uint64_t clocks) {
  csc_sim_cs1_step(&sim->cs1, clocks);
  pass(sim, clocks);
}

// --- the processor's accesses --------------------------------------------------------------------

enum { FIRST_REGISTER = CSC_CS2_ID };  // below are those of CS1

uint32_t csc_sim_cs2_read(csc_sim_cs2_t *sim, uint32_t offset) {
  const uint32_t place = offset % CSC_CS2_ENGINE2_BYTES;
  uint32_t value;
  if (place < FIRST_REGISTER) {
    value = csc_sim_cs1_read(&sim->cs1, place);
  } else {
    value = csc_cs2_show(sim, place);
    csc_sim_cs1_step(&sim->cs1, 1);
  }
  pass(sim, 1);
  return value;
}

void csc_sim_cs2_write(csc_sim_cs2_t *sim, uint32_t offset, uint32_t value) {
  const uint32_t place = offset % CSC_CS2_ENGINE2_BYTES;
  pass(sim, 1);
  if (place < FIRST_REGISTER) {
    csc_sim_cs1_write(&sim->cs1, place, value);
  } else {
    csc_sim_cs1_step(&sim->cs1, 1);
    csc_cs2_store(sim, place, value);
  }
}

static uint32_t read_word(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[3] << 24;
}

static void write_word(uint8_t *bytes, uint32_t strobes, uint32_t data) {
  for (uint32_t n = 0; n < 4; n++) {
    if (strobes >> n & 1) bytes[n] = (uint8_t)(data >> 8 * n);
  }
}

uint32_t csc_sim_cs2_sram_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                 uint32_t data) {
  const uint32_t word = offset & ~3u;
  uint32_t value = 0;
  if (word < sim->config.sram_bytes) {
    sim->taken_banks = 1u << word / CSC_CS2_LINE % CSC_CS2_BANKS;
    if (strobes == 0) {
      value = read_word(sim->sram + word);
      sim->totals.line_reads += 1;
    } else {
      write_word(sim->sram + word, strobes, data);
      sim->totals.line_writes += 1;
    }
  }
  csc_sim_cs2_step(sim, 1);
  return value;
}

// --- behind the chip's back ----------------------------------------------------------------------

uint32_t csc_sim_cs2_irq(const csc_sim_cs2_t *sim) {
  const uint32_t ours = (sim->registers.irq_status & sim->registers.irq_enable) != 0;
  return (uint32_t)csc_sim_cs1_irq(&sim->cs1) | ours << 1;
}

uint64_t csc_sim_cs2_clock(const csc_sim_cs2_t *sim) { return sim->clock; }

uint8_t *csc_sim_cs2_sram(csc_sim_cs2_t *sim) { return sim->sram; }

csc_sim_cs2_faults_t *csc_sim_cs2_faults(csc_sim_cs2_t *sim) { return &sim->faults; }

void csc_sim_cs2_totals(const csc_sim_cs2_t *sim, csc_sim_cs2_totals_t *totals) {
  *totals = sim->totals;
  totals->clocks = sim->clock;
}

void csc_sim_cs2_trace(csc_sim_cs2_t *sim, csc_sim_cs2_event_t *events, size_t room) {
  sim->events = events;
  sim->event_room = room;
  sim->event_count = 0;
  sim->event_lost = 0;
}

size_t csc_sim_cs2_traced(const csc_sim_cs2_t *sim) { return sim->event_count; }

size_t csc_sim_cs2_trace_lost(const csc_sim_cs2_t *sim) { return sim->event_lost; }
