// The external bus: bursts, who gets the next one, and what the bytes are.

#include "cs2_chip.h"

// Bytes that the next word of the burst carries: up to the next multiple of the bus's width.
static uint32_t word_bytes(const csc_sim_cs2_t *sim, uint32_t address, uint32_t bytes) {
  const uint32_t width = sim->config.ext_bytes_per_clock;
  const uint32_t count = width - address % width;
  return count < bytes ? count : bytes;
}

uint32_t csc_cs2_bus_word(const csc_sim_cs2_t *sim) {
  const csc_cs2_bus_t *bus = &sim->bus;
  if (bus->user == CSC_CS2_BUS_FREE || bus->latency != 0) return 0;
  return word_bytes(sim, bus->address, bus->bytes);
}

// Bytes of a range that exist.
static uint32_t existing(const csc_sim_cs2_t *sim, uint32_t address, uint32_t count) {
  if (address >= sim->external_bytes) return 0;
  const uint32_t room = sim->external_bytes - address;
  return count < room ? count : room;
}

void csc_cs2_external_read(const csc_sim_cs2_t *sim, uint32_t address, uint8_t *bytes,
                           uint32_t count) {
  const uint32_t there = existing(sim, address, count);
  if (there != 0) memcpy(bytes, sim->external + address, there);
  memset(bytes + there, 0, count - there);
}

void csc_cs2_external_write(csc_sim_cs2_t *sim, uint32_t address, const uint8_t *bytes,
                            uint32_t count) {
  const uint32_t there = existing(sim, address, count);
  if (there != 0) memcpy(sim->external + address, bytes, there);
  sim->window.is_valid = 0;
}

static void begin(csc_sim_cs2_t *sim, csc_cs2_user_t user, uint32_t address, uint32_t bytes,
                  uint32_t is_write) {
  csc_cs2_bus_t *bus = &sim->bus;
  bus->user = user;
  bus->latency = sim->config.ext_latency;
  bus->address = address;
  bus->bytes = bytes;
  bus->first = address;
  bus->is_write = is_write;
  bus->is_bad = 0;
  sim->totals.ext_bursts += 1;
  if (user == CSC_CS2_BUS_CPU) return;
  sim->bursts += 1;
  bus->is_bad = existing(sim, address, bytes) != bytes;
  if (sim->bursts == sim->faults.external_error) bus->is_bad = 1;
}

// A burst of the processor: at once if the bus is free, else behind the one under way.
static void ask_for_cpu(csc_sim_cs2_t *sim, uint32_t address, uint32_t bytes, uint32_t is_write) {
  if (sim->bus.user == CSC_CS2_BUS_FREE) {
    begin(sim, CSC_CS2_BUS_CPU, address, bytes, is_write);
  } else {
    sim->bus.cpu_is_write = is_write;
    sim->bus.cpu_address = address;
    sim->bus.cpu_bytes = bytes;
  }
}

// The burst that begins with the next clock.
static void choose(csc_sim_cs2_t *sim) {
  csc_cs2_bus_t *bus = &sim->bus;
  if (bus->cpu_bytes != 0) {
    begin(sim, CSC_CS2_BUS_CPU, bus->cpu_address, bus->cpu_bytes, bus->cpu_is_write);
    bus->cpu_bytes = 0;
  } else if (sim->queue.wanted != 0) {
    begin(sim, CSC_CS2_BUS_FETCH, sim->queue.address, sim->queue.wanted * CSC_CS2_COMMAND_BYTES, 0);
    sim->queue.coming = sim->queue.wanted;
    sim->queue.wanted = 0;
  } else if (sim->dma.wanted != 0) {
    begin(sim, CSC_CS2_BUS_DMA, sim->dma.address, sim->dma.wanted, sim->dma.wants_write);
    csc_cs2_dma_granted(sim);
  }
}

