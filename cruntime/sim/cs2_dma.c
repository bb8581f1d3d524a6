// The DMA engine: a reader fills a buffer of 256 bytes in the order of the rows, a writer empties
// it.
//
// Both look at the buffer as it was at the beginning of the clock, so the writer runs first.

#include "cs2_chip.h"

enum { TILE = 8, BUFFER_MASK = CSC_CS2_DMA_BUFFER - 1 };

// --- the two sides -------------------------------------------------------------------------------

static uint32_t external_base(const csc_sim_cs2_t *sim, uint32_t address) {
  return csc_cs2_space_of(address) == CSC_CS2_SPACE_WEIGHTS ? sim->registers.weights_base
                                                            : sim->registers.store_base;
}

static int is_done(const csc_cs2_side_t *side) { return side->row == side->rows; }

static void advance(csc_cs2_side_t *side, uint32_t bytes) {
  side->offset += bytes;
  if (side->offset != side->row_bytes) return;
  side->offset = 0;
  side->row += 1;
}

// Address of the next byte; `row` is where this row comes from.
static uint32_t address_of(const csc_cs2_side_t *side, uint32_t row) {
  const uint32_t piece = TILE * side->element;
  if (piece == 0) return side->base + row * side->stride + side->offset;
  return side->base + row / TILE * side->stride + row % TILE * piece +
         side->offset / piece * CSC_CS2_LINE * side->element;
}

// Bytes of the next access of the SRAM: up to the end of line, piece of a tile, or row.
static uint32_t access_bytes(const csc_cs2_side_t *side, uint32_t address) {
  const uint32_t room =
      side->element ? TILE * side->element : CSC_CS2_LINE - address % CSC_CS2_LINE;
  const uint32_t rest = side->row_bytes - side->offset;
  return rest < room ? rest : room;
}

// The next burst: the rest of the row, or the longest there is.
static uint32_t burst_bytes(const csc_sim_cs2_t *sim, const csc_cs2_side_t *side) {
  const uint32_t rest = side->row_bytes - side->offset;
  return rest < sim->config.ext_burst ? rest : sim->config.ext_burst;
}

// --- start ---------------------------------------------------------------------------------------

// Where the side begins, or UINT64_MAX if a parameter has moved it out of its space.
static uint64_t moved_base(const csc_sim_cs2_t *sim, const csc_cs2_copy_side_t *side,
                           uint32_t param) {
  const uint64_t moved = param ? (uint64_t)sim->registers.param[param - 1] * side->stride : 0;
  const csc_cs2_spaces_t spaces = csc_cs2_spaces(sim);
  const uint32_t space = csc_cs2_space_of(side->address);
  const uint64_t base = csc_cs2_offset_of(side->address) + moved;
  return moved + side->reach > spaces.bytes[space] || base + side->reach > spaces.bytes[space]
             ? UINT64_MAX
             : base;
}

static int start_side(csc_sim_cs2_t *sim, csc_cs2_side_t *side, const csc_cs2_copy_side_t *copy,
                      uint32_t param, int can_merge) {
  const uint32_t *words = csc_cs2_words(sim, CSC_CS2_ENGINE_DMA);
  const uint64_t base = moved_base(sim, copy, param);
  if (base == UINT64_MAX) return 0;
  memset(side, 0, sizeof *side);
  side->is_sram = csc_cs2_space_of(copy->address) == CSC_CS2_SPACE_SRAM;
  side->base = (uint32_t)base + (side->is_sram ? 0 : external_base(sim, copy->address));
  side->stride = copy->stride;
  side->rows = csc_cs2_shape(sim, CSC_CS2_ENGINE_DMA).rows;
  side->row_bytes = csc_cs2_field(words, CSC_CS2_COPY_ROW_BYTES);
  if (copy->align > 1) side->element = copy->align / TILE;
  if (can_merge && copy->align == 1 && side->stride == side->row_bytes) {
    side->row_bytes *= side->rows;
    side->rows = 1;
  }
  return 1;
}

void csc_cs2_dma_start(csc_sim_cs2_t *sim) {
  csc_cs2_dma_t *dma = &sim->dma;
  const uint32_t *words = csc_cs2_words(sim, CSC_CS2_ENGINE_DMA);
  const uint32_t rows = csc_cs2_shape(sim, CSC_CS2_ENGINE_DMA).rows;
  const csc_cs2_copy_side_t source = csc_cs2_copy_source(words, rows);
  const csc_cs2_copy_side_t target = csc_cs2_copy_target(words, rows);
  memset(dma, 0, sizeof *dma);
  dma->is_gather = (csc_cs2_field(words, CSC_CS2_COPY_FLAGS) & CSC_CS2_DMA_FLAG_GATHER) != 0;
  dma->index_address = csc_cs2_field(words, CSC_CS2_COPY_INDEX);
  dma->index_limit = csc_cs2_field(words, CSC_CS2_COPY_INDEX_LIMIT);
  if (!start_side(sim, &dma->source, &source, csc_cs2_field(words, CSC_CS2_HEADER_SOURCE_PARAM),
                  !dma->is_gather)) {
    csc_cs2_fail(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_CAUSE_RANGE, 5);
  } else if (!start_side(sim, &dma->target, &target,
                         csc_cs2_field(words, CSC_CS2_HEADER_TARGET_PARAM), 1)) {
    csc_cs2_fail(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_CAUSE_RANGE, 6);
  }
}

