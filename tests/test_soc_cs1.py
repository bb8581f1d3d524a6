"""The CS1 system on chip: recorded hardware, the statements of CHIP.md, and the Python face."""

from __future__ import annotations

import csv
import doctest
import json
import math
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

import csc.soc
import rv32_reference
import soc_programs
from csc import InputError, Soc, StopReason
from rv32_words import (
    EBREAK,
    ECALL,
    EXIT_BASE,
    NOP,
    add,
    addi,
    auipc,
    beq,
    bne,
    finish,
    i_type,
    jal,
    jalr,
    lb,
    lbu,
    lh,
    lhu,
    li,
    lui,
    lw,
    program,
    r_type,
    rdcycle,
    rdinstret,
    sb,
    sh,
    sw,
)
from soc_programs import RAM_BYTES, RandomProgram, check_steps, name_of

ENGINE, UART, LCD, GPIO, HOLE = 0x10000000, 0x20000000, 0x20010000, 0x20020000, 0x10002000
DATA, STATUS, CONTROL, BAUD = 0, 4, 8, 12
BASE, VALUE = 20, 21  # registers the programs below use
PROGRAMS = soc_programs.recorded("cs1/soc_programs.json")
WAITS = (0, 1)


def soc_with(words: list[int], wait: int = 0, **options: object) -> Soc:
    soc = Soc("cs1", ram_wait=wait, trace=True, **options)
    soc.load(0, words)
    return soc


def run(*parts: int | list[int], wait: int = 0) -> Soc:
    """Run a program to its exit and return the chip."""
    soc = soc_with(program(*parts, finish()), wait)
    assert soc.run(10_000_000).kind == "exit"
    return soc


def values(soc: Soc, address: int, is_write: bool = False) -> list[int]:
    """Return the data of the reads, or writes, of a word."""
    return [
        data
        for _, place, strobes, data in soc.trace_data
        if place == address and (strobes != 0) == is_write
    ]


def clocks(soc: Soc, address: int, is_write: bool = True) -> list[int]:
    return [
        clock
        for clock, place, strobes, _ in soc.trace_data
        if place == address and (strobes != 0) == is_write
    ]


# --- the recorded hardware ------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "wait"), PROGRAMS, ids=name_of)
def test_recorded_program(program: dict, wait: int) -> None:
    soc = soc_with(soc_programs.words_of(program), wait)
    stop = soc.run(1_000_000)
    expected = soc_programs.transfers_of(program, wait)
    assert soc.trace_data == expected
    trap = program.get(f"trap_ram{wait}")
    last = (trap, "trap") if trap else (expected[-1][0], "exit")
    assert (stop.clock, stop.kind) == last


@pytest.mark.parametrize(("program", "wait"), PROGRAMS, ids=name_of)
def test_the_same_without_recording(program: dict, wait: int) -> None:
    soc = Soc("cs1", ram_wait=wait)
    soc.load(0, soc_programs.words_of(program))
    stop = soc.run(1_000_000)
    last = program.get(f"trap_ram{wait}") or soc_programs.transfers_of(program, wait)[-1][0]
    assert (stop.clock, soc.clock, soc.trace_data) == (last, last, [])


def test_the_recorded_data_is_complete() -> None:
    assert len(PROGRAMS) == 38
    assert len(CYCLES) == 286


def cycle_rows() -> list[dict[str, str]]:
    with (soc_programs.VECTORS / "cs1" / "picorv32_cycles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


CYCLES = cycle_rows()
RAM_AT, X, Y = 8, 5, 6  # registers: address in RAM, operands
ALU = {
    "addi": addi(7, X, 1),
    "slti": i_type(1, X, 2, 7),
    "sltiu": i_type(1, X, 3, 7),
    "xori": i_type(1, X, 4, 7),
    "ori": i_type(1, X, 6, 7),
    "andi": i_type(1, X, 7, 7),
    "lui": lui(7, 0x12345000),
    "auipc": auipc(7, 0x12345000),
    "add": add(7, X, Y),
    "sub": r_type(0x20, Y, X, 0, 7),
    "slt": r_type(0, Y, X, 2, 7),
    "sltu": r_type(0, Y, X, 3, 7),
    "xor": r_type(0, Y, X, 4, 7),
    "or": r_type(0, Y, X, 6, 7),
    "and": r_type(0, Y, X, 7, 7),
    "nop": NOP,
    "fence": 0x0FF0000F,
    "addi to x0": addi(0, X, 1),
}
DEVICES = {
    "lw accelerator CTRL": (ENGINE, lw),
    "lw accelerator STATUS": (ENGINE + 4, lw),
    "lw accelerator C": (ENGINE + 0x500, lw),
    "lw accelerator unmapped": (ENGINE + 0x800, lw),
    "lw second accelerator (0x10001000)": (0x10001000, lw),
    "lw UART STATUS": (UART + STATUS, lw),
    "lw GPIO": (GPIO, lw),
    "lw hole 0x10002000": (HOLE, lw),
    "sw accelerator A": (ENGINE + 0x100, sw),
    "sw accelerator B": (ENGINE + 0x300, sw),
    "sw accelerator SIZE": (ENGINE + 0x1C, sw),
    "sw GPIO": (GPIO, sw),
    "sw UART CONTROL": (UART + CONTROL, sw),
    "sw hole 0x10002000": (HOLE, sw),
}
LOADS = {"lw": lw, "lh": lh, "lhu": lhu, "lb": lb, "lbu": lbu, "sw": sw, "sh": sh, "sb": sb}
BRANCHES = {  # funct3, operands that take it, operands that do not
    "beq": (0, (4, 4), (4, 5)),
    "bne": (1, (4, 5), (4, 4)),
    "blt": (4, (-1, 0), (0, -1)),
    "bge": (5, (0, -1), (-1, 0)),
    "bltu": (6, (0, -1), (-1, 0)),
    "bgeu": (7, (-1, 0), (0, -1)),
}
COUNTERS = {"rdcycle": 0xC00, "rdcycleh": 0xC80, "rdinstret": 0xC02, "rdtime": 0xC01}
SHIFTS = {"slli": (1, 0), "srli": (5, 0), "srai": (5, 0x400), "sll": (1, 0), "srl": (5, 0)}
SHIFTS |= {"sra": (5, 0x20)}


def words_for(row: dict[str, str]) -> tuple[list[int], int, int]:
    """Return set-up, the instruction of a row of picorv32_cycles.csv, and the pc it goes to."""
    name = row["instruction"]
    first = name.split()[0]
    if row["group"] == "alu":
        return [], ALU[name], 4
    if row["group"].startswith("shift"):
        amount = int(name.split()[2])
        funct3, extra = SHIFTS[first]
        if row["group"] == "shift_imm":
            return [], i_type(extra | amount, X, funct3, 7), 4
        return li(Y, amount), r_type(extra, Y, X, funct3, 7), 4
    if name in DEVICES:
        address, access = DEVICES[name]
        return li(RAM_AT, address), access(7, 0, RAM_AT), 4
    if row["group"] in ("load", "store"):
        offset = int(name.split("+")[1]) if "+" in name else 0
        rd = 0 if "to x0" in name else 7
        return li(RAM_AT, 0x8000), LOADS[first](rd, offset, RAM_AT), 4
    if row["group"] == "branch":
        return branch_words(name)
    if first == "jalr":
        return [auipc(RAM_AT, 0)], jalr(1, 12, RAM_AT), 8
    if first == "jal":
        return [], jal(1, 8 if "over 1" in name else 4), 8 if "over 1" in name else 4
    return [], i_type(COUNTERS[first], 0, 2, 7, 0x73), 4


def branch_words(name: str) -> tuple[list[int], int, int]:
    funct3, taking, passing = BRANCHES[name.split()[0]]
    is_taken = "not" not in name
    target = 4 if "pc+4" in name else 8
    x, y = taking if is_taken else passing
    word = beq(X, Y, target) | funct3 << 12
    return program(li(X, x), li(Y, y)), word, target if is_taken else 4


MEASURED = [
    row for row in CYCLES if row["group"] != "trap" and "two instr" not in row["instruction"]
]


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row["instruction"])
def test_clocks_per_instruction(row: dict[str, str], wait: int) -> None:
    setup, word, distance = words_for(row)
    soc = soc_with([*setup, word, NOP, NOP, NOP], wait)
    place = 4 * len(setup)
    while soc.run(0).pc != place:
        soc.run(1)
    start = soc.clock
    stop = soc.run(1)
    assert stop.pc == place + distance
    assert stop.clock - start == int(row[f"cycles_ram_wait{wait}"])


