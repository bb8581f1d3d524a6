"""The DMA engine, the banks and the external bus of CS2: bytes as the reference's, and clocks."""

from __future__ import annotations

import numpy as np
import pytest

from cs2_cases import SRAM_BYTES, STORE_BYTES, WEIGHTS_BYTES, Scene, copy
from cs2_words import encode
from csc.chip import Chip, Run
from csc.errors import ChipError
from csc_convert.cs2_format import DmaFlag, Space

WEIGHTS, STORE = 1 << 30, 2 << 30
PROGRAM = 4096  # bytes behind STORE that hold the program
SPACES = {"weights": (0, WEIGHTS_BYTES), "store": (WEIGHTS_BYTES, STORE_BYTES + PROGRAM)}
AT = STORE + STORE_BYTES
LATENCY, WIDTH, BURST = 30, 4, 4096


def make_chip(seed: int = 0, **parameters: int) -> Chip:
    """Return a chip with random bytes in all its memory."""
    random = np.random.default_rng(seed)
    external = bytearray(random.bytes(WEIGHTS_BYTES + STORE_BYTES + PROGRAM))
    chip = Chip("cs2", external=external, **parameters)
    chip.write_sram(0, random.bytes(chip.parameters.sram_bytes))
    return chip


def run(chip: Chip, *commands: np.ndarray, **options) -> Run:
    return chip.run(np.array(commands), **SPACES, at=AT, **options)


def clocks_of(chip: Chip, **fields: int) -> int:
    """Clocks of execution of one COPY."""
    event = run(chip, encode("COPY", **fields)).events[0]
    return event.completed - event.started


# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"ext_bytes_per_clock": 64, "ext_latency": 0},
        {"ext_bytes_per_clock": 1, "ext_burst": 64},
    ],
    ids=["published", "fast", "slow"],
)
@pytest.mark.parametrize("seed", range(25))
def test_random_copies(seed, parameters):
    scene = Scene(seed)
    words = copy(scene)
    reference = scene.reference()
    reference.execute(words)
    external = bytearray(scene.weights.tobytes() + scene.store.tobytes() + bytes(PROGRAM))
    chip = Chip("cs2", external=external, sram_bytes=SRAM_BYTES, **parameters)
    chip.write_sram(0, scene.sram)
    run(chip, words, params=scene.params)
    specified = ~reference.unspecified[Space.SRAM]
    sram = np.frombuffer(chip.read_sram(0, SRAM_BYTES), np.uint8)
    assert np.array_equal(sram[specified], reference.sram[specified])
    assert bytes(external[WEIGHTS_BYTES : WEIGHTS_BYTES + STORE_BYTES]) == reference.store.tobytes()
    assert bytes(external[:WEIGHTS_BYTES]) == scene.weights.tobytes()


def test_parameters_move_both_sides():
    chip = make_chip()
    words = encode(
        "COPY",
        SOURCE=WEIGHTS,
        SOURCE_STRIDE=100,
        SOURCE_PARAM=2,
        TARGET=0x100,
        TARGET_STRIDE=64,
        TARGET_PARAM=1,
        ROWS=2,
        ROW_BYTES=50,
    )
    run(chip, words, params=[3, 7])
    for row in range(2):
        start = 700 + 100 * row
        assert chip.read_sram(0x100 + 64 * (3 + row), 50) == bytes(
            chip.external[start : start + 50]
        )


def test_a_shape_of_0_moves_nothing():
    chip = make_chip()
    before = chip.read_sram(0, 1 << 19)
    fields = {"SOURCE": WEIGHTS, "ROWS": 5, "ROW_BYTES": 64, "ROWS_PARAM": 1, "ROW_FIRST": 3}
    assert clocks_of(chip, **fields) == 4
    assert chip.read_sram(0, 1 << 19) == before


def test_it_reads_what_the_command_before_it_wrote():
    chip = make_chip()
    first = encode("COPY", SOURCE=WEIGHTS + 5, TARGET=0x1000, ROWS=1, ROW_BYTES=5000)
    second = encode("COPY", SOURCE=0x1000, TARGET=STORE, ROWS=1, ROW_BYTES=5000)
    run(chip, first, second)
    moved = bytes(chip.external[WEIGHTS_BYTES : WEIGHTS_BYTES + 5000])
    assert moved == bytes(chip.external[5:5005])


# --- clocks ---------------------------------------------------------------------------------------


def bus_clocks(start: int, count: int) -> int:
    """Clocks of the bus for a run of bytes: CHIP.md, timing contract."""
    total = 0
    while count:
        size = min(count, BURST)
        total += LATENCY + (start % WIDTH + size + WIDTH - 1) // WIDTH
        start, count = start + size, count - size
    return total


