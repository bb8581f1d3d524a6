"""The tables of CHIP.md on the system on chip: the model and the recordings must give them."""

from __future__ import annotations

import csv
import re

import pytest

import soc_programs
from csc import Soc
from rv32_words import (
    EBREAK,
    ECALL,
    NOP,
    add,
    addi,
    auipc,
    beq,
    i_type,
    jal,
    jalr,
    li,
    lui,
    lw,
    program,
    r_type,
    sb,
    sh,
    sw,
)
from test_chip_md import ROOT, table

A, X, Y = 8, 5, 6  # registers: an address, operands
TEXT = (ROOT / "CHIP.md").read_text(encoding="utf-8")


def recorded() -> dict[str, dict[str, str]]:
    with (soc_programs.VECTORS / "cs2cpu" / "cycles.csv").open(newline="") as file:
        return {row["instruction"]: row for row in csv.DictReader(file)}


def last_step(setup: list[int], word: int, wait: int) -> tuple[Soc, int]:
    """Execute set-up and one instruction; return the chip and the start of that instruction."""
    soc = Soc("cs1", ram_wait=wait, trace=True)
    soc.load(0, [*setup, word, NOP, NOP, NOP])
    while soc.run(0).pc != 4 * len(setup):
        soc.run(1)
    start = soc.clock
    soc.run(1)
    return soc, start


def spent(setup: list[int], word: int, wait: int) -> int:
    soc, start = last_step(setup, word, wait)
    return soc.clock - start


def is_one_of(soc: Soc, address: int) -> str:
    """Return the region that a load from an address counts in."""
    soc.load(0, [*li(A, address), lw(5, 0, A)])
    soc.run(30)
    return next(name for name, count in soc.totals.reads.items() if count)


REGIONS = [
    *(("cs1", row) for row in table("regions")),
    *(("cs2", row) for row in table("cs2 regions")),
]


@pytest.mark.parametrize(("chip", "row"), REGIONS, ids=lambda each: each[0] if each else "")
def test_regions(chip: str, row: list[str]) -> None:
    first, last = int(row[0], 16), int(row[1], 16)
    name = row[2].split()[0].strip(",:")
    region = {"RAM": "ram", "block": "engine", "second": "other"}.get(name, name.lower())
    assert is_one_of(Soc(chip), first) == region
    top = is_one_of(Soc(chip), last - 3)
    assert top == ("no_ram" if region == "ram" else region)
    assert is_one_of(Soc(chip), (last + 1) % 2**32) != region or region == "other"


def test_the_gaps_between_the_regions() -> None:
    assert is_one_of(Soc(), 0x10002000) == is_one_of(Soc(), 0x20030000) == "other"
    assert is_one_of(Soc(), 0x30000000) == is_one_of(Soc(), 0x40000000) == "other"
    assert is_one_of(Soc("cs2"), 0x10001000) == is_one_of(Soc("cs2"), 0x34000000) == "other"
    assert Soc().ram_bytes == 4 << 20


CLOCKS = {
    "arithmetic, logic, comparison, lui, auipc, fence": [
        ([], word)
        for word in (
            add(7, X, Y),
            addi(7, X, 1),
            r_type(0, Y, X, 2, 7),
            r_type(0, Y, X, 7, 7),
            lui(7, 4096),
            auipc(7, 4096),
            0x0FF0000F,
        )
    ],
    "load or store, RAM": [(li(A, 0x8000), each(7, 0, A)) for each in (lw, sw, sb, sh)],
    "load or store, elsewhere": [
        (li(A, address), each(7, 0, A))
        for each in (lw, sw)
        for address in (0x10000000, 0x10001000, 0x20000000, 0x20020000, 0x30000000)
    ],
    "branch not taken": [(li(X, 1), beq(X, 0, 8))],
    "branch taken": [([], beq(0, 0, 8)), ([], beq(0, 0, 4))],
    "jal": [([], jal(1, 8))],
    "jalr": [([], jalr(1, 4, 0))],
    "reading a counter": [([], i_type(n, 0, 2, 7, 0x73)) for n in (0xC00, 0xC01, 0xC02, 0xC80)],
}


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("row", table("clocks"), ids=lambda row: row[0])
def test_clocks(row: list[str], wait: int) -> None:
    text = row[1 + wait]
    if row[0].startswith("shift by s"):
        for s in range(32):
            expected = eval(text.replace("div", "//").replace("mod", "%"), {"s": s})
            assert spent([], i_type(s, X, 1, 7), wait) == expected
            assert spent(li(Y, s), r_type(0x20, Y, X, 5, 7), wait) == expected
        return
    for setup, word in CLOCKS[row[0]]:
        assert spent(setup, word, wait) == int(text), hex(word)