@pytest.mark.parametrize("wait", WAITS)
def test_clocks_of_a_loop(wait: int) -> None:
    turns = 40
    words = program(addi(X, 0, turns), rdcycle(10), addi(X, X, -1), bne(X, 0, -4), rdcycle(11))
    soc = run(words, wait=wait)
    row = next(row for row in CYCLES if "two instr" in row["instruction"])
    counter, not_taken = 4, (3, 4)[wait] - (5, 7)[wait]
    taken = int(row[f"cycles_ram_wait{wait}"])
    assert soc.registers[11] - soc.registers[10] == counter + turns * taken + not_taken


# --- section 3: the processor ---------------------------------------------------------------------

MISALIGNED = [
    (lw, 1, "load"),
    (lw, 2, "load"),
    (lh, 1, "load"),
    (lhu, 3, "load"),
    (sw, 2, "store"),
    (sw, 3, "store"),
    (sh, 1, "store"),
    (sh, 3, "store"),
]
ILLEGAL = {
    **{f"M, funct3 {n}": r_type(1, Y, X, n, 7) for n in range(8)},
    "all zeros": 0,
    "all ones": 0xFFFFFFFF,
    "csrrw mscratch": i_type(0x340, X, 1, 7, 0x73),
    "csrrs mstatus": i_type(0x300, 0, 2, 7, 0x73),
    "csrrs mhartid": i_type(0xF14, 0, 2, 7, 0x73),
    "csrrw cycle": i_type(0xC00, X, 1, 7, 0x73),
    "csrrs cycle with a register": i_type(0xC00, X, 2, 7, 0x73),
    "csrrc cycle": i_type(0xC00, 0, 3, 7, 0x73),
    "csrrsi cycle": i_type(0xC00, 0, 6, 7, 0x73),
    "mret": 0x30200073,
    "wfi": 0x10500073,
    "fence.i": 0x0000100F,
    "lr.w": r_type(8, 0, X, 2, 7, 0x2F),
    "16 bits": 0x00010001,
    "getq": r_type(0, 0, 0, 4, 7, 0x0B),
    "maskirq": r_type(3, 0, X, 6, 7, 0x0B),
    "waitirq": r_type(4, 0, 0, 4, 7, 0x0B),
    "timer": r_type(5, 0, X, 6, 7, 0x0B),
    "jalr with funct3": i_type(0, X, 1, 1, 0x67),
    "branch with funct3 2": beq(X, Y, 8) | 2 << 12,
    "load with funct3 3": i_type(0, X, 3, 7, 0x03),
    "store with funct3 3": sw(X, 0, 8) | 1 << 12,
    "slli with a bit above": i_type(0x400 | 3, X, 1, 7),
    "srli with bit 25": i_type(0x020 | 3, X, 5, 7),
}


def costs(wait: int, *clocks_by_wait: tuple[int, int]) -> int:
    """Return the start clock of the instruction behind some, each given by its two costs."""
    return 3 + wait + sum(each[wait] for each in clocks_by_wait)


SIMPLE = (3, 4)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_instructions(name: str, wait: int) -> None:
    soc = soc_with([*li(X, 0x100), ILLEGAL[name]], wait)
    stop = soc.run(1000)
    expected = (6, 7)[wait] + 2 * SIMPLE[wait]
    assert stop == StopReason("trap", expected, 8, None, "illegal instruction")
    assert stop == soc.run(1000)  # for good
    assert (soc.clock, soc.pc, soc.instret) == (expected, 8, 3)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(("word", "cause"), [(ECALL, "ecall"), (EBREAK, "ebreak")])
