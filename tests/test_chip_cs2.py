"""Every command of CS2 against the reference, bit for bit, and the Python face of the chip."""

from __future__ import annotations

import re

import numpy as np
import pytest

import csc
from cs2_bench import ChipBench, run_and_compare
from cs2_cases import CASES, STORE, WEIGHTS, Scene
from cs2_reference import decode, encode
from cs2_words import all_fields
from csc.chip import Chip
from csc.errors import ChipError
from csc_convert.cs2_format import COMMANDS, Code, DmaFlag, Engine, GemmFlag

SEEDS = 60
PUBLISHED = {"sram_bytes": 524288, "array": 512, "lanes": 16, "ext_bytes_per_clock": 4}
PUBLISHED |= {"ext_latency": 30, "ext_burst": 4096}
OTHERS = [
    {"array": 1, "lanes": 1},
    {"array": 8, "lanes": 64, "ext_bytes_per_clock": 1},
    {"array": 64, "lanes": 2, "ext_latency": 0, "ext_burst": 64},
    {"lanes": 4, "ext_bytes_per_clock": 64, "ext_latency": 500, "ext_burst": 65536},
]
ID, VERSION, CAPS, SRAM_BYTES = 0x600, 0x604, 0x608, 0x60C
STATUS, IRQ_STATUS, IRQ_ENABLE, HEAD, TAIL = 0x614, 0x618, 0x61C, 0x638, 0x63C
CLOCK_LOW, CLOCK_HIGH = 0x668, 0x66C


# --- every command --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_random_commands(name: str) -> None:
    for seed in range(SEEDS):
        scene = Scene(seed)
        command = CASES[name](scene)
        run_and_compare(scene, [*scene.setup, command])


@pytest.mark.parametrize("parameters", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_other_chips_give_the_same_bits(name: str, parameters: dict) -> None:
    for seed in range(8):
        scene = Scene(1000 + seed)
        command = CASES[name](scene)
        run_and_compare(scene, [*scene.setup, command], **parameters)


def test_the_cases_take_all_commands_and_flags() -> None:
    seen: dict[str, int] = {}
    for make in CASES.values():
        for seed in range(SEEDS):
            scene = Scene(seed)
            for words in [make(scene), *scene.setup]:
                command = decode(words)
                seen[command.name] = seen.get(command.name, 0) | command.fields.get("FLAGS", 0)
    assert seen.keys() | {"FENCE", "NOP"} == COMMANDS.keys()
    assert seen["GEMM"] == sum(GemmFlag)
    assert seen["COPY"] == sum(DmaFlag)
    assert [seen[name] for name in ("NORM", "MUL", "SOFTMAX", "LOOKUP", "POOL", "EMBED")] == [
        7, 7, 3, 5, 15, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("param", [0, 1, 5, 8, 9, 21, 1000])
def test_bounded_rows_and_columns(param: int) -> None:
    scene = Scene(4)
    fields = {"ROWS": 20, "COLUMNS": 20, "ROWS_PARAM": 2, "COLUMNS_PARAM": 4, "ROW_FIRST": 1}
    fields |= scene.tiles("X", (20, 20), 1) | scene.tiles("OUT", (20, 20), 1)
    scene.params = [0, param, 0, 17]
    run_and_compare(scene, [encode("TRANSPOSE", **fields)])


def test_large_products() -> None:
    scene = Scene(5, 1 << 19)
    rows, columns, depth = 128, 200, 256
    fields = {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "CLAMP_LOW": -128}
    fields |= scene.tiles("A", (rows, depth), 1) | scene.tiles("C", (rows, columns), 1)
    fields |= {"B": scene.place(columns * depth), "B_COLUMN": depth // 8, "B_DEPTH": 1}
    fields |= {"REQUANT": scene.put(scene.entries(columns, shift=24)), "CLAMP_HIGH": 127}
    run = run_and_compare(scene, [encode("GEMM", **fields)])
    assert run.clocks >= rows * columns * depth // 512


def test_longest_sums() -> None:
    """The bounds of int32 are not left, and MAX_DEPTH products of extremes are exact."""
    for wide, depth, value in ((0, 65528, -128), (1, 2048, -32768)):
        scene = Scene(6, 1 << 21)
        size = 1 + wide
        fields = {"ROWS": 1, "COLUMNS": 1, "DEPTH": depth}
        fields |= {"A": scene.place(depth * 8 * size), "B": scene.place(depth * 8)}
        a = scene.sram[fields["A"] : fields["A"] + depth * 8 * size]
        a.view(np.int16 if wide else np.int8)[:] = value
        scene.sram[fields["B"] : fields["B"] + depth * 8].view(np.int8)[:] = -128
        fields |= {"C": scene.place(256), "B_DEPTH": 1, "FLAGS": GemmFlag.OUT_INT32 + wide}
        run_and_compare(scene, [encode("GEMM", **fields)])


# --- the Python face ------------------------------------------------------------------------------


def test_the_published_chip_says_what_it_is() -> None:
    chip = Chip("cs2")
    assert vars(chip.parameters) == PUBLISHED
    assert chip.read(ID).to_bytes(4, "little") == b"CS2\0"
    assert [chip.read(each) for each in (VERSION, CAPS, SRAM_BYTES)] == [65536, 1049088, 524288]
    assert chip.read(STATUS) == 1
    assert csc.Chip is Chip


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"array": 7}, ValueError, "array must be one of 1, 8, 64, 512, got 7."),
        ({"lanes": 3}, ValueError, "lanes must be one of 1, 2, 4, 8, 16, 32, 64, got 3."),
        ({"sram_bytes": 65537}, ValueError, "sram_bytes must be a multiple of 4096 from 65536 to"),
        ({"ext_latency": 10001}, ValueError, "ext_latency must be from 0 to 10000, got 10001."),
        ({"ext_burst": 32}, ValueError, "ext_burst must be one of 64, 128"),
        ({"ext_bytes_per_clock": 0}, ValueError, "ext_bytes_per_clock must be one of 1, 2"),
        ({"lanes": 2.5}, TypeError, "lanes must be an int, not float."),
        ({"speed": 1}, TypeError, "CS2 has no parameter 'speed'; its parameters are: sram_bytes"),
        ({"external": -1}, ValueError, "external must be between 0 and"),
        ({"external": "x"}, TypeError, "external must be a number of bytes, bytes, or a buffer"),
        ({"external": memoryview(b"x")}, TypeError, "external must be a number of bytes"),
    ],
)
def test_parameters_are_checked(given: dict, error: type, sentence: str) -> None:
    with pytest.raises(error) as caught:
        Chip("cs2", **given)
    assert str(caught.value).startswith(sentence)