EVENTS = {
    "data transfer completes, RAM": (li(A, 0x8000), lw(7, 0, A)),
    "data transfer completes, elsewhere": (li(A, 0x20000000), sw(7, 8, A)),
    "trap rises: illegal instruction, ecall, ebreak": ([], 0),
    "trap rises: misaligned load or store": (li(A, 0x8000), sw(7, 2, A)),
    "trap rises: jal to an address with bit 1 set": ([], jal(1, 6)),
    "trap rises: taken branch to one": ([], beq(0, 0, 6)),
    "trap rises: jalr to one": ([], jalr(1, 6, 0)),
}


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("row", table("events"), ids=lambda row: row[0])
def test_events(row: list[str], wait: int) -> None:
    expected = int(row[1 + wait])
    if row[0].startswith("value that rdcycle"):
        soc, start = last_step([NOP], i_type(0xC00, 0, 2, 7, 0x73), wait)
        assert soc.registers[7] - start == expected
        return
    soc, start = last_step(*EVENTS[row[0]], wait)
    clock = soc.trace_data[-1][0] if row[0].startswith("data") else soc.clock
    assert clock - start == expected
    if "illegal" in row[0]:
        assert [spent([], word, wait) for word in (ECALL, EBREAK)] == [expected] * 2


def test_first_start() -> None:
    first = re.search(r"starts in clock (\d) with RAM wait 0 and in clock (\d) with", TEXT)
    assert [Soc(ram_wait=wait).run(0).clock for wait in (0, 1)] == [int(n) for n in first.groups()]
    stop = int(re.search(r"traps in clock (\d) on the first word", TEXT).group(1))
    assert Soc().run(1000).clock == stop


def test_numbers_in_sentences() -> None:
    """These stand in the text; test_soc_cs1.py and test_soc_cs2cpu.py measure them."""
    for words in ("3 to 870 clocks", "9548 clocks at 868", "20329 are illegal", "every 80 clocks"):
        assert words in TEXT


def test_lcd_numbers() -> None:
    low, high = map(int, re.search(r"holds the LCD for (\d+) to (\d+) clocks", TEXT).groups())
    held = set()
    for nops in range(10):
        soc = Soc(trace=True)
        soc.load(0, program(lui(A, 0x20010000), [NOP] * nops, [sw(0, 4, A)] * 3))
        soc.run(400)
        clocks = [row[0] for row in soc.trace_data]
        held.add(clocks[1] - clocks[0])
        assert clocks[2] - clocks[1] == 80
    assert (min(held), max(held)) == (low, high)


CS2_NEXT = {
    "arithmetic, logic, comparison, lui, auipc, shift, fence, branch not taken": [
        *("add", "xor", "slti", "lui", "auipc", "slli by any amount", "sra by any amount"),
        *("fence", "beq not taken", "c.addi", "c.srai by any amount", "c.bnez not taken"),
    ],
    "load or store, RAM": ["lw RAM", "sb RAM", "lb RAM +3", "c.lwsp RAM", "c.sw RAM"],
    "load or store, elsewhere": ["lw outside RAM range", "c.sw outside RAM range"],
    "reading a counter": ["rdcycle", "rdinstret", "rdtimeh"],
    "mul, mulh, mulhsu, mulhu": [f"{name} 0x5 0x7" for name in ("mul", "mulh", "mulhsu", "mulhu")],
    "div, divu, rem, remu": [f"{name} 0x5 0x7" for name in ("div", "divu", "rem", "remu")],
    "misaligned load or store, until trap rises": ["misaligned load or store: start to trap high"],
}
TAKEN = "{} taken; instruction behind the branch is {}"
CS2_JUMPS = {
    "jal, c.j, c.jal": ["jal", "c.j", "c.jal"],
    "jalr, c.jr, c.jalr": ["jalr", "c.jr", "c.jalr"],
    "branch taken, C behind it": [TAKEN.format(each, "C") for each in ("beq", "c.bnez")],
    "branch taken, W behind it": [TAKEN.format(each, "W") for each in ("bne", "c.bnez")],
}


