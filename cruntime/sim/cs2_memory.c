// The banks of the SRAM: who is served in a clock.

#include "cs2_chip.h"

// The list of CHIP.md after the processor; writes are numbered behind the reads.
enum { WRITES = CSC_CS2_READS };

static const uint8_t order[] = {
    WRITES + CSC_CS2_WRITE_DMA,    CSC_CS2_READ_DMA, WRITES + CSC_CS2_WRITE_BLOCK,
    WRITES + CSC_CS2_WRITE_VECTOR, CSC_CS2_READ_A,   CSC_CS2_READ_B,
    CSC_CS2_READ_PARAMS,           CSC_CS2_READ_X,   CSC_CS2_READ_Y,
    CSC_CS2_READ_CONSTANT,
};

enum { STREAMS = sizeof order, DMA_STREAMS = 2 };

// Take the bank of a line for this clock; 0 if it is taken.
static int take_bank(csc_sim_cs2_t *sim, uint32_t line) {
  const uint32_t bank = 1u << line % CSC_CS2_BANKS;
  if (sim->taken_banks & bank) {
    sim->totals.conflicts += 1;
    return 0;
  }
  sim->taken_banks |= bank;
  return 1;
}

static uint8_t *line_of(csc_sim_cs2_t *sim, uint32_t line) {
  return sim->sram + (size_t)line * CSC_CS2_LINE;
}

// Returns 0 if a bank has made the stream wait.
static int grant_read(csc_sim_cs2_t *sim, csc_cs2_reads_t *reads) {
  const uint32_t place = reads->granted % CSC_CS2_STREAM;
  if (reads->granted == reads->asked) return 1;
  if (!take_bank(sim, reads->line[place])) return 0;
  memcpy(reads->bytes[place], line_of(sim, reads->line[place]), CSC_CS2_LINE);
  reads->granted += 1;
  sim->totals.line_reads += 1;
  return 1;
}

static void write_bytes(uint8_t *to, const uint8_t *from, uint64_t mask) {
  if (mask == CSC_CS2_WHOLE_LINE) {
    memcpy(to, from, CSC_CS2_LINE);
    return;
  }
  for (uint32_t n = 0; n < CSC_CS2_LINE; n++) {
    if (mask >> n & 1) to[n] = from[n];
  }
}

static int grant_write(csc_sim_cs2_t *sim, csc_cs2_writes_t *writes) {
  const uint32_t place = writes->granted % CSC_CS2_STREAM;
  if (writes->granted == writes->ready) return 1;
  if (!take_bank(sim, writes->line[place])) return 0;
  write_bytes(line_of(sim, writes->line[place]), writes->bytes[place], writes->mask[place]);
  writes->granted += 1;
  sim->totals.line_writes += 1;
  return 1;
}

// Descriptors come last.
static void grant_fetch(csc_sim_cs2_t *sim) {
  csc_cs2_queue_t *queue = &sim->queue;
  if (!queue->line_is_asked || !take_bank(sim, queue->address)) return;
  queue->line_is_asked = 0;
  sim->totals.line_reads += 1;
  csc_cs2_fetched(sim, line_of(sim, queue->address));
}

// Of A and B the one with fewer lines comes first: a full stream would else make an empty one wait
// in every other clock, for as long as they meet in the same banks.
static uint32_t stream_at(uint32_t place, int is_b_first) {
  const uint32_t stream = order[place];
  if (!is_b_first || (stream != CSC_CS2_READ_A && stream != CSC_CS2_READ_B)) return stream;
  return stream == CSC_CS2_READ_A ? CSC_CS2_READ_B : CSC_CS2_READ_A;
}

void csc_cs2_grant(csc_sim_cs2_t *sim) {
  const int is_b_first =
      csc_cs2_lines(&sim->reads[CSC_CS2_READ_B]) < csc_cs2_lines(&sim->reads[CSC_CS2_READ_A]);
  for (uint32_t n = 0; n < STREAMS; n++) {
    const uint32_t stream = stream_at(n, is_b_first);
    const int is_served = stream < WRITES ? grant_read(sim, &sim->reads[stream])
                                          : grant_write(sim, &sim->writes[stream - WRITES]);
    // Block and vector engine know themselves whether a line that is late holds them up.
    if (!is_served && n < DMA_STREAMS) csc_cs2_stall(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_STALL_BANK);
  }
  grant_fetch(sim);
  for (uint32_t n = 0; n < CSC_CS2_WRITES; n++) sim->writes[n].ready = sim->writes[n].put;
  sim->taken_banks = 0;
}
