"""CS2 in its system on chip: two memories more, their clocks, the queue beside the processor."""

from __future__ import annotations

import struct

import pytest

import csc
from blob_factory import tiny_encoder_blob
from csc import Soc
from plans import command
from rv32_words import NOP, addi, finish, jalr, lb, li, lw, program, sb, sh, sw

SRAM, EXTERNAL, ENGINE = 0x30000000, 0x40000000, 0x10000000
A, B, V = 8, 9, 5
QUEUE = {"control": 0x610, "status": 0x614, "irq": 0x618, "irq_enable": 0x61C}
BASE, SIZE, TAIL = 0x630, 0x634, 0x63C


def run(*parts: list[int], **options: object) -> Soc:
    soc = Soc("cs2", trace=True, **options)
    soc.load(0, program(*parts, finish()))
    assert soc.run(1_000_000).kind == "exit"
    return soc


def in_window(soc: Soc) -> list[tuple[int, int, int, int]]:
    return [row for row in soc.trace_data if SRAM <= row[1] < 0x50000000]


def cost(soc: Soc, words: list[int]) -> int:
    """Return the clocks of the last instruction of a program, behind which a nop stands."""
    soc.load(0, [*words, NOP, NOP, NOP])
    while soc.pc != 4 * (len(words) - 1):
        soc.run(1)
    start = soc.clock
    while soc.pc == 4 * (len(words) - 1):
        soc.run(1)
    return soc.clock - start


# --- memories -------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [SRAM, EXTERNAL])
def test_loads_and_stores_of_every_size(base: int) -> None:
    words = [*li(A, base), *li(V, 0x8899AABB), sw(V, 0, A), sb(V, 5, A), sh(V, 10, A)]
    words += [lw(6, 0, A), lb(7, 5, A), lw(10, 8, A)]
    soc = run(words)
    assert soc.read(base, 12) == bytes.fromhex("bbaa9988 00bb0000 0000bbaa".replace(" ", ""))
    assert soc.registers[6] == 0x8899AABB
    assert soc.registers[7] == 0xFFFFFFBB
    assert soc.registers[10] == 0xAABB0000
    name = "sram" if base == SRAM else "external"
    assert (soc.totals.reads[name], soc.totals.writes[name]) == (3, 3)


@pytest.mark.parametrize("base", [SRAM, EXTERNAL])
def test_behind_the_end_there_is_nothing(base: int) -> None:
    small = {"sram_bytes": 65536, "external_bytes": 65536}
    words = [*li(A, base + 65536), *li(V, 77), sw(V, -4, A), sw(V, 0, A), lw(6, -4, A), lw(7, 0, A)]
    soc = run(words, **small)
    assert soc.registers[6:8] == [77, 0]
    assert soc.read(base + 65532, 4) == struct.pack("<I", 77)


def test_what_the_host_loads_the_processor_reads() -> None:
    soc = Soc("cs2")
    soc.load(SRAM + 128, [11, 22])
    soc.load(EXTERNAL + 64, b"\x21\x00\x00\x00")
    soc.load(0, program(li(A, SRAM), [lw(5, 132, A)], li(A, EXTERNAL), [lw(6, 64, A)], finish()))
    soc.run(10_000)
    assert soc.registers[5:7] == [22, 33]


@pytest.mark.parametrize(
    ("address", "count"),
    [(SRAM - 1, 1), (SRAM + 524288, 1), (SRAM + 524280, 16), (EXTERNAL + (16 << 20), 1)],
)
def test_the_host_reaches_memories_only(address: int, count: int) -> None:
    soc = Soc("cs2")
    with pytest.raises(ValueError, match="nor inside SRAM"):
        soc.load(address, bytes(count))
    with pytest.raises(ValueError, match="nor inside SRAM"):
        soc.read(address, count)


def test_cs1_has_neither() -> None:
    with pytest.raises(ValueError, match="is not inside RAM, which has 4194304 bytes from address"):
        Soc("cs1").load(SRAM, b"1234")
    with pytest.raises(ValueError, match="Only a chip 'cs2'"):
        Soc("cs1", external_bytes=64)
    with pytest.raises(TypeError, match="has no parameters"):
        Soc("cs1", lanes=8)
    with pytest.raises(csc.ChipError, match="has no command queue"):
        _ = Soc("cs1").chip_totals


@pytest.mark.parametrize("count", [-64, 32, (64 << 20) + 64])
def test_sizes_of_the_external_memory(count: int) -> None:
    with pytest.raises(ValueError, match="external_bytes must be"):
        Soc("cs2", external_bytes=count)
    assert Soc("cs2", external_bytes=64 << 20).external_bytes == 64 << 20


def test_parameters() -> None:
    assert Soc("cs2", lanes=8, ext_latency=5).parameters.lanes == 8
    with pytest.raises(ValueError, match="lanes must be"):
        Soc("cs2", lanes=3)
    with pytest.raises(TypeError, match="no parameter 'lane'"):
        Soc("cs2", lane=8)


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [lw(V, 0, A), sw(V, 0, A), sb(V, 1, A)])
def test_the_sram_answers_at_once(word: int) -> None:
    assert cost(Soc("cs2"), [*li(A, SRAM), word]) == 5


