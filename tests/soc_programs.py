"""Recorded and random programs for the tests of the system on chip."""

from __future__ import annotations

import json
import random
from pathlib import Path

import rv32_reference
from csc import Soc
from rv32_words import auipc, branch, i_type, jal, jalr, li, load, lui, r_type, store

VECTORS = Path(__file__).parent / "vectors"
RAM_BYTES = 1 << 16
# Registers that random programs do not change: two addresses, and half-words to store into code:
# c.addi, c.li, c.add, c.j, c.beqz, and the first half of an addi.
DATA, CODE = 8, 9
PATCHES = {18: 0x0285, 19: 0x4295, 20: 0x9316, 21: 0xA011, 22: 0xC311, 23: 0x0293}
KEPT = (DATA, CODE, *PATCHES)


def recorded(name: str) -> list[tuple[dict, int]]:
    """Return the programs of a file of tests/vectors, each with RAM wait 0 and 1."""
    programs = json.loads((VECTORS / name).read_text())["programs"]
    return [(program, wait) for program in programs for wait in (0, 1)]


def words_of(program: dict) -> list[int]:
    return [int(word, 16) for word in program["words"]]


def transfers_of(program: dict, wait: int) -> list[tuple[int, int, int, int]]:
    return [
        (clock, int(address, 16), strobes, int(data, 16))
        for clock, address, strobes, data in program[f"data_ram{wait}"]
    ]


def name_of(value: object) -> str:
    return value["name"] if isinstance(value, dict) else f"wait {value}"


