"""The CS2 processor (RV32IMC) on the CS1 bus: recorded hardware, and a plain reference."""

from __future__ import annotations

import csv
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

import rv32_reference
import soc_programs
from csc import Soc
from rv32_words import EBREAK, ECALL, NOP, beq, finish, i_type, jal, li, lw, program, r_type, sh, sw
from soc_programs import RAM_BYTES, RandomProgram, check_steps, name_of

PROGRAMS = soc_programs.recorded("cs2cpu/programs.json")
NAMES = {program["name"]: program for program, _ in PROGRAMS}
WAITS = (0, 1)


def rows(name: str) -> list[dict[str, str]]:
    with (soc_programs.VECTORS / "cs2cpu" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def soc_with(words: list[int] | bytes, wait: int = 0, **options: object) -> Soc:
    soc = Soc("cs1", ram_wait=wait, ram_bytes=RAM_BYTES, cpu="rv32imc", trace=True, **options)
    soc.load(0, words)
    return soc


def halves(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "little") for value in values)


# --- the recorded hardware ------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "wait"), PROGRAMS, ids=name_of)
def test_recorded_program(program: dict, wait: int) -> None:
    soc = Soc("cs1", ram_wait=wait, cpu="rv32imc", trace=True)
    soc.load(0, soc_programs.words_of(program))
    stop = soc.run(1_000_000)
    expected = soc_programs.transfers_of(program, wait)
    assert soc.trace_data == expected
    trap = program.get(f"trap_ram{wait}")
    last = (trap, "trap") if trap else (expected[-1][0], "exit")
    assert (stop.clock, stop.kind) == last


@pytest.mark.parametrize(("program", "wait"), PROGRAMS, ids=name_of)
def test_the_reference_gives_the_recorded_transfers(program: dict, wait: int) -> None:
    image = b"".join(word.to_bytes(4, "little") for word in soc_programs.words_of(program))
    processor = soc_programs.reference(image, wait, compressed=True)
    trap = None
    while processor.exit_value is None and trap is None:
        start = processor.clock
        try:
            processor.step()
        except rv32_reference.Trap as stop:
            trap = start + stop.args[1]
    assert processor.transfers == soc_programs.transfers_of(program, wait)
    assert trap == program.get(f"trap_ram{wait}")


def starts() -> dict[tuple[str, int], list[tuple[int, int]]]:
    found = defaultdict(list)
    for row in rows("starts.csv"):
        place = (row["program"], int(row["ram_wait"]))
        found[place].append((int(row["clock"]), int(row["address"], 16)))
    return {place: each for place, each in found.items() if place[0] in NAMES}


STARTS = starts()


@pytest.mark.parametrize("place", STARTS, ids=lambda place: f"{place[0]}, wait {place[1]}")
def test_recorded_instruction_starts(place: tuple[str, int]) -> None:
    name, wait = place
    soc = soc_with(soc_programs.words_of(NAMES[name]), wait)
    for clock, address in STARTS[place]:
        stop = soc.run(0)
        assert (stop.clock, stop.pc) == (clock, address)
        soc.run(1)


def test_the_recorded_data_is_complete() -> None:
    assert len(PROGRAMS) == 124
    assert len(STARTS) > 4
    assert sum(map(len, STARTS.values())) > 1000


# --- clocks per instruction -----------------------------------------------------------------------

COMMON = {
    "alu": r_type(0, 6, 5, 0, 7),
    "shift": r_type(0, 6, 5, 5, 7),
    "load, RAM": lw(7, 0, 8),
    "store, RAM": sw(7, 0, 8),
    "load, no RAM": lw(7, 0, 9),
    "counter": i_type(0xC00, 0, 2, 7, 0x73),
    "multiply": r_type(1, 6, 5, 1, 7),
    "divide": r_type(1, 6, 5, 4, 7),
    "branch": beq(5, 6, 8),
}
GROUPS = {
    "alu": "add",
    "shift": "srl by any amount",
    "load, RAM": "lw RAM",
    "store, RAM": "sw RAM",
    "load, no RAM": "lw outside RAM range",
    "counter": "rdcycle",
    "multiply": "mulh 0x5 0x7",
    "divide": "div 0x5 0x7",
    "branch": "beq not taken",
}
C_NOP = 0x0001