def test_ecall_and_ebreak(word: int, cause: str, wait: int) -> None:
    stop = soc_with([NOP, word], wait).run(1000)
    assert stop == StopReason("trap", (6, 7)[wait] + SIMPLE[wait], 4, None, cause)


@pytest.mark.parametrize("wait", WAITS)
def test_without_a_program_the_processor_stops(wait: int) -> None:
    stop = Soc("cs1", ram_wait=wait).run(100_000)
    assert stop == StopReason("trap", (6, 7)[wait], 0, None, "illegal instruction")


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("address", [0x8000, 0x30000000, ENGINE + 0x100])
@pytest.mark.parametrize(("access", "offset", "what"), MISALIGNED)
def test_misaligned_accesses_reach_the_bus(
    access, offset: int, what: str, address: int, wait: int
) -> None:
    soc = soc_with([*li(RAM_AT, address), *li(7, 0x11223344), access(7, offset, RAM_AT)], wait)
    soc.load(0x8000, [0xA1B2C3D4])
    start = costs(wait, SIMPLE, SIMPLE, SIMPLE, SIMPLE)
    stop = soc.run(1000)
    assert stop == StopReason("trap", start + (5, 6)[wait], 16, None, f"misaligned {what}")
    is_ram = address == 0x8000
    clock = start + ((4, 6)[wait] if is_ram else (4, 5)[wait])
    strobes = 0 if what == "load" else 15 if access is sw else 3 << (offset & 2)
    data = 0xA1B2C3D4 if is_ram else 0
    if what == "store":
        data = 0x11223344 if access is sw else 0x33443344
    assert soc.trace_data == [(clock, address, strobes, data)]
    assert soc.registers[7] == 0x11223344
    mask = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
    in_ram = 0xA1B2C3D4 & ~mask | data & mask if is_ram else 0xA1B2C3D4
    assert soc.read(0x8000, 4) == in_ram.to_bytes(4, "little")


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(
    ("words", "clocks_to_trap", "link"),
    [
        ([jal(1, 6)], (4, 4), 4),
        ([beq(0, 0, 10)], (6, 7), 0),
        ([jalr(1, 6, 0)], (6, 6), 4),
        ([jalr(1, 7, 0)], (6, 6), 4),  # bit 0 is cleared
    ],
)
def test_misaligned_jumps(words: list[int], clocks_to_trap: tuple, link: int, wait: int) -> None:
    soc = soc_with([*words, NOP, NOP, NOP], wait)
    stop = soc.run(1000)
    assert stop == StopReason("trap", 3 + wait + clocks_to_trap[wait], 0, None, "misaligned jump")
    assert soc.registers[1] == link


def test_a_branch_not_taken_may_be_misaligned() -> None:
    assert soc_with([bne(0, 0, 6), *finish()]).run(100).kind == "exit"


def test_jalr_clears_bit_0() -> None:
    soc = soc_with(program(jalr(1, 9, 0), NOP, finish(1)))
    assert soc.run(100).value == 4


@pytest.mark.parametrize("wait", WAITS)
def test_counters(wait: int) -> None:
    soc = run(NOP, rdcycle(10), rdinstret(11), i_type(0xC01, 0, 2, 12, 0x73), wait=wait)
    start = costs(wait, SIMPLE)
    assert soc.registers[10:13] == [start + 1, 3, start + 8 + 1]
    high = run(*[i_type(number, 0, 2, 10, 0x73) for number in (0xC80, 0xC81, 0xC82)], wait=wait)
    assert high.registers[10] == 0


def test_x0_stays_0() -> None:
    soc = run(addi(0, 0, 5), lui(0, 0x5000), jal(0, 4), lw(0, 0, 0), add(5, 0, 0))
    assert (soc.registers[0], soc.registers[5]) == (0, 0)


def test_the_accelerator_interrupt_changes_nothing() -> None:
    loop = [addi(X, 0, 100), addi(X, X, -1), bne(X, 0, -4)]
    with_run = run(lui(BASE, ENGINE), addi(VALUE, 0, 1), sw(VALUE, 0, BASE), loop)
    without = run(lui(BASE, ENGINE), addi(VALUE, 0, 0), sw(VALUE, 0, BASE), loop)
    assert with_run.clock == without.clock
    assert with_run.totals.engine_runs == 1


# --- section 1: memory map ------------------------------------------------------------------------


@pytest.mark.parametrize("address", [0x10001000, HOLE, 0x20030000, 0x30000000, 0xFFFFFFFC])
def test_nothing_there_reads_0(address: int) -> None:
    soc = run(li(BASE, address), addi(VALUE, 0, -1), sw(VALUE, 0, BASE), lw(5, 0, BASE))
    assert soc.registers[5] == 0
    assert soc.totals.writes["other"] == soc.totals.reads["other"] == 1


@pytest.mark.parametrize("wait", WAITS)
def test_addresses_below_the_engine_without_ram_have_its_timing(wait: int) -> None:
    soc = run(li(BASE, 0x0E000000), lw(5, 0, BASE), lw(6, 0, BASE), wait=wait)
    first, second = clocks(soc, 0x0E000000, is_write=False)
    assert second - first == (5, 7)[wait]
    assert values(soc, 0x0E000000) == [0, 0]
    assert soc.totals.reads["no_ram"] == 2


def test_devices_ignore_strobes() -> None:
    soc = run(
        li(BASE, ENGINE),
        li(VALUE, 0x12AB85),
        sb(VALUE, 0x1C, BASE),
        lw(5, 0x1C, BASE),
        sh(VALUE, 0x1E, BASE),
        lw(6, 0x1C, BASE),
        lbu(7, 0x1D, BASE),
        lb(8, 0x1F, BASE),
        lhu(9, 0x1E, BASE),
        lh(10, 0x1C, BASE),
        sb(VALUE, 0x1F, BASE),
        lw(11, 0x1C, BASE),
    )
    assert soc.registers[5:7] == [0x85858585, 0xAB85AB85]
    assert soc.registers[7:11] == [0xAB, 0xFFFFFFAB, 0xAB85, 0xFFFFAB85]
    assert soc.registers[11] == 0x85858585