def test_cs1_has_nothing_of_it() -> None:
    with pytest.raises(TypeError, match="CS1 has no parameters"):
        Chip("cs1", lanes=16)
    chip = Chip("cs1")
    for action in (lambda: chip.read_sram(0, 1), lambda: chip.run(b""), lambda: chip.totals):
        with pytest.raises(ChipError, match=r'CS1 has no .*; Chip\("cs2"\) has'):
            action()


def test_memories_behind_the_chips_back() -> None:
    own = bytearray(b"abcdefgh" * 8)
    chip = Chip("cs2", external=own)
    chip.external[0:2] = b"XY"
    assert own[:3] == b"XYc"
    copied = b"abcd" * 16
    other = Chip("cs2", external=copied)
    other.external[0] = 0
    assert copied[:2] == b"ab"
    chip.write_sram(524284, b"1234")
    assert chip.read_sram(524283, 5) == b"\x001234"
    assert chip.clock == 0
    for action in (lambda: chip.write_sram(524285, b"1234"), lambda: chip.read_sram(1, 524288)):
        with pytest.raises(ValueError, match="not inside the SRAM, which has 524288"):
            action()


def test_the_processors_windows() -> None:
    chip = Chip("cs2", external=256)
    assert chip.access_sram(64, 0b0101, 0x11223344) is not None
    assert chip.clock == 1
    assert chip.access_sram(64) == 0x00220044
    chip.access_external(8, 15, 0xAABBCCDD)
    assert chip.external[8:12].tobytes() == bytes.fromhex("ddccbbaa")
    assert chip.access_external(8) == 0xAABBCCDD
    assert [chip.access_external(256), chip.access_sram(524288)] == [0, 0]
    with pytest.raises(ValueError, match="strobes must be between 0 and 15"):
        chip.access_sram(0, 16)


@pytest.mark.parametrize("at", [0, 4096, STORE + 64, WEIGHTS + 128, None])
def test_a_program_runs_from_every_space(at: int | None) -> None:
    scene = Scene(1)
    bench = ChipBench(scene)
    copy = encode("COPY", SOURCE=1000, TARGET=9000, ROWS=1, ROW_BYTES=77)
    run = bench.run([encode("NOP"), copy, encode("FENCE")], at=at)
    assert bench.chip.read_sram(9000, 77) == scene.sram[1000:1077].tobytes()
    assert run.clocks > 0


def test_one_program_after_another_and_independent_chips() -> None:
    chips = [Chip("cs2", external=8192, sram_bytes=65536) for _ in range(2)]
    for number, chip in enumerate(chips):
        chip.write_sram(0, bytes([7 + number]) * 64)
        for step in range(3):
            copy = encode("COPY", SOURCE=64 * step, TARGET=64 * step + 64, ROWS=1, ROW_BYTES=64)
            chip.run(copy.tobytes())
    for number, chip in enumerate(chips):
        assert chip.read_sram(0, 256) == bytes([7 + number]) * 256


