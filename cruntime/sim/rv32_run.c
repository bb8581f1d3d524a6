// The interpreter.
//
// The loop keeps what changes with every instruction in a local copy of cpu->pace. Whatever is rare
// is done by functions that work on cpu->pace itself, between a `leave` and an `enter`.

#include "rv32.h"

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOT_INLINE __attribute__((noinline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#else
#define ALWAYS_INLINE inline
#define NOT_INLINE
#define LIKELY(condition) (condition)
#endif

typedef csc_sim_rv32_t cpu_t;
typedef csc_sim_rv32_op_t op_t;
typedef csc_sim_rv32_pace_t pace_t;

// --- places --------------------------------------------------------------------------------------

static size_t slot_count(uint32_t ram_bytes, uint32_t shift) { return (ram_bytes >> shift) + 2; }

size_t csc_sim_rv32_slot_bytes(const csc_sim_rv32_config_t *config, uint32_t ram_bytes) {
  return slot_count(ram_bytes, config->has_compressed ? 1 : 2) * sizeof(op_t);
}

static uint32_t pc_of(const cpu_t *cpu, const op_t *op) {
  const uintptr_t place = (uintptr_t)op - (uintptr_t)cpu->slots;
  const size_t index = place / sizeof(op_t);
  if (index < slot_count(cpu->ram_bytes, cpu->slot_shift)) {
    return (uint32_t)(index << cpu->slot_shift);
  }
  return cpu->loose_pc + ((uint32_t)(op - cpu->loose) << cpu->slot_shift);
}

static op_t *slot_of(cpu_t *cpu, uint32_t pc) { return &cpu->slots[pc >> cpu->slot_shift]; }

static uint32_t ram_word(const cpu_t *cpu, uint32_t address) {
  return address < cpu->ram_bytes ? cpu->ram[address >> 2] : 0;
}

// The 32 bits at any even address; 0 where there is no RAM.
static uint32_t ram_bits(const cpu_t *cpu, uint32_t pc) {
  const uint32_t word = ram_word(cpu, pc);
  return pc & 2 ? word >> 16 | ram_word(cpu, pc + 2) << 16 : word;
}

static void decode_bits(cpu_t *cpu, uint32_t pc, uint32_t raw, op_t *op) {
  const uint32_t behind = pc + csc_sim_rv32_bytes(&cpu->config, raw);
  csc_sim_rv32_decode(&cpu->config, cpu->ram_wait, pc, raw, ram_word(cpu, behind), op);
}

static void mark_code(cpu_t *cpu, uint32_t address) {
  if (address < cpu->ram_bytes) cpu->has_code[address / CSC_RV32_PAGE] = 1;
}

// Fill the slot of an address in RAM, and note the memory it was made from.
static void fill(cpu_t *cpu, op_t *slot) {
  const uint32_t pc = pc_of(cpu, slot);
  decode_bits(cpu, pc, ram_bits(cpu, pc), slot);
  mark_code(cpu, pc);
  mark_code(cpu, pc + slot->bytes + 5);  // the instruction behind it is fetched during this one
}

static void empty(cpu_t *cpu, uint32_t address) {
  if (address < cpu->ram_bytes) slot_of(cpu, address)->code = CSC_RV32_EMPTY;
}

// The instructions with a byte in a word, and the one before it, whose clocks it may change.
void csc_sim_rv32_store(cpu_t *cpu, uint32_t address, uint32_t strobes, uint32_t data) {
  const uint32_t low = (strobes & 1 ? 0xFFu : 0) | (strobes & 2 ? 0xFF00u : 0);
  const uint32_t mask = low | (strobes & 4 ? 0xFF0000u : 0) | (strobes & 8 ? 0xFF000000u : 0);
  uint32_t *word = &cpu->ram[address >> 2];
  *word = (*word & ~mask) | (data & mask);
  if (!cpu->has_code[address / CSC_RV32_PAGE]) return;
  empty(cpu, address);
  if (!cpu->config.has_compressed) return;
  empty(cpu, address + 2);
  empty(cpu, address - 2);  // wraps around to no RAM below 0
  empty(cpu, address - 4);
}

// --- stops ---------------------------------------------------------------------------------------

static void halt(cpu_t *cpu, csc_sim_stop_t stop) {
  cpu->stop = stop;
  cpu->pace.at = &cpu->halt;
}

// The processor stops for good: a further run halts again.
static void trap(cpu_t *cpu, csc_sim_cause_t cause, uint32_t pc, uint64_t clock) {
  cpu->pace.clock = clock;
  cpu->resume = &cpu->halt;
  halt(cpu, (csc_sim_stop_t){CSC_SIM_STOP_TRAP, cause, clock, 0, pc});
}

// Stop before the operation the processor has come to.
static void pause(cpu_t *cpu, csc_sim_stop_kind_t kind, uint64_t clock, uint32_t value) {
  cpu->resume = cpu->pace.at;
  const uint32_t pc = pc_of(cpu, cpu->resume);
  halt(cpu, (csc_sim_stop_t){kind, CSC_SIM_CAUSE_NONE, clock, value, pc});
}

static NOT_INLINE void trap_instruction(cpu_t *cpu, const op_t *op) {
  const int is_illegal = op->code == CSC_RV32_ILLEGAL;
  const uint32_t clocks = is_illegal ? cpu->config.illegal_clocks : 3;
  const csc_sim_cause_t cause = is_illegal                   ? CSC_SIM_CAUSE_ILLEGAL
                                : op->code == CSC_RV32_ECALL ? CSC_SIM_CAUSE_ECALL
                                                             : CSC_SIM_CAUSE_EBREAK;
  const uint32_t pc = pc_of(cpu, op);
  cpu->pace.instructions++;
  trap(cpu, cause, pc, cpu->pace.clock + clocks);
}

// --- instructions outside the slots --------------------------------------------------------------

// Take the instruction at `pc`, where there is no RAM, off the bus.
static void fetch_outside(cpu_t *cpu, uint32_t pc) {
  csc_sim_transfer_t fetch = {cpu->pace.clock - 1, pc & ~3u, 0, 0, 1};
  cpu->bus(cpu->bus_ctx, &fetch);
  decode_bits(cpu, pc, pc & 2 ? fetch.data >> 16 : fetch.data, &cpu->loose[0]);
  cpu->loose_pc = pc;
  cpu->pace.at = &cpu->loose[0];
}

// Behind the end of RAM or of a loose instruction.
static NOT_INLINE void look_up(cpu_t *cpu) {
  const uint32_t pc = pc_of(cpu, cpu->pace.at);
  if (pc < cpu->ram_bytes) {
    cpu->pace.at = slot_of(cpu, pc);
  } else {
    fetch_outside(cpu, pc);
  }
}

// A jump to where no slot is: no RAM, or an address that this processor cannot execute from.
static NOT_INLINE void jump_outside(cpu_t *cpu, const op_t *op, uint32_t target) {
  if (!cpu->config.has_compressed && target & 3) {
    const uint32_t clocks = op->taken + (op->code == CSC_RV32_JALR ? 0u : 1u);
    trap(cpu, CSC_SIM_CAUSE_MISALIGNED_JUMP, pc_of(cpu, op), cpu->pace.clock + clocks);
    return;
  }
  cpu->pace.clock += op->taken;
  cpu->pace.wait_clocks += op->taken_waits;
  fetch_outside(cpu, target);
  const uint32_t wait = target < CSC_SIM_RAM_RANGE ? cpu->ram_wait : 0;
  const csc_sim_rv32_cost_t fetch = csc_sim_rv32_target(wait, 0, cpu->loose[0].kind);
  cpu->pace.clock += fetch.clocks;
  cpu->pace.wait_clocks += fetch.waits;
}

static int is_taken(const cpu_t *cpu, const op_t *op) {
  const uint32_t left = cpu->x[op->rs1], right = cpu->x[op->rs2];
  switch (op->code) {
    case CSC_RV32_BEQ: return left == right;
    case CSC_RV32_BNE: return left != right;
    case CSC_RV32_BLT: return (int32_t)left < (int32_t)right;
    case CSC_RV32_BGE: return (int32_t)left >= (int32_t)right;
    case CSC_RV32_BLTU: return left < right;
    case CSC_RV32_BGEU: return left >= right;
    default: return op->code == CSC_RV32_JAL || op->code == CSC_RV32_JALR;
  }
}

// --- stores into code that is already fetched ----------------------------------------------------

static uint32_t half_at(const cpu_t *cpu, uint32_t pc) { return ram_bits(cpu, pc) & 0xFFFFu; }

// An instruction that ends in the middle of a word was fetched together with the half behind it.
static void keep_half(cpu_t *cpu, uint32_t pc, const op_t *op) {
  const uint32_t behind = pc + op->bytes;
  cpu->has_kept_half = behind & 2 && behind < cpu->ram_bytes;
  cpu->kept_half = half_at(cpu, behind);
}

// Note the instruction at `next` before a store to `address`. Returns whether the store finds it
// fetched: that is so for every word it has a byte in.
static int save_fetched(cpu_t *cpu, uint32_t next, uint32_t address) {
  if (next >= cpu->ram_bytes) return 0;
  op_t *slot = slot_of(cpu, next);
  if (slot->code == CSC_RV32_STALE) return 1;
  if (address != (next & ~3u) && address != ((next + 2) & ~3u)) return 0;
  if (slot->code == CSC_RV32_EMPTY) fill(cpu, slot);
  cpu->stale = *slot;
  keep_half(cpu, next, slot);
  return address == (next & ~3u) || slot->kind == CSC_RV32_KIND_W;
}

// The word behind a branch is fetched by the branch itself, so it is never old.
static void set_stale(cpu_t *cpu, uint32_t next) {
  const uint32_t behind = next + cpu->stale.bytes;
  const int is_32 = (ram_word(cpu, behind) >> 16 & 3) == 3;
  if (!(behind & 2)) cpu->stale.is_odd = cpu->config.has_compressed && is_32;
  slot_of(cpu, next)->code = CSC_RV32_STALE;
}

// Execute the old form. What it keeps of the next instruction is old as well, unless it jumps.
static NOT_INLINE void execute_stale(cpu_t *cpu) {
  const uint32_t pc = pc_of(cpu, cpu->pace.at);
  const uint32_t next = pc + cpu->stale.bytes;
  cpu->pace.at->code = CSC_RV32_EMPTY;
  cpu->loose[0] = cpu->stale;
  cpu->loose_pc = pc;
  cpu->pace.at = &cpu->loose[0];
  if (!cpu->has_kept_half || cpu->kept_half == half_at(cpu, next)) return;
  if (is_taken(cpu, &cpu->loose[0])) return;
  decode_bits(cpu, next, cpu->kept_half | ram_bits(cpu, next + 2) << 16, &cpu->stale);
  keep_half(cpu, next, &cpu->stale);
  slot_of(cpu, next)->code = CSC_RV32_STALE;
  mark_code(cpu, next);
}

// --- data transfers through the bus --------------------------------------------------------------

static uint32_t access_bytes(uint32_t code) {
  switch (code) {
    case CSC_RV32_LB:
    case CSC_RV32_LBU:
    case CSC_RV32_SB: return 1;
    case CSC_RV32_LH:
    case CSC_RV32_LHU:
    case CSC_RV32_SH: return 2;
    default: return 4;
  }
}

// The 32 bits of a store: bytes and half-words are repeated.
static uint32_t spread(uint32_t value, uint32_t bytes) {
  if (bytes == 1) return (value & 0xFFu) * 0x01010101u;
  return bytes == 2 ? (value & 0xFFFFu) * 0x00010001u : value;
}

static uint32_t strobes_of(uint32_t address, uint32_t bytes) {
  if (bytes == 1) return 1u << (address & 3);
  return bytes == 2 ? 3u << (address & 2) : 15u;
}

static uint32_t loaded(uint32_t word, uint32_t address, uint32_t code) {
  const uint32_t byte = word >> 8 * (address & 3) & 0xFFu;
  const uint32_t half = word >> 8 * (address & 2) & 0xFFFFu;
  switch (code) {
    case CSC_RV32_LB: return (byte ^ 0x80u) - 0x80u;
    case CSC_RV32_LBU: return byte;
    case CSC_RV32_LH: return (half ^ 0x8000u) - 0x8000u;
    case CSC_RV32_LHU: return half;
    default: return word;
  }
}

static csc_sim_rv32_answer_t do_transfer(cpu_t *cpu, const op_t *op, csc_sim_transfer_t *transfer) {
  const uint32_t next = pc_of(cpu, op) + op->bytes;
  const int is_late = transfer->strobes && save_fetched(cpu, next, transfer->address);
  const csc_sim_rv32_answer_t answer = cpu->bus(cpu->bus_ctx, transfer);
  if (is_late) set_stale(cpu, next);
  return answer;
}

// A load or store that does not go straight to RAM. A misaligned one still makes its transfer.
static NOT_INLINE void access_bus(cpu_t *cpu, op_t *op, uint32_t address) {
  const uint32_t bytes = access_bytes(op->code);
  const int is_store = op->code >= CSC_RV32_SB;
  const uint32_t wait = address < CSC_SIM_RAM_RANGE ? cpu->ram_wait : 0;
  const uint64_t start = cpu->pace.clock, planned = start + op->cost + wait - 1;
  csc_sim_transfer_t transfer = {planned, address & ~3u, 0, 0, 0};
  if (is_store) {
    transfer.strobes = strobes_of(address, bytes);
    transfer.data = spread(cpu->x[op->rs2], bytes);
  }
  const csc_sim_rv32_answer_t answer = do_transfer(cpu, op, &transfer);
  cpu->pace.instructions++;
  cpu->pace.wait_clocks += op->waits + wait;
  cpu->pace.clock = transfer.clock + 1;
  cpu->pace.at = op + op->step;
  if (answer == CSC_RV32_EXIT) {
    pause(cpu, CSC_SIM_STOP_EXIT, transfer.clock, transfer.data);
  } else if (address & (bytes - 1)) {
    const csc_sim_cause_t cause =
        is_store ? CSC_SIM_CAUSE_MISALIGNED_STORE : CSC_SIM_CAUSE_MISALIGNED_LOAD;
    trap(cpu, cause, pc_of(cpu, op), start + op->cost);
  } else {
    if (!is_store) cpu->x[op->rd] = loaded(transfer.data, address, op->code);
    if (answer == CSC_RV32_DRAIN) pause(cpu, CSC_SIM_STOP_DRAIN, cpu->pace.clock, 0);
  }
}

// --- the loop ------------------------------------------------------------------------------------

static ALWAYS_INLINE void pass(pace_t *go, op_t *op, uint32_t more) {
  go->clock += op->cost + more;
  go->wait_clocks += op->waits;
  go->instructions++;
  go->at = op + op->step;
}

static ALWAYS_INLINE void set(cpu_t *cpu, pace_t *go, op_t *op, uint32_t value) {
  cpu->x[op->rd] = value;
  pass(go, op, 0);
}

// The result of a shift by a register.
static ALWAYS_INLINE void shifted(cpu_t *cpu, pace_t *go, op_t *op, uint32_t value) {
  const uint32_t clocks = cpu->shift_clocks[cpu->x[op->rs2] & 31];
  cpu->x[op->rd] = value;
  pass(go, op, clocks);
}

static ALWAYS_INLINE void jump(cpu_t *cpu, pace_t *go, op_t *op, uint32_t target, uint32_t is_odd) {
  const uint32_t low = (1u << cpu->slot_shift) - 1;
  go->instructions++;
  if (!LIKELY(target < cpu->ram_bytes && !(target & low))) {
    cpu->pace = *go;
    jump_outside(cpu, op, target);
    *go = cpu->pace;
    return;
  }
  op_t *slot = slot_of(cpu, target);
  if (!LIKELY(slot->code != CSC_RV32_EMPTY)) fill(cpu, slot);
  const csc_sim_rv32_cost_t fetch = cpu->target[is_odd][slot->kind];
  go->clock += op->taken + (uint32_t)fetch.clocks;
  go->wait_clocks += op->taken_waits + (uint32_t)fetch.waits;
  go->at = slot;
}

static ALWAYS_INLINE void link(cpu_t *cpu, pace_t *go, op_t *op, uint32_t target) {
  cpu->x[op->rd] = pc_of(cpu, op) + op->bytes;
  jump(cpu, go, op, target & ~1u, 0);
}

static ALWAYS_INLINE void branch(cpu_t *cpu, pace_t *go, op_t *op, int is_true) {
  if (is_true) {
    jump(cpu, go, op, op->imm, op->is_odd);
  } else {
    pass(go, op, 0);
  }
}

static ALWAYS_INLINE void access_slowly(cpu_t *cpu, pace_t *go, op_t *op, uint32_t address) {
  cpu->pace = *go;
  access_bus(cpu, op, address);
  *go = cpu->pace;
}

static ALWAYS_INLINE void pass_ram(cpu_t *cpu, pace_t *go, op_t *op) {
  go->wait_clocks += cpu->ram_wait;
  pass(go, op, cpu->ram_wait);
}

static ALWAYS_INLINE void load(cpu_t *cpu, pace_t *go, op_t *op, uint32_t bytes, uint32_t sign) {
  const uint32_t address = cpu->x[op->rs1] + op->imm;
  if (!LIKELY(address < cpu->fast_bytes && !(address & (bytes - 1)))) {
    access_slowly(cpu, go, op, address);
    return;
  }
  const uint32_t mask = bytes == 4 ? UINT32_MAX : (1u << 8 * (bytes & 3)) - 1;
  const uint32_t part = cpu->ram[address >> 2] >> 8 * (address & 3) & mask;
  cpu->x[op->rd] = (part ^ sign) - sign;
  go->ram_reads++;
  pass_ram(cpu, go, op);
}

static ALWAYS_INLINE void store(cpu_t *cpu, pace_t *go, op_t *op, uint32_t bytes) {
  const uint32_t address = cpu->x[op->rs1] + op->imm;
  if (!LIKELY(address < cpu->fast_bytes && !(address & (bytes - 1)) &&
              !cpu->has_code[address / CSC_RV32_PAGE])) {
    access_slowly(cpu, go, op, address);
    return;
  }
  const uint32_t mask = (bytes == 4 ? UINT32_MAX : (1u << 8 * (bytes & 3)) - 1)
                        << 8 * (address & 3);
  uint32_t *word = &cpu->ram[address >> 2];
  *word = (*word & ~mask) | (cpu->x[op->rs2] << 8 * (address & 3) & mask);
  go->ram_writes++;
  pass_ram(cpu, go, op);
}

static ALWAYS_INLINE uint32_t shift_right(uint32_t value, uint32_t amount) {
  const uint32_t ones = value >> 31 ? ~(UINT32_MAX >> amount) : 0;
  return value >> amount | ones;
}

static ALWAYS_INLINE uint32_t high(uint64_t product) { return (uint32_t)(product >> 32); }

static ALWAYS_INLINE uint64_t widen(uint32_t value) { return (uint64_t)(int64_t)(int32_t)value; }

static uint32_t divide(uint32_t left, uint32_t right) {
  if (right == 0) return UINT32_MAX;
  if (right == UINT32_MAX) return 0 - left;
  return (uint32_t)((int32_t)left / (int32_t)right);
}

static uint32_t remainder_of(uint32_t left, uint32_t right) {
  if (right == 0) return left;
  return right == UINT32_MAX ? 0 : (uint32_t)((int32_t)left % (int32_t)right);
}

static ALWAYS_INLINE void multiply(cpu_t *cpu, pace_t *go, op_t *op, uint32_t a, uint32_t b) {
  switch (op->code) {
    case CSC_RV32_MUL: set(cpu, go, op, a * b); break;
    case CSC_RV32_MULH: set(cpu, go, op, high(widen(a) * widen(b))); break;
    case CSC_RV32_MULHSU: set(cpu, go, op, high(widen(a) * b)); break;
    case CSC_RV32_MULHU: set(cpu, go, op, high((uint64_t)a * b)); break;
    case CSC_RV32_DIV: set(cpu, go, op, divide(a, b)); break;
    case CSC_RV32_DIVU: set(cpu, go, op, b ? a / b : UINT32_MAX); break;
    case CSC_RV32_REM: set(cpu, go, op, remainder_of(a, b)); break;
    default: set(cpu, go, op, b ? a % b : a); break;
  }
}

// The counters in the clock behind the start.
static ALWAYS_INLINE void read_counter(cpu_t *cpu, pace_t *go, op_t *op) {
  const int is_clock = op->code <= CSC_RV32_CYCLEH;
  const uint64_t count = is_clock ? go->clock + 1 : go->instructions + 1;
  const int is_high = op->code == CSC_RV32_CYCLEH || op->code == CSC_RV32_INSTRETH;
  set(cpu, go, op, (uint32_t)(is_high ? count >> 32 : count));
}

static NOT_INLINE void execute_rare(cpu_t *cpu, op_t *op) {
  switch (op->code) {
    case CSC_RV32_EMPTY: fill(cpu, op); break;
    case CSC_RV32_STALE: execute_stale(cpu); break;
    case CSC_RV32_OUTSIDE: look_up(cpu); break;
    default: trap_instruction(cpu, op); break;
  }
}

void csc_sim_rv32_run(cpu_t *cpu, uint64_t end_clock) {
  if (cpu->pace.at == &cpu->halt) cpu->pace.at = cpu->resume;
  pace_t go = cpu->pace;
  const uint32_t *x = cpu->x;
  while (LIKELY(go.clock < end_clock)) {
    op_t *op = go.at;
    const uint32_t a = x[op->rs1], b = x[op->rs2], imm = op->imm;
    switch (op->code) {
      case CSC_RV32_HALT: cpu->pace = go; return;
      case CSC_RV32_CONST: set(cpu, &go, op, imm); break;
      case CSC_RV32_JAL: link(cpu, &go, op, imm); break;
      case CSC_RV32_JALR: link(cpu, &go, op, a + imm); break;
      case CSC_RV32_BEQ: branch(cpu, &go, op, a == b); break;
      case CSC_RV32_BNE: branch(cpu, &go, op, a != b); break;
      case CSC_RV32_BLT: branch(cpu, &go, op, (int32_t)a < (int32_t)b); break;
      case CSC_RV32_BGE: branch(cpu, &go, op, (int32_t)a >= (int32_t)b); break;
      case CSC_RV32_BLTU: branch(cpu, &go, op, a < b); break;
      case CSC_RV32_BGEU: branch(cpu, &go, op, a >= b); break;
      case CSC_RV32_LB: load(cpu, &go, op, 1, 0x80); break;
      case CSC_RV32_LH: load(cpu, &go, op, 2, 0x8000); break;
      case CSC_RV32_LW: load(cpu, &go, op, 4, 0); break;
      case CSC_RV32_LBU: load(cpu, &go, op, 1, 0); break;
      case CSC_RV32_LHU: load(cpu, &go, op, 2, 0); break;
      case CSC_RV32_SB: store(cpu, &go, op, 1); break;
      case CSC_RV32_SH: store(cpu, &go, op, 2); break;
      case CSC_RV32_SW: store(cpu, &go, op, 4); break;
      case CSC_RV32_ADDI: set(cpu, &go, op, a + imm); break;
      case CSC_RV32_SLTI: set(cpu, &go, op, (int32_t)a < (int32_t)imm); break;
      case CSC_RV32_SLTIU: set(cpu, &go, op, a < imm); break;
      case CSC_RV32_XORI: set(cpu, &go, op, a ^ imm); break;
      case CSC_RV32_ORI: set(cpu, &go, op, a | imm); break;
      case CSC_RV32_ANDI: set(cpu, &go, op, a & imm); break;
      case CSC_RV32_SLLI: set(cpu, &go, op, a << (imm & 31)); break;
      case CSC_RV32_SRLI: set(cpu, &go, op, a >> (imm & 31)); break;
      case CSC_RV32_SRAI: set(cpu, &go, op, shift_right(a, imm & 31)); break;
      case CSC_RV32_ADD: set(cpu, &go, op, a + b); break;
      case CSC_RV32_SUB: set(cpu, &go, op, a - b); break;
      case CSC_RV32_SLL: shifted(cpu, &go, op, a << (b & 31)); break;
      case CSC_RV32_SLT: set(cpu, &go, op, (int32_t)a < (int32_t)b); break;
      case CSC_RV32_SLTU: set(cpu, &go, op, a < b); break;
      case CSC_RV32_XOR: set(cpu, &go, op, a ^ b); break;
      case CSC_RV32_SRL: shifted(cpu, &go, op, a >> (b & 31)); break;
      case CSC_RV32_SRA: shifted(cpu, &go, op, shift_right(a, b & 31)); break;
      case CSC_RV32_OR: set(cpu, &go, op, a | b); break;
      case CSC_RV32_AND: set(cpu, &go, op, a & b); break;
      case CSC_RV32_CYCLE:
      case CSC_RV32_CYCLEH:
      case CSC_RV32_INSTRET:
      case CSC_RV32_INSTRETH: read_counter(cpu, &go, op); break;
      case CSC_RV32_MUL:
      case CSC_RV32_MULH:
      case CSC_RV32_MULHSU:
      case CSC_RV32_MULHU:
      case CSC_RV32_DIV:
      case CSC_RV32_DIVU:
      case CSC_RV32_REM:
      case CSC_RV32_REMU: multiply(cpu, &go, op, a, b); break;
      default:
        cpu->pace = go;
        execute_rare(cpu, op);
        go = cpu->pace;
        break;
    }
  }
  cpu->pace = go;
  if (go.at != &cpu->halt) pause(cpu, CSC_SIM_STOP_LIMIT, go.clock, 0);
}

void csc_sim_rv32_init(cpu_t *cpu) {
  cpu->slot_shift = cpu->config.has_compressed ? 1 : 2;
  cpu->fast_bytes = cpu->ram_bytes;
  for (uint32_t odd = 0; odd < 2; odd++) {
    for (uint32_t kind = 0; kind < CSC_RV32_KINDS; kind++) {
      cpu->target[odd][kind] = csc_sim_rv32_target(cpu->ram_wait, odd, kind);
    }
  }
  for (uint32_t amount = 0; amount < 32; amount++) {
    const uint32_t clocks = amount / 4 + amount % 4;
    cpu->shift_clocks[amount] = (uint8_t)(cpu->config.has_barrel_shifter ? 0 : clocks);
  }
  op_t *end = slot_of(cpu, cpu->ram_bytes);
  end[0].code = end[1].code = CSC_RV32_OUTSIDE;
  cpu->loose[1].code = cpu->loose[2].code = CSC_RV32_OUTSIDE;
  cpu->halt.code = CSC_RV32_HALT;
  cpu->resume = cpu->slots;
  halt(cpu, (csc_sim_stop_t){CSC_SIM_STOP_LIMIT, CSC_SIM_CAUSE_NONE, 0, 0, 0});
  cpu->pace.clock = 3 + cpu->ram_wait;  // the first fetch
  cpu->pace.wait_clocks = cpu->ram_wait;
}