class RandomProgram:
    """Half-words of a program that mostly runs on, now and then into its own middle."""

    def __init__(self, seed: int, compressed: bool) -> None:
        self.random, self.compressed = random.Random(seed), compressed
        self.halves: list[int] = []
        for register in range(1, 32):
            fixed = {DATA: 0x4000, CODE: 0x100, **PATCHES}
            value = fixed.get(register, self.operand())
            for word in li(register, value):
                self.add(word)
        start = 2 * len(self.halves)
        while len(self.halves) < 400:
            self.add_some()
        self.add(jal(0, start - 2 * len(self.halves)))

    def operand(self) -> int:
        edges = (0, 1, 2, 2**31, 2**31 - 1, 2**32 - 1, 2**32 - 2, self.random.randrange(256))
        return self.random.choice((*edges, *(self.random.randrange(2**32) for _ in range(8))))

    def add(self, word: int, size: int = 4) -> None:
        self.halves += [word & 0xFFFF, word >> 16][: size // 2]

    def register(self) -> int:
        number = self.random.randrange(32)
        return 0 if number in KEPT else number

    def offset(self) -> int:
        step = 2 if self.compressed or self.random.random() < 0.03 else 4
        return self.random.randrange(step, 40, step)

    def add_some(self) -> None:
        pick = self.random.random()
        if self.compressed and pick < 0.45:
            self.add_compressed()
        elif pick < 0.65:
            self.add(self.arithmetic())
        elif pick < 0.76:
            self.add(self.memory())
        elif pick < 0.8 and self.compressed:
            self.add_patches()
        elif pick < 0.83:
            self.add_copy()
        elif pick < 0.97:
            self.add_jump()
        elif pick < 0.999:
            self.add(i_type(self.random.choice((0xC00, 0xC01, 0xC02, 0xC80)), 0, 2, 5, 0x73))
        else:
            self.add(self.random.randrange(2**32))

    def add_compressed(self) -> None:
        half = self.random.randrange(2**16)
        is_jump = (half & 3 == 1 and half >> 13 in (1, 5)) or half & 0xF07F == 2 | 4 << 13
        is_kept = half & 3 != 0 and half >> 13 != 7 and half >> 7 & 31 in KEPT
        is_rare = is_jump or is_kept or (half & 3 == 0 and half >> 13 not in (0, 2, 6))
        if half & 3 != 3 and (not is_rare or self.random.random() < 0.1):
            self.add(half, 2)

    def arithmetic(self) -> int:
        rd, rs1, rs2 = self.register(), self.random.randrange(32), self.random.randrange(32)
        funct3 = self.random.randrange(8)
        pick = self.random.random()
        if pick < 0.1:
            return self.random.choice((lui, auipc))(rd, self.random.randrange(2**32))
        if pick < 0.4:
            return r_type(
                self.random.choice((0, 0, 0x20)) if funct3 in (0, 5) else 0, rs2, rs1, funct3, rd
            )
        if pick < 0.6 and self.compressed:
            return r_type(1, rs2, rs1, funct3, rd)
        imm = self.random.randrange(4096)
        if funct3 in (1, 5):
            imm = imm % 32 | (self.random.choice((0, 0x400)) if funct3 == 5 else 0)
        return i_type(imm, rs1, funct3, rd)

    def memory(self) -> int:
        base = self.random.choice((DATA, DATA, CODE))
        funct3 = self.random.choice((0, 1, 2, 4, 5))
        size = 1 << funct3 % 4
        offset = self.random.randrange(0, 64, size)
        if self.random.random() < 0.004:
            offset += 1
        if self.random.random() < 0.5 or base == CODE or funct3 > 3:
            return load(funct3, self.register(), offset, base)
        return store(funct3, self.random.randrange(32), offset, base)

    def add_copy(self) -> None:
        """Copy some of the code to just behind the copying."""
        size = self.random.choice((1, 2, 2)) if self.compressed else 2
        source = self.random.randrange(0, 520, 1 << size)
        target = 2 * len(self.halves) + 8 + self.random.randrange(0, 16, 2) & -(1 << size)
        self.add(load(size, 6, source, CODE))
        self.add(store(size, 6, target - 0x100, CODE))

    def add_patches(self) -> None:
        """Store half-words to just behind the stores, one to three times."""
        for _ in range(self.random.randrange(1, 4)):
            target = 2 * len(self.halves) + 4 + self.random.randrange(0, 16, 2)
            self.add(store(1, self.random.choice(list(PATCHES)), target - 0x100, CODE))

    def add_jump(self) -> None:
        pick = self.random.random()
        if pick < 0.7:
            funct3 = self.random.choice((0, 1, 4, 5, 6, 7))
            rs1, rs2 = self.random.randrange(32), self.random.randrange(32)
            self.add(branch(funct3, rs1, rs2, self.offset()))
        elif pick < 0.85:
            self.add(jal(self.register(), self.offset()))
        else:
            self.add(auipc(5, 0))
            self.add(jalr(self.register(), 4 + self.offset(), 5))

    @property
    def image(self) -> bytes:
        return b"".join(half.to_bytes(2, "little") for half in self.halves)


def reference(
    image: bytes, wait: int, compressed: bool, ram_bytes: int = RAM_BYTES
) -> rv32_reference.Processor:
    """Return the reference processor before its first instruction."""
    memory = bytearray(image.ljust(ram_bytes, b"\0"))
    return rv32_reference.Processor(memory, wait, compressed)


def check_steps(soc: Soc, image: bytes, steps: int) -> tuple[int, str]:
    """Run model and reference side by side; return how many instructions, and how it ended."""
    processor = reference(image, soc.ram_wait, soc.cpu == "rv32imc")
    soc.load(0, image)
    count, end = _run_both(soc, processor, steps)
    done = len(processor.transfers)
    assert soc.trace_data[:done] == processor.transfers
    assert end == "device" or len(soc.trace_data) == done
    assert soc.instret == processor.instret or end == "device"
    assert soc.read(0, RAM_BYTES) == bytes(processor.memory)
    return count, end


def _run_both(soc: Soc, processor: rv32_reference.Processor, steps: int) -> tuple[int, str]:
    stop = soc.run(0)
    for count in range(steps):
        assert (stop.kind, stop.clock, stop.pc) == ("limit", processor.clock, processor.pc)
        assert soc.registers == processor.registers, hex(processor.pc)
        start, pc = processor.clock, processor.pc
        try:
            processor.step()
        except rv32_reference.Device:
            return count, "device"
        except rv32_reference.Trap as trap:
            cause, clocks = trap.args
            stop = soc.run(1)
            assert (stop.kind, stop.cause, stop.pc) == ("trap", cause, pc)
            assert stop.clock == start + clocks
            return count, cause
        stop = soc.run(1)
        if processor.exit_value is not None:
            assert (stop.kind, stop.value) == ("exit", processor.exit_value)
            return count, "exit"
    return steps, "limit"