@pytest.mark.parametrize("count", [1, 4, 64, 100, 4096, 4097, 10000])
@pytest.mark.parametrize("start", [0, 3, 64, 1021])
def test_clocks_of_a_run_from_and_to_external_memory(start, count):
    expected = bus_clocks(start, count)
    reading = {"SOURCE": WEIGHTS + start, "TARGET": 0x400}
    assert clocks_of(make_chip(), ROWS=1, ROW_BYTES=count, **reading) == expected + 7
    writing = {"SOURCE": 0x400, "TARGET": STORE + start}
    assert clocks_of(make_chip(), ROWS=1, ROW_BYTES=count, **writing) == expected + 5


def test_rows_without_gaps_are_one_run():
    fields = {"SOURCE": WEIGHTS, "TARGET": 0, "ROWS": 10, "ROW_BYTES": 100}
    merged = clocks_of(make_chip(), **fields, SOURCE_STRIDE=100, TARGET_STRIDE=100)
    assert merged == bus_clocks(0, 1000) + 7
    apart = clocks_of(make_chip(), **fields, SOURCE_STRIDE=104, TARGET_STRIDE=128)
    assert apart == 10 * bus_clocks(0, 100) + 7


@pytest.mark.parametrize("lines", [1, 2, 9, 100])
@pytest.mark.parametrize("distance", range(8))
def test_clocks_of_lines_inside_the_sram(lines, distance):
    target = 0x20000 + 64 * distance
    clocks = clocks_of(make_chip(), SOURCE=0, TARGET=target, ROWS=1, ROW_BYTES=64 * lines)
    wait = (lines - 1) // 3 if distance == 3 else 0  # a write takes the bank of every third read
    assert clocks == lines + 7 + wait


def test_clocks_of_pieces_of_tiles():
    fields = {"SOURCE": 0, "SOURCE_STRIDE": 128, "TARGET": 0x20000, "TARGET_STRIDE": 16 * 64}
    tiles = {"FLAGS": int(DmaFlag.TARGET_TILES), "ROWS": 8, "ROW_BYTES": 128}
    clocks = clocks_of(make_chip(), **fields, **tiles)
    assert 8 * 16 + 7 <= clocks <= 8 * 16 + 7 + 16  # a piece a clock, and some conflicts
    external = clocks_of(make_chip(), **fields | {"SOURCE": WEIGHTS}, **tiles)
    assert external == bus_clocks(0, 1024) + 7


def test_clocks_of_a_gather():
    chip = make_chip()
    rows = 32
    index = np.random.default_rng(0).permutation(rows).astype("<i4")
    chip.write_sram(0x1000, index.tobytes())
    fields = {"SOURCE": WEIGHTS, "SOURCE_STRIDE": 256, "INDEX": 0x1000, "INDEX_LIMIT": rows}
    fields |= {"TARGET": 0x2000, "TARGET_STRIDE": 256, "ROWS": rows, "ROW_BYTES": 256}
    clocks = clocks_of(chip, **fields, FLAGS=int(DmaFlag.GATHER))
    assert clocks == rows * bus_clocks(0, 256) + 7 + 2  # the first line of indices is waited for
    for row, place in enumerate(index):
        gathered = chip.read_sram(0x2000 + 256 * row, 256)
        assert gathered == bytes(chip.external[256 * place : 256 * place + 256])


def test_clocks_of_a_gather_inside_the_sram():
    chip = make_chip()
    rows = 40
    chip.write_sram(0x1000, np.arange(rows, dtype="<i4").tobytes())
    fields = {"SOURCE": 0x4000, "SOURCE_STRIDE": 128, "INDEX": 0x1000, "INDEX_LIMIT": rows}
    fields |= {"TARGET": 0x8000, "TARGET_STRIDE": 128, "ROWS": rows, "ROW_BYTES": 128}
    clocks = clocks_of(chip, **fields, FLAGS=int(DmaFlag.GATHER))
    assert clocks == 7 + 2 * rows + 2 * 3


@pytest.mark.parametrize("count", [4, 256, 257, 1000])
def test_clocks_from_external_to_external_memory(count):
    sizes = [min(256, count - first) for first in range(0, count, 256)]
    bursts = 2 * sum(bus_clocks(0, size) for size in sizes)
    fields = {"SOURCE": WEIGHTS, "TARGET": STORE, "ROWS": 1, "ROW_BYTES": count}
    assert clocks_of(make_chip(), **fields) == 4 + bursts + 2 * len(sizes)


def test_the_buffer_pauses_the_bus():
    fields = {"SOURCE": WEIGHTS, "SOURCE_STRIDE": 1, "TARGET": 0x2000, "TARGET_STRIDE": 64}
    clocks = clocks_of(make_chip(), **fields, ROWS=2000, ROW_BYTES=1)
    assert 2000 < clocks < 2000 + LATENCY + 20  # a byte a clock, where the bus has four


# --- the bus and the banks are shared -------------------------------------------------------------


