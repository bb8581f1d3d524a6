"""A small RV32 assembler for tests: each function returns one 32-bit word."""

from __future__ import annotations

EXIT_BASE, EXIT, REPORT = 0x0F000000, 4, 8
NOP = 0x13


def r_type(funct7: int, rs2: int, rs1: int, funct3: int, rd: int, opcode: int = 0x33) -> int:
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def i_type(imm: int, rs1: int, funct3: int, rd: int, opcode: int = 0x13) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def load(funct3: int, rd: int, imm: int, rs1: int) -> int:
    return i_type(imm, rs1, funct3, rd, 0x03)


def store(funct3: int, rs2: int, imm: int, rs1: int) -> int:
    low, high = imm & 31, imm >> 5 & 127
    return high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x23


def branch(funct3: int, rs1: int, rs2: int, offset: int) -> int:
    o = offset & 0x1FFF
    high = (o >> 12 & 1) << 31 | (o >> 5 & 63) << 25
    return (
        high | rs2 << 20 | rs1 << 15 | funct3 << 12 | (o >> 1 & 15) << 8 | (o >> 11) % 2 << 7 | 0x63
    )


def jal(rd: int, offset: int) -> int:
    o = offset & 0x1FFFFF
    imm = (o >> 20) << 31 | (o >> 1 & 0x3FF) << 21 | (o >> 11 & 1) << 20 | (o >> 12 & 0xFF) << 12
    return imm | rd << 7 | 0x6F


def jalr(rd: int, imm: int, rs1: int) -> int:
    return i_type(imm, rs1, 0, rd, 0x67)


def lui(rd: int, value: int) -> int:
    return value & 0xFFFFF000 | rd << 7 | 0x37


def auipc(rd: int, value: int) -> int:
    return value & 0xFFFFF000 | rd << 7 | 0x17


def addi(rd: int, rs1: int, imm: int) -> int:
    return i_type(imm, rs1, 0, rd)


def add(rd: int, rs1: int, rs2: int) -> int:
    return r_type(0, rs2, rs1, 0, rd)


def li(rd: int, value: int) -> list[int]:
    """Return the two words that set a register."""
    return [lui(rd, value + 0x800), addi(rd, rd, value & 0xFFF)]


def lb(rd: int, imm: int, rs1: int) -> int:
    return load(0, rd, imm, rs1)


def lh(rd: int, imm: int, rs1: int) -> int:
    return load(1, rd, imm, rs1)


def lw(rd: int, imm: int, rs1: int) -> int:
    return load(2, rd, imm, rs1)


def lbu(rd: int, imm: int, rs1: int) -> int:
    return load(4, rd, imm, rs1)


def lhu(rd: int, imm: int, rs1: int) -> int:
    return load(5, rd, imm, rs1)


def sb(rs2: int, imm: int, rs1: int) -> int:
    return store(0, rs2, imm, rs1)


def sh(rs2: int, imm: int, rs1: int) -> int:
    return store(1, rs2, imm, rs1)


def sw(rs2: int, imm: int, rs1: int) -> int:
    return store(2, rs2, imm, rs1)


def beq(rs1: int, rs2: int, offset: int) -> int:
    return branch(0, rs1, rs2, offset)


def bne(rs1: int, rs2: int, offset: int) -> int:
    return branch(1, rs1, rs2, offset)


def rdcycle(rd: int) -> int:
    return i_type(0xC00, 0, 2, rd, 0x73)


def rdinstret(rd: int) -> int:
    return i_type(0xC02, 0, 2, rd, 0x73)


ECALL, EBREAK = 0x73, 0x00100073


def program(*parts: int | list[int]) -> list[int]:
    """Return one flat list of words from words and lists of words."""
    return [word for part in parts for word in (part if isinstance(part, list) else [part])]


def finish(rs2: int = 0, base: int = 31) -> list[int]:
    """Return the words that end a run with the value of a register."""
    return [lui(base, EXIT_BASE), sw(rs2, EXIT, base)]
