#include "cs1_engine.h"

#include <string.h>

enum {
  ROW = CSC_CS1_A_ROW_BYTES / 4,  // elements from row to row, whatever the size
  WORD_MASK = CSC_CS1_A_WORDS - 1,
  K_TURN = 16  // k is a 4-bit counter
};

size_t csc_sim_cs1_sizeof(void) { return sizeof(csc_sim_cs1_t); }

static void clear_registers(csc_sim_cs1_t *sim) {
  sim->ctrl = CSC_CS1_CTRL_RESET;
  sim->status = CSC_CS1_STATUS_RESET;
  sim->size = CSC_CS1_MATRIX_SIZE_RESET;
  sim->perf = CSC_CS1_PERF_CYCLES_RESET;
  sim->state = CSC_SIM_CS1_STATE_IDLE;
}

void csc_sim_cs1_init(csc_sim_cs1_t *sim) {
  memset(sim, 0, sizeof *sim);
  clear_registers(sim);
}

void csc_sim_cs1_reset(csc_sim_cs1_t *sim, uint64_t clocks) {
  if (clocks == 0) return;
  if (sim->has_run) sim->clock += clocks;
  sim->has_run = 1;
  clear_registers(sim);
}

// Sum of `count` products of element (i, j) from product k on; k + count <= 16.
// The masks do what the 6-bit memory addresses do to sizes above 8.
static uint32_t sum_products(const csc_sim_cs1_t *sim, uint32_t k, uint32_t count) {
  const uint32_t a = ROW * sim->i + k;
  const uint32_t b = ROW * k + sim->j;
  uint32_t sum = 0;
  for (uint32_t n = 0; n < count; n++) {
    sum += sim->a[(a + n) & WORD_MASK] * sim->b[(b + ROW * n) & WORD_MASK];
  }
  return sum;
}

// The index after `index`, or 0 if it is the last one. `last` is size - 1, so that size 0 has none.
static uint32_t next_index(uint32_t index, uint32_t last) { return index < last ? index + 1 : 0; }

// Store the element and go to the next one. A size that shrank in mid-run may leave an index beyond
// the last one: it counts as the last.
static void finish_element(csc_sim_cs1_t *sim, uint32_t last) {
  sim->c[(ROW * sim->i + sim->j) & WORD_MASK] = sim->sum;
  sim->sum = 0;
  sim->k = 0;
  sim->j = next_index(sim->j, last);
  if (sim->j != 0) return;
  sim->i = next_index(sim->i, last);
  if (sim->i == 0) sim->state = CSC_SIM_CS1_STATE_END;
}

// With size 0 or above 16 k runs round for ever and the sum grows: take whole turns at once.
static uint64_t pass_endless_turns(csc_sim_cs1_t *sim, uint64_t clocks) {
  const uint64_t turns = clocks / K_TURN;
  sim->sum += (uint32_t)turns * sum_products(sim, 0, K_TURN);
  sim->perf += (uint32_t)(turns * K_TURN);
  sim->busy += turns * K_TURN;
  return turns * K_TURN;
}

// One multiply: what a single bus access during a run costs, so it is kept short.
static uint64_t pass_one_multiply(csc_sim_cs1_t *sim) {
  const uint32_t last = sim->size - 1;
  const uint32_t a = (ROW * sim->i + sim->k) & WORD_MASK;
  const uint32_t b = (ROW * sim->k + sim->j) & WORD_MASK;
  sim->status = CSC_CS1_STATUS_RUNNING;
  sim->perf += 1;
  sim->busy += 1;
  sim->sum += sim->a[a] * sim->b[b];
  if (sim->k < last) {
    sim->k = (sim->k + 1) % K_TURN;
  } else {
    finish_element(sim, last);
  }
  return 1;
}