def test_byte_strobes_of_ram() -> None:
    soc = soc_with(
        program(
            lui(BASE, 0x8000),
            li(VALUE, 0x11223344),
            sb(VALUE, 1, BASE),
            sh(VALUE, 6, BASE),
            sb(VALUE, 11, BASE),
            finish(),
        )
    )
    soc.load(0x8000, b"\xff" * 12)
    soc.run(1000)
    assert soc.read(0x8000, 12).hex() == "ff44ffffffff4433ffffff44"
    assert [strobes for _, place, strobes, _ in soc.trace_data if place < 0x9000] == [2, 12, 8]


def test_uart_repeats_every_256_bytes_and_ends_at_64_kib() -> None:
    soc = run(li(BASE, UART + 0xFF00), lw(5, BAUD, BASE), lw(6, 0x10, BASE), lw(7, STATUS, BASE))
    assert soc.registers[5:8] == [868, 0, 8]


def test_gpio_is_one_register_at_every_address() -> None:
    soc = soc_with(
        program(
            li(BASE, GPIO + 0xFFF0),
            li(VALUE, 0xCAFE1234),
            sw(VALUE, 4, BASE),
            lw(5, 0, BASE),
            sb(VALUE, 3, BASE),
            finish(),
        )
    )
    soc.set_gpio_in(0xDEADBEEF)
    soc.run(60)
    assert soc.gpio_out == 0xCAFE1234 or soc.gpio_out == 0x34343434
    soc.run(1000)
    assert soc.registers[5] == 0xDEADBEEF  # inputs, not what was written
    assert soc.gpio_out == 0x34343434


# --- section 4: UART ------------------------------------------------------------------------------


def ticks_after(clock: int, divider: int = 868) -> int:
    """Return the first clock from `clock` on in which the free-running divider ticks."""
    return clock + (divider - 1 - clock) % divider


def transmitted(soc: Soc) -> bytes:
    return soc.uart_output + soc.uart_pending


def uart_program(*parts: int | list[int], control: int = 1) -> list[int]:
    return program(lui(BASE, UART), addi(VALUE, 0, control), sw(VALUE, CONTROL, BASE), list(parts))


def send(*data: int) -> list[int]:
    return [word for byte in data for word in (addi(VALUE, 0, byte), sw(VALUE, DATA, BASE))]


