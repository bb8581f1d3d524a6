"""What CS2 refuses and what goes wrong in it: causes, places, untouched memory, and recovery."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cs2_bench import ChipBench
from cs2_cases import CASES, PROGRAM, STORE, WEIGHTS, WEIGHTS_BYTES, Scene
from cs2_reference import CommandError, encode
from csc.chip import Chip, ChipFaults
from csc.errors import ChipError
from csc_convert.cs2_format import COMMANDS, HEADER, Cause, Code, Engine

SRAM = 1 << 16
FREE = {"X": 0, "OUT": 8192, "ROWS": 16, "COLUMNS": 24}
ROWS = {"X_ROW": 6, "OUT_ROW": 6}
NARROW = {"X_ROW": 3, "OUT_ROW": 3}
BASES: dict[str, dict[str, int]] = {
    "COPY": {"SOURCE": WEIGHTS, "TARGET": 4096, "SOURCE_STRIDE": 128, "TARGET_STRIDE": 128,
             "ROWS": 8, "ROW_BYTES": 100},
    "GEMM": {"A": 0, "B": 8192, "C": 16384, "REQUANT": 32768, "A_ROW": 4, "B_COLUMN": 4,
             "B_DEPTH": 1, "C_ROW": 12, "ROWS": 16, "COLUMNS": 24, "DEPTH": 32, "CLAMP_LOW": -128,
             "CLAMP_HIGH": 127, "A_BATCH": 8, "B_BATCH": 12, "C_BATCH": 24, "RECIP_BATCH": 2},
    "BLOCK_TABLE": {"A": 64, "FLAGS": 1},
    "GEOMETRY": {"IN_WIDTH": 8, "IN_HEIGHT": 8, "OUT_WIDTH": 8, "OUT_HEIGHT": 8,
                 "KERNEL_WIDTH": 3, "KERNEL_HEIGHT": 3, "STRIDE_X": 1, "STRIDE_Y": 1},
    "NORM": {"X": 0, "OUT_A": 8192, "ROWS": 16, "COLUMNS": 24, "X_ROW": 6, "OUT_A_ROW": 6,
             "OUT_B": 16384, "OUT_B_ROW": 6, "AFFINE_A": 24576, "AFFINE_B": 28672,
             "EPSILON_LOW": 1, "SHIFT_A": 10, "SHIFT_B": 10, "FLAGS": 2},
    "ADD": FREE | ROWS | {"Y": 4096, "Y_ROW": 6, "SHIFT": 10},
    "MUL": FREE | NARROW | {"Y": 4096, "Y_ROW": 3, "SHIFT": 10},
    "SOFTMAX": FREE | {"X_ROW": 12, "OUT_ROW": 3, "MASK": 16384, "RECIP": 20480, "REQUANT": 24576,
                       "FLAGS": 1, "X_BATCH": 24, "OUT_BATCH": 6, "RECIP_BATCH": 2},
    "LOOKUP": FREE | NARROW | {"SHIFT": 1},
    "POOL": FREE | {"X_ROW": 3, "MASK": 16384, "SHIFT": 1, "FLAGS": 12},
    "EMBED": FREE | {"X_ROW": 3, "OUT_ROW": 6, "Y": 16384, "Y_ROW": 6, "SCALE": 24576, "SHIFT": 6,
                     "TABLE": 28672, "INDEX": 32768, "INDEX_LIMIT": 3, "FLAGS": 1},
    "VECTOR_TABLE": {"X": 64},
    "TRANSPOSE": FREE | NARROW,
    "NOP": {},
    "FENCE": {},
}  # fmt: skip
SETUP = [encode("GEOMETRY", **BASES["GEOMETRY"]), encode("VECTOR_TABLE", X=64)]
CONTEXT, CONV, DEPTHWISE = 64, 128, 256

# Command, changed fields, cause, word (of which field).
REFUSED: list[tuple[str, dict[str, int], Cause, str]] = [
    *((name, {"BATCH": 0}, Cause.SHAPE, "BATCH") for name in BASES),
    *((name, {"BATCH": 2}, Cause.SHAPE, "BATCH") for name in BASES
      if name not in ("GEMM", "SOFTMAX")),
    *((name, {"ROWS_PARAM": 5}, Cause.VALUE, "ROWS_PARAM") for name in BASES),
    *((name, {"COLUMNS_PARAM": 7}, Cause.VALUE, "COLUMNS_PARAM") for name in BASES),
    *((name, {"DEPTH_PARAM": 1}, Cause.VALUE, "DEPTH_PARAM") for name in BASES if name != "GEMM"),
    *((name, {"SOURCE_PARAM": 1}, Cause.VALUE, "SOURCE_PARAM") for name in BASES if name != "COPY"),
    *((name, {field: 0}, Cause.SHAPE, field) for name, base in BASES.items()
      for field in ("ROWS", "COLUMNS", "DEPTH", "ROW_BYTES", "IN_WIDTH", "IN_HEIGHT", "OUT_WIDTH",
                    "OUT_HEIGHT") if field in base),
    *((name, {field: SRAM - 64}, Cause.RANGE, field) for name, base in BASES.items()
      for field in ("X", "Y", "OUT", "A", "B", "C", "OUT_A", "OUT_B", "AFFINE_A", "TABLE")
      if field in base),
    *((name, {field: base[field] + 32}, Cause.ALIGNMENT, field) for name, base in BASES.items()
      for field in ("X", "Y", "OUT", "A", "B", "C", "REQUANT", "OUT_A", "OUT_B", "AFFINE_A", "MASK",
                    "AFFINE_B", "RECIP", "SCALE", "TABLE", "INDEX")
      if field in base and (name, field) != ("SOFTMAX", "REQUANT")),
    *((name, {field: space + base[field]}, Cause.RANGE, field) for name, base in BASES.items()
      for field in ("X", "Y", "OUT", "A", "B", "C", "RECIP", "MASK") if field in base
      for space in (WEIGHTS, STORE, 3 << 30)),
    ("SOFTMAX", {"REQUANT": 24580}, Cause.ALIGNMENT, "REQUANT"),
    ("SOFTMAX", {"COLUMNS": 8193}, Cause.SHAPE, "COLUMNS"),
    ("SOFTMAX", {"FLAGS": 4}, Cause.VALUE, "FLAGS"),
    ("SOFTMAX", {"BATCH": 255}, Cause.RANGE, "X"),
    ("NORM", {"COLUMNS": 4097}, Cause.SHAPE, "COLUMNS"),
    ("NORM", {"SHIFT_A": 0}, Cause.VALUE, "SHIFT_A"),
    ("NORM", {"SHIFT_A": 30}, Cause.VALUE, "SHIFT_A"),
    ("NORM", {"SHIFT_B": 30}, Cause.VALUE, "SHIFT_B"),
    ("NORM", {"ZERO_A": 32769}, Cause.VALUE, "ZERO_A"),
    ("NORM", {"ZERO_B": -32769}, Cause.VALUE, "ZERO_B"),
    ("NORM", {"EPSILON_LOW": 0}, Cause.VALUE, "EPSILON_LOW"),
    ("NORM", {"EPSILON_HIGH": 1 << 22}, Cause.VALUE, "EPSILON_HIGH"),
    ("ADD", {"MULTIPLIER_X": 16385}, Cause.VALUE, "MULTIPLIER_X"),
    ("ADD", {"MULTIPLIER_Y": 16385}, Cause.VALUE, "MULTIPLIER_Y"),
    ("ADD", {"SHIFT": 30}, Cause.VALUE, "SHIFT"),
    ("MUL", {"MULTIPLIER": 32768}, Cause.VALUE, "MULTIPLIER"),
    ("MUL", {"SHIFT": 47}, Cause.VALUE, "SHIFT"),
    ("MUL", {"ZERO_X": 32769}, Cause.VALUE, "ZERO_X"),
    ("MUL", {"ZERO_Y": -32769}, Cause.VALUE, "ZERO_Y"),
    ("MUL", {"ZERO_POINT": 32769}, Cause.VALUE, "ZERO_POINT"),
    ("MUL", {"FLAGS": 8}, Cause.VALUE, "FLAGS"),
    ("LOOKUP", {"SHIFT": 0}, Cause.VALUE, "SHIFT"),
    ("LOOKUP", {"ZERO_POINT": -32769}, Cause.VALUE, "ZERO_POINT"),
    ("LOOKUP", {"FLAGS": 4, "OUT_ROW": 6}, Cause.VALUE, "FLAGS"),  # the table holds int8
    ("POOL", {"MULTIPLIER": 65535}, Cause.VALUE, "MULTIPLIER"),
    ("POOL", {"ZERO_X": 32769}, Cause.VALUE, "ZERO_X"),
    ("EMBED", {"SHIFT": 0}, Cause.VALUE, "SHIFT"),
    ("EMBED", {"INDEX_LIMIT": 0}, Cause.SHAPE, "INDEX_LIMIT"),
    ("EMBED", {"INDEX_LIMIT": 65535}, Cause.RANGE, "TABLE"),
    ("GEOMETRY", {"KERNEL_WIDTH": 0}, Cause.VALUE, "KERNEL_WIDTH"),
    ("GEOMETRY", {"KERNEL_HEIGHT": 16}, Cause.VALUE, "KERNEL_HEIGHT"),
    ("GEOMETRY", {"STRIDE_X": 3}, Cause.VALUE, "STRIDE_X"),
    ("GEOMETRY", {"STRIDE_Y": 0}, Cause.VALUE, "STRIDE_Y"),
    ("GEOMETRY", {"PAD_LEFT": 3}, Cause.VALUE, "PAD_LEFT"),
    ("GEOMETRY", {"PAD_TOP": 3}, Cause.VALUE, "PAD_TOP"),
    ("BLOCK_TABLE", {"FLAGS": 2}, Cause.VALUE, "FLAGS"),
    ("GEMM", {"DEPTH": 65529}, Cause.BOUND, "DEPTH"),
    ("GEMM", {"DEPTH": 2049, "FLAGS": 1}, Cause.BOUND, "DEPTH"),
    ("GEMM", {"DEPTH": 8193, "FLAGS": CONTEXT}, Cause.BOUND, "DEPTH"),
    ("GEMM", {"DEPTH": 8000, "FLAGS": CONV, "ROWS": 0}, Cause.BOUND, "DEPTH"),
    ("GEMM", {"FLAGS": CONV}, Cause.SHAPE, "ROWS"),
    ("GEMM", {"FLAGS": DEPTHWISE, "ROWS": 0}, Cause.SHAPE, "COLUMNS"),
    ("GEMM", {"FLAGS": CONV, "ROWS": 0, "BATCH": 2}, Cause.SHAPE, "BATCH"),
    ("GEMM", {"FLAGS": CONV, "ROWS": 0, "COLUMNS_PARAM": 1}, Cause.VALUE, "COLUMNS_PARAM"),
    ("GEMM", {"FLAGS": 3}, Cause.VALUE, "FLAGS"),
    ("GEMM", {"FLAGS": 8 + 16}, Cause.VALUE, "FLAGS"),
    ("GEMM", {"FLAGS": 32, "CLAMP_LOW": 0}, Cause.VALUE, "FLAGS"),  # no table was loaded
    ("GEMM", {"FLAGS": 512}, Cause.VALUE, "FLAGS"),
    ("GEMM", {"CLAMP_LOW": 127, "CLAMP_HIGH": 126}, Cause.VALUE, "CLAMP_LOW"),
    ("GEMM", {"CLAMP_HIGH": 128}, Cause.VALUE, "CLAMP_HIGH"),
    ("GEMM", {"BATCH": 255, "A_BATCH": 0, "C_BATCH": 0}, Cause.RANGE, "B"),
    ("GEMM", {"FLAGS": CONTEXT, "RECIP": SRAM - 64}, Cause.RANGE, "RECIP"),
    ("GEMM", {"FLAGS": CONTEXT, "REQUANT": 32772}, Cause.ALIGNMENT, "REQUANT"),
    ("COPY", {"TARGET": WEIGHTS}, Cause.RANGE, "TARGET"),
    ("COPY", {"SOURCE": WEIGHTS + WEIGHTS_BYTES - 995}, Cause.RANGE, "SOURCE"),
    ("COPY", {"SOURCE": 3 << 30}, Cause.RANGE, "SOURCE"),
    ("COPY", {"SOURCE_STRIDE": 2**32 - 1}, Cause.RANGE, "SOURCE"),
    ("COPY", {"TARGET": SRAM - 995}, Cause.RANGE, "TARGET"),
    ("COPY", {"ROW_BYTES": 2**31}, Cause.SHAPE, "ROW_BYTES"),
    ("COPY", {"FLAGS": 16}, Cause.VALUE, "FLAGS"),
    ("COPY", {"FLAGS": 9, "SOURCE": 0, "INDEX_LIMIT": 9}, Cause.VALUE, "FLAGS"),
    ("COPY", {"FLAGS": 1}, Cause.RANGE, "SOURCE"),
    ("COPY", {"FLAGS": 2, "TARGET": STORE}, Cause.RANGE, "TARGET"),
    ("COPY", {"FLAGS": 2, "TARGET": 4100}, Cause.ALIGNMENT, "TARGET"),
    ("COPY", {"FLAGS": 6, "TARGET_STRIDE": 136}, Cause.ALIGNMENT, "TARGET_STRIDE"),
    ("COPY", {"FLAGS": 8}, Cause.SHAPE, "INDEX_LIMIT"),
    ("COPY", {"FLAGS": 8, "INDEX_LIMIT": 9, "INDEX": 2}, Cause.ALIGNMENT, "INDEX"),
    ("COPY", {"FLAGS": 8, "INDEX_LIMIT": 9, "INDEX": SRAM - 28}, Cause.RANGE, "INDEX"),
    ("COPY", {"FLAGS": 8, "INDEX_LIMIT": 9999}, Cause.RANGE, "SOURCE"),
    ("COPY", {"SOURCE_PARAM": 1}, Cause.RANGE, "SOURCE"),
    ("COPY", {"TARGET_PARAM": 1}, Cause.RANGE, "TARGET"),
]  # fmt: skip


def make_scene() -> Scene:
    scene = Scene(3, SRAM)
    scene.params = [1000, 0, 0, 0]
    scene.sram[32768:32832].view(np.int32)[:] = [0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2, 0, 0, 1, 1, 1]
    return scene


def fail(bench: ChipBench, program: list, **options) -> ChipError:
    with pytest.raises(ChipError) as caught:
        bench.run(program, **options)
    return caught.value


def assert_recovers(bench: ChipBench, scene: Scene) -> None:
    """The next program runs as on a chip that never failed."""
    scene.sram[:] = bench.sram
    scene.store[:PROGRAM] = bench.stored
    reference = scene.reference(check_hazards=True)
    program = [
        encode("COPY", SOURCE=WEIGHTS, TARGET=4096, ROWS=1, ROW_BYTES=2000),
        encode(
            "TRANSPOSE", **BASES["TRANSPOSE"] | {"X": 4096, "OUT": 61440}, WAIT_ON=1, WAIT_DMA=1
        ),
        encode("GEMM", **BASES["GEMM"] | {"FLAGS": 16}),
    ]
    reference.execute(np.stack(program))
    assert len(bench.run(program).events) == 3
    bench.assert_same(reference)
    assert bench.chip.read(0x620) == 0


# --- refused commands -----------------------------------------------------------------------------


def test_the_bases_are_valid() -> None:
    for name, fields in BASES.items():
        ChipBench(make_scene()).run([*SETUP, encode(name, **fields)])
    assert BASES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_bad_command_is_refused(case: tuple) -> None:
    name, changes, cause, field = case
    scene = make_scene()
    code, engine, fields = COMMANDS[name]
    word = {"BATCH": 0}.get(field, 2 if "PARAM" in field else fields.get(field, (0,))[0])
    bad = encode(name, **BASES[name] | changes, TAG=77)
    first = encode("COPY", SOURCE=0, TARGET=40000, ROWS=1, ROW_BYTES=64)
    later = encode("COPY", SOURCE=0, TARGET=50000, ROWS=1, ROW_BYTES=64)
    bench = ChipBench(scene)
    program = [first, *SETUP, encode("FENCE"), bad, later]
    error = fail(bench, program)
    number = len(program) - 2
    got = error.cause, error.info, error.command, error.tag, error.engine
    assert got == (cause.name, word, number, 77, engine)
    assert bench.chip.read(0x620) == cause | Engine[engine] << 8 | code << 16
    reference = scene.reference()
    with pytest.raises(CommandError) as caught:
        reference.execute(np.stack(program))
    refused = caught.value
    assert (refused.cause, refused.info, refused.number, refused.tag) == (cause, word, number, 77)
    bench.assert_same(reference)
    assert_recovers(bench, scene)


@pytest.mark.parametrize("name", COMMANDS)
def test_reserved_bits_are_refused(name: str) -> None:
    used = [0] * 16
    for word, low, bits, _ in (HEADER | COMMANDS[name][2]).values():
        used[word] |= (1 << bits) - 1 << low
    free = [(word, bit) for word in range(16) for bit in range(32) if not used[word] >> bit & 1]
    for word, bit in random.Random(1).sample(free, min(5, len(free))):
        words = encode(name, **BASES[name], TAG=3)
        words[word] |= 1 << bit
        bench = ChipBench(make_scene())
        error = fail(bench, [words])
        assert (error.cause, error.info, error.tag) == ("CODE", COMMANDS[name][0], 3)
        assert error.engine == COMMANDS[name][1]
        bench.assert_untouched()


@pytest.mark.parametrize("code", [0, 3, 0x0F, 0x23, 0x39, 0xFF])
def test_unknown_codes_are_refused(code: int) -> None:
    words = encode("NOP", TAG=9)
    words[0] = words[0] & 0xFFFFFF00 | code
    bench = ChipBench(make_scene())
    error = fail(bench, [encode("NOP"), words])
    got = error.cause, error.info, error.command, error.tag, error.engine
    assert got == ("CODE", code, 1, 9, "CONTROL")
    assert str(error).startswith("CS2 stopped with CODE at command 1 (")
    bench.assert_untouched()
    assert_recovers(bench, bench.scene)


@pytest.mark.parametrize("index", [-1, 9, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", ["COPY", "EMBED"])
def test_an_index_outside_its_table(name: str, index: int) -> None:
    scene = make_scene()
    limit = 9 if name == "COPY" else 3
    scene.sram[32768 + 20 : 32768 + 24].view(np.int32)[:] = index
    changes = {"INDEX": 32768, "INDEX_LIMIT": limit, "FLAGS": 8 if name == "COPY" else 1}
    bench = ChipBench(scene)
    error = fail(bench, [encode(name, **BASES[name] | changes, TAG=4)])
    assert (error.cause, error.info, error.command, error.tag) == ("INDEX", 5, 0, 4)
    assert error.engine == COMMANDS[name][1]
    low, high = (4096, 4096 + 8 * 128) if name == "COPY" else (8192, 8192 + 12 * 64)
    changed = np.flatnonzero(bench.sram != scene.sram)
    assert ((changed >= low) & (changed < high)).all()  # nothing but its target
    assert_recovers(bench, scene)


@pytest.mark.parametrize("name", CASES)
def test_one_changed_bit(name: str) -> None:
    """Chip and reference refuse the same descriptors for the same cause."""
    refused = 0
    for seed in range(25):
        scene = Scene(seed)
        words = CASES[name](scene)
        pick = random.Random(seed)
        words[pick.choice(range(4, 16))] ^= np.uint32(1 << pick.randrange(32))
        bench, program = ChipBench(scene), [*scene.setup, encode("FENCE"), words]
        reference, expected, got = scene.reference(), None, None
        try:
            reference.execute(np.stack(program))
        except CommandError as error:
            expected = error.cause.name, error.info, error.number, error.tag, error.engine.name
        try:
            bench.run(program)
        except ChipError as error:
            got = error.cause, error.info, error.command, error.tag, error.engine
        if "INDEX" in (expected or got or [""])[:1]:
            continue  # the results of such a command may lie where its numbers are
        assert got == expected, seed
        if expected is not None:
            bench.assert_untouched()
        refused += expected is not None
    assert refused > 3


def test_an_error_stops_the_queue_until_soft_reset() -> None:
    scene = make_scene()
    bench = ChipBench(scene)
    fail(bench, [encode("ADD", **BASES["ADD"] | {"SHIFT": 0}, TAG=5)])
    chip = bench.chip
    assert chip.read(0x614) == 2
    assert chip.read(0x618) == 2
    chip.write(0x61C, 2)
    assert chip.queue_irq
    chip.write(0x618, 2)
    assert not chip.queue_irq
    before = [chip.read(each) for each in (0x620, 0x624, 0x628, 0x62C)]
    assert before == [6 | 2 << 8 | 0x31 << 16, 0, 9, 5]
    chip.write(0x63C, 2)
    chip.step(1000)
    assert [chip.read(each) for each in (0x620, 0x624, 0x628, 0x62C)] == before
    bench.assert_untouched()
    chip.write(0x610, 2)
    assert [chip.read(each) for each in (0x614, 0x620, 0x638, 0x63C)] == [1, 0, 0, 0]
    assert [chip.read(each) for each in (0x61C, 0x650, 0x644)] == [2, 1000, WEIGHTS_BYTES]
    assert_recovers(bench, scene)


# --- the queue itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("base", [SRAM, 32, WEIGHTS + WEIGHTS_BYTES, 3 << 30, SRAM - 64])
def test_an_unusable_queue(base: int) -> None:
    chip = Chip("cs2", sram_bytes=SRAM, external=WEIGHTS_BYTES)
    for offset, value in (
        (0x644, WEIGHTS_BYTES),
        (0x630, base),
        (0x634, 2),
        (0x610, 1),
        (0x63C, 1),
    ):
        chip.write(offset, value)
    chip.step(100)
    assert [chip.read(0x620) & 0xFFFF, chip.read(0x628)] == [Cause.QUEUE | 3 << 8, base]
    chip.run(encode("NOP"))


def test_a_queue_of_no_size_and_an_overrun() -> None:
    for size, tail, cause, info in ((0, 1, Cause.QUEUE, 4096), (4, 5, Cause.OVERRUN, 5)):
        chip = Chip("cs2", sram_bytes=SRAM)
        chip.write_sram(4096, np.stack([encode("NOP")] * 8))
        for offset, value in ((0x630, 4096), (0x634, size), (0x610, 1), (0x63C, tail)):
            chip.write(offset, value)
        chip.step(100)
        assert [chip.read(0x620), chip.read(0x628)] == [cause | Engine.CONTROL << 8, info]


def test_the_ring_turns() -> None:
    chip = Chip("cs2", sram_bytes=SRAM)
    chip.write_sram(4096, np.stack([encode("NOP")] * 4))
    for offset, value in ((0x630, 4096), (0x634, 4), (0x610, 1)):
        chip.write(offset, value)
    for tail in range(2, 24, 2):
        chip.write_sram(0, bytes([tail]) * 64)
        copy = encode("COPY", SOURCE=0, TARGET=64 * tail, ROWS=1, ROW_BYTES=64)
        chip.write_sram(4096 + (tail - 1) % 4 * 64, copy)
        chip.write(0x63C, tail)
        chip.step(200)
        assert [chip.read(0x614), chip.read(0x638)] == [1, tail]
        assert chip.read_sram(64 * tail, 64) == bytes([tail]) * 64


def test_clearing_enable_lets_commands_under_way_finish() -> None:
    scene = make_scene()
    bench = ChipBench(scene)
    chip = bench.chip
    copies = [encode("COPY", SOURCE=0, TARGET=8192 + 1024 * n, ROWS=1, ROW_BYTES=1024)
              for n in range(40)]  # fmt: skip
    chip.write_sram(0, np.stack(copies))
    for offset, value in ((0x630, 0), (0x634, 40), (0x610, 1), (0x63C, 40)):
        chip.write(offset, value)
    chip.step(20)
    chip.write(0x610, 0)
    fetched = chip.read(0x638)
    chip.step(5000)
    assert 0 < fetched < 40
    assert chip.read(0x68C) == chip.read(0x638) <= fetched + 1
    chip.write(0x610, 1)
    chip.step(5000)
    assert [chip.read(0x614), chip.read(0x68C)] == [1, 40]


# --- faults ---------------------------------------------------------------------------------------

LONG = encode("COPY", SOURCE=WEIGHTS, TARGET=4096, ROWS=1, ROW_BYTES=9000, TAG=8)


def test_a_hanging_engine_meets_the_watchdog() -> None:
    bench = ChipBench(make_scene())
    bench.chip.faults = ChipFaults(hang_command=2)
    assert bench.chip.faults.hang_command == 2
    turn = encode("TRANSPOSE", **BASES["TRANSPOSE"], TAG=6)
    error = fail(bench, [encode("NOP"), turn], watchdog=3000)
    got = error.cause, error.info, error.command, error.tag, error.engine
    assert got == ("WATCHDOG", 3000, 1, 6, "VECTOR")
    assert_recovers(bench, bench.scene)


def test_without_a_watchdog_the_wait_ends() -> None:
    bench = ChipBench(make_scene())
    bench.chip.faults = ChipFaults(hang_command=1)
    error = fail(bench, [LONG], max_clocks=20000)
    assert str(error) == "The command queue of CS2 was not idle after 20000 clocks."
    assert_recovers(bench, bench.scene)


def test_the_watchdog_lets_long_waits_pass_but_not_endless_ones() -> None:
    bench = ChipBench(make_scene())
    waiting = encode("TRANSPOSE", **BASES["TRANSPOSE"] | {"X": 20480, "OUT": 24576}, WAIT_ON=1)
    waiting[1] |= 1
    bench.run([LONG, waiting], watchdog=3000)
    late = encode("TRANSPOSE", **BASES["TRANSPOSE"], WAIT_ON=1, WAIT_DMA=1)
    error = fail(bench, [late], watchdog=3000, max_clocks=100_000)
    assert error.cause in ("WATCHDOG", None)
    assert_recovers(bench, bench.scene)


@pytest.mark.parametrize("word", range(16))
def test_a_changed_descriptor(word: int) -> None:
    scene = make_scene()
    bench, reference = ChipBench(scene), scene.reference()
    mask = 1 << word * 7 % 32
    bench.chip.faults = ChipFaults(change_command=2, change_word=word, change_mask=mask)
    changed = LONG.copy()
    changed[word] ^= np.uint32(mask)
    try:
        reference.execute(np.stack([encode("NOP"), changed]))
    except CommandError as expected:
        error = fail(bench, [encode("NOP"), LONG])
        assert (error.cause, error.info) == (expected.cause.name, expected.info)
    else:
        bench.run([encode("NOP"), LONG])
    bench.assert_same(reference)
    assert_recovers(bench, scene)


@pytest.mark.parametrize(("burst", "engine", "address"), [
    (1, "CONTROL", WEIGHTS_BYTES + PROGRAM), (2, "DMA", 0), (3, "DMA", 4096), (4, "DMA", 8192),
])  # fmt: skip
def test_an_error_of_the_external_memory(burst: int, engine: str, address: int) -> None:
    scene = make_scene()
    bench = ChipBench(scene)
    bench.chip.faults = ChipFaults(external_error=burst)
    error = fail(bench, [LONG])
    assert (error.cause, error.info, error.engine) == ("EXTERNAL", address, engine)
    if engine == "DMA":
        assert (error.command, error.tag) == (0, 8)
    changed = np.flatnonzero(bench.sram != scene.sram)
    assert ((changed >= 4096) & (changed < 4096 + 9000)).all()
    assert_recovers(bench, scene)


def test_a_space_beyond_the_external_memory() -> None:
    bench = ChipBench(make_scene())
    far = encode("COPY", SOURCE=WEIGHTS + 500000, TARGET=0, ROWS=1, ROW_BYTES=64)
    error = fail(bench, [far], weights=(0, 1 << 20))
    assert (error.cause, error.info, error.engine) == ("EXTERNAL", 500000, "DMA")


def test_a_lost_doorbell() -> None:
    bench = ChipBench(make_scene())
    bench.chip.faults = ChipFaults(lose_doorbell_at=1)
    error = fail(bench, [LONG])
    assert "fetched 0 of 1 commands; the write of QUEUE_TAIL was lost" in str(error)
    bench.assert_untouched()
    assert bench.run([LONG]).events[0].code == Code.COPY


def test_faults_are_checked() -> None:
    chip = Chip("cs2")
    with pytest.raises(ValueError, match="change_word must be between 0 and"):
        chip.faults = ChipFaults(change_word=2**32)
    assert chip.faults == ChipFaults()


# --- soft reset always works ----------------------------------------------------------------------


@pytest.mark.parametrize("clocks", [*range(0, 60, 3), 100, 200, 400, 800, 1600])
def test_soft_reset_at_any_time(clocks: int) -> None:
    scene = make_scene()
    bench = ChipBench(scene)
    program = [LONG, encode("GEMM", **BASES["GEMM"] | {"FLAGS": 16}), LONG]
    program += [encode("TRANSPOSE", **BASES["TRANSPOSE"] | {"X": 49152, "OUT": 57344})]
    bench.external[bench.store[0] + PROGRAM :][:256] = np.stack(program).view(np.uint8).reshape(-1)
    spaces = ((0x644, WEIGHTS_BYTES), (0x648, bench.store[0]), (0x64C, bench.store[1]))
    chip = bench.chip
    for offset, value in (*spaces, (0x630, STORE + PROGRAM), (0x634, 4), (0x610, 1)):
        chip.write(offset, value)
    chip.write(0x63C, 4)
    chip.step(clocks)
    chip.write(0x610, 2)
    left = bench.sram.copy()
    assert chip.read(0x614) == 1
    chip.step(5000)
    np.testing.assert_array_equal(bench.sram, left)  # nothing goes on
    assert_recovers(bench, scene)