def cost_before(word: int, kind: str, wait: int) -> int:
    """Return the clocks of a 32-bit instruction before one of kind A, C or W."""
    setup = program(li(5, 5), li(6, 7), li(8, 0x4000), li(9, 0x30000000))
    image = b"".join(each.to_bytes(4, "little") for each in setup)
    if kind != "A":
        image += halves(C_NOP)
    place = len(image)
    image += word.to_bytes(4, "little")
    image += halves(C_NOP) if kind == "C" else NOP.to_bytes(4, "little")
    soc = soc_with(image + NOP.to_bytes(4, "little") * 2, wait)
    while soc.run(1).pc != place:
        pass
    start = soc.clock
    return soc.run(1).clock - start


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("kind", ["A", "C", "W"])
@pytest.mark.parametrize("name", COMMON)
def test_cost_by_kind_of_the_next_instruction(name: str, kind: str, wait: int) -> None:
    recorded = {row["instruction"]: row for row in rows("cycles.csv")}
    expected = int(recorded[GROUPS[name]][f"wait{wait}_next_{kind}"])
    assert cost_before(COMMON[name], kind, wait) == expected


# --- semantics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("seed", range(100))
def test_random_programs_step_by_step(seed: int, wait: int) -> None:
    count, _ = check_steps(soc_with([], wait), RandomProgram(seed, compressed=True).image, 1000)
    assert count > 60


def outcome(half: int) -> tuple[str | None, int]:
    """Return cause and delay of the trap of a 16-bit pattern at address 0, if it traps."""
    soc = Soc("cs1", ram_bytes=1024, cpu="rv32imc")
    soc.load(0, halves(half))
    stop = soc.run(4)  # one instruction, which starts in clock 3
    return stop.cause, stop.clock - 3


def test_every_16_bit_pattern_traps_or_not_as_the_reference() -> None:
    illegal = 0
    for half in range(2**16):
        if half & 3 == 3:
            continue
        processor = soc_programs.reference(halves(half), 0, compressed=True)
        try:
            processor.step()
            expected = None
        except rv32_reference.Device:
            continue
        except rv32_reference.Trap as trap:
            expected = trap.args
        cause, clocks = outcome(half)
        assert (cause and (cause, clocks)) == expected, hex(half)
        illegal += cause == "illegal instruction"
    assert illegal == 20329


@pytest.mark.parametrize("opcode", range(3, 128, 4))
def test_32_bit_encodings_trap_or_not_as_the_reference(opcode: int) -> None:
    for funct3 in range(8):
        for funct7 in (*range(4), 0x10, 0x20, 0x21, 0x40, 0x60, 0x61, 0x7F):
            for compressed in (False, True):
                word = r_type(funct7, 2, 0, funct3, 5, opcode)
                image = word.to_bytes(4, "little") + b"\1\0\1\0" * 2
                processor = soc_programs.reference(image, 0, compressed)
                expected = "none"
                try:
                    processor.step()
                except rv32_reference.Device:
                    continue
                except rv32_reference.Trap as trap:
                    expected = trap.args[0]
                cpu = "rv32imc" if compressed else "rv32i"
                soc = Soc("cs1", ram_bytes=RAM_BYTES, cpu=cpu)
                soc.load(0, image)
                stop = soc.run(4)
                assert (stop.cause or "none") == expected, hex(word)
                assert soc.registers == processor.registers, hex(word)


