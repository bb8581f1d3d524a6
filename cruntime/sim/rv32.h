// The processor of the CompactScale chips: PicoRV32 as an interpreter of decoded instructions with
// the clocks of every one. CHIP.md holds the rules; two configurations share this code.
//
// Each place in RAM where an instruction can begin has a slot with its decoded form, filled when it
// is first executed and emptied by a store to the words it was made from.

#ifndef CSC_SIM_RV32_H
#define CSC_SIM_RV32_H

#include <stddef.h>
#include <stdint.h>

#include "csc_sim.h"

#define CSC_SIM_RAM_RANGE 0x10000000u  // below: timing of RAM, with or without RAM behind it

// What a slot does. The order is free, except that an empty slot is 0.
typedef enum {
  CSC_RV32_EMPTY,    // not decoded yet
  CSC_RV32_STALE,    // a store changed it after it was fetched; execute the old form once
  CSC_RV32_OUTSIDE,  // no slot for this address: look it up or fetch it over the bus
  CSC_RV32_HALT,     // the run ends
  CSC_RV32_ILLEGAL,
  CSC_RV32_ECALL,
  CSC_RV32_EBREAK,
  CSC_RV32_CONST,  // lui, auipc, fence: rd = imm
  CSC_RV32_JAL,
  CSC_RV32_JALR,
  CSC_RV32_BEQ,
  CSC_RV32_BNE,
  CSC_RV32_BLT,
  CSC_RV32_BGE,
  CSC_RV32_BLTU,
  CSC_RV32_BGEU,
  CSC_RV32_LB,
  CSC_RV32_LH,
  CSC_RV32_LW,
  CSC_RV32_LBU,
  CSC_RV32_LHU,
  CSC_RV32_SB,
  CSC_RV32_SH,
  CSC_RV32_SW,
  CSC_RV32_ADDI,
  CSC_RV32_SLTI,
  CSC_RV32_SLTIU,
  CSC_RV32_XORI,
  CSC_RV32_ORI,
  CSC_RV32_ANDI,
  CSC_RV32_SLLI,
  CSC_RV32_SRLI,
  CSC_RV32_SRAI,
  CSC_RV32_ADD,
  CSC_RV32_SUB,
  CSC_RV32_SLL,
  CSC_RV32_SLT,
  CSC_RV32_SLTU,
  CSC_RV32_XOR,
  CSC_RV32_SRL,
  CSC_RV32_SRA,
  CSC_RV32_OR,
  CSC_RV32_AND,
  CSC_RV32_CYCLE,
  CSC_RV32_CYCLEH,
  CSC_RV32_INSTRET,
  CSC_RV32_INSTRETH,
  CSC_RV32_MUL,
  CSC_RV32_MULH,
  CSC_RV32_MULHSU,
  CSC_RV32_MULHU,
  CSC_RV32_DIV,
  CSC_RV32_DIVU,
  CSC_RV32_REM,
  CSC_RV32_REMU
} csc_sim_rv32_code_t;

// How an instruction lies in memory: what its fetch costs depends on it.
enum {
  CSC_RV32_KIND_A,  // begins at a multiple of 4
  CSC_RV32_KIND_C,  // begins behind one, 16 bits
  CSC_RV32_KIND_W,  // begins behind one, 32 bits, so it takes two words
  CSC_RV32_KINDS
};

typedef struct {
  uint32_t imm;         // immediate; target of jal and branches; the constant of CONST
  uint8_t code;         // csc_sim_rv32_code_t
  uint8_t rd;           // 32 instead of 0: x[32] takes what x0 drops
  uint8_t rs1;          //
  uint8_t rs2;          //
  uint8_t cost;         // clocks to the start of the instruction behind it, without RAM's data wait
  uint8_t waits;        // how many of them a RAM that answers a clock later has added
  uint8_t taken;        // jumps: clocks before the fetch of the target counts
  uint8_t taken_waits;  //
  uint8_t step;         // slots to the instruction behind it
  uint8_t bytes;        // 2 or 4
  uint8_t kind;         // of itself
  uint8_t is_odd;       // 1: branch whose way to a target behind a multiple of 4 can cost more
} csc_sim_rv32_op_t;