def test_wrong_programs_are_refused() -> None:
    chip = Chip("cs2")
    for wrong in (b"", b"1" * 63, [1, 2, 3]):
        with pytest.raises(ValueError, match="A program is at least one descriptor of 64 bytes"):
            chip.run(wrong)
    nop = encode("NOP")
    with pytest.raises(ValueError, match="CS2 has 4 parameters, but 5 were given"):
        chip.run(nop, [1] * 5)
    with pytest.raises(ValueError, match="not inside the external memory"):
        chip.run(nop, at=STORE)
    with pytest.raises(TypeError, match="word must be an int"):
        chip.run([1.5] * 16)


# --- counts and traces ----------------------------------------------------------------------------


def test_trace_and_totals_tell_what_ran() -> None:
    scene = Scene(2)
    bench = ChipBench(scene)
    copy = encode("COPY", SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=4096, TAG=5)
    turn = encode("TRANSPOSE", X=0, OUT=8192, ROWS=8, COLUMNS=64, X_ROW=8, OUT_ROW=1, TAG=6,
                  WAIT_ON=1, WAIT_DMA=1)  # fmt: skip
    run = bench.run([copy, turn])
    first, second = run.events
    assert (first.code, first.engine, first.number, first.tag) == (Code.COPY, Engine.DMA, 0, 5)
    assert (second.code, second.engine, second.number, second.tag) == (0x38, Engine.VECTOR, 1, 6)
    assert (first.waited_for, second.waited_for) == (0, 1)
    for event in run.events:
        assert run.start < event.dispatched < event.ready <= event.started < event.completed
    assert first.completed <= second.started
    assert run.end == second.completed
    totals = bench.chip.totals
    assert (totals.commands, totals.clocks) == (2, bench.chip.clock)
    assert totals.ext_read == 4096 + 2 * 64
    assert totals.ext_written == 0
    assert totals.line_writes == 64 + 8
    assert totals.busy["block"] == 0
    assert totals.busy["dma"] == first.completed - first.started
    assert totals.busy["vector"] == second.completed - second.started
    assert first.started - first.ready == 1  # nothing waited for: it starts in the next clock
    assert totals.wait["vector"] == second.started - second.ready - 1


def test_a_trace_that_is_full_counts_what_it_loses() -> None:
    chip = Chip("cs2", sram_bytes=65536)
    copy = encode("COPY", SOURCE=0, TARGET=64, ROWS=1, ROW_BYTES=64)
    chip.run(np.stack([copy] * 3))
    assert (chip.events, chip.events_lost) == ([], 0)  # run ends its own trace
    chip.trace(1)
    chip.write(0x610, 2)
    chip.write(0x610, 1)
    chip.write(TAIL, 3)
    chip.step(500)
    assert (len(chip.events), chip.events_lost) == (1, 2)


def test_interrupts_of_the_queue() -> None:
    chip = Chip("cs2", sram_bytes=65536)
    chip.run(encode("NOP"))
    assert chip.read(IRQ_STATUS) == 1
    assert not chip.queue_irq
    chip.write(IRQ_ENABLE, 1)
    assert chip.queue_irq
    assert not chip.irq
    chip.write(IRQ_STATUS, 1)
    assert not chip.queue_irq


def test_the_clock_registers_are_one_number() -> None:
    chip = Chip("cs2")
    chip.step(2**32 - 5)
    clock = chip.clock
    low = chip.read(CLOCK_LOW)
    chip.step(10)
    assert low + 2**32 * chip.read(CLOCK_HIGH) == clock
    assert chip.read(CLOCK_LOW) + 2**32 * chip.read(CLOCK_HIGH) == chip.clock - 2


# --- commands by name -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_by_name_is_its_descriptor(name):
    words = {field: place for field, place in all_fields(name).items() if field != "CODE"}
    for field, (_, _, bits, signed) in words.items():
        value = -(1 << bits - 1) if signed else (1 << bits) - 1
        assert csc.command(name, **{field: value}) == encode(name, **{field: value}).tobytes()


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("JUMP", {}, "CS2 has no command 'JUMP'; its commands are: FENCE, NOP"),
        ("COPY", {"A": 1}, "COPY has no field 'A'; its fields are: CODE, BATCH"),
        ("COPY", {"ROWS": 1 << 16}, "COPY.ROWS must be between 0 and 65535, got 65536."),
        ("GEMM", {"CLAMP_LOW": -32769}, "GEMM.CLAMP_LOW must be between -32768 and 32767"),
    ],
)
def test_a_command_that_is_none(name, fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        csc.command(name, **fields)