def recorded_cells(row: dict[str, str]) -> list[str]:
    return [row[f"wait{wait}_next_{kind}"] for wait in (0, 1) for kind in "ACW"]


@pytest.mark.parametrize("row", table("cs2 next"), ids=lambda row: row[0])
def test_cs2_next(row: list[str]) -> None:
    rows = recorded()
    for name in CS2_NEXT[row[0]]:
        assert recorded_cells(rows[name]) == row[1:], name


@pytest.mark.parametrize("row", table("cs2 jumps"), ids=lambda row: row[0])
def test_cs2_jumps(row: list[str]) -> None:
    if row[0] in CS2_JUMPS:
        rows = recorded()
        assert [recorded_cells(rows[name]) for name in CS2_JUMPS[row[0]]] == [row[1:]] * len(
            CS2_JUMPS[row[0]]
        )
        return
    ends = "does not end" if row[0].endswith("A behind it") else "ends"
    with (soc_programs.VECTORS / "cs2cpu" / "cycles.csv").open(newline="") as file:
        found = [
            recorded_cells(each)
            for each in csv.DictReader(file)
            if "taken; instruction behind the branch is A" in each["instruction"]
            and f"fall-through word {ends} in binary 11" in each["note"]
        ]
    assert found == [row[1:]] * 3


JUMP_PARTS = {
    "jal, c.j, c.jal": "jal",
    "jalr, c.jr, c.jalr": "jalr",
    "branch taken, A behind it": "A",
    "branch taken, A behind it, bits 17 and 16 of that word both 1": "odd",
    "branch taken, C behind it": "C",
    "branch taken, W behind it": "W",
}


def halves(*words: tuple[int, int]) -> bytes:
    return b"".join(word.to_bytes(size, "little") for word, size in words)


C_NOP = (0x0001, 2)


def jump_image(what: str, target: str) -> tuple[bytes, int]:
    """Return a program with a jump and the address of the jump."""
    pad = [] if what in ("jal", "jalr", "A", "odd") else [C_NOP]
    behind = {"odd": [(0x00030001, 4)], "C": [C_NOP], "W": [(NOP, 4)]}.get(what, [C_NOP, C_NOP])
    place = sum(size for _, size in pad)
    end = place + 4 + sum(size for _, size in behind)
    goal = (end + 3) // 4 * 4 + 8 + (0 if target == "A" else 2)
    word = {"jal": jal(0, goal), "jalr": jalr(0, goal, 0)}.get(what, beq(0, 0, goal - place))
    image = halves(*pad, (word, 4), *behind).ljust(goal, b"\0")
    body = C_NOP if target == "C" else (NOP, 4)
    return image + halves(body, (NOP, 4)), place


@pytest.mark.parametrize("wait", [0, 1])
@pytest.mark.parametrize("target", ["A", "C", "W"])
@pytest.mark.parametrize("row", table("cs2 jumps"), ids=lambda row: row[0])
def test_cs2_jumps_of_the_model(row: list[str], target: str, wait: int) -> None:
    image, place = jump_image(JUMP_PARTS[row[0]], target)
    soc = Soc("cs1", cpu="rv32imc", ram_wait=wait)
    soc.load(0, image)
    while soc.run(0).pc != place:
        soc.run(1)
    start = soc.clock
    assert soc.run(1).clock - start == int(row[1 + 3 * wait + "ACW".index(target)])