@pytest.mark.parametrize("x", [0, 1, 5, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 7, 0x12345678])
@pytest.mark.parametrize("y", [0, 1, 3, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 3, 0x9ABC])
def test_multiply_and_divide(x: int, y: int) -> None:
    soc = soc_with(program(li(5, x), li(6, y), [r_type(1, 6, 5, n, 10 + n) for n in range(8)]))
    while soc.run(1).pc != 12 * 4:
        pass
    sx, sy = (value - 2**32 if value >> 31 else value for value in (x, y))
    quotient = int(abs(sx) // abs(sy)) * (1 if (sx < 0) == (sy < 0) else -1) if sy else -1
    expected = [
        x * y,
        sx * sy >> 32,
        sx * y >> 32,
        x * y >> 32,
        quotient,
        x // y if y else -1,
        sx - quotient * sy if sy else sx,
        x % y if y else x,
    ]
    assert soc.registers[10:18] == [each % 2**32 for each in expected]


@pytest.mark.parametrize(
    ("word", "cause", "clocks"),
    [
        (0, "illegal instruction", 20),
        (0x2000, "illegal instruction", 20),
        (r_type(2, 6, 5, 0, 7), "illegal instruction", 20),
        (i_type(0x340, 0, 2, 7, 0x73), "illegal instruction", 20),
        (0x0000100F, "illegal instruction", 20),
        (ECALL, "ecall", 3),
        (EBREAK, "ebreak", 3),
        (0x9002, "ebreak", 3),
    ],
)
@pytest.mark.parametrize("wait", WAITS)
def test_trap_clocks(word: int, cause: str, clocks: int, wait: int) -> None:
    stop = soc_with([NOP, word], wait).run(1000)
    assert (stop.kind, stop.cause, stop.pc) == ("trap", cause, 4)
    assert stop.clock == 3 + wait + 3 + wait + clocks


def test_fence_with_a_destination_destroys_the_register() -> None:
    soc = soc_with(program(li(5, 77), 0x0000000F | 5 << 7, finish(5)))
    assert soc.run(1000).value == 0


def test_c_programs_of_the_compiler_agree_with_the_host(tmp_path: Path) -> None:
    compiler = "riscv64-unknown-elf-gcc"
    source = """
    unsigned mix(unsigned x) { x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; return x / 3 + x % 7; }
    int work(void) { unsigned s = 1; for (unsigned i = 0; i < 500; i++) s = mix(s + i); return s; }
    """
    start = "void _start(void) { *(volatile unsigned *)0x0F000004 = work(); for (;;); }"
    (tmp_path / "a.c").write_text(f"int work(void);\n{start}\n{source}")
    (tmp_path / "l.ld").write_text("SECTIONS { . = 0; .text : { *(.text._start) *(.text*) } }")
    command = [compiler, "-march=rv32imc", "-mabi=ilp32", "-O2", "-ffreestanding", "-nostdlib"]
    command += ["-ffunction-sections", "-T", "l.ld", "a.c", "-o", "a.elf", "-lgcc"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"{compiler} is not installed")
    soc = Soc("cs1", cpu="rv32imc")
    soc.load_elf(tmp_path / "a.elf")
    state = 1
    for i in range(500):
        x = (state + i) % 2**32
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        state = (x // 3 + x % 7) % 2**32
    assert soc.run(10**7).value == state


@pytest.mark.parametrize("place", [36, 38, 40])
@pytest.mark.parametrize("wait", WAITS)
def test_a_store_to_the_word_behind_a_branch(wait: int, place: int) -> None:
    """What a branch fetches in vain decides its clocks; a store right before it still counts."""
    setup = program(li(6, 3), li(8, place), NOP, NOP, NOP)
    words = [*setup, sh(6, 0, 8), beq(0, 0, 10), C_NOP << 16 | C_NOP, C_NOP << 16 | C_NOP, NOP, NOP]
    image = b"".join(word.to_bytes(4, "little") for word in words)
    check_steps(soc_with([], wait), image, 14)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(("offset", "expected"), [(0, 4), (2, 4), (4, 5), (6, 5)])
def test_a_store_is_too_late_for_the_word_already_fetched(
    offset: int, expected: int, wait: int
) -> None:
    one, two = 0x0285, 0x0289  # c.addi x5, 1 and c.addi x5, 2
    setup = program(li(5, 0), li(6, two), li(8, 32), NOP, sh(6, offset, 8))
    tail = finish(5)
    image = b"".join(word.to_bytes(4, "little") for word in setup) + halves(one, one, one, one)
    assert len(image) == 32 + 8
    image += b"".join(word.to_bytes(4, "little") for word in tail)
    assert soc_with(image, wait).run(1000).value == expected


# 16- and 32-bit instructions around a store that changes them; x9 holds the address of the first.
AROUND = {
    "c.nop": (0x0001, 2),
    "c.addi": (0x0285, 2),
    "nop": (NOP, 4),
    "sh +2": (sh(19, 2, 9), 4),
    "sh +6": (sh(20, 6, 9), 4),
    "c.sw +4": (0xC0D0, 2),
    "c.j +4": (0xA011, 2),
    "c.beqz +4, taken": (0xC111, 2),
    "c.beqz +6, taken": (0xC119, 2),
    "c.bnez +4, not taken": (0xE111, 2),
    "beq +10, taken": (beq(0, 0, 10), 4),
}


def around_image(offset: int, value: int, parts: list[tuple[int, int]], pad: bool) -> bytes:
    """Return a loop: a half-word store `offset` behind its end, the parts, and a few c.nops."""
    setup = program(li(9, 0), li(18, value), li(19, 0x0289), li(20, 0x0003), li(12, 0x02930289))
    start = 4 * len(setup) + 2 * pad
    setup[:2] = li(9, start + 4)
    image = b"".join(word.to_bytes(4, "little") for word in setup) + halves(1) * pad
    image += sh(18, offset, 9).to_bytes(4, "little")
    image += b"".join(word.to_bytes(size, "little") for word, size in parts) + halves(*[1] * 8)
    image += i_type(3, 18, 4, 18).to_bytes(4, "little")  # xori: what is stored changes each turn
    return image + jal(0, start - len(image)).to_bytes(4, "little")


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("value", soc_programs.PATCHES.values(), ids=hex)
@pytest.mark.parametrize("first", AROUND)
def test_stores_around_the_next_instructions(first: str, value: int, wait: int) -> None:
    counts = 0
    for second in AROUND.values():
        for offset in range(0, 12, 2):
            for pad in (False, True):
                image = around_image(offset, value, [AROUND[first], second], pad)
                counts += check_steps(soc_with([], wait), image, 50)[0]
    assert counts > 12 * len(AROUND) * 12