@pytest.mark.parametrize("delay", range(0, 868, 61))
@pytest.mark.parametrize("wait", WAITS)
def test_a_byte_leaves_11_bit_times_after_the_tick(delay: int, wait: int) -> None:
    nops = [NOP] * (delay // (3 + wait))
    loop = [lw(5, STATUS, BASE), jal(0, -4)]
    soc = soc_with(program(*uart_program(*nops, *send(0x55, 0xA3)), loop), wait)
    soc.run(25_000)
    (first, second) = clocks(soc, UART + DATA)
    tick = ticks_after(first + 1)
    busy = [(tick + 1, tick + 8680), (tick + 9548 + 1, tick + 9548 + 8680)]
    seen = [row for row in soc.trace_data if row[1] == UART + STATUS]
    assert len(seen) > 2000
    for clock, _, _, status in seen:
        assert status & 1 == any(low <= clock <= high for low, high in busy), clock
        assert status & 14 == 8
    assert 3 <= tick + 2 - first <= 870  # the start bit
    assert soc.uart_output == b"\x55\xa3"
    assert second - first == (8, 10)[wait]


def test_the_output_appears_when_the_stop_bit_ends() -> None:
    soc = soc_with(program(*uart_program(*send(0x41)), jal(0, 0)))
    soc.run(100)
    tick = ticks_after(clocks(soc, UART + DATA)[0] + 1)
    assert (soc.uart_output, soc.uart_pending) == (b"", b"A")
    soc.run(tick + 8680 - soc.clock)
    assert soc.clock <= tick + 8680 + 2
    assert tick + 8680 < soc.clock or soc.uart_output == b""
    soc.run(4)
    assert (soc.uart_output, soc.uart_pending) == (b"A", b"")


def test_the_queue_holds_16_bytes() -> None:
    check = lw(5, STATUS, BASE)
    fifteen, more = send(*range(15)), send(*range(15, 20))
    soc = run(uart_program(*fifteen, check, *more, lw(6, STATUS, BASE), control=0))
    assert (soc.registers[5], soc.registers[6]) == (8, 12)
    assert soc.uart_pending == bytes(range(16))
    assert soc.uart_output == b""


def test_nothing_is_sent_while_the_transmitter_is_off() -> None:
    words = uart_program(*send(1, 2), addi(X, 0, 2000), addi(X, X, -1), bne(X, 0, -4), control=2)
    on = [addi(VALUE, 0, 1), sw(VALUE, CONTROL, BASE)]
    soc = soc_with(program(words, finish(), on, jal(0, 0)))
    soc.run(100_000)
    assert (soc.clock > 10_000, soc.uart_output, soc.uart_pending) == (True, b"", b"\1\2")
    soc.run(30_000)
    assert soc.uart_output == b"\1\2"


def test_many_bytes_at_another_speed() -> None:
    """Twenty bytes of 11 bit times each, one at a time, at 16 clocks a bit."""
    wait_for_room = [lw(5, STATUS, BASE), i_type(4, 5, 7, 5), bne(5, 0, -8)]
    data = bytes(range(65, 85))
    words = program(
        uart_program(addi(VALUE, 0, 16), sw(VALUE, BAUD, BASE)),
        [each for byte in data for each in (*wait_for_room, *send(byte))],
        jal(0, 0),
    )
    soc = soc_with(words)
    soc.run(20 * 11 * 16 + 1600)
    assert soc.uart_output == data
    first, last = clocks(soc, UART + DATA)[0], clocks(soc, UART + DATA)[-1]
    assert last - first < 20 * 11 * 16


@pytest.mark.parametrize("divider", [1, 2, 3, 100, 869, 5000])
def test_bytes_follow_every_11_bit_times(divider: int) -> None:
    soc = soc_with(
        program(
            li(BASE, UART),
            li(VALUE, divider),
            sw(VALUE, BAUD, BASE),
            addi(VALUE, 0, 1),
            sw(VALUE, CONTROL, BASE),
            send(1, 2, 3),
            jal(0, 0),
        )
    )
    arrivals = []
    while len(arrivals) < 3:
        soc.run(1)
        arrivals += [soc.clock] * (len(soc.uart_output) - len(arrivals))
        assert soc.clock < 200_000
    assert abs(arrivals[2] - arrivals[1] - max(11 * divider, 8)) <= 3
    if divider > 8:
        assert abs(arrivals[1] - arrivals[0] - 11 * divider) <= 3


def test_baud_div_0_never_transmits() -> None:
    words = uart_program(sw(0, BAUD, BASE), *send(7), jal(0, 0))
    soc = soc_with(words)
    soc.run(3_000_000)
    assert (soc.uart_output, soc.uart_pending) == (b"", b"\7")


def test_control_and_baud_store_all_bits() -> None:
    soc = run(
        lui(BASE, UART),
        li(VALUE, 0xFEDCBA90),
        sw(VALUE, CONTROL, BASE),
        lw(5, CONTROL, BASE),
        sw(VALUE, BAUD, BASE),
        lw(6, BAUD, BASE),
        sw(VALUE, STATUS, BASE),
        lw(7, STATUS, BASE),
    )
    assert soc.registers[5:8] == [0xFEDCBA90, 0xFEDCBA90, 8]


def test_byte_stores_to_uart_registers_fill_the_register() -> None:
    soc = run(lui(BASE, UART), addi(VALUE, 0, 3), sb(VALUE, CONTROL, BASE), lw(5, CONTROL, BASE))
    assert soc.registers[5] == 0x03030303


def test_interrupt_lines() -> None:
    soc = soc_with(program(uart_program(control=4), send(*range(17)), finish(), jal(0, 0)))
    assert soc.interrupts == 0
    soc.run(20)
    assert soc.interrupts == 1 << 18
    soc.run(10_000)
    assert soc.interrupts == 0  # the queue is full
    soc = soc_with(program(uart_program(control=8 | 2), jal(0, 0)))
    soc.run(100)
    soc.uart_input(b"x")
    soc.run(5000)
    assert soc.interrupts == 0
    soc.run(5000)
    assert soc.interrupts == 1 << 19


@pytest.mark.parametrize(
    ("words", "clocks", "line"),
    [([NOP] * 3, 10, 1 << 16), ([rdcycle(5)] * 2, 9, 0), ([lw(5, 0, 0)] * 2, 11, 0)],
)
def test_the_engine_line_is_high_for_one_clock(words: list[int], clocks: int, line: int) -> None:
    setup = [lui(BASE, ENGINE), addi(VALUE, 0, 2), sw(VALUE, 0x1C, BASE), addi(VALUE, 0, 1)]
    soc = soc_with([*setup, sw(VALUE, 0, BASE), *words, NOP])
    while soc.run(1).pc != 20 + 4 * len(words):
        pass
    start = soc.trace_data[1][0]
    assert (soc.clock - start, soc.interrupts) == (clocks, line)


def receiver(count: int, control: int = 2) -> list[int]:
    """Return a program that reads `count` bytes and stores them from 0x8000 on."""
    poll = [lw(5, STATUS, BASE), i_type(2, 5, 7, 5), beq(5, 0, -8)]
    loop = [*poll, lw(6, DATA, BASE), sb(6, 0, 9), addi(9, 9, 1), bne(9, 10, -24)]
    setup = program(lui(9, 0x8000), li(10, 0x8000 + count))
    return program(uart_program(control=control), setup, loop, finish())


@pytest.mark.parametrize("wait", WAITS)
def test_receive(wait: int) -> None:
    data = bytes(range(256))
    soc = soc_with(receiver(256), wait)
    soc.run(200)
    soc.uart_input(data[:100])
    soc.uart_input(data[100:])
    assert soc.run(256 * 8680 + 1000).kind == "exit"
    assert soc.read(0x8000, 256) == data


def received(bit_clocks: float, values: bytes) -> bytes:
    """Return what arrives of bytes sent one at a time, with long pauses."""
    got = b""
    for value in values:
        soc = soc_with(receiver(1))
        soc.run(100)
        soc.uart_input(bytes([value]), bit_clocks)
        if soc.run(12_000).kind == "exit":
            got += soc.read(0x8000, 1)
    return got


@pytest.mark.parametrize("bit_clocks", [868, 860, 850, 830])
def test_senders_that_are_not_slower_are_understood(bit_clocks: int) -> None:
    values = bytes(range(256))[:: 1 if bit_clocks in (868, 830) else 7]
    assert received(bit_clocks, values) == values


def test_true_115200_baud_loses_half_of_the_values() -> None:
    values = bytes(range(256))
    got = received(868.06, values)
    assert got == bytes(range(128, 256))  # the others end in a 0 where the stop bit is expected


@pytest.mark.parametrize("bit_clocks", [868.5, 875])
def test_slower_senders_are_never_understood(bit_clocks: float) -> None:
    values = bytes(range(0, 256, 5)) + b"\xff"
    assert not any(received(bit_clocks, bytes([value])) == bytes([value]) for value in values)


def test_a_received_byte_can_be_seen_in_its_clock() -> None:
    loop = [lw(5, STATUS, BASE), jal(0, -4)]
    soc = soc_with(program(uart_program(control=2), loop))
    soc.run(100)
    start = soc.clock
    soc.uart_input(b"\x5a")
    soc.run(10_000)
    ready = [row[0] for row in soc.trace_data if row[1] == UART + STATUS and row[3] == 2]
    before = [row[0] for row in soc.trace_data if row[1] == UART + STATUS and row[3] == 8]
    seen = start + 9 * 868 + 3  # the stop bit's first clock, two flip-flops, and the queue
    assert max(before) < seen <= min(ready)
    assert min(ready) - seen < 8


def test_a_full_receive_queue_drops() -> None:
    soc = soc_with(program(uart_program(control=2), li(X, 30_000), addi(X, X, -1), bne(X, 0, -4)))
    soc.load(4 * 7, program(finish(), receiver(17)[3:]))
    soc.run(100)
    soc.uart_input(bytes(range(100, 120)))
    assert soc.run(300_000).kind == "exit"
    assert soc.run(100_000).kind == "limit"  # 16 come, the 17th never does
    assert soc.read(0x8000, 17) == bytes(range(100, 116)) + b"\0"


def test_reading_an_empty_queue_shows_an_old_byte() -> None:
    soc = soc_with(program(receiver(1)[:-2], finish(), lw(7, DATA, BASE), lw(8, STATUS, BASE)))
    soc.run(100)
    soc.uart_input(b"k")
    soc.run(20_000)
    soc.run(20)
    assert (soc.registers[7], soc.registers[8]) == (0, 8)  # the next place was never used


def test_the_receiver_ignores_bytes_while_it_is_off() -> None:
    soc = soc_with(program(uart_program(control=1), jal(0, 0)))
    soc.run(100)
    soc.uart_input(b"abc")
    soc.run(30_000)
    assert soc.interrupts == 0
    assert soc.trace_data[-1][1] == UART + CONTROL


# --- section 5: LCD -------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("offset", [0, 4])
def test_back_to_back_bytes_cost_80_clocks(offset: int, wait: int) -> None:
    soc = run(lui(BASE, LCD), [sw(0, offset, BASE)] * 6, wait=wait)
    times = clocks(soc, LCD + offset)
    assert [b - a for a, b in pairwise(times[1:])] == [80] * 4
    assert 70 < times[1] - times[0] <= 90
    assert soc.totals.bus_stall_clocks == times[-1] - times[0] - 5 * (5, 6)[wait]


def test_the_lcd_never_looks_busy() -> None:
    soc = run(
        lui(BASE, LCD),
        addi(VALUE, 0, 3),
        lw(5, 8, BASE),
        sw(0, 4, BASE),
        lw(6, 8, BASE),
        sw(VALUE, 12, BASE),
        lw(7, 12, BASE),
        lw(8, 0x10C, BASE),
        lw(9, 0, BASE),
    )
    assert soc.registers[5:10] == [2, 2, 3, 3, 0]
    write, read = clocks(soc, LCD + 4)[0], clocks(soc, LCD + 8, is_write=False)[1]
    assert 70 < read - write <= 90


# --- self-modifying code --------------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(("distance", "expected"), [(1, 1), (2, 2), (3, 2)])
def test_a_store_changes_all_but_the_next_instruction(
    distance: int, expected: int, wait: int
) -> None:
    slots = [NOP, NOP, NOP]
    slots[distance - 1] = addi(5, 0, 1)
    setup = program(li(6, addi(5, 0, 2)), lui(7, 0))
    place = 4 * (len(setup) + 1) + 4 * (distance - 1)
    soc = soc_with(program(setup, sw(6, place, 7), slots, finish(5)), wait)
    assert soc.run(1000).value == expected
    assert soc.read(place, 4) == addi(5, 0, 2).to_bytes(4, "little")


def test_a_loop_that_changes_itself() -> None:
    """Each turn adds 1 to the immediate of an instruction of the loop."""
    loop = [addi(5, 5, 0), lw(6, 16, 0), add(6, 6, 7), sw(6, 16, 0), addi(8, 8, -1), bne(8, 0, -20)]
    words = program(lui(7, 1 << 20), addi(8, 0, 10), addi(5, 0, 0), NOP, loop, finish(5))
    for wait in WAITS:
        for trace in (False, True):
            soc = Soc("cs1", ram_wait=wait, trace=trace)
            soc.load(0, words)
            assert soc.run(10_000).value == sum(range(10))


def test_code_loaded_between_runs() -> None:
    soc = soc_with([addi(5, 5, 1), jal(0, -4)])
    while soc.run(1).pc != 0:
        pass
    first = soc.registers[5]
    soc.load(0, [addi(5, 5, 16), *finish(5)])
    assert soc.run(1000).value == first + 16


def test_running_off_the_end_of_ram() -> None:
    soc = Soc("cs1", ram_bytes=16)
    soc.load(0, [NOP] * 4)
    assert soc.run(100) == StopReason("trap", 6 + 12, 16, None, "illegal instruction")


@pytest.mark.parametrize(("target", "wait", "clock"), [(0x8000000, 1, 4 + 4 + 7 + 3)])
def test_jumping_where_no_ram_is(target: int, wait: int, clock: int) -> None:
    soc = soc_with([lui(5, target), jalr(0, 0, 5)], wait)
    assert soc.run(100) == StopReason("trap", clock, target, None, "illegal instruction")


@pytest.mark.parametrize("wait", WAITS)
def test_instructions_out_of_a_device(wait: int) -> None:
    """A product of 1x1 makes a nop in C(0,0); it is fetched without wait, and a 0 follows."""
    setup = program(lui(BASE, ENGINE), addi(VALUE, 0, 1), sw(VALUE, 0x1C, BASE))
    setup += [sw(VALUE, 0x300, BASE), addi(5, 0, NOP), sw(5, 0x100, BASE), sw(VALUE, 0, BASE)]
    soc = soc_with([*setup, NOP, NOP, jalr(1, 0x500, BASE)], wait)
    while soc.run(1).pc != 4 * len(setup) + 8:
        pass
    start = soc.clock
    assert soc.run(6) == StopReason("limit", start + 6, ENGINE + 0x500)
    assert soc.run(1) == StopReason("limit", start + 9, ENGINE + 0x504)
    stop = soc.run(100)
    assert stop == StopReason("trap", start + 12, ENGINE + 0x504, None, "illegal instruction")
    assert soc.registers[1] == 4 * len(setup) + 12


# --- random programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("seed", range(100))
def test_random_programs_step_by_step(seed: int, wait: int) -> None:
    soc = Soc("cs1", ram_wait=wait, ram_bytes=RAM_BYTES, trace=True)
    count, _ = check_steps(soc, RandomProgram(seed, compressed=False).image, 1000)
    assert count > 60


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_without_recording(seed: int) -> None:
    for cpu in ("rv32i", "rv32imc"):
        image = RandomProgram(seed, compressed=cpu == "rv32imc").image
        slow = Soc("cs1", ram_bytes=RAM_BYTES, cpu=cpu, trace=True)
        fast = Soc("cs1", ram_bytes=RAM_BYTES, cpu=cpu)
        for soc in (slow, fast):
            soc.load(0, image)
        assert slow.run(3000) == fast.run(3000)
        assert slow.registers == fast.registers
        assert slow.totals == fast.totals
        assert slow.read(0, RAM_BYTES) == fast.read(0, RAM_BYTES)


def test_the_reference_gives_the_recorded_transfers() -> None:
    checked = 0
    for recorded, wait in PROGRAMS:
        words = soc_programs.words_of(recorded)
        image = b"".join(word.to_bytes(4, "little") for word in words)
        processor = soc_programs.reference(image, wait, False, 4 << 20)
        try:
            while processor.exit_value is None:
                processor.step()
        except rv32_reference.Device:
            continue
        except rv32_reference.Trap as trap:
            assert processor.clock + trap.args[1] == recorded[f"trap_ram{wait}"]
        assert processor.transfers == soc_programs.transfers_of(recorded, wait)
        checked += 1
    assert checked > 10


# --- totals and faults ----------------------------------------------------------------------------


def block_program(size: int) -> list[int]:
    poll = [lw(5, 0, BASE), bne(5, 0, -4)]
    setup = [lui(BASE, ENGINE), addi(VALUE, 0, size), sw(VALUE, 0x1C, BASE), addi(VALUE, 0, 1)]
    return program(setup, sw(VALUE, 0, BASE), poll, lw(6, 0x28, BASE), lw(7, 0x500, BASE), finish())


@pytest.mark.parametrize("wait", WAITS)
def test_totals(wait: int) -> None:
    soc = soc_with(block_program(8), wait)
    soc.run(10_000)
    totals = soc.totals
    reads = [row for row in soc.trace_data if row[2] == 0]
    assert totals.clocks == soc.clock
    assert totals.instructions == soc.instret == 5 + 2 * (len(reads) - 2) + 4
    assert (totals.engine_runs, totals.engine_busy_clocks) == (1, 512)
    assert totals.reads["engine"] == len(reads)
    assert (totals.writes["engine"], totals.writes["no_ram"]) == (2, 1)
    assert totals.bus_stall_clocks == 0


def test_ram_wait_clocks() -> None:
    body = program(lui(8, 0x8000), lw(5, 0, 8), sw(5, 4, 8), beq(0, 0, 8), NOP, jal(0, 4), finish())
    fast, slow = soc_with(body), soc_with(body, 1)
    fast.run(1000)
    slow.run(1000)
    assert fast.totals.ram_wait_clocks == 0
    assert slow.totals.ram_wait_clocks == slow.clock - fast.clock
    quick = Soc("cs1", ram_wait=1)
    quick.load(0, body)
    quick.run(1000)
    assert quick.totals == slow.totals


def test_without_faults_the_engine_ends() -> None:
    assert soc_with(block_program(8)).run(2000).kind == "exit"


def test_fault_never_done() -> None:
    soc = soc_with(block_program(8))
    soc.set_faults(never_done=1)
    assert soc.run(100_000).kind == "limit"
    soc.set_faults()
    assert soc.run(1000).kind == "exit"


def test_fault_done_early() -> None:
    soc = soc_with(block_program(8))
    soc.set_faults(done_after=100)
    soc.run(10_000)
    assert 100 <= soc.registers[6] < 120


def test_fault_changed_read() -> None:
    soc = soc_with(block_program(1))
    sound = soc_with(block_program(1))
    sound.run(1000)
    soc.set_faults(change_read_at=sound.totals.reads["engine"], change_read=0x80)
    soc.run(1000)
    assert (sound.registers[7], soc.registers[7]) == (0, 0x80)


def test_fault_uart_bytes() -> None:
    soc = soc_with(program(*uart_program(*send(*b"hello")), jal(0, 0)))
    soc.set_faults(lose_byte_at=2, change_byte_at=3, change_byte=0x20)
    soc.run(60_000)
    assert soc.uart_output == b"hLlo"


def test_fault_spurious_interrupt() -> None:
    soc = Soc("cs1")
    soc.set_faults(interrupts=1 << 16)
    assert soc.interrupts == 1 << 16
    with pytest.raises(ValueError, match="no fault called 'sparks'"):
        soc.set_faults(sparks=1)


# --- the Python face ------------------------------------------------------------------------------


def test_docstring() -> None:
    results = doctest.testmod(csc.soc)
    assert results.attempted > 3
    assert results.failed == 0


def test_exit_and_limit_go_on() -> None:
    soc = soc_with(program(addi(5, 0, 7), finish(5), addi(5, 5, 1), finish(5)))
    assert soc.run(3) == StopReason("limit", 3, 0)
    assert soc.run(1) == StopReason("limit", 6, 4)
    assert soc.run(100) == StopReason("exit", 13, 12, 7)
    assert (soc.clock, soc.pc, soc.registers[5]) == (13, 12, 7)
    assert soc.run(100) == StopReason("exit", 24, 24, 8)


@pytest.mark.parametrize("access", [sb, sh, sw])
def test_any_store_to_the_exit_word_ends_the_run(access) -> None:
    stop = soc_with([*li(5, 0x1234), lui(6, EXIT_BASE), access(5, 4, 6)]).run(100)
    assert stop.value == {sb: 0x34343434, sh: 0x12341234, sw: 0x1234}[access]


def test_a_misaligned_exit_store_is_an_exit() -> None:
    stop = soc_with([*li(5, 0x1234), lui(6, EXIT_BASE), sw(5, 6, 6)]).run(100)
    assert (stop.kind, stop.value) == ("exit", 0x1234)


def test_long_traces_and_outputs_are_complete() -> None:
    turns = 40_000
    words = program(li(8, turns), lui(9, 0x8000), sw(8, 0, 9), addi(8, 8, -1), bne(8, 0, -8))
    soc = soc_with(program(words, finish()))
    soc.run(10_000_000)
    assert values(soc, 0x8000, is_write=True) == list(range(turns, 0, -1))
    assert soc.totals.writes["ram"] == turns


def test_many_output_bytes_in_one_run() -> None:
    poll = [lw(5, STATUS, BASE), i_type(4, 5, 7, 5), bne(5, 0, -8)]
    loop = [*poll, sw(8, DATA, BASE), addi(8, 8, 1), bne(8, 9, -20)]
    words = uart_program(addi(VALUE, 0, 1), sw(VALUE, BAUD, BASE), *li(9, 5000), *loop, jal(0, 0))
    soc = Soc("cs1")
    soc.load(0, words)
    soc.run(200_000)
    assert soc.uart_output == bytes(n % 256 for n in range(5000))


def test_load_forms() -> None:
    soc = Soc("cs1", ram_bytes=64)
    soc.load(1, b"\1\2\3")
    soc.load(8, [0xAABBCCDD, 1])
    soc.load(60, bytearray(b"last"))
    assert soc.read(0, 16).hex() == "0001020300000000ddccbbaa01000000"
    assert soc.read(60, 4) == b"last"
    assert soc.read(64, 0) == b""
    assert repr(soc) == "<Soc 'cs1' rv32i at clock 0, pc 0x00000000>"


BAD_CALLS = [
    (lambda: Soc("cs7"), ValueError, "There is no chip called 'cs7'"),
    (lambda: Soc("cs1", cpu="z80"), ValueError, "There is no cpu called 'z80'"),
    (lambda: Soc("cs1", ram_wait=2), ValueError, "ram_wait must be between 0 and 1"),
    (lambda: Soc("cs1", ram_wait=True), TypeError, "ram_wait must be an int"),
    (lambda: Soc("cs1", ram_bytes=0), ValueError, "ram_bytes must be between 4"),
    (lambda: Soc("cs1", ram_bytes=1 << 28), ValueError, "ram_bytes must be between 4"),
    (lambda: Soc("cs1", ram_bytes=10), ValueError, "multiple of 4"),
    (lambda: Soc("cs1").load(2, [1]), ValueError, "multiple of 4, got 0x2"),
    (lambda: Soc("cs1").load(0, [1 << 32]), ValueError, "word must be between 0"),
    (lambda: Soc("cs1").load(0, ["a"]), TypeError, "word must be an int"),
    (lambda: Soc("cs1").load((4 << 20) - 2, b"abc"), ValueError, "not inside RAM"),
    (lambda: Soc("cs1").load(UART, b"a"), ValueError, "not inside RAM"),
    (lambda: Soc("cs1").read(4 << 20, 1), ValueError, "not inside RAM"),
    (lambda: Soc("cs1").read(-1, 1), ValueError, "address must be between 0"),
    (lambda: Soc("cs1").run(-1), ValueError, "max_clocks must be between 0"),
    (lambda: Soc("cs1").run(1.5), TypeError, "max_clocks must be an int"),
    (lambda: Soc("cs1").set_gpio_in(1 << 32), ValueError, "pins must be between 0"),
    (lambda: Soc("cs1").uart_input(b"a", 0.5), ValueError, "clocks_per_bit must be between 1"),
    (lambda: Soc("cs1").uart_input(b"a", math.nan), ValueError, "clocks_per_bit must be"),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD_CALLS, ids=range(len(BAD_CALLS)))
def test_bad_arguments_are_refused_in_one_sentence(call, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def elf(machine: int = 243, bits: int = 32, order: str = "<", address: int = 0, extra: int = 0):
    """Return an ELF file with one segment: addi x5, x0, 3; exit."""
    code = b"".join(word.to_bytes(4, "little") for word in [addi(5, 0, 3), *finish(5)])
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    if bits == 64:
        head = struct.pack(order + "HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
        return ident + head + code
    head = struct.pack(order + "HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    sizes = (len(code), len(code) + extra)
    table = struct.pack(order + "IIIIIIII", 1, 84, 0x70000000, address, *sizes, 7, 4)
    return ident + head + table + code


def test_load_elf(tmp_path: Path) -> None:
    path = tmp_path / "firmware.elf"
    path.write_bytes(elf(extra=16))
    soc = Soc("cs1")
    soc.load(12, b"\xff" * 32)
    soc.load_elf(path)
    assert soc.read(12, 20).hex() == "00" * 16 + "ff" * 4  # zeros where the file has none
    assert soc.run(100).value == 3


BAD_ELF = {
    "other machine": (elf(machine=40), "EM_ARM"),
    "64 bits": (elf(bits=64), "64-bit"),
    "big-endian": (elf(order=">"), "big-endian"),
    "outside RAM": (elf(address=4 << 20), "not inside RAM"),
    "too large": (elf(extra=0xFFFFFF00), "not inside RAM"),
    "no ELF": (b"hello", "not an ELF file"),
    "truncated": (elf()[:60], "not an ELF file"),
    "empty": (b"", "not an ELF file"),
}


@pytest.mark.parametrize("name", BAD_ELF)
def test_bad_elf_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.elf"
    content, message = BAD_ELF[name]
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Soc("cs1").load_elf(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_missing_elf_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.elf"):
        Soc("cs1").load_elf(tmp_path / "none.elf")


def test_firmware_of_the_compiler(tmp_path: Path) -> None:
    compiler = "riscv64-unknown-elf-gcc"
    (tmp_path / "a.S").write_text(
        "_start: li a0, 41\n addi a0, a0, 1\n lui t0, 0xf000\n sw a0, 4(t0)"
    )
    command = [compiler, "-march=rv32i", "-mabi=ilp32", "-nostdlib", "-Wl,-Ttext=0", "a.S"]
    try:
        subprocess.run([*command, "-o", "a.elf"], cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"{compiler} is not installed")
    soc = Soc("cs1")
    soc.load_elf(str(tmp_path / "a.elf"))
    assert soc.run(100).value == 42


def test_vectors_name_their_origin() -> None:
    for folder in ("cs1", "cs2cpu"):
        text = (soc_programs.VECTORS / folder / "README.md").read_text()
        assert "redoop/riscv-ai-accelerator" in text
        assert "f8610f7" in text
    assert json.loads((soc_programs.VECTORS / "cs2cpu" / "programs.json").read_text())["programs"]