typedef struct {
  uint8_t clocks;
  uint8_t waits;
} csc_sim_rv32_cost_t;

// What makes one processor of the family differ from another.
typedef struct {
  int has_compressed;
  int has_multiply;        // and divide
  int has_barrel_shifter;  // else shifts take steps of 4, then of 1
  uint8_t illegal_clocks;  // from the start of an illegal instruction to trap
} csc_sim_rv32_config_t;

// Makes the decoded form of the 16 or 32 bits `raw` at `pc`. `behind` is the word that holds the
// byte behind a 32-bit instruction or the first byte behind a 16-bit one.
void csc_sim_rv32_decode(const csc_sim_rv32_config_t *config, uint32_t ram_wait, uint32_t pc,
                         uint32_t raw, uint32_t behind, csc_sim_rv32_op_t *op);

// Bytes of the instruction that begins with the half-word `first`.
uint32_t csc_sim_rv32_bytes(const csc_sim_rv32_config_t *config, uint32_t first);

// Clocks that the fetch of a jump target of `kind` adds; `is_odd` as in the operation.
csc_sim_rv32_cost_t csc_sim_rv32_target(uint32_t ram_wait, uint32_t is_odd, uint32_t kind);

typedef enum { CSC_RV32_GO_ON, CSC_RV32_EXIT, CSC_RV32_DRAIN } csc_sim_rv32_answer_t;

// The bus as the processor sees it: fills in the clock of completion and what is read.
typedef csc_sim_rv32_answer_t (*csc_sim_rv32_bus_t)(void *ctx, csc_sim_transfer_t *transfer);

// What changes with every instruction; a run keeps a copy of it in processor registers.
typedef struct {
  csc_sim_rv32_op_t *at;  // the next operation
  uint64_t clock;         // in which it starts
  uint64_t instructions;
  uint64_t wait_clocks;  // added by a RAM that answers a clock later
  uint64_t ram_reads;    // transfers that did not go through `bus`
  uint64_t ram_writes;   //
} csc_sim_rv32_pace_t;

typedef struct {
  csc_sim_rv32_pace_t pace;
  uint32_t x[33];
  uint32_t *ram;             // words
  csc_sim_rv32_op_t *slots;  // of every address at which an instruction can begin, and two more
  uint8_t *has_code;         // of every CSC_RV32_PAGE bytes: whether a slot was made from them
  uint32_t ram_bytes;
  uint32_t ram_wait;
  uint32_t fast_bytes;  // data transfers below go past `bus`: ram_bytes, or 0 if all are wanted
  uint32_t slot_shift;  // log2 of the bytes of a slot
  csc_sim_rv32_config_t config;
  csc_sim_rv32_cost_t target[2][CSC_RV32_KINDS];  // see csc_sim_rv32_target
  uint8_t shift_clocks[32];                       // what a shift by a register adds
  csc_sim_rv32_bus_t bus;
  void *bus_ctx;
  csc_sim_stop_t stop;
  csc_sim_rv32_op_t *resume;   // where to go on after a HALT
  csc_sim_rv32_op_t halt;      //
  csc_sim_rv32_op_t loose[3];  // an instruction that is executed from no slot, and what follows
  uint32_t loose_pc;           //
  csc_sim_rv32_op_t stale;     // the old form of the one STALE slot
  uint32_t kept_half;          // the half-word behind it, if that was fetched with it
  int has_kept_half;           //
} csc_sim_rv32_t;

#define CSC_RV32_PAGE 256u

// Bytes of the slots for a RAM of ram_bytes.
size_t csc_sim_rv32_slot_bytes(const csc_sim_rv32_config_t *config, uint32_t ram_bytes);

// The caller has filled in ram, slots, has_code, ram_bytes, ram_wait, config and the bus.
void csc_sim_rv32_init(csc_sim_rv32_t *cpu);

// Run until something stops it; cpu->stop says what, where and when.
void csc_sim_rv32_run(csc_sim_rv32_t *cpu, uint64_t end_clock);

// Write to RAM what the strobes let through; the slots made from the word become empty.
void csc_sim_rv32_store(csc_sim_rv32_t *cpu, uint32_t address, uint32_t strobes, uint32_t data);

#endif  // CSC_SIM_RV32_H
