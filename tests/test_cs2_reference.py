"""The reference of CS2's commands: against the oracle's ops, and what it says of races."""

from __future__ import annotations

import numpy as np
import pytest

from cs2_cases import CASES, Scene
from cs2_reference import (
    HazardError,
    Reference,
    WaitError,
    decode,
    encode,
    from_tiles,
    to_tiles,
    up8,
)
from csc_convert.cs2_format import COMMANDS, HEADER, GemmFlag, NormFlag, PoolFlag
from csc_convert.oracle import ops

ROWS, COLUMNS, DEPTH = 13, 26, 40


class Bench:
    """Operands one behind the other in a reference, and matrices back."""

    def __init__(self, seed: int = 0) -> None:
        self.numpy = np.random.default_rng(seed)
        self.reference = Reference(1 << 18, check_hazards=True)
        self.top = 0

    def put(self, values: np.ndarray) -> int:
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        start, self.top = self.top, self.top + (len(data) + 63) // 64 * 64
        self.reference.sram[start : start + len(data)] = data
        return start

    def matrix(self, rows: int, columns: int, dtype) -> tuple[np.ndarray, int]:
        """A random matrix and the address of its tiles."""
        limits = np.iinfo(dtype)
        values = self.numpy.integers(limits.min, limits.max, (rows, columns), dtype, endpoint=True)
        return values, self.put(to_tiles(values))

    def room(self, rows: int, columns: int, dtype) -> int:
        return self.put(np.zeros((up8(rows), up8(columns)), dtype))

    def get(self, start: int, rows: int, columns: int, dtype) -> np.ndarray:
        tiles = np.zeros((up8(rows) // 8, up8(columns) // 8, 8, 8), dtype)
        raw = self.reference.sram[start : start + tiles.nbytes]
        return from_tiles(raw.view(dtype).reshape(tiles.shape), rows, columns)

    def entries(self, count: int, bias: int, shift: int) -> np.ndarray:
        pairs = self.numpy.integers(-bias, bias + 1, (count, 2)).astype(np.int32)
        pairs[:, 1] = self.numpy.integers(10000, 32768, count) + 65536 * shift
        return pairs

    def run(self, *commands: np.ndarray) -> None:
        self.reference.execute(np.stack(commands))


def lines(columns: int, size: int = 1) -> int:
    return up8(columns) // 8 * size


# --- the oracle's ops -----------------------------------------------------------------------------


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_gemm_is_the_oracles(dtype, has_table: bool) -> None:
    bench = Bench()
    x, a = bench.matrix(ROWS, DEPTH, dtype)
    w = bench.numpy.integers(-128, 128, (DEPTH, COLUMNS)).astype(np.int8)
    requant = bench.entries(up8(COLUMNS), 1 << 15, 22 if dtype == np.int8 else 27)
    table = bench.numpy.integers(-32768, 32768, 1024).astype(np.int16)
    low, high = (0, 1023) if has_table else (-100, 120)
    blocks = ops.pack_blocks(w)
    fields = {"A": a, "B": bench.put(blocks), "REQUANT": bench.put(requant)}
    fields |= {"C": bench.room(ROWS, COLUMNS, np.int16), "ROWS": ROWS, "COLUMNS": COLUMNS}
    size = np.dtype(dtype).itemsize
    fields |= {"A_ROW": lines(DEPTH, size), "C_ROW": lines(COLUMNS, 2), "DEPTH": DEPTH}
    fields |= {"B_COLUMN": lines(DEPTH), "B_DEPTH": 1, "CLAMP_LOW": low, "CLAMP_HIGH": high}
    flags = GemmFlag.OUT_INT16 + (size == 2) * GemmFlag.A_WIDE + has_table * GemmFlag.TABLE
    load = encode("BLOCK_TABLE", FLAGS=1, A=bench.put(table))
    bench.run(load, encode("GEMM", FLAGS=flags, ZERO_POINT=17, **fields))
    used = table if has_table else None
    expected = ops.gemm(x, blocks, requant, used, COLUMNS, 17, low, high, np.int16)
    np.testing.assert_array_equal(bench.get(fields["C"], ROWS, COLUMNS, np.int16), expected)


@pytest.mark.parametrize("visible", [0.0, 0.6, 1.0])
def test_softmax_and_context_are_the_oracles_attention(visible: float) -> None:
    bench, heads, width = Bench(3), 3, 16
    keys = ROWS
    x = [bench.matrix(keys, heads * width, np.int8) for _ in range(3)]
    (q, q_at), (k, k_at), (v, v_at) = x
    mask = (bench.numpy.random(keys) < visible).astype(np.uint8)
    requant = bench.entries(heads, 0, 17)
    requant[:, 0] = bench.numpy.integers(10000, 32768, heads) + 65536 * 17
    row, tall = lines(heads * width), up8(keys) // 8
    score_at = bench.room(heads * up8(keys), keys, np.int32)
    weight_at, recip_at = bench.room(heads * up8(keys), keys, np.uint8), bench.put(np.zeros(999))
    out_at, pairs = bench.room(keys, heads * width, np.int8), bench.put(requant)
    shared = {"BATCH": heads, "ROWS": keys}
    scores = encode(
        "GEMM", **shared, FLAGS=GemmFlag.OUT_INT32, COLUMNS=keys, DEPTH=width, A=q_at, B=k_at,
        C=score_at, A_ROW=row, B_COLUMN=row, B_DEPTH=1, C_ROW=lines(keys, 4), A_BATCH=2, B_BATCH=2,
        C_BATCH=tall * lines(keys, 4),
    )  # fmt: skip
    softmax = encode(
        "SOFTMAX", **shared, FLAGS=1, COLUMNS=keys, X=score_at, MASK=bench.put(mask), OUT=weight_at,
        RECIP=recip_at, REQUANT=pairs, X_ROW=lines(keys, 4), X_BATCH=tall * lines(keys, 4),
        OUT_ROW=lines(keys), OUT_BATCH=tall * lines(keys), RECIP_BATCH=tall, WAIT_ON=2,
        WAIT_BLOCK=1,
    )  # fmt: skip
    flags = GemmFlag.CONTEXT + GemmFlag.A_UNSIGNED + GemmFlag.B_TRANSPOSED
    context = encode(
        "GEMM", **shared, FLAGS=flags, COLUMNS=width, DEPTH=keys, A=weight_at, B=v_at, C=out_at,
        REQUANT=pairs, RECIP=recip_at, RECIP_BATCH=tall, A_ROW=lines(keys), C_ROW=row, B_COLUMN=1,
        B_DEPTH=row, A_BATCH=tall * lines(keys), B_BATCH=2, C_BATCH=2, ZERO_POINT=-5,
        CLAMP_LOW=-128, CLAMP_HIGH=127, WAIT_ON=4, WAIT_VECTOR=1,
    )  # fmt: skip
    bench.run(scores, softmax, context)
    expected = ops.attention(q, k, v, mask, requant, heads, width, 0, 0, 0, -5, np.int8)
    np.testing.assert_array_equal(bench.get(out_at, keys, heads * width, np.int8), expected)


def test_norm_is_the_oracles() -> None:
    bench = Bench()
    x, at = bench.matrix(ROWS, COLUMNS, np.int16)
    affines = [bench.numpy.integers(-30000, 30000, (COLUMNS, 2)).astype(np.int32) for _ in "AB"]
    out = [bench.room(ROWS, COLUMNS, dtype) for dtype in (np.int8, np.int16)]
    bench.run(
        encode(
            "NORM", FLAGS=NormFlag.HAS_B + NormFlag.B_INT16, ROWS=ROWS, COLUMNS=COLUMNS, X=at,
            X_ROW=lines(COLUMNS, 2), AFFINE_A=bench.put(affines[0]), AFFINE_B=bench.put(affines[1]),
            OUT_A=out[0], OUT_A_ROW=lines(COLUMNS), OUT_B=out[1], OUT_B_ROW=lines(COLUMNS, 2),
            EPSILON_LOW=5, EPSILON_HIGH=3, SHIFT_A=18, SHIFT_B=11, ZERO_A=4, ZERO_B=-9,
        )
    )  # fmt: skip
    epsilon = 5 + 3 * 2**32
    expected = ops.layernorm(x, affines[0], epsilon, 18, 4, np.int8)
    np.testing.assert_array_equal(bench.get(out[0], ROWS, COLUMNS, np.int8), expected)
    expected = ops.layernorm(x, affines[1], epsilon, 11, -9, np.int16)
    np.testing.assert_array_equal(bench.get(out[1], ROWS, COLUMNS, np.int16), expected)


def test_add_is_the_oracles() -> None:
    bench = Bench()
    (x, x_at), (y, y_at) = (bench.matrix(ROWS, COLUMNS, np.int16) for _ in "xy")
    row = lines(COLUMNS, 2)
    fields = {"X_ROW": row, "Y_ROW": row, "OUT_ROW": row, "ROWS": ROWS, "COLUMNS": COLUMNS}
    fields |= {"MULTIPLIER_X": 16384, "MULTIPLIER_Y": 12345, "SHIFT": 15}
    bench.run(encode("ADD", X=x_at, Y=y_at, OUT=y_at, **fields))
    expected = ops.add(x, y, 16384, 12345, 15)
    np.testing.assert_array_equal(bench.get(y_at, ROWS, COLUMNS, np.int16), expected)


@pytest.mark.parametrize("is_mean", [False, True])
def test_pool_is_the_oracles(is_mean: bool) -> None:
    bench = Bench()
    x, at = bench.matrix(ROWS, COLUMNS, np.int16)
    mask = bench.numpy.integers(0, 2, ROWS).astype(np.uint8)
    flags = PoolFlag.X_INT16 + is_mean * (PoolFlag.MEAN + PoolFlag.MASK)
    fields = {"ROWS": ROWS, "COLUMNS": COLUMNS, "X": at, "X_ROW": lines(COLUMNS, 2)}
    fields |= {"OUT": bench.room(8, COLUMNS, np.int8), "MASK": bench.put(mask)}
    fields |= {"MULTIPLIER": 20000, "SHIFT": 30, "ZERO_X": 700, "ZERO_POINT": 3}
    bench.run(encode("POOL", FLAGS=flags, **fields))
    used = mask if is_mean else None
    expected = ops.pool(x, used, is_mean, 20000, 30, 700, 3, np.int8)
    out = bench.get(fields["OUT"], 8, COLUMNS, np.int8)
    np.testing.assert_array_equal(out, np.vstack([expected, np.zeros((7, COLUMNS))]))


def test_gathers_and_embed_are_the_oracles() -> None:
    bench, vocabulary, types = Bench(), 50, 2
    ids = bench.numpy.integers(0, vocabulary, ROWS).astype(np.int32)
    kinds = bench.numpy.integers(0, types, ROWS).astype(np.int32)
    word = bench.numpy.integers(-128, 128, (vocabulary, COLUMNS)).astype(np.int8)
    scale = bench.numpy.integers(0, 32768, vocabulary).astype(np.int16)
    position, kind = (
        bench.numpy.integers(-9999, 9999, (rows, COLUMNS)).astype(np.int16) for rows in (60, types)
    )
    store = np.concatenate([each.reshape(-1).view(np.uint8) for each in (word, position, scale)])
    bench.reference.weights = store
    where = [1 << 30, (1 << 30) + word.nbytes, (1 << 30) + word.nbytes + position.nbytes]
    rows = {"ROWS": ROWS, "INDEX": bench.put(ids), "INDEX_LIMIT": vocabulary}
    x, y = bench.room(ROWS, COLUMNS, np.int8), bench.room(ROWS, COLUMNS, np.int16)
    scales, out = bench.put(np.zeros(ROWS, np.int16)), bench.room(ROWS, COLUMNS, np.int16)
    table = np.zeros((types, 32), np.int16)
    table[:, :COLUMNS] = kind
    bench.run(
        encode("COPY", FLAGS=10, SOURCE=where[0], SOURCE_STRIDE=COLUMNS, ROW_BYTES=COLUMNS,
               TARGET=x, TARGET_STRIDE=64 * lines(COLUMNS), **rows),
        encode("COPY", FLAGS=6, SOURCE=where[1], SOURCE_STRIDE=2 * COLUMNS, ROW_BYTES=2 * COLUMNS,
               TARGET=y, TARGET_STRIDE=64 * lines(COLUMNS, 2), ROWS=ROWS),
        encode("COPY", FLAGS=8, SOURCE=where[2], SOURCE_STRIDE=2, ROW_BYTES=2, TARGET=scales,
               TARGET_STRIDE=2, **rows),
        encode("EMBED", FLAGS=1, SHIFT=9, ROWS=ROWS, COLUMNS=COLUMNS, X=x, SCALE=scales, Y=y,
               X_ROW=lines(COLUMNS), Y_ROW=lines(COLUMNS, 2), OUT=out, OUT_ROW=lines(COLUMNS, 2),
               TABLE=bench.put(table), INDEX=bench.put(kinds), INDEX_LIMIT=types, WAIT_ON=1,
               WAIT_DMA=3),
    )  # fmt: skip
    expected = ops.embed(ids, kinds, word, scale, position, kind, 9)
    np.testing.assert_array_equal(bench.get(out, ROWS, COLUMNS, np.int16), expected)


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_convolution_by_its_definition(is_depthwise: bool) -> None:
    bench, height, width, depth, columns = Bench(), 5, 11, 10, 10 if is_depthwise else 12
    kernel, out_height, out_width, zero = 3, 3, 6, -7
    image, b = bench.matrix(height * width, depth, np.int8)[0], []
    tiles = np.stack([to_tiles(row) for row in image.reshape(height, width, depth)])
    weights = bench.numpy.integers(-128, 128, (columns, kernel, kernel, depth)).astype(np.int8)
    if is_depthwise:
        taps = np.zeros((up8(columns), 16), np.int8)  # channels, taps
        taps[:columns, :9] = weights[np.arange(columns), :, :, np.arange(columns)].reshape(-1, 9)
        b = taps.reshape(-1, 8, 2, 8).transpose(0, 2, 3, 1)
    else:
        padded = np.zeros((up8(columns), kernel, kernel, up8(depth)), np.int8)
        padded[:columns, :, :, :depth] = weights
        blocks = padded.reshape(-1, 8, kernel, kernel, up8(depth) // 8, 8)
        b = blocks.transpose(0, 2, 4, 3, 1, 5)  # ky, block of channels, kx
    requant = bench.entries(up8(columns), 1000, 20)
    out = bench.room(out_height * up8(out_width), columns, np.int8)
    flags = GemmFlag.DEPTHWISE if is_depthwise else GemmFlag.CONV
    size = {"IN_WIDTH": width, "IN_HEIGHT": height, "OUT_WIDTH": out_width}
    window = {"KERNEL_WIDTH": 3, "KERNEL_HEIGHT": 3, "STRIDE_X": 2, "STRIDE_Y": 2}
    bench.run(
        encode("GEOMETRY", **size, **window, OUT_HEIGHT=out_height, PAD_LEFT=1, PAD_TOP=1,
               PAD_VALUE=zero),
        encode("GEMM", FLAGS=flags, A=bench.put(tiles), B=bench.put(b), C=out, COLUMNS=columns,
               REQUANT=bench.put(requant), A_ROW=lines(depth), C_ROW=lines(columns), DEPTH=depth,
               B_COLUMN=2 if is_depthwise else 18, B_DEPTH=1, CLAMP_LOW=-128, CLAMP_HIGH=127),
    )  # fmt: skip
    padded = np.full((height + 2, width + 2, depth), zero, np.int64)
    padded[1:-1, 1:-1] = image.reshape(height, width, depth)
    for y in range(out_height):
        got = bench.get(out + y * 64 * lines(columns), out_width, columns, np.int8)
        for x in range(out_width):
            under = padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            if is_depthwise:
                acc = np.array([(under[..., c] * weights[c, ..., c]).sum() for c in range(columns)])
            else:
                acc = (under * weights.astype(np.int64)).sum(axis=(1, 2, 3))
            acc = (acc + requant[:columns, 0]) * (requant[:columns, 1] & 0xFFFF)
            expected = np.clip((acc + (1 << 19)) >> 20, -128, 127)
            np.testing.assert_array_equal(got[x], expected)


# --- descriptors and unspecified bytes ------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_descriptors_survive_decoding(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        fields = {}
        for field, (_, _, bits, signed) in (HEADER | COMMANDS[name][2]).items():
            value = int(rng.integers(0, 1 << bits))
            fields[field] = value - (1 << bits) if signed and value >> bits - 1 else value
        fields["CODE"] = COMMANDS[name][0]
        command = decode(encode(name, **fields))
        assert (command.name, command.fields) == (name, fields)


@pytest.mark.parametrize("name", CASES)
def test_unspecified_bytes_never_matter(name: str) -> None:
    changed = 0
    for seed in range(20):
        scene = Scene(seed)
        command = CASES[name](scene)
        left = []
        for fill in (1, 2):
            reference = scene.reference(seed=fill)
            reference.execute(np.stack([*scene.setup, command]))
            left.append(reference)
        one, other = left
        assert ((one.sram == other.sram) | one.unspecified[0]).all()
        changed += int((one.sram != scene.sram).sum() + (one.store != scene.store).sum())
    assert changed > 100


# --- races ----------------------------------------------------------------------------------------

SMALL = {"ROWS": 8, "COLUMNS": 8}


def product(a: int, c: int, **fields: int) -> np.ndarray:
    shape = {"A_ROW": 1, "B_COLUMN": 1, "B_DEPTH": 1, "C_ROW": 4, "DEPTH": 8} | SMALL
    return encode("GEMM", FLAGS=GemmFlag.OUT_INT32, A=a, B=0x8000, C=c, **shape, **fields)


def turned(x: int, out: int, **fields: int) -> np.ndarray:
    return encode("TRANSPOSE", X=x, OUT=out, X_ROW=1, OUT_ROW=1, **SMALL, **fields)


def moved(source: int, target: int, **fields: int) -> np.ndarray:
    return encode("COPY", SOURCE=source, TARGET=target, ROWS=1, ROW_BYTES=64, **fields)


RACES = [
    ([product(0, 4096), turned(4096, 8192)], "read after write"),
    ([product(0, 4096), turned(8192, 0)], "write after read"),
    ([product(0, 4096), moved(8192, 4096 + 192)], "write after write"),
    ([moved(8192, 0), moved(0, 64), product(64, 4096, WAIT_ON=1, WAIT_DMA=1)], "read after write"),
    ([product(0, 4096), encode("NOP"), turned(4096, 8192)], "read after write"),
    ([product(0, 4096), turned(64, 128, WAIT_ON=2, WAIT_BLOCK=1), moved(4096, 320)], "read after"),
]
ORDERED = [
    [product(0, 4096), turned(4096, 8192, WAIT_ON=2, WAIT_BLOCK=1)],
    [moved(0, 64), moved(64, 128), turned(128, 192, WAIT_ON=1, WAIT_DMA=2)],
    [product(0, 4096), encode("FENCE"), turned(4096, 8192)],
    [
        product(0, 4096),
        turned(64, 128, WAIT_ON=2, WAIT_BLOCK=1),
        moved(4096, 320, WAIT_ON=4, WAIT_VECTOR=1),  # behind the product through the transpose
        moved(4096 + 64, 448),
    ],
    [product(0, 4096), turned(0, 8192), moved(4160 + 256, 9000)],  # nothing in common
]


@pytest.mark.parametrize(("program", "kind"), RACES)
def test_a_race_is_found(program: list, kind: str) -> None:
    with pytest.raises(HazardError) as caught:
        Reference(65536, check_hazards=True).execute(np.stack(program))
    assert caught.value.kind.startswith(kind)
    assert caught.value.second == len(program) - 1
    Reference(65536).execute(np.stack(program))


OVERLAPS = [
    (product(0, 0), "A under C"),
    (product(0, 0x8000 - 64 * 3), "B under C"),
    (turned(64, 64), "X under OUT"),
    (moved(0, 32), "SOURCE under TARGET"),
    (encode("ADD", **SMALL, X=0, Y=4096, OUT=64, X_ROW=2, Y_ROW=2, OUT_ROW=2, SHIFT=1), "X under"),
]


@pytest.mark.parametrize(("command", "kind"), OVERLAPS)
def test_a_result_on_an_operand_is_found(command: np.ndarray, kind: str) -> None:
    with pytest.raises(HazardError) as caught:
        Reference(65536, check_hazards=True).execute(command)
    assert caught.value.kind.startswith(kind)
    assert (caught.value.first, caught.value.second) == (0, 0)


@pytest.mark.parametrize("program", ORDERED)
def test_an_order_is_understood(program: list) -> None:
    Reference(65536, check_hazards=True).execute(np.stack(program))


@pytest.mark.parametrize("wait", [1, 2, 2**15])
def test_a_wait_for_later_commands_is_refused(wait: int) -> None:
    with pytest.raises(WaitError):
        Reference(65536).execute(
            np.stack([turned(0, 64, WAIT_ON=2, WAIT_BLOCK=wait), product(0, 4096)])
        )