def test_a_word_of_external_memory():
    chip = make_chip()
    for offset, clocks in ((0x100, 46), (0x13C, 1), (0x140, 46), (0x100, 46)):
        before = chip.clock
        expected = int.from_bytes(chip.external[offset : offset + 4], "little")
        assert chip.access_external(offset) == expected
        assert chip.clock - before == clocks
    before = chip.clock
    old = bytes(chip.external[0x104:0x108])
    chip.access_external(0x104, 0b0110, 0x11223344)
    assert chip.clock - before == 31
    assert bytes(chip.external[0x104:0x108]) == old[:1] + b"\x33\x22" + old[3:]
    before = chip.clock
    chip.access_external(0x100)
    assert chip.clock - before == 46  # the write has emptied the buffer
    assert chip.access_external(1 << 30) == 0


def start_copy(chip: Chip, **fields: int) -> None:
    """Ring the doorbell for one COPY whose descriptor is in SRAM."""
    chip.write_sram(0x40000, encode("COPY", **fields).tobytes())
    for offset, value in ((0x630, 0x40000), (0x634, 1), (0x644, WEIGHTS_BYTES), (0x610, 1)):
        chip.write(offset, value)
    chip.trace()
    chip.write(0x63C, 1)


def test_the_processor_waits_for_a_burst_and_goes_first():
    chip = make_chip()
    start_copy(chip, SOURCE=WEIGHTS, TARGET=0, ROWS=1, ROW_BYTES=8192)
    chip.step(20)
    before = chip.clock
    chip.access_external(0)
    waited = chip.clock - before
    chip.step(4000)
    event = chip.events[0]
    first_end = event.started + 5 + LATENCY + 1024  # first clock behind the first burst
    assert waited == first_end - before + 46
    assert event.completed - event.started == bus_clocks(0, 8192) + 7 + 46
    assert event.stall_bus == 46


def test_the_processor_takes_a_bank():
    words = {"SOURCE": 0, "TARGET": 0x20000 + 64, "ROWS": 1, "ROW_BYTES": 6400}
    chip = make_chip()
    start_copy(chip, **words)
    for _ in range(200):  # as fast as the processor can be
        chip.access_sram(0x30000)
        chip.step(4)
    event, totals = chip.events[0], chip.totals
    assert event.completed - event.started > 107
    assert event.stall_bank == totals.stall_bank["dma"] > 0
    assert totals.conflicts > 0
    assert chip.read_sram(0, 6400) == chip.read_sram(0x20000 + 64, 6400)


def test_a_word_of_sram():
    chip = make_chip()
    before = chip.clock
    chip.access_sram(0x1234, 0b1111, 0xDEADBEEF)
    chip.access_sram(0x1234, 0b1000, 0x11000000)
    assert chip.access_sram(0x1234) == 0x11ADBEEF
    assert chip.access_sram(1 << 24) == 0
    assert chip.clock - before == 4


# --- errors while it runs -------------------------------------------------------------------------


def fails(chip: Chip, **fields: int) -> ChipError:
    with pytest.raises(ChipError) as caught:
        run(chip, encode("COPY", TAG=77, **fields), params=[1 << 20])
    assert (caught.value.engine, caught.value.tag, caught.value.command) == ("DMA", 77, 0)
    return caught.value


def test_an_index_outside_its_table():
    chip = make_chip()
    chip.write_sram(0x1000, np.array([3, 0, 4, 1], "<i4").tobytes())
    fields = {"SOURCE": WEIGHTS, "SOURCE_STRIDE": 64, "INDEX": 0x1000, "INDEX_LIMIT": 4}
    fields |= {"FLAGS": int(DmaFlag.GATHER), "ROWS": 4, "ROW_BYTES": 64, "TARGET_STRIDE": 64}
    before = chip.read_sram(0x2000 + 128, 128)
    error = fails(chip, **fields, TARGET=0x2000)
    assert (error.cause, error.info) == ("INDEX", 2)
    assert chip.read_sram(0x2000 + 128, 128) == before


@pytest.mark.parametrize(("side", "word"), [("SOURCE", 5), ("TARGET", 6)])
def test_a_parameter_that_moves_a_side_out_of_its_space(side, word):
    fields = {"SOURCE": WEIGHTS, "TARGET": 0, "SOURCE_STRIDE": 4, "TARGET_STRIDE": 4}
    error = fails(make_chip(), **fields, ROWS=1, ROW_BYTES=4, **{f"{side}_PARAM": 1})
    assert (error.cause, error.info) == ("RANGE", word)


def test_a_space_beyond_the_external_memory():
    chip = make_chip()
    with pytest.raises(ChipError) as caught:
        chip.run(
            encode("COPY", SOURCE=WEIGHTS + 0x10000, TARGET=0, ROWS=1, ROW_BYTES=64),
            weights=(0x1000, 1 << 20),
            at=0x40000,
        )
    assert (caught.value.cause, caught.value.info) == ("EXTERNAL", 0x11000)
