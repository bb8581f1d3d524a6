// From instruction words to operations with their clocks.

#include "rv32.h"

enum {
  NO_RD = 32,
  SIMPLE_CLOCKS = 3,
  MEMORY_CLOCKS = 5,
  COUNTER_CLOCKS = 4,
  SERIAL_SHIFT_CLOCKS = 4,
  MULTIPLY_CLOCKS = 6,
  DIVIDE_CLOCKS = 40,
  JAL_CLOCKS = 3,
  JALR_CLOCKS = 6,
  TAKEN_CLOCKS = 5
};

static uint32_t bits(uint32_t word, int high, int low) {
  return word >> low & ((2u << (high - low)) - 1u);
}

// The `width` low bits of `value` as a two's complement number.
static uint32_t extend(uint32_t value, int width) {
  const uint32_t sign = 1u << (width - 1);
  return ((value & (2 * sign - 1)) ^ sign) - sign;
}

// --- 16 to 32 bits -------------------------------------------------------------------------------

static uint32_t r_type(uint32_t funct7, uint32_t rs2, uint32_t rs1, uint32_t funct3, uint32_t rd) {
  return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x33u;
}

static uint32_t i_type(uint32_t imm, uint32_t rs1, uint32_t funct3, uint32_t rd, uint32_t opcode) {
  return imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static uint32_t store_word(uint32_t imm, uint32_t rs2, uint32_t rs1) {
  return bits(imm, 11, 5) << 25 | rs2 << 20 | rs1 << 15 | 2u << 12 | bits(imm, 4, 0) << 7 | 0x23u;
}

static uint32_t jal(uint32_t imm, uint32_t rd) {
  return bits(imm, 20, 20) << 31 | bits(imm, 10, 1) << 21 | bits(imm, 11, 11) << 20 |
         bits(imm, 19, 12) << 12 | rd << 7 | 0x6Fu;
}

static uint32_t branch_zero(uint32_t imm, uint32_t rs1, uint32_t funct3) {
  return bits(imm, 12, 12) << 31 | bits(imm, 10, 5) << 25 | rs1 << 15 | funct3 << 12 |
         bits(imm, 4, 1) << 8 | bits(imm, 11, 11) << 7 | 0x63u;
}

// The six-bit immediate of most forms, sign-extended.
static uint32_t c_imm(uint32_t half) {
  return extend(bits(half, 12, 12) << 5 | bits(half, 6, 2), 6);
}

static uint32_t c_jump_offset(uint32_t half) {
  const uint32_t offset = bits(half, 12, 12) << 11 | bits(half, 11, 11) << 4 |
                          bits(half, 10, 9) << 8 | bits(half, 8, 8) << 10 | bits(half, 7, 7) << 6 |
                          bits(half, 6, 6) << 7 | bits(half, 5, 3) << 1 | bits(half, 2, 2) << 5;
  return extend(offset, 12);
}

static uint32_t c_branch_offset(uint32_t half) {
  const uint32_t offset = bits(half, 12, 12) << 8 | bits(half, 11, 10) << 3 |
                          bits(half, 6, 5) << 6 | bits(half, 4, 3) << 1 | bits(half, 2, 2) << 5;
  return extend(offset, 9);
}

// Quadrant 0: addi4spn, lw, sw. 0 is not an instruction.
static uint32_t expand_0(uint32_t half) {
  const uint32_t rd = 8 + bits(half, 4, 2), rs1 = 8 + bits(half, 9, 7);
  const uint32_t word_offset =
      bits(half, 12, 10) << 3 | bits(half, 6, 6) << 2 | bits(half, 5, 5) << 6;
  const uint32_t stack_offset = bits(half, 12, 11) << 4 | bits(half, 10, 7) << 6 |
                                bits(half, 6, 6) << 2 | bits(half, 5, 5) << 3;
  switch (bits(half, 15, 13)) {
    case 0: return stack_offset ? i_type(stack_offset, 2, 0, rd, 0x13) : 0;
    case 2: return i_type(word_offset, rs1, 2, rd, 0x03);
    case 6: return store_word(word_offset, rd, rs1);
    default: return 0;
  }
}

// srli, srai, andi, sub, xor, or, and.
static uint32_t expand_arithmetic(uint32_t half) {
  static const uint8_t FUNCT3[4] = {0, 4, 6, 7};
  const uint32_t rd = 8 + bits(half, 9, 7), rs2 = 8 + bits(half, 4, 2);
  const uint32_t shift = bits(half, 6, 2), high = bits(half, 12, 12);
  const uint32_t which = bits(half, 11, 10);
  if (which == 2) return i_type(c_imm(half), rd, 7, rd, 0x13);
  if (high) return 0;
  if (which == 0) return i_type(shift, rd, 5, rd, 0x13);
  if (which == 1) return i_type(0x400 | shift, rd, 5, rd, 0x13);
  const uint32_t operation = bits(half, 6, 5);
  return r_type(operation == 0 ? 0x20 : 0, rs2, rd, FUNCT3[operation], rd);
}

static uint32_t expand_lui(uint32_t half) {
  const uint32_t rd = bits(half, 11, 7), imm = c_imm(half);
  if (imm == 0) return 0;
  if (rd != 2) return imm << 12 | rd << 7 | 0x37u;
  const uint32_t offset = bits(half, 12, 12) << 9 | bits(half, 6, 6) << 4 | bits(half, 5, 5) << 6 |
                          bits(half, 4, 3) << 7 | bits(half, 2, 2) << 5;
  return i_type(extend(offset, 10), 2, 0, 2, 0x13);
}

static uint32_t expand_1(uint32_t half) {
  const uint32_t rd = bits(half, 11, 7);
  switch (bits(half, 15, 13)) {
    case 0: return i_type(c_imm(half), rd, 0, rd, 0x13);
    case 1: return jal(c_jump_offset(half), 1);
    case 2: return i_type(c_imm(half), 0, 0, rd, 0x13);
    case 3: return expand_lui(half);
    case 4: return expand_arithmetic(half);
    case 5: return jal(c_jump_offset(half), 0);
    case 6: return branch_zero(c_branch_offset(half), 8 + bits(half, 9, 7), 0);
    default: return branch_zero(c_branch_offset(half), 8 + bits(half, 9, 7), 1);
  }
}

// jr, mv, ebreak, jalr, add.
static uint32_t expand_register(uint32_t half) {
  const uint32_t rd = bits(half, 11, 7), rs2 = bits(half, 6, 2), high = bits(half, 12, 12);
  if (rs2 != 0) return r_type(0, rs2, high ? rd : 0, 0, rd);
  if (rd != 0) return i_type(0, rd, 0, high, 0x67);
  return high ? 0x00100073u : 0;
}

static uint32_t expand_2(uint32_t half) {
  const uint32_t rd = bits(half, 11, 7), rs2 = bits(half, 6, 2), high = bits(half, 12, 12);
  const uint32_t load = high << 5 | bits(half, 6, 4) << 2 | bits(half, 3, 2) << 6;
  const uint32_t store = bits(half, 12, 9) << 2 | bits(half, 8, 7) << 6;
  switch (bits(half, 15, 13)) {
    case 0: return high ? 0 : i_type(rs2, rd, 1, rd, 0x13);
    case 2: return rd ? i_type(load, 2, 2, rd, 0x03) : 0;
    case 4: return expand_register(half);
    case 6: return store_word(store, rs2, 2);
    default: return 0;
  }
}

// The 32-bit form of a 16-bit instruction, or 0, which is no instruction either.
static uint32_t expand(uint32_t half) {
  switch (half & 3) {
    case 0: return expand_0(half);
    case 1: return expand_1(half);
    default: return expand_2(half);
  }
}

// --- 32 bits to an operation ---------------------------------------------------------------------

static uint32_t i_imm(uint32_t word) { return extend(word >> 20, 12); }

static uint32_t s_imm(uint32_t word) {
  return extend(bits(word, 31, 25) << 5 | bits(word, 11, 7), 12);
}

static uint32_t b_imm(uint32_t word) {
  return extend(bits(word, 31, 31) << 12 | bits(word, 7, 7) << 11 | bits(word, 30, 25) << 5 |
                    bits(word, 11, 8) << 1,
                13);
}

static uint32_t j_imm(uint32_t word) {
  return extend(bits(word, 31, 31) << 20 | bits(word, 19, 12) << 12 | bits(word, 20, 20) << 11 |
                    bits(word, 30, 21) << 1,
                21);
}

static uint8_t load_code(uint32_t word, csc_sim_rv32_op_t *op) {
  static const uint8_t CODES[8] = {CSC_RV32_LB,  CSC_RV32_LH,  CSC_RV32_LW,      CSC_RV32_ILLEGAL,
                                   CSC_RV32_LBU, CSC_RV32_LHU, CSC_RV32_ILLEGAL, CSC_RV32_ILLEGAL};
  op->imm = i_imm(word);
  return CODES[bits(word, 14, 12)];
}

static uint8_t store_code(uint32_t word, csc_sim_rv32_op_t *op) {
  static const uint8_t CODES[8] = {CSC_RV32_SB,      CSC_RV32_SH,      CSC_RV32_SW,
                                   CSC_RV32_ILLEGAL, CSC_RV32_ILLEGAL, CSC_RV32_ILLEGAL,
                                   CSC_RV32_ILLEGAL, CSC_RV32_ILLEGAL};
  op->imm = s_imm(word);
  return CODES[bits(word, 14, 12)];
}

static uint8_t branch_code(uint32_t word, uint32_t pc, csc_sim_rv32_op_t *op) {
  static const uint8_t CODES[8] = {CSC_RV32_BEQ, CSC_RV32_BNE, CSC_RV32_ILLEGAL, CSC_RV32_ILLEGAL,
                                   CSC_RV32_BLT, CSC_RV32_BGE, CSC_RV32_BLTU,    CSC_RV32_BGEU};
  op->imm = pc + b_imm(word);
  return CODES[bits(word, 14, 12)];
}

static uint8_t immediate_code(uint32_t word, csc_sim_rv32_op_t *op) {
  static const uint8_t CODES[8] = {CSC_RV32_ADDI, CSC_RV32_SLLI, CSC_RV32_SLTI, CSC_RV32_SLTIU,
                                   CSC_RV32_XORI, CSC_RV32_SRLI, CSC_RV32_ORI,  CSC_RV32_ANDI};
  const uint8_t code = CODES[bits(word, 14, 12)];
  op->imm = i_imm(word);
  if (code != CSC_RV32_SLLI && code != CSC_RV32_SRLI) return code;
  op->imm = bits(word, 24, 20);
  if (bits(word, 31, 25) == 0) return code;
  if (bits(word, 31, 25) == 0x20 && code == CSC_RV32_SRLI) return CSC_RV32_SRAI;
  return CSC_RV32_ILLEGAL;
}

static uint8_t register_code(const csc_sim_rv32_config_t *config, uint32_t word) {
  static const uint8_t BASE[8] = {CSC_RV32_ADD, CSC_RV32_SLL, CSC_RV32_SLT, CSC_RV32_SLTU,
                                  CSC_RV32_XOR, CSC_RV32_SRL, CSC_RV32_OR,  CSC_RV32_AND};
  static const uint8_t MULTIPLY[8] = {CSC_RV32_MUL, CSC_RV32_MULH, CSC_RV32_MULHSU, CSC_RV32_MULHU,
                                      CSC_RV32_DIV, CSC_RV32_DIVU, CSC_RV32_REM,    CSC_RV32_REMU};
  const uint32_t funct7 = bits(word, 31, 25), funct3 = bits(word, 14, 12);
  if (funct7 == 0) return BASE[funct3];
  if (funct7 == 1 && config->has_multiply) return MULTIPLY[funct3];
  if (funct7 == 0x20 && funct3 == 0) return CSC_RV32_SUB;
  if (funct7 == 0x20 && funct3 == 5) return CSC_RV32_SRA;
  return CSC_RV32_ILLEGAL;
}

// ecall, ebreak, and csrrs rd, counter, x0.
static uint8_t system_code(uint32_t word) {
  if (word == 0x00000073u) return CSC_RV32_ECALL;
  if (word == 0x00100073u) return CSC_RV32_EBREAK;
  if (bits(word, 19, 12) != 2) return CSC_RV32_ILLEGAL;
  switch (bits(word, 31, 20)) {
    case 0xC00:
    case 0xC01: return CSC_RV32_CYCLE;
    case 0xC02: return CSC_RV32_INSTRET;
    case 0xC80:
    case 0xC81: return CSC_RV32_CYCLEH;
    case 0xC82: return CSC_RV32_INSTRETH;
    default: return CSC_RV32_ILLEGAL;
  }
}

// fence does nothing; with a destination register, which is reserved, that register is lost.
static uint8_t fence_code(uint32_t word, csc_sim_rv32_op_t *op) {
  op->imm = 0;
  return bits(word, 14, 12) == 0 ? CSC_RV32_CONST : CSC_RV32_ILLEGAL;
}

static uint8_t decode_word(const csc_sim_rv32_config_t *config, uint32_t pc, uint32_t word,
                           csc_sim_rv32_op_t *op) {
  switch (bits(word, 6, 0)) {
    case 0x03: return load_code(word, op);
    case 0x0F: return fence_code(word, op);
    case 0x13: return immediate_code(word, op);
    case 0x17: op->imm = pc + (word & 0xFFFFF000u); return CSC_RV32_CONST;
    case 0x23: return store_code(word, op);
    case 0x33: return register_code(config, word);
    case 0x37: op->imm = word & 0xFFFFF000u; return CSC_RV32_CONST;
    case 0x63: return branch_code(word, pc, op);
    case 0x67: op->imm = i_imm(word); return bits(word, 14, 12) ? CSC_RV32_ILLEGAL : CSC_RV32_JALR;
    case 0x6F: op->imm = pc + j_imm(word); return CSC_RV32_JAL;
    case 0x73: return system_code(word);
    default: return CSC_RV32_ILLEGAL;
  }
}

// --- clocks --------------------------------------------------------------------------------------

// What the fetch of the next instruction adds. A long instruction hides the first read of it.
static uint32_t fetch_clocks(uint32_t wait, int is_long, uint32_t kind) {
  static const uint8_t CLOCKS[2][CSC_RV32_KINDS] = {{0, 0, 1}, {1, 0, 2}};
  return is_long && kind == CSC_RV32_KIND_A ? 0 : CLOCKS[wait][kind];
}

csc_sim_rv32_cost_t csc_sim_rv32_target(uint32_t ram_wait, uint32_t is_odd, uint32_t kind) {
  static const uint8_t CLOCKS[2][CSC_RV32_KINDS] = {{0, 0, 1}, {1, 1, 3}};
  static const uint8_t ODD[CSC_RV32_KINDS] = {0, 3, 5};
  const uint32_t clocks = CLOCKS[ram_wait][kind] + (is_odd && ram_wait ? ODD[kind] : 0u);
  return (csc_sim_rv32_cost_t){(uint8_t)clocks, (uint8_t)(clocks - CLOCKS[0][kind])};
}

static uint32_t immediate_shift_clocks(const csc_sim_rv32_config_t *config, uint32_t amount) {
  if (config->has_barrel_shifter) return SIMPLE_CLOCKS;
  return SERIAL_SHIFT_CLOCKS + amount / 4 + amount % 4;
}

static uint32_t base_clocks(const csc_sim_rv32_config_t *config, const csc_sim_rv32_op_t *op) {
  switch (op->code) {
    case CSC_RV32_SLLI:
    case CSC_RV32_SRLI:
    case CSC_RV32_SRAI: return immediate_shift_clocks(config, op->imm);
    case CSC_RV32_SLL:
    case CSC_RV32_SRL:
    case CSC_RV32_SRA: return immediate_shift_clocks(config, 0);  // the amount adds the rest
    default: break;
  }
  if (op->code >= CSC_RV32_LB && op->code <= CSC_RV32_SW) return MEMORY_CLOCKS;
  if (op->code >= CSC_RV32_CYCLE && op->code <= CSC_RV32_INSTRETH) return COUNTER_CLOCKS;
  if (op->code >= CSC_RV32_MUL && op->code <= CSC_RV32_MULHU) return MULTIPLY_CLOCKS;
  if (op->code >= CSC_RV32_DIV && op->code <= CSC_RV32_REMU) return DIVIDE_CLOCKS;
  return SIMPLE_CLOCKS;
}

static int is_memory(uint32_t code) { return code >= CSC_RV32_LB && code <= CSC_RV32_SW; }

static void set_clocks(const csc_sim_rv32_config_t *config, uint32_t wait, uint32_t next_kind,
                       csc_sim_rv32_op_t *op) {
  const uint32_t base = base_clocks(config, op);
  const int is_long = base > SIMPLE_CLOCKS && !is_memory(op->code);
  const uint32_t fetch = fetch_clocks(wait, is_long, next_kind);
  op->cost = (uint8_t)(base + fetch);
  op->waits = (uint8_t)(fetch - fetch_clocks(0, is_long, next_kind));
  if (op->code == CSC_RV32_JAL) {
    op->taken = JAL_CLOCKS;
  } else if (op->code == CSC_RV32_JALR) {
    op->taken = JALR_CLOCKS;
  } else if (op->code >= CSC_RV32_BEQ && op->code <= CSC_RV32_BGEU) {
    op->taken = (uint8_t)(TAKEN_CLOCKS + fetch);
    op->taken_waits = op->waits;
  }
}

uint32_t csc_sim_rv32_bytes(const csc_sim_rv32_config_t *config, uint32_t first) {
  return config->has_compressed && (first & 3) != 3 ? 2 : 4;
}

void csc_sim_rv32_decode(const csc_sim_rv32_config_t *config, uint32_t ram_wait, uint32_t pc,
                         uint32_t raw, uint32_t behind, csc_sim_rv32_op_t *op) {
  const uint32_t bytes = csc_sim_rv32_bytes(config, raw);
  const uint32_t word = bytes == 2 ? expand(raw & 0xFFFFu) : raw;
  const uint32_t next = pc + bytes;
  const uint32_t wait = next < CSC_SIM_RAM_RANGE ? ram_wait : 0;
  const int is_32 = (behind >> 16 & 3) == 3;  // what begins in the upper half of `behind`
  const uint32_t next_kind = !(next & 2) ? CSC_RV32_KIND_A
                             : is_32     ? CSC_RV32_KIND_W
                                         : CSC_RV32_KIND_C;
  *op = (csc_sim_rv32_op_t){0};
  op->rd = bits(word, 11, 7) ? (uint8_t)bits(word, 11, 7) : NO_RD;
  op->rs1 = (uint8_t)bits(word, 19, 15);
  op->rs2 = (uint8_t)bits(word, 24, 20);
  op->code = decode_word(config, pc, word, op);
  op->bytes = (uint8_t)bytes;
  op->step = (uint8_t)(config->has_compressed ? bytes / 2 : 1);
  op->kind = !(pc & 2) ? CSC_RV32_KIND_A : bytes == 2 ? CSC_RV32_KIND_C : CSC_RV32_KIND_W;
  op->is_odd = config->has_compressed && !(next & 2) && is_32;
  set_clocks(config, wait, next_kind, op);
}
