"""The compute engines of CS2: results against the reference, clocks against CHIP.md's formulas."""

from __future__ import annotations

import numpy as np
import pytest

from cs2_cases import CASES, Scene
from cs2_reference import Reference, encode, up8
from csc.chip import Chip
from csc.errors import ChipError
from csc_convert.cs2_format import (
    Cause,
    ElementFlag,
    Engine,
    GemmFlag,
    NormFlag,
    PoolFlag,
    SoftmaxFlag,
    Space,
)

LINE, SRAM_BYTES, STORE_BYTES = 64, 1 << 19, 1 << 16
PUBLISHED = {"array": 512, "lanes": 16}
SMALL = {"array": 64, "lanes": 4}


def bank(number: int, lines: int) -> int:
    """The address of a line in bank `number`, some lines up."""
    return (lines // 8 * 8 + number) * LINE


def run_both(
    commands: list[np.ndarray], params=(), seed: int = 0, sram=None, **configuration: int
) -> tuple[Chip, int]:
    """Run commands on chip and reference, compare the SRAM, return the last command's clocks."""
    rng = np.random.default_rng(seed)
    if sram is None:
        sram = rng.integers(0, 256, SRAM_BYTES, np.uint8)
    chip = Chip("cs2", external=STORE_BYTES, sram_bytes=len(sram), **(PUBLISHED | configuration))
    chip.write_sram(0, sram.tobytes())
    reference = Reference(sram.copy(), store=bytes(STORE_BYTES), params=params)
    reference.execute(np.stack(commands))
    run = chip.run(np.stack(commands), params, store=(0, STORE_BYTES), max_clocks=10_000_000)
    left = np.frombuffer(chip.read_sram(0, len(sram)), np.uint8)
    differs = (left != reference.sram) & ~reference.unspecified[Space.SRAM]
    assert np.flatnonzero(differs).tolist() == []
    return chip, run.events[-1].completed - run.events[-1].started


def tiles(n: int) -> int:
    return up8(n) // 8


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", [PUBLISHED, SMALL, {"array": 1, "lanes": 64}])
@pytest.mark.parametrize("name", [name for name in CASES if name != "copy"])
def test_results_are_the_references(name: str, configuration: dict[str, int]) -> None:
    for seed in range(12):
        scene = Scene(1000 + seed, sram_bytes=SRAM_BYTES)
        words = CASES[name](scene)
        run_both([*scene.setup, words], scene.params, sram=scene.sram, **configuration)


# --- block engine ---------------------------------------------------------------------------------


def gemm(rows: int, columns: int, depth: int, flags: int = 0, batch: int = 1) -> np.ndarray:
    """A GEMM whose streams do not meet in a bank: C in bank 6 once every 8 clocks or less."""
    size = 2 if flags & GemmFlag.A_WIDE else 1
    result = 4 if flags & GemmFlag.OUT_INT32 else 2 if flags & GemmFlag.OUT_INT16 else 1
    down = tiles(columns) * result
    fields = {"A": bank(0, 0), "B": bank(3, 2048), "C": bank(4, 4096), "REQUANT": bank(5, 6400)}
    fields |= {"A_ROW": tiles(depth) * size, "B_COLUMN": tiles(depth), "B_DEPTH": 1}
    fields |= {"C_ROW": (down + 7) // 8 * 8, "RECIP": bank(5, 6800)}
    fields |= {"A_BATCH": 8, "B_BATCH": 8, "C_BATCH": 8} if batch > 1 else {}
    fields |= {"CLAMP_LOW": -128, "CLAMP_HIGH": 127} if result < 4 else {}
    if not flags & GemmFlag.CONTEXT:
        del fields["RECIP"]
    if result == 4:
        del fields["REQUANT"]
    return encode(
        "GEMM", ROWS=rows, COLUMNS=columns, DEPTH=depth, FLAGS=flags, BATCH=batch, **fields
    )


def quiet_sram() -> np.ndarray:
    """Memory in which every 8 bytes are a valid requantization, and every 4 a reciprocal."""
    words = np.full(SRAM_BYTES // 4, 20000 + 65536 * 12, np.uint32)
    return words.view(np.uint8)


def product_clocks(steps: int, count: int, array: int, flags: int = 0) -> int:
    """CHIP.md: `count` tiles of `steps` products each."""
    wide = 1 if flags & GemmFlag.A_WIDE else 0
    drain = 16 if flags & GemmFlag.CONTEXT else 8
    tile = steps * (512 // array) * (1 + wide)
    return 11 + wide + tile + (count - 1) * max(tile, drain) + drain


GEMMS = [
    (8, 8, 8, 0),
    (8, 8, 64, 0),
    (64, 8, 64, 0),
    (24, 24, 8, 0),
    (40, 16, 24, GemmFlag.OUT_INT16),
    (24, 24, 40, GemmFlag.OUT_INT32),
    (16, 16, 8, GemmFlag.OUT_INT32),
    (8, 16, 16, GemmFlag.A_WIDE),
    (16, 16, 24, GemmFlag.CONTEXT | GemmFlag.A_UNSIGNED),
    (16, 8, 200, GemmFlag.CONTEXT | GemmFlag.A_UNSIGNED),
    (9, 17, 32, GemmFlag.B_TRANSPOSED),
]


@pytest.mark.parametrize("array", [512, 64, 8])
@pytest.mark.parametrize("rows, columns, depth, flags", GEMMS)
def test_clocks_of_gemm(rows: int, columns: int, depth: int, flags: int, array: int) -> None:
    chip, clocks = run_both([gemm(rows, columns, depth, flags)], sram=quiet_sram(), array=array)
    count, steps = tiles(rows) * tiles(columns), tiles(depth)
    assert clocks == product_clocks(steps, count, array, flags)
    passes = 2 if flags & GemmFlag.A_WIDE else 1
    assert chip.totals.macs == 512 * count * steps * passes
    assert chip.totals.drained == 64 * count


def test_clocks_of_batches() -> None:
    _, clocks = run_both([gemm(8, 8, 64, GemmFlag.OUT_INT16, batch=5)], sram=quiet_sram())
    assert clocks == product_clocks(8, 5, 512)


@pytest.mark.parametrize("is_wide", [0, 1])
def test_clocks_of_tables(is_wide: int) -> None:
    for name, field in (("BLOCK_TABLE", "A"), ("VECTOR_TABLE", "X")):
        _, clocks = run_both([encode(name, FLAGS=is_wide, **{field: 128})])
        assert clocks == 5 + 16 * (1 + is_wide)


def window(width: int, height: int, kernel: int, stride: int = 1) -> dict[str, int]:
    pad = kernel // 2
    names = ("IN_WIDTH", "IN_HEIGHT", "OUT_WIDTH", "OUT_HEIGHT", "KERNEL_WIDTH", "KERNEL_HEIGHT")
    out = (width + stride - 1) // stride, (height + stride - 1) // stride
    fields = dict(zip(names, (width, height, *out, kernel, kernel), strict=True))
    return fields | {"STRIDE_X": stride, "STRIDE_Y": stride, "PAD_LEFT": pad, "PAD_TOP": pad}


def image_product(g: dict[str, int], channels: int, columns: int, flags: int) -> np.ndarray:
    taps, blocks = g["KERNEL_WIDTH"] * g["KERNEL_HEIGHT"], tiles(channels)
    depthwise = bool(flags & GemmFlag.DEPTHWISE)
    column = tiles(taps) if depthwise else taps * blocks
    return encode(
        "GEMM",
        **{"A": bank(0, 0), "B": bank(3, 2048), "C": bank(4, 4096), "REQUANT": bank(5, 6400)},
        **{"A_ROW": blocks, "B_COLUMN": column, "B_DEPTH": 0 if depthwise else 1},
        **{"C_ROW": tiles(columns), "COLUMNS": columns, "DEPTH": channels, "FLAGS": flags},
        **{"CLAMP_LOW": -128, "CLAMP_HIGH": 127},
    )


@pytest.mark.parametrize("array", [512, 64])
@pytest.mark.parametrize("channels, columns", [(8, 8), (16, 24)])
def test_clocks_of_conv(channels: int, columns: int, array: int) -> None:
    g = window(24, 4, 3)
    words = image_product(g, channels, columns, GemmFlag.CONV)
    commands = [encode("GEOMETRY", **g), words]
    chip, clocks = run_both(commands, sram=quiet_sram(), array=array)
    count, steps = 3 * 4 * tiles(columns), 9 * tiles(channels)
    # The first window has no lines, since its row lies above the image.
    expected = product_clocks(steps, count, array)
    late = chip.totals.conflicts if array == 512 else 0  # with 8 clocks a tap nothing is late
    assert expected <= clocks <= expected + late


def test_clocks_of_a_conv_that_waits_for_lines() -> None:
    """One tap, every second pixel: two lines for each product."""
    g = window(64, 2, 1, stride=2) | {"OUT_HEIGHT": 2, "STRIDE_Y": 1}
    commands = [encode("GEOMETRY", **g), image_product(g, 64, 8, GemmFlag.CONV)]
    chip, clocks = run_both(commands, sram=quiet_sram())
    windows = 4 * 2 * 8
    expected = 11 + 2 + (windows - 1) * 2 + 1 + 8
    assert expected <= clocks <= expected + chip.totals.conflicts


DEPTHWISES = [(512, 1, 8), (512, 2, 8), (64, 1, 9), (8, 1, 72)]


@pytest.mark.parametrize("array, stride, tile", DEPTHWISES)
def test_clocks_of_depthwise(array: int, stride: int, tile: int) -> None:
    g = window(64, 6, 3, stride)
    commands = [encode("GEOMETRY", **g), image_product(g, 24, 24, GemmFlag.DEPTHWISE)]
    chip, clocks = run_both(commands, sram=quiet_sram(), array=array)
    count = tiles(g["OUT_WIDTH"]) * g["OUT_HEIGHT"] * 3
    taps = 5 if array == 512 else tile
    first = 4  # lines of the first window: two rows of it lie inside, with two lines each
    assert clocks == 11 + first + taps + (count - 1) * tile + 8 + weights_late(array)
    assert chip.totals.macs == 64 * 9 * count
    if array == 512:
        assert chip.totals.macs / clocks > 64


def weights_late(array: int) -> int:
    """The drain hides two lines of weights for each of two further blocks of channels."""
    return 0 if array == 512 else 2 * 2


# --- vector engine --------------------------------------------------------------------------------


def vector_clocks(first: int, work: int) -> int:
    """CHIP.md: `first` clocks to the first step, `work` clocks of steps."""
    return 4 + first + work + 5


def matrix(field: str, columns: int, size: int, at: int) -> dict[str, int]:
    return {field: at, f"{field}_ROW": tiles(columns) * size}


@pytest.mark.parametrize("lanes", [16, 4, 1, 64])
@pytest.mark.parametrize("rows, columns", [(8, 8), (20, 40), (64, 64)])
def test_clocks_of_add_and_mul(rows: int, columns: int, lanes: int) -> None:
    shape = {"ROWS": rows, "COLUMNS": columns}
    places = {"X": bank(0, 0), "Y": bank(4, 1024), "OUT": bank(2, 2048)}
    fields = {k: v for n, at in places.items() for k, v in matrix(n, columns, 2, at).items()}
    count, read = tiles(rows) * tiles(columns), 4
    step = max(64 // lanes, read)
    expected = vector_clocks(read, (count - 1) * step + 64 // lanes)
    _, clocks = run_both([encode("ADD", SHIFT=3, **shape, **fields)], lanes=lanes)
    late = lanes == 64  # the two lines of a step of one clock leave one after the other
    assert clocks == expected + late
    flags = ElementFlag.X_INT16 | ElementFlag.Y_INT16 | ElementFlag.OUT_INT16
    _, clocks = run_both([encode("MUL", FLAGS=flags, SHIFT=3, **shape, **fields)], lanes=lanes)
    assert clocks == expected + late


@pytest.mark.parametrize("lanes", [16, 4, 64])
def test_clocks_of_lookup_and_transpose(lanes: int) -> None:
    shape = {"ROWS": 40, "COLUMNS": 24}
    x = matrix("X", 24, 1, bank(0, 0))
    commands = [
        encode("VECTOR_TABLE", X=bank(0, 4096)),
        encode("LOOKUP", SHIFT=1, **shape, **x, **matrix("OUT", 24, 1, bank(3, 1024))),
    ]
    _, clocks = run_both(commands, lanes=lanes)
    assert clocks == vector_clocks(1, 15 * max(16, 64 // lanes))
    turn = encode("TRANSPOSE", **shape, **x, **matrix("OUT", 40, 1, bank(3, 1024)))
    chip, clocks = run_both([turn], lanes=lanes)
    assert clocks == vector_clocks(1, 15 * 8)
    assert chip.totals.lane_steps == 15 * 64


@pytest.mark.parametrize("lanes", [16, 4, 1])
@pytest.mark.parametrize("has_b", [0, 1])
@pytest.mark.parametrize("rows, columns", [(8, 8), (20, 40), (16, 256)])
def test_clocks_of_norm(rows: int, columns: int, has_b: int, lanes: int) -> None:
    fields = matrix("X", columns, 2, bank(0, 0)) | matrix("OUT_A", columns, 1, bank(4, 2048))
    fields |= {"AFFINE_A": bank(2, 4096), "SHIFT_A": 9}
    if has_b:
        fields |= matrix("OUT_B", columns, 1, bank(1, 3072))
        fields |= {"AFFINE_B": bank(6, 5120), "SHIFT_B": 9, "FLAGS": NormFlag.HAS_B}
    sram = np.zeros(SRAM_BYTES, np.uint8)
    sram[:4096] = np.random.default_rng(1).integers(0, 256, 4096)
    command = encode("NORM", ROWS=rows, COLUMNS=columns, EPSILON_LOW=1, **fields)
    _, clocks = run_both([command], sram=sram, lanes=lanes)
    row = (2 + has_b) * tiles(columns) * (64 // lanes) + 24
    assert clocks == vector_clocks(2, tiles(rows) * row)


@pytest.mark.parametrize("lanes", [16, 4, 1])
@pytest.mark.parametrize("has_mask", [0, 1])
@pytest.mark.parametrize("rows, columns, batch", [(8, 8, 1), (20, 40, 3), (16, 128, 2)])
def test_clocks_of_softmax(rows: int, columns: int, batch: int, has_mask: int, lanes: int) -> None:
    width = tiles(columns)
    fields = matrix("X", columns, 4, bank(0, 0)) | matrix("OUT", columns, 1, bank(0, 2048))
    fields |= {"X_BATCH": width * 4 * tiles(rows), "OUT_BATCH": width * tiles(rows)}
    fields |= {"RECIP": bank(3, 4096), "RECIP_BATCH": tiles(rows), "REQUANT": bank(1, 5120)}
    if has_mask:
        fields |= {"MASK": bank(7, 5632), "FLAGS": SoftmaxFlag.MASK}
    command = encode("SOFTMAX", ROWS=rows, COLUMNS=columns, BATCH=batch, **fields)
    chip, clocks = run_both([command], sram=quiet_sram(), lanes=lanes)
    # Of a tile's lines four fit between two steps of four clocks; a mask's line is one more.
    mask_waits = has_mask * ((width + 7) // 8 - 1) * 2 * (lanes == 16)
    rows_work = batch * tiles(rows) * (2 * width * (64 // lanes) + 24 + mask_waits)
    expected = vector_clocks(1 + 4 + has_mask, rows_work + batch - 1)
    assert expected <= clocks <= expected + chip.totals.conflicts


@pytest.mark.parametrize("lanes", [16, 4])
@pytest.mark.parametrize("rows, is_mean", [(8, 1), (100, 1), (100, 0)])
def test_clocks_of_pool(rows: int, is_mean: int, lanes: int) -> None:
    fields = matrix("X", 40, 2, bank(0, 0)) | {"OUT": bank(5, 4096), "MASK": bank(6, 5120)}
    flags = PoolFlag.X_INT16 | is_mean * (PoolFlag.MEAN | PoolFlag.MASK)
    command = encode("POOL", ROWS=rows, COLUMNS=40, FLAGS=flags, SHIFT=9, **fields)
    _, clocks = run_both([command], lanes=lanes)
    column = (tiles(rows) if is_mean else 1) * (64 // lanes) + 24
    assert clocks == vector_clocks(2 + is_mean, 5 * column)


@pytest.mark.parametrize("lanes", [16, 4])
@pytest.mark.parametrize("has_types", [0, 1])
def test_clocks_of_embed(has_types: int, lanes: int) -> None:
    sram = np.random.default_rng(3).integers(0, 256, SRAM_BYTES, np.uint8)
    index = bank(5, 4608)
    sram[index : index + 256] = np.arange(64, dtype=np.int32).view(np.uint8) % 2
    sram[index : index + 256].reshape(-1, 4)[:, 1:] = 0
    fields = matrix("X", 80, 1, bank(0, 0)) | matrix("Y", 80, 2, bank(2, 1024))
    fields |= matrix("OUT", 80, 2, bank(6, 2048)) | {"SCALE": bank(4, 4096), "SHIFT": 9}
    if has_types:
        fields |= {"TABLE": bank(7, 5120), "INDEX": index, "INDEX_LIMIT": 2, "FLAGS": 1}
    command = encode("EMBED", ROWS=24, COLUMNS=80, **fields)
    _, clocks = run_both([command], sram=sram, lanes=lanes)
    work = 10 * (64 // lanes)
    if has_types:  # 12 clocks to the first tile of a row of tiles, 8 before each further group
        assert clocks == vector_clocks(2, 3 * (12 + work + 8 * 2))
    else:
        assert clocks == vector_clocks(1 + 2, 3 * (1 + work))


def test_an_index_beyond_the_types_is_an_error() -> None:
    sram = np.zeros(SRAM_BYTES, np.uint8)
    sram[0x8000 + 4 * 11] = 2
    fields = matrix("X", 16, 1, 0) | matrix("Y", 16, 2, 0x2000) | matrix("OUT", 16, 2, 0x4000)
    fields |= {"SCALE": 0x6000, "TABLE": 0x7000, "INDEX": 0x8000, "INDEX_LIMIT": 2, "FLAGS": 1}
    chip = Chip("cs2", external=STORE_BYTES)
    chip.write_sram(0, sram.tobytes())
    command = encode("EMBED", ROWS=16, COLUMNS=16, SHIFT=1, **fields)
    with pytest.raises(ChipError) as error:
        chip.run(command.reshape(1, 16), store=(0, STORE_BYTES))
    assert error.value.cause == Cause.INDEX.name
    assert error.value.info == 11
    assert error.value.engine == Engine.VECTOR.name