// Up to `clocks` multiplies, at most to the end of the element. The size cannot change meanwhile.
static uint64_t pass_multiplies(csc_sim_cs1_t *sim, uint64_t clocks) {
  const uint32_t last = sim->size - 1;
  const int endless = last >= K_TURN;
  uint32_t count = 1;
  if (clocks == 1) return pass_one_multiply(sim);
  sim->status = CSC_CS1_STATUS_RUNNING;
  if (endless && clocks >= K_TURN) return pass_endless_turns(sim, clocks);
  if (sim->k < last) count = (endless ? K_TURN : last + 1) - sim->k;
  const int is_whole = count <= clocks;
  if (!is_whole) count = (uint32_t)clocks;
  sim->sum += sum_products(sim, sim->k, count);
  sim->perf += count;
  sim->busy += count;
  sim->k = (sim->k + count) % K_TURN;
  if (is_whole && !endless) finish_element(sim, last);
  return count;
}

static uint64_t pass_idle(csc_sim_cs1_t *sim, uint64_t clocks) {
  sim->status = CSC_CS1_STATUS_IDLE;
  if ((sim->ctrl & CSC_CS1_CTRL_START_MASK) == 0) return clocks;
  sim->runs += 1;
  sim->perf = 0;
  sim->i = 0;
  sim->j = 0;
  sim->k = 0;
  sim->sum = 0;
  sim->state = CSC_SIM_CS1_STATE_MULTIPLY;
  return 1;
}

static uint64_t pass_end(csc_sim_cs1_t *sim) {
  sim->status = CSC_CS1_STATUS_DONE;
  sim->ctrl = 0;
  sim->state = CSC_SIM_CS1_STATE_IDLE;
  return 1;
}

void csc_sim_cs1_step(csc_sim_cs1_t *sim, uint64_t clocks) {
  if (clocks != 0) sim->has_run = 1;
  sim->clock += clocks;
  while (clocks != 0) {
    if (sim->state == CSC_SIM_CS1_STATE_MULTIPLY) {
      clocks -= pass_multiplies(sim, clocks);
    } else if (sim->state == CSC_SIM_CS1_STATE_IDLE) {
      clocks -= pass_idle(sim, clocks);
    } else {
      clocks -= pass_end(sim);
    }
  }
}

// The windows ignore the low two address bits; the registers do not.
static uint32_t window_index(uint32_t offset) { return (offset >> 2) & WORD_MASK; }

static int is_in_window(uint32_t offset, uint32_t window, uint32_t words) {
  return offset >= window && offset - window < 4 * words;
}

static uint32_t show(const csc_sim_cs1_t *sim, uint32_t offset) {
  switch (offset) {
    case CSC_CS1_CTRL: return sim->ctrl;
    case CSC_CS1_STATUS: return sim->status;
    case CSC_CS1_MATRIX_SIZE: return sim->size;
    case CSC_CS1_PERF_CYCLES: return sim->perf;
    default: break;
  }
  if (!is_in_window(offset, CSC_CS1_C, CSC_CS1_C_WORDS)) return 0;
  return sim->c[window_index(offset)];
}

static void store(csc_sim_cs1_t *sim, uint32_t offset, uint32_t value) {
  if (offset == CSC_CS1_CTRL) {
    sim->ctrl = value;
  } else if (offset == CSC_CS1_MATRIX_SIZE) {
    sim->size = value;
  } else if (is_in_window(offset, CSC_CS1_A, CSC_CS1_A_WORDS)) {
    sim->a[window_index(offset)] = value;
  } else if (is_in_window(offset, CSC_CS1_B, CSC_CS1_B_WORDS)) {
    sim->b[window_index(offset)] = value;
  }
}

uint32_t csc_sim_cs1_read(csc_sim_cs1_t *sim, uint32_t offset) {
  const uint32_t value = show(sim, offset % CSC_CS1_ENGINE_BYTES);
  csc_sim_cs1_step(sim, 1);
  return value;
}

// The engine uses the old values in the clock of a write, and a write beats the clearing of CTRL.
void csc_sim_cs1_write(csc_sim_cs1_t *sim, uint32_t offset, uint32_t value) {
  csc_sim_cs1_step(sim, 1);
  store(sim, offset % CSC_CS1_ENGINE_BYTES, value);
}

int csc_sim_cs1_irq(const csc_sim_cs1_t *sim) { return sim->state == CSC_SIM_CS1_STATE_END; }

uint64_t csc_sim_cs1_clock(const csc_sim_cs1_t *sim) { return sim->clock; }