static void fail_if_bad(csc_sim_cs2_t *sim, csc_cs2_user_t user) {
  if (!sim->bus.is_bad) return;
  csc_cs2_fail(sim, user == CSC_CS2_BUS_DMA ? CSC_CS2_ENGINE_DMA : CSC_CS2_ENGINE_CONTROL,
               CSC_CS2_CAUSE_EXTERNAL, sim->bus.first);
}

static void pass_word(csc_sim_cs2_t *sim) {
  csc_cs2_bus_t *bus = &sim->bus;
  const csc_cs2_user_t user = bus->user;
  const uint32_t count = csc_cs2_bus_word(sim);
  bus->address += count;
  bus->bytes -= count;
  if (user == CSC_CS2_BUS_FETCH && bus->bytes % CSC_CS2_COMMAND_BYTES == 0) {
    uint8_t descriptor[CSC_CS2_COMMAND_BYTES];
    csc_cs2_external_read(sim, bus->address - CSC_CS2_COMMAND_BYTES, descriptor,
                          CSC_CS2_COMMAND_BYTES);
    csc_cs2_fetched(sim, descriptor);
  }
  if (bus->bytes != 0) return;
  bus->user = CSC_CS2_BUS_FREE;
  fail_if_bad(sim, user);
}

static void count_clock(csc_sim_cs2_t *sim) {
  const uint32_t bytes = sim->bus.is_paused ? 0 : csc_cs2_bus_word(sim);
  sim->totals.ext_busy += 1;
  if (sim->bus.is_write) {
    sim->totals.ext_written += bytes;
  } else {
    sim->totals.ext_read += bytes;
  }
}

void csc_cs2_bus_tick(csc_sim_cs2_t *sim) {
  csc_cs2_bus_t *bus = &sim->bus;
  if (bus->user != CSC_CS2_BUS_FREE) {
    count_clock(sim);
    if (bus->latency != 0) {
      bus->latency -= 1;
    } else if (!bus->is_paused) {
      pass_word(sim);
    }
    bus->is_paused = 0;
  }
  if (bus->user == CSC_CS2_BUS_FREE) choose(sim);
  if (sim->dma.wanted != 0 && bus->user != CSC_CS2_BUS_DMA) {
    csc_cs2_stall(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_STALL_BUS);
  }
}

// --- the processor's window ----------------------------------------------------------------------

// Clocks up to and with the last one of a burst of the processor.
static void wait_for_burst(csc_sim_cs2_t *sim, uint32_t address, uint32_t bytes,
                           uint32_t is_write) {
  ask_for_cpu(sim, address, bytes, is_write);
  while (sim->bus.cpu_bytes != 0 || sim->bus.user == CSC_CS2_BUS_CPU) csc_sim_cs2_step(sim, 1);
}

static uint32_t read_word(csc_sim_cs2_t *sim, uint32_t offset) {
  csc_cs2_window_t *window = &sim->window;
  const uint32_t line = offset / CSC_CS2_LINE;
  uint32_t word = 0;
  if (window->is_valid && window->line == line) {
    csc_sim_cs2_step(sim, 1);
  } else {
    wait_for_burst(sim, line * CSC_CS2_LINE, CSC_CS2_LINE, 0);
    csc_cs2_external_read(sim, line * CSC_CS2_LINE, window->bytes, CSC_CS2_LINE);
    window->is_valid = 1;
    window->line = line;
  }
  memcpy(&word, window->bytes + offset % CSC_CS2_LINE, sizeof word);
  return word;
}

static void write_word(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes, uint32_t data) {
  wait_for_burst(sim, offset, sizeof data, 1);
  for (uint32_t n = 0; n < sizeof data; n++) {
    const uint8_t byte = (uint8_t)(data >> 8 * n);
    if (strobes >> n & 1) csc_cs2_external_write(sim, offset + n, &byte, 1);
  }
}

uint32_t csc_sim_cs2_external_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                     uint32_t data) {
  const uint32_t word = offset & ~3u;
  if (strobes == 0) return read_word(sim, word);
  write_word(sim, word, strobes, data);
  return 0;
}