@pytest.mark.parametrize("latency", [0, 30, 100])
def test_a_line_of_external_memory(latency: int) -> None:
    """5 clocks of a load, the last of which becomes latency + 16 for a line, + 1 for a store."""
    options = {"ext_latency": latency}
    load, store = lw(V, 0, A), sw(V, 0, A)
    there = li(A, EXTERNAL + 128)
    first = cost(Soc("cs2", **options), [*there, load])
    assert first == 5 + latency + 16 - 1
    assert cost(Soc("cs2", **options), [*there, load, lw(V, 60, A)]) == 5
    assert cost(Soc("cs2", **options), [*there, load, lw(V, 64, A)]) == first
    assert cost(Soc("cs2", **options), [*there, load, sw(V, 8, A), lw(V, 0, A)]) == first
    assert cost(Soc("cs2", **options), [*there, store]) == first - 15


def test_waits_are_counted_as_stalls() -> None:
    soc = Soc("cs2")
    clocks = cost(soc, [*li(A, EXTERNAL), lw(V, 0, A)])
    assert soc.totals.bus_stall_clocks == clocks - 5
    assert soc.chip_totals.ext_bursts == 1 and soc.chip_totals.ext_read == 64


def test_a_transfer_is_traced_with_the_clock_of_its_end() -> None:
    soc = run([*li(A, EXTERNAL), lw(V, 0, A), lw(V, 4, A)])
    (first, *_), (second, *_) = in_window(soc)
    assert second == first + 5


@pytest.mark.parametrize("base", [SRAM, EXTERNAL])
def test_instructions_do_not_come_from_the_windows(base: int) -> None:
    soc = Soc("cs2")
    soc.load(base, [addi(V, 0, 7)])
    soc.load(0, [*li(A, base), jalr(0, 0, A)])
    stop = soc.run(1000)
    assert (stop.kind, stop.cause, stop.pc) == ("trap", "illegal instruction", base)
    assert soc.registers[V] == 0


# --- the queue beside the processor ---------------------------------------------------------------


def ring(commands: int) -> list[int]:
    """Return instructions that give the chip a program at the start of the SRAM."""
    words = li(A, ENGINE + 0x600)
    for place, value in ((BASE, 0), (SIZE, commands), (0x610, 1), (TAIL, commands)):
        words += [*li(V, value), sw(V, place - 0x600, A)]
    return words


def soc_with(commands: bytes, words: list[int], **options: object) -> Soc:
    soc = Soc("cs2", command_trace=True, **options)
    soc.load(SRAM, commands)
    soc.load(0, program(words, finish()))
    return soc


def copy(source: int, target: int, count: int, **fields: int) -> bytes:
    return command("COPY", SOURCE=source, TARGET=target, ROWS=1, ROW_BYTES=count, **fields)


def test_a_copy_runs_while_the_processor_goes_on() -> None:
    soc = soc_with(copy(0x8000, 0x10000, 512, TAG=3), [*ring(1), *[NOP] * 200])
    content = bytes(range(256)) * 2
    soc.load(SRAM + 0x8000, content)
    soc.run(10_000)
    assert soc.read(SRAM + 0x10000, 512) == content
    (event,) = soc.commands
    assert (event.number, event.tag, event.engine) == (0, 3, 0)
    assert event.started < event.completed < soc.clock
    assert soc.chip_totals.commands == 1
    assert soc.chip_totals.clocks == soc.clock


def test_interrupt_line_17() -> None:
    words = [*li(A, ENGINE + 0x600), *li(V, 1), sw(V, 0x1C, A), *ring(1), *[NOP] * 200]
    soc = soc_with(command("NOP"), words)
    soc.run(10_000)
    assert soc.interrupts == 1 << 17
    plain = soc_with(command("NOP"), [*ring(1), *[NOP] * 200])
    plain.run(10_000)
    assert plain.interrupts == 0


def test_the_part_that_is_cs1_raises_line_16() -> None:
    """It is high for one clock, which some delay of the start puts between two instructions."""
    start = [*li(A, ENGINE), *li(V, 2), sw(V, 0x1C, A), *li(V, 1), sw(V, 0, A), *[NOP] * 20]
    seen = {}
    for chip in ("cs1", "cs2"):
        seen[chip] = []
        for delay in range(3):
            soc = Soc(chip, cpu="rv32i")
            soc.load(0, [*[lw(V, 0, 0)] * delay, *start])
            for _ in range(20):
                soc.run(1)
                seen[chip].append(soc.interrupts)
    assert seen["cs1"] == seen["cs2"] and 1 << 16 in seen["cs1"]


def test_a_soc_cs2_and_its_chip_agree_on_clocks() -> None:
    """The same command takes the same clocks in a Chip alone."""
    program_bytes = copy(0x8000, 0x10000, 4096)
    soc = soc_with(program_bytes, [*ring(1), *[NOP] * 400])
    soc.run(10_000)
    (inside,) = soc.commands
    run_alone = csc.Chip("cs2").run(program_bytes, at=0)
    (alone,) = run_alone.events
    assert inside.completed - inside.started == alone.completed - alone.started


def test_faults() -> None:
    soc = soc_with(copy(0x8000, 0x10000, 512), [*ring(1), *[NOP] * 400])
    soc.set_faults(hang_command=1)
    soc.run(10_000)
    assert soc.commands == []
    with pytest.raises(ValueError, match="no fault called 'hang_command'"):
        Soc("cs1").set_faults(hang_command=1)


def test_segments_of_a_firmware_in_every_memory() -> None:
    blob = tiny_encoder_blob()[0]
    with csc.Device("soc:cs2", blob) as device:
        assert device._transport.soc.read(EXTERNAL, len(blob)) == blob