// --- the buffer ----------------------------------------------------------------------------------

// Bytes to the place where the ring turns.
static uint32_t before_turn(uint32_t place, uint32_t count) {
  const uint32_t room = CSC_CS2_DMA_BUFFER - place;
  return count < room ? count : room;
}

static void push(csc_cs2_dma_t *dma, const uint8_t *bytes, uint32_t count) {
  const uint32_t place = (dma->first + dma->held) & BUFFER_MASK;
  const uint32_t part = before_turn(place, count);
  memcpy(dma->buffer + place, bytes, part);
  memcpy(dma->buffer, bytes + part, count - part);
  dma->held += count;
}

static void pop(csc_cs2_dma_t *dma, uint8_t *bytes, uint32_t count) {
  const uint32_t part = before_turn(dma->first, count);
  memcpy(bytes, dma->buffer + dma->first, part);
  memcpy(bytes + part, dma->buffer, count - part);
  dma->first = (dma->first + count) & BUFFER_MASK;
  dma->held -= count;
}

// --- writer --------------------------------------------------------------------------------------

static void write_sram(csc_sim_cs2_t *sim) {
  csc_cs2_dma_t *dma = &sim->dma;
  csc_cs2_side_t *target = &dma->target;
  csc_cs2_writes_t *writes = &sim->writes[CSC_CS2_WRITE_DMA];
  const uint32_t address = address_of(target, target->row);
  const uint32_t bytes = access_bytes(target, address);
  const uint32_t start = address % CSC_CS2_LINE;
  const uint64_t mask = (bytes == CSC_CS2_LINE ? CSC_CS2_WHOLE_LINE : (1ull << bytes) - 1) << start;
  if (dma->held < bytes || !csc_cs2_can_put(writes)) return;
  pop(dma, csc_cs2_put(writes, address / CSC_CS2_LINE, mask) + start, bytes);
  advance(target, bytes);
}

// The bytes of this clock of the burst, or a pause if they are not there yet.
static void write_external(csc_sim_cs2_t *sim) {
  uint8_t word[CSC_CS2_LINE];
  const uint32_t bytes = csc_cs2_bus_word(sim);
  if (sim->bus.user != CSC_CS2_BUS_DMA || !sim->bus.is_write || bytes == 0) return;
  if (sim->dma.held < bytes) {
    sim->bus.is_paused = 1;
    csc_cs2_stall(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_STALL_BANK);
    return;
  }
  pop(&sim->dma, word, bytes);
  csc_cs2_external_write(sim, sim->bus.address, word, bytes);
  if (bytes == sim->bus.bytes && is_done(&sim->dma.target)) {
    csc_cs2_finish(sim, CSC_CS2_ENGINE_DMA);
  }
}

static void write_step(csc_sim_cs2_t *sim) {
  csc_cs2_side_t *target = &sim->dma.target;
  if (!target->is_sram) {
    write_external(sim);
  } else if (!is_done(target)) {
    write_sram(sim);
    if (is_done(target)) csc_cs2_finish(sim, CSC_CS2_ENGINE_DMA);
  }
}

// --- reader --------------------------------------------------------------------------------------

static void ask(csc_sim_cs2_t *sim, uint32_t address, uint32_t bytes) {
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_DMA];
  csc_cs2_part_t part = {address % CSC_CS2_LINE, bytes};
  sim->dma.parts[reads->asked % CSC_CS2_STREAM] = part;
  sim->dma.asked += bytes;
  csc_cs2_ask(reads, address / CSC_CS2_LINE);
}

static uint32_t load_32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[3] << 24;
}

static void keep_indices(csc_cs2_dma_t *dma, const uint8_t *line) {
  for (uint32_t n = 0; n < CSC_CS2_DMA_INDICES; n++) dma->indices[n] = load_32(line + 4 * n);
  dma->has_indices = 1;
  dma->index_is_asked = 0;
}

// Take a line that has come.
static void take(csc_sim_cs2_t *sim) {
  csc_cs2_reads_t *reads = &sim->reads[CSC_CS2_READ_DMA];
  csc_cs2_dma_t *dma = &sim->dma;
  if (csc_cs2_lines(reads) == 0) return;
  const csc_cs2_part_t part = dma->parts[reads->taken % CSC_CS2_STREAM];
  const uint8_t *line = csc_cs2_peek(reads);
  if (part.bytes == 0) {
    keep_indices(dma, line);
  } else {
    push(dma, line + part.start, part.bytes);
    dma->asked -= part.bytes;
  }
  csc_cs2_take(reads);
}

// The index of the next row. 1: it is known and stands in `row`; else its line has been asked for,
// or the index is an error.
static int find_index(csc_sim_cs2_t *sim, uint32_t *row) {
  csc_cs2_dma_t *dma = &sim->dma;
  const uint32_t address = dma->index_address + 4 * dma->source.row;
  const uint32_t line = address / CSC_CS2_LINE;
  if (!dma->has_indices || dma->index_line != line) {
    if (dma->index_is_asked || !csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_DMA])) return 0;
    ask(sim, address, 0);
    dma->index_is_asked = 1;
    dma->has_indices = 0;
    dma->index_line = line;
    return 0;
  }
  *row = dma->indices[address / 4 % CSC_CS2_DMA_INDICES];
  if (*row < dma->index_limit) return 1;
  csc_cs2_fail(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_CAUSE_INDEX, dma->source.row);
  return 0;
}

static void ask_sram(csc_sim_cs2_t *sim, uint32_t row, uint32_t held) {
  csc_cs2_dma_t *dma = &sim->dma;
  const uint32_t address = address_of(&dma->source, row);
  const uint32_t bytes = access_bytes(&dma->source, address);
  if (!csc_cs2_can_ask(&sim->reads[CSC_CS2_READ_DMA])) return;
  if (held + dma->asked + bytes > CSC_CS2_DMA_BUFFER) return;
  ask(sim, address, bytes);
  advance(&dma->source, bytes);
}

static void ask_burst(csc_sim_cs2_t *sim, const csc_cs2_side_t *side, uint32_t row,
                      uint32_t bytes) {
  sim->dma.address = address_of(side, row);
  sim->dma.wanted = bytes;
  sim->dma.wants_write = side == &sim->dma.target;
}

// The bus has taken the request of this clock.
void csc_cs2_dma_granted(csc_sim_cs2_t *sim) {
  csc_cs2_dma_t *dma = &sim->dma;
  advance(dma->wants_write ? &dma->target : &dma->source, dma->wanted);
  dma->wanted = 0;
}

static void take_word(csc_sim_cs2_t *sim, uint32_t held) {
  uint8_t word[CSC_CS2_LINE];
  const uint32_t bytes = csc_cs2_bus_word(sim);
  if (sim->bus.user != CSC_CS2_BUS_DMA || sim->bus.is_write || bytes == 0) return;
  if (held + bytes > CSC_CS2_DMA_BUFFER) {
    sim->bus.is_paused = 1;
    csc_cs2_stall(sim, CSC_CS2_ENGINE_DMA, CSC_CS2_STALL_BANK);
    return;
  }
  csc_cs2_external_read(sim, sim->bus.address, word, bytes);
  push(&sim->dma, word, bytes);
}

// A burst to read, ahead of the end of the one under way. Where the target is external too, bursts
// to read and to write take turns, and none is longer than the buffer.
static void ask_to_read(csc_sim_cs2_t *sim, uint32_t row) {
  const csc_cs2_dma_t *dma = &sim->dma;
  uint32_t bytes = burst_bytes(sim, &dma->source);
  if (dma->wanted != 0) return;
  if (!dma->target.is_sram) {
    if (dma->held != 0 || sim->bus.user == CSC_CS2_BUS_DMA) return;
    if (bytes > CSC_CS2_DMA_BUFFER) bytes = CSC_CS2_DMA_BUFFER;
  }
  ask_burst(sim, &dma->source, row, bytes);
}

static void ask_to_write(csc_sim_cs2_t *sim) {
  const csc_cs2_dma_t *dma = &sim->dma;
  uint32_t bytes = burst_bytes(sim, &dma->target);
  if (is_done(&dma->target) || dma->wanted != 0) return;
  if (!dma->source.is_sram) {
    if (dma->held == 0 || sim->bus.user == CSC_CS2_BUS_DMA) return;
    if (bytes > dma->held) bytes = dma->held;
  }
  ask_burst(sim, &dma->target, dma->target.row, bytes);
}

// `held`: bytes in the buffer at the beginning of the clock.
static void read_step(csc_sim_cs2_t *sim, uint32_t held) {
  csc_cs2_dma_t *dma = &sim->dma;
  csc_cs2_side_t *source = &dma->source;
  uint32_t row = source->row;
  const int has_row = !is_done(source) && (!dma->is_gather || find_index(sim, &row));
  if (source->is_sram) {
    if (has_row) ask_sram(sim, row, held);
  } else {
    take_word(sim, held);
    if (has_row) ask_to_read(sim, row);
  }
  take(sim);
}

void csc_cs2_dma_tick(csc_sim_cs2_t *sim) {
  const uint32_t held = sim->dma.held;
  write_step(sim);
  read_step(sim, held);
  if (!sim->dma.target.is_sram) ask_to_write(sim);
}
