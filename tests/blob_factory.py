"""Builders of tiny blobs for tests: one op each over edge shapes and values, and whole encoders.

Every builder returns ``(blob, inputs)``: the bytes of a valid blob and its inputs by name,
one-dimensional arrays of one length T.  The same arguments give the same bytes.

A model's inputs are only ids and masks (SPEC.md section 1.2), so test data reach an op
through other ops: int16 rows through an EMBED whose position table is the data, int8 rows
through a GEMM with identity weights behind that.

``OP_CASES`` lists ``(id, callable)`` over the whole grid; the callable takes no arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from csc_convert.blob_format import Dtype, Flag, Op, Pool, Storage
from csc_convert.blob_writer import (
    OpSpec,
    TensorSpec,
    epsilon_params,
    pack_gemm_weights,
    pack_requant,
    place_without_reuse,
    up8,
    write_blob,
)

Array = npt.NDArray[np.integer]
Inputs = dict[str, Array]
Case = tuple[bytes, Inputs]

LIMITS = {
    Dtype.INT8: (-128, 127),
    Dtype.UINT8: (0, 255),
    Dtype.INT16: (-32768, 32767),
    Dtype.INT32: (-(2**31), 2**31 - 1),
}
MAX_BIAS = 2**30 - 1
EDGES = (1, 7, 8, 9, 255, 256, 257)


class Builder:
    """Collects tensors and ops; ``build`` writes the blob."""

    def __init__(self, max_length: int) -> None:
        """An empty model for at most max_length tokens."""
        self.max_length = max_length
        self.tensors: list[TensorSpec] = []
        self.ops: list[OpSpec] = []

    def add_tensor(self, tensor: TensorSpec) -> str:
        """Add a tensor, return its name."""
        self.tensors.append(tensor)
        return tensor.name

    def input(self, name: str, dtype: Dtype, default: int | None = None) -> str:
        """An input [T]; optional where a default is given.  Asked twice, it is the same one."""
        if name not in (t.name for t in self.tensors):
            flags = Flag.DYNAMIC | Flag.INPUT | (Flag.OPTIONAL if default is not None else 0)
            self.add_tensor(
                TensorSpec(name, dtype, (self.max_length,), flags=flags, default_value=default or 0)
            )
        return name

    def rows(self, name: str, dtype: Dtype, width: int, dynamic: bool = True) -> str:
        """An arena tensor [T][width], or [1][width]."""
        flags, count = (Flag.DYNAMIC, self.max_length) if dynamic else (0, 1)
        return self.add_tensor(TensorSpec(name, dtype, (count, width), flags=flags))

    def scratch(self, name: str, dtype: Dtype, dims: tuple[int, ...]) -> str:
        """An arena tensor of fixed dims."""
        return self.add_tensor(TensorSpec(name, dtype, dims))

    def weights(self, name: str, dtype: Dtype, data: npt.ArrayLike) -> str:
        """A weights tensor."""
        array = np.asarray(data, np.int64)
        return self.add_tensor(TensorSpec(name, dtype, array.shape, Storage.WEIGHTS, data=array))

    def find(self, name: str) -> TensorSpec:
        """The tensor of a name."""
        return next(t for t in self.tensors if t.name == name)

    def is_dynamic(self, name: str) -> bool:
        """Whether a tensor is [T][..]."""
        return bool(self.find(name).flags & Flag.DYNAMIC)

    def width(self, name: str) -> int:
        """The last dimension of a tensor."""
        return self.find(name).dims[1]

    def embed(
        self,
        name: str,
        word: Array,
        word_multiplier: Array,
        position: Array,
        shift: int,
        type_table: Array | None = None,
        types_default: int | None = None,
    ) -> str:
        """EMBED of the inputs ids and types -> int16 [T][C]."""
        operands = {
            "ids": self.input("ids", Dtype.INT32),
            "word": self.weights(f"{name}.word", Dtype.INT8, word),
            "word_multiplier": self.weights(
                f"{name}.word_multiplier", Dtype.INT16, word_multiplier
            ),
            "position": self.weights(f"{name}.position", Dtype.INT16, position),
        }
        if type_table is not None:
            operands["types"] = self.input("types", Dtype.INT32, types_default)
            operands["type"] = self.weights(f"{name}.type", Dtype.INT16, type_table)
        operands["out"] = self.rows(name, Dtype.INT16, position.shape[1])
        self.ops.append(OpSpec(Op.EMBED, f"{name}.op", operands, {"shift": shift}))
        return name

    def rows16(self, name: str, data: Array) -> str:
        """int16 [T][C] holding the first T rows of data [max_length][C]; the ids do not matter."""
        word = np.zeros((1, data.shape[1]), np.int8)
        return self.embed(name, word, np.zeros(1, np.int16), data, 1)

    def rows8(self, name: str, data: Array) -> str:
        """int8 [T][C] holding the first T rows of data [max_length][C], C <= 2048."""
        width = data.shape[1]
        x = self.rows16(f"{name}.wide", data)
        requant = pack_requant(np.zeros(width), np.full(width, 2**14), np.full(width, 14))
        return self.gemm(name, x, np.eye(width, dtype=np.int8), requant, Dtype.INT8)

    def one_row(self, name: str, data: Array) -> str:
        """int16 [1][C], not dynamic, holding row 0 of data."""
        x = self.rows16(f"{name}.rows", data)
        return self.pool(name, x, Dtype.INT16, Pool.FIRST, None, 2**14, 22)

    def gemm(
        self,
        name: str,
        x: str,
        w: Array,
        requant: Array,
        dtype: Dtype,
        zero_point: int = 0,
        limits: tuple[int, int] | None = None,
        table: Array | None = None,
    ) -> str:
        """GEMM of int8 weights [K][N] -> [R][N]."""
        n = w.shape[1]
        operands = {
            "x": x,
            "weights": self.weights(f"{name}.weights", Dtype.INT8, pack_gemm_weights(w)),
            "requant": self.weights(f"{name}.requant", Dtype.INT32, requant),
        }
        low, high = limits or LIMITS[dtype]
        if table is not None:
            operands["table"] = self.weights(f"{name}.table", dtype, table)
            low, high = 0, 1023
        operands["out"] = self.rows(name, dtype, n, self.is_dynamic(x))
        operands["scratch"] = self.scratch(f"{name}.scratch", Dtype.INT32, (8, up8(n)))
        params = {"zero_point": zero_point, "clamp_low": low, "clamp_high": high}
        self.ops.append(OpSpec(Op.GEMM, f"{name}.op", operands, params))
        return name

    def layernorm(
        self,
        name: str,
        x: str,
        epsilon: int,
        a: tuple[Array, Dtype, int, int],
        b: tuple[Array, Dtype, int, int] | None = None,
    ) -> list[str]:
        """LAYERNORM; an output is (affine [C][2], dtype, shift, zero point); returns names."""
        operands, params, names = {"x": x}, epsilon_params(epsilon), []
        for letter, output in (("a", a), ("b", b)):
            if output is not None:
                affine, dtype, shift, zero_point = output
                out = f"{name}.{letter}"
                operands[f"affine_{letter}"] = self.weights(f"{out}.affine", Dtype.INT32, affine)
                operands[f"out_{letter}"] = self.rows(out, dtype, self.width(x), self.is_dynamic(x))
                params |= {f"shift_{letter}": shift, f"zero_point_{letter}": zero_point}
                names.append(out)
        self.ops.append(OpSpec(Op.LAYERNORM, f"{name}.op", operands, params))
        return names

    def attention(
        self,
        name: str,
        qkv: tuple[str, str, str],
        columns: tuple[int, int, int],
        heads: int,
        head_dim: int,
        head_requant: Array,
        dtype: Dtype,
        mask: str | None = None,
        zero_point: int = 0,
        causal: bool = False,
    ) -> str:
        """ATTENTION -> [T][heads * head_dim]."""
        operands = dict(zip("qkv", qkv, strict=True))
        if mask is not None:
            operands["mask"] = mask
        size = 40 * up8(self.max_length) + 32 * up8(head_dim)
        operands["head_requant"] = self.weights(f"{name}.requant", Dtype.INT32, head_requant)
        operands["out"] = self.rows(name, dtype, heads * head_dim)
        operands["scratch"] = self.scratch(f"{name}.scratch", Dtype.UINT8, (size,))
        params = {"heads": heads, "head_dim": head_dim, "zero_point": zero_point}
        params["causal"] = int(causal)
        params |= {f"{x}_column": column for x, column in zip("qkv", columns, strict=True)}
        self.ops.append(OpSpec(Op.ATTENTION, f"{name}.op", operands, params))
        return name

    def add(self, name: str, a: str, b: str, multipliers: tuple[int, int], shift: int) -> str:
        """ADD -> int16 [R][C]."""
        out = self.rows(name, Dtype.INT16, self.width(a), self.is_dynamic(a))
        params = {"multiplier_a": multipliers[0], "multiplier_b": multipliers[1], "shift": shift}
        self.ops.append(OpSpec(Op.ADD, f"{name}.op", {"a": a, "b": b, "out": out}, params))
        return out

    def pool(
        self,
        name: str,
        x: str,
        dtype: Dtype,
        mode: Pool,
        mask: str | None,
        multiplier: int,
        shift: int,
        zero_point_in: int = 0,
        zero_point: int = 0,
    ) -> str:
        """POOL -> [1][C]."""
        operands = {"x": x, "out": self.rows(name, dtype, self.width(x), dynamic=False)}
        if mask is not None:
            operands["mask"] = mask
        params = {
            "mode": int(mode),
            "multiplier": multiplier,
            "shift": shift,
            "zero_point_in": zero_point_in,
            "zero_point": zero_point,
        }
        self.ops.append(OpSpec(Op.POOL, f"{name}.op", operands, params))
        return name

    def build(self, *outputs: str) -> bytes:
        """The blob; the tensors named are its outputs."""
        for name in outputs:
            self.find(name).flags |= Flag.OUTPUT
        arena = place_without_reuse(self.tensors)
        metadata = {"architecture": "test", "source": "blob_factory"}
        return write_blob(self.tensors, self.ops, metadata, self.max_length, arena)


# ---------------------------------------------------------------------------- test data


def fill(rng: np.random.Generator, shape: tuple[int, ...], dtype: Dtype, data: str) -> Array:
    """Elements of a dtype, int64.

    ``data``: random (whole range), extreme (only the limits), min, max, zero, small (-1..1),
    equal (every row one value), spike (all smallest but one largest per row),
    sorted (a ramp over the range).
    """
    low, high = LIMITS[dtype]
    if data == "random":
        return rng.integers(low, high + 1, shape)
    if data == "extreme":
        return np.where(rng.integers(0, 2, shape) == 1, high, low)
    if data in ("min", "max", "zero"):
        return np.full(shape, {"min": low, "max": high, "zero": 0}[data], np.int64)
    if data == "small":
        return rng.integers(-1, 2, shape)
    if data == "equal":
        column = rng.integers(low, high + 1, (shape[0], 1))
        column[: min(3, shape[0]), 0] = (low, high, 0)[: min(3, shape[0])]
        return np.broadcast_to(column, shape).copy()
    if data == "spike":
        values = np.full(shape, low, np.int64)
        values[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = high
        return values
    if data == "sorted":
        flat = np.linspace(low, high, int(np.prod(shape)))
        return np.floor(flat).astype(np.int64).reshape(shape)
    raise ValueError(f"unknown data {data}")


def make_mask(rng: np.random.Generator, length: int, mask: str | None) -> Array | None:
    """uint8 [T]; ``mask``: None, all, tail (the last third hidden), holes, last, hidden."""
    if mask is None:
        return None
    values = np.zeros(length, np.uint8)
    if mask == "all":
        values[:] = 1
    elif mask == "tail":
        values[: max(1, length - length // 3)] = 1
    elif mask == "holes":
        values[:] = np.array([0, 1, 2, 128, 255, 0], np.uint8)[rng.integers(0, 6, length)]
    elif mask == "last":
        values[-1] = 255
    elif mask != "hidden":
        raise ValueError(f"unknown mask {mask}")
    return values


def zero_ids(length: int) -> Inputs:
    """ids of T zeros, for blobs whose data do not depend on them."""
    return {"ids": np.zeros(length, np.int32)}


def spread_requant(
    rng: np.random.Generator, n: int, acc_deviation: float, out_deviation: float
) -> tuple[Array, Array]:
    """Multipliers and shifts [n] that take accumulators of one deviation to another."""
    ratio = max(out_deviation, 1.0) / max(acc_deviation, 1.0)
    shift = int(np.clip(np.floor(14.5 - np.log2(ratio)), 1, 46))
    target = ratio * 2.0**shift
    multiplier = np.clip(target * rng.uniform(0.7, 1.4, n), 0, 32767)
    return multiplier.astype(np.int64), np.full(n, shift, np.int64)


def index_table(dtype: Dtype, seed: int) -> Array:
    """An activation table [1024]: a bent ramp with a little noise, limits at both ends."""
    low, high = LIMITS[dtype]
    rng = np.random.default_rng(seed)
    x = np.arange(-512, 512)
    bent = np.where(x > 0, x, x // 8) * (high // 256 or 1) // (2 if dtype == Dtype.INT8 else 1)
    table = np.clip(bent + rng.integers(-3, 4, 1024), low, high)
    table[0], table[1023] = low, high
    return table


# ------------------------------------------------------------------------- one-op blobs


def gemm_requant(
    rng: np.random.Generator, x_dtype: Dtype, k: int, n: int, out: tuple[int, int], data: str
) -> Array:
    """requant [up8(n)][2] for a GEMM test: biases and multipliers that suit the data."""
    if data == "shifts":
        multiplier = np.array([1, 32767, 16384, 20011])[np.arange(n) // 46 % 4]
        bias = np.where(np.arange(n) % 2, MAX_BIAS, -MAX_BIAS) // (1 + np.arange(n) // 2 % 7)
        return pack_requant(bias, multiplier, 1 + np.arange(n) % 46)
    if data == "ties":
        return pack_requant(rng.integers(-9, 10, n), np.full(n, 2**14), np.full(n, 15))
    x_deviation = 74.0 if x_dtype == Dtype.INT8 else 3500.0
    deviation = x_deviation * 74.0 * k**0.5
    multiplier, shift = spread_requant(rng, n, deviation, (out[1] - out[0]) / 4)
    bias = rng.normal(0, deviation / 2, n).astype(np.int64)
    if data in ("min", "max", "extreme"):
        bias = np.where(np.arange(n) % 2, MAX_BIAS, -MAX_BIAS)
        multiplier[: n // 2] = 32767
    return pack_requant(np.clip(bias, -MAX_BIAS, MAX_BIAS), multiplier, shift)


def gemm_blob(
    k: int,
    n: int,
    max_length: int = 9,
    length: int | None = None,
    x_dtype: Dtype = Dtype.INT8,
    out_dtype: Dtype = Dtype.INT8,
    table: bool = False,
    seed: int = 0,
    saturate: str = "random",
    w_data: str | None = None,
    zero_point: int = 0,
    limits: tuple[int, int] | None = None,
    one_row: bool = False,
) -> Case:
    """A GEMM [T][k] -> [T][n]; ``saturate`` is the kind of data of x, weights and requant.

    Besides the kinds of ``fill``: shifts (shift n % 46 + 1 in column n), ties (halves to
    round), wide (int16 x around the clamp at -4096 and 4095).  ``one_row``: int16 x [1][k].
    """
    rng = np.random.default_rng([seed, k, n])
    model = Builder(max_length)
    kind = saturate if saturate in ("extreme", "min", "max", "zero") else "random"
    if saturate == "wide":
        edge = rng.choice([-32768, -4098, -4097, -4096, -4095, 4094, 4095, 4096, 32767], k)
        x_data = np.stack([np.roll(edge, t) for t in range(max_length)])
    elif saturate == "ties":
        x_data = fill(rng, (max_length, k), Dtype.INT8, kind) // 16
    else:
        x_data = fill(rng, (max_length, k), x_dtype, kind)
        if x_dtype == Dtype.INT16 and kind == "random":
            x_data = x_data // 6
    w = fill(rng, (k, n), Dtype.INT8, w_data or kind).astype(np.int8)
    if one_row:
        x = model.one_row("x", x_data)
    else:
        x = (model.rows8 if x_dtype == Dtype.INT8 else model.rows16)("x", x_data)
    out_range = (0, 1023) if table else limits or LIMITS[out_dtype]
    requant = gemm_requant(rng, x_dtype, k, n, out_range, saturate)
    table_data = index_table(out_dtype, seed) if table else None
    if table:
        zero_point = min(zero_point + 512, 32768)
    out = model.gemm("out", x, w, requant, out_dtype, zero_point, limits, table_data)
    return model.build(out), zero_ids(length or max_length)


def deep_gemm_blob(k: int, sign: int, max_length: int = 3) -> Case:
    """A GEMM at the largest accumulators: int8 x of -128, k inputs up to 65528, 8 outputs.

    x is made by a GEMM with biases only; ``sign`` is that of the accumulators.
    """
    model = Builder(max_length)
    narrow = model.rows16("narrow", np.zeros((max_length, 1), np.int64))
    constant = pack_requant(np.full(k, -128), np.full(k, 2**14), np.full(k, 14))
    x = model.gemm("x", narrow, np.zeros((1, k), np.int8), constant, Dtype.INT8)
    w = np.full((k, 8), -128 if sign > 0 else 127, np.int8)
    bias = np.full(8, sign * MAX_BIAS)
    shift = np.array([46, 45, 40, 32, 31, 16, 2, 1])
    requant = pack_requant(bias, np.full(8, 32767), shift)
    out = model.gemm("out", x, w, requant, Dtype.INT16)
    return model.build(out), zero_ids(max_length)


def make_affine(rng: np.random.Generator, width: int, data: str) -> Array:
    """(offset, gain) [C][2]; ``data`` is random, extreme or zero."""
    affine = np.zeros((width, 2), np.int64)
    if data == "extreme":
        affine[:, 0] = rng.choice([-(2**29), 2**29], width)
        affine[:, 1] = rng.choice([-32767, 32767], width)
    elif data == "random":
        affine[:, 0] = rng.integers(-(2**20), 2**20, width)
        affine[:, 1] = rng.integers(-20000, 20001, width)
    return affine


def layernorm_blob(
    c: int,
    max_length: int = 9,
    length: int | None = None,
    data: str = "random",
    affine: str = "random",
    a: Dtype = Dtype.INT8,
    b: Dtype | None = None,
    epsilon: int = 1,
    shifts: tuple[int, int] = (18, 10),
    zero_points: tuple[int, int] = (0, 0),
    seed: int = 0,
    one_row: bool = False,
) -> Case:
    """A LAYERNORM of int16 [T][c], or of [1][c], with one or two outputs."""
    rng = np.random.default_rng([seed, c])
    model = Builder(max_length)
    values = fill(rng, (max_length, c), Dtype.INT16, data)
    x = model.one_row("x", values) if one_row else model.rows16("x", values)
    outputs = [(make_affine(rng, c, affine), a, shifts[0], zero_points[0])]
    if b is not None:
        outputs.append((make_affine(rng, c, affine), b, shifts[1], zero_points[1]))
    names = model.layernorm("out", x, epsilon, *outputs)
    return model.build(*names), zero_ids(length or max_length)


def make_head_requant(
    rng: np.random.Generator, heads: int, head_dim: int, data: str, out_dtype: Dtype = Dtype.INT8
) -> Array:
    """head_requant [H][2]; ``data``: random, sharp, flat (all weights equal), limits."""
    score_multiplier, score_shift = spread_requant(rng, heads, 5400.0 * head_dim**0.5, 60.0)
    context_multiplier, context_shift = spread_requant(
        rng, heads, 12000.0, 40.0 if out_dtype == Dtype.INT8 else 9000.0
    )
    if data == "sharp":
        score_multiplier[:], score_shift[:] = 32767, 1
    elif data == "flat":
        score_multiplier[:], score_shift[:] = 0, 46
    elif data == "limits":
        score_multiplier[:] = rng.choice([1, 32767], heads)
        score_shift[:] = rng.integers(1, 47, heads)
        context_multiplier[:] = rng.choice([1, 32767], heads)
        context_shift[:] = rng.integers(1, 47, heads)
    score = score_multiplier + 65536 * score_shift
    return np.stack([score, context_multiplier + 65536 * context_shift], axis=1)


def attention_blob(
    heads: int,
    head_dim: int,
    max_length: int = 9,
    length: int | None = None,
    mask: str | None = None,
    out_dtype: Dtype = Dtype.INT8,
    layout: str = "fused",
    data: str = "random",
    requant: str = "random",
    zero_point: int = 0,
    seed: int = 0,
    causal: bool = False,
) -> Case:
    """An ATTENTION; ``layout``: fused (one tensor q | k | v), separate, gaps (odd columns)."""
    rng = np.random.default_rng([seed, heads, head_dim])
    model = Builder(max_length)
    length = length or max_length
    width = heads * head_dim
    inputs = zero_ids(length)
    if layout == "separate":
        parts = [fill(rng, (max_length, width), Dtype.INT8, data) for _ in "qkv"]
        names = [model.rows8(x, part) for x, part in zip("qkv", parts, strict=True)]
        columns = [0, 0, 0]
    else:
        gap = 3 if layout == "gaps" else 0
        values = fill(rng, (max_length, 3 * width + 4 * gap), Dtype.INT8, data)
        names = [model.rows8("qkv", values)] * 3
        columns = [gap + i * (width + gap) for i in range(3)]
        if gap:
            columns = columns[::-1]
    if mask is not None:
        model.input("mask", Dtype.UINT8)
        inputs["mask"] = make_mask(rng, length, mask)
    head_requant = make_head_requant(rng, heads, head_dim, requant, out_dtype)
    out = model.attention(
        "out",
        tuple(names),
        tuple(columns),
        heads,
        head_dim,
        head_requant,
        out_dtype,
        "mask" if mask is not None else None,
        zero_point,
        causal,
    )
    return model.build(out), inputs


def embed_blob(
    vocab: int,
    c: int,
    max_length: int = 9,
    length: int | None = None,
    types: int = 2,
    data: str = "random",
    shift: int = 8,
    extra_positions: int = 0,
    types_default: int | None = None,
    seed: int = 0,
) -> Case:
    """An EMBED; ``types`` is the number of rows of the type table, 0 for none.

    With ``types_default`` the types are optional, and are left out of the inputs.
    """
    rng = np.random.default_rng([seed, vocab, c])
    model = Builder(max_length)
    length = length or max_length
    word = fill(rng, (vocab, c), Dtype.INT8, data)
    multiplier = abs(fill(rng, (vocab, 1), Dtype.INT16, data))[:, 0].clip(0, 32767)
    position = fill(rng, (max_length + extra_positions, c), Dtype.INT16, data)
    if data == "random":
        position = position // 3
    type_table = fill(rng, (types, c), Dtype.INT16, data) if types else None
    out = model.embed("out", word, multiplier, position, shift, type_table, types_default)
    ids = rng.integers(0, vocab, length)
    ids[0] = vocab - 1
    inputs = {"ids": ids.astype(np.int32)}
    if types and types_default is None:
        inputs["types"] = rng.integers(0, types, length).astype(np.int32)
    return model.build(out), inputs


def add_blob(
    c: int,
    max_length: int = 9,
    length: int | None = None,
    data: str = "random",
    multipliers: tuple[int, int] = (8192, 16384),
    shift: int = 15,
    seed: int = 0,
    one_row: bool = False,
    same: bool = False,
) -> Case:
    """An ADD of two int16 [T][c], or of [1][c]; ``same``: both are one tensor."""
    rng = np.random.default_rng([seed, c])
    model = Builder(max_length)
    make = model.one_row if one_row else model.rows16
    a = make("a", fill(rng, (max_length, c), Dtype.INT16, data))
    b = a if same else make("b", fill(rng, (max_length, c), Dtype.INT16, data))
    out = model.add("out", a, b, multipliers, shift)
    return model.build(out), zero_ids(length or max_length)


def pool_blob(
    c: int,
    mode: Pool = Pool.MEAN,
    max_length: int = 9,
    length: int | None = None,
    mask: str | None = None,
    x_dtype: Dtype = Dtype.INT16,
    out_dtype: Dtype = Dtype.INT8,
    data: str = "random",
    multiplier: int = 20000,
    shift: int | None = None,
    zero_point_in: int = 0,
    zero_point: int = 0,
    seed: int = 0,
) -> Case:
    """A POOL of int8 or int16 [T][c]."""
    rng = np.random.default_rng([seed, c])
    model = Builder(max_length)
    length = length or max_length
    inputs = zero_ids(length)
    values = fill(rng, (max_length, c), x_dtype, data)
    x = (model.rows8 if x_dtype == Dtype.INT8 else model.rows16)("x", values)
    if mask is not None:
        model.input("mask", Dtype.UINT8)
        inputs["mask"] = make_mask(rng, length, mask)
    if shift is None:
        shift = 22 + 8 * ((x_dtype == Dtype.INT16) - (out_dtype == Dtype.INT16))
    out = model.pool(
        "out",
        x,
        out_dtype,
        mode,
        "mask" if mask is not None else None,
        multiplier,
        shift,
        zero_point_in,
        zero_point,
    )
    return model.build(out), inputs


# ------------------------------------------------------------------------ whole encoders


def random_gemm(
    model: Builder,
    rng: np.random.Generator,
    name: str,
    x: str,
    n: int,
    dtype: Dtype,
    x_deviation: float,
    deviation: float,
    table: Array | None = None,
) -> str:
    """A GEMM with random weights whose results have about the given deviation."""
    k = model.width(x)
    w = rng.normal(0, 45, (k, n)).round().clip(-127, 127).astype(np.int8)
    acc = x_deviation * 45 * k**0.5
    multiplier, shift = spread_requant(rng, n, acc, deviation)
    bias = rng.normal(0, acc / 3, n).astype(np.int64)
    zero_point = 512 if table is not None else 0
    requant = pack_requant(bias, multiplier, shift)
    return model.gemm(name, x, w, requant, dtype, zero_point, table=table)


def random_norm(
    model: Builder, rng: np.random.Generator, name: str, x: str, epsilon: int
) -> list[str]:
    """A LAYERNORM with an int8 output of deviation about 32 and an int16 one of about 2000."""
    outputs = []
    for dtype, deviation in ((Dtype.INT8, 32), (Dtype.INT16, 2000)):
        affine = np.zeros((model.width(x), 2), np.int64)
        affine[:, 1] = rng.normal(12000, 2000, len(affine)).round().clip(-32767, 32767)
        affine[:, 0] = rng.normal(0, 12000 * 200, len(affine)).round()
        shift = round(np.log2(12000 * 1024 / deviation))
        outputs.append((affine, dtype, shift, 3 if dtype == Dtype.INT8 else 0))
    return model.layernorm(name, x, epsilon, *outputs)


def encoder_layer(
    model: Builder,
    rng: np.random.Generator,
    name: str,
    x: list[str],
    heads: int,
    ffn: int,
    wide: bool,
) -> list[str]:
    """One layer on the int8 and the int16 form of its input; ``wide``: int16 inside the FFN."""
    x8, x16 = x
    hidden = model.width(x8)
    qkv = random_gemm(model, rng, f"{name}.qkv", x8, 3 * hidden, Dtype.INT8, 33, 40)
    requant = make_head_requant(rng, heads, hidden // heads, "random")
    columns = (0, hidden, 2 * hidden)
    context = model.attention(
        f"{name}.context",
        (qkv, qkv, qkv),
        columns,
        heads,
        hidden // heads,
        requant,
        Dtype.INT8,
        "mask",
        zero_point=-2,
    )
    dense = random_gemm(model, rng, f"{name}.dense", context, hidden, Dtype.INT16, 30, 2500)
    total = model.add(f"{name}.add1", x16, dense, (16384, 13000), 14)
    mid8, mid16 = random_norm(model, rng, f"{name}.norm1", total, 2**20)
    dtype = Dtype.INT16 if wide else Dtype.INT8
    deviation = 1500 if wide else 30
    table = index_table(dtype, 7)
    if wide:
        table = table // 8
    up = random_gemm(model, rng, f"{name}.up", mid8, ffn, dtype, 33, 200, table)
    down = random_gemm(model, rng, f"{name}.down", up, hidden, Dtype.INT16, deviation, 2500)
    total = model.add(f"{name}.add2", mid16, down, (16384, 15000), 14)
    return random_norm(model, rng, f"{name}.norm2", total, 2**20)


def encoder_blob(
    hidden: int,
    heads: int,
    layers: int,
    ffn: int,
    vocab: int,
    max_length: int,
    length: int | None = None,
    pool: Pool = Pool.FIRST,
    seed: int = 0,
    inputs: str = "all",
    labels: int = 3,
) -> Case:
    """A whole encoder with random weights: layers alternate int8 and int16 inside the FFN.

    Inputs ids, types (optional, 0) and mask (optional, 1); outputs hidden (int8 [T][C]) and
    logits (int16 [1][labels]).  ``inputs``: all, or ids for the ids alone.
    """
    rng = np.random.default_rng([seed, hidden, layers])
    model = Builder(max_length)
    length = length or max_length
    word = rng.integers(-127, 128, (vocab, hidden))
    position = rng.normal(0, 600, (max_length, hidden)).round()
    types = rng.normal(0, 300, (2, hidden)).round()
    model.input("ids", Dtype.INT32)
    model.input("types", Dtype.INT32, 0)
    model.input("mask", Dtype.UINT8, 1)
    multiplier = rng.integers(8000, 32768, vocab)
    total = model.embed("embed", word, multiplier, position, 11, types, 0)
    x = random_norm(model, rng, "norm", total, 2**20)
    for i in range(layers):
        x = encoder_layer(model, rng, f"layer{i}", x, heads, ffn, wide=i % 2 == 1)
    pool_mask = "mask" if pool == Pool.MEAN else None
    pooled = model.pool("pooled", x[0], Dtype.INT8, pool, pool_mask, 2**14, 22, 3, -1)
    table = index_table(Dtype.INT8, 11)
    dense = random_gemm(model, rng, "pooler", pooled, hidden, Dtype.INT8, 33, 250, table)
    logits = random_gemm(model, rng, "logits", dense, labels, Dtype.INT16, 30, 4000)
    model.find(logits).scale = 2.0**-10
    model.find(x[0]).scale, model.find(x[0]).zero_point = 0.03125, 3
    values: Inputs = {"ids": rng.integers(0, vocab, length).astype(np.int32)}
    if inputs == "all":
        values["types"] = (np.arange(length) >= length // 2).astype(np.int32)
        values["mask"] = make_mask(rng, length, "tail")
    return model.build(x[0], logits), values


def tiny_encoder_blob(
    pool: Pool = Pool.FIRST, length: int | None = None, inputs: str = "all", seed: int = 0
) -> Case:
    """The smallest whole encoder: hidden 16, 2 heads, 2 layers, FFN 24, vocabulary 31, 9 tokens."""
    return encoder_blob(16, 2, 2, 24, 31, 9, length, pool, seed, inputs)


# ------------------------------------------------------------------------------ the grid


def case(builder: Callable[..., Case], *args: object, **kwargs: object) -> tuple[str, Callable]:
    """An entry of OP_CASES, its id made of the arguments."""
    words = [builder.__name__.removesuffix("_blob"), *(text(value) for value in args)]
    words += [f"{name}={text(value)}" for name, value in kwargs.items()]
    return "-".join(words), partial(builder, *args, **kwargs)


def text(value: object) -> str:
    """A value as a part of an id."""
    if isinstance(value, tuple):
        return ",".join(text(part) for part in value)
    return getattr(value, "name", str(value)).lower()


def gemm_cases() -> list[tuple[str, Callable]]:
    """Edge widths, dtypes, tables, saturation, rows."""
    styles = [
        (Dtype.INT8, Dtype.INT8, False),
        (Dtype.INT16, Dtype.INT8, False),
        (Dtype.INT8, Dtype.INT16, True),
        (Dtype.INT16, Dtype.INT16, False),
        (Dtype.INT8, Dtype.INT8, True),
        (Dtype.INT16, Dtype.INT8, True),
        (Dtype.INT8, Dtype.INT16, False),
        (Dtype.INT16, Dtype.INT16, True),
    ]

    def styled(k: int, n: int, style: int, **kwargs: object) -> tuple[str, Callable]:
        x_dtype, out_dtype, table = styles[style % len(styles)]
        return case(gemm_blob, k, n, x_dtype=x_dtype, out_dtype=out_dtype, table=table, **kwargs)

    cases = []
    for i, k in enumerate(EDGES):
        for j, n in enumerate(EDGES):
            lengths = (1, 9, 7, 8)
            cases.append(styled(k, n, i + 3 * j, length=lengths[(i + j) % 4], seed=1))
    for style in range(len(styles)):
        wide = styles[style][0] == Dtype.INT16
        for saturate in ("extreme", "min", "max", "zero", "shifts", "ties"):
            cases.append(styled(33, 100, style, saturate=saturate, length=3))
        if wide:
            cases.append(styled(40, 19, style, saturate="wide"))
        for rows in (1, 2, 7, 8, 9, 15, 16, 17, 33):
            cases.append(styled(21, 11, style, max_length=rows, seed=2))
        for zero_point in (-32768, -37, 41, 32768):
            cases.append(styled(12, 10, style, zero_point=zero_point, length=2))
    for x_dtype in (Dtype.INT8, Dtype.INT16):
        for limits in ((-128, -128), (0, 127), (-5, 9)):
            cases.append(case(gemm_blob, 24, 9, x_dtype=x_dtype, limits=limits))
        cases.append(case(gemm_blob, 256, 9, x_dtype=x_dtype, saturate="min", w_data="max"))
        cases.append(case(gemm_blob, 1024, 24, x_dtype=x_dtype, length=2))
    for table in (False, True):
        for n in (1, 9, 16):
            cases.append(
                case(gemm_blob, 17, n, x_dtype=Dtype.INT16, one_row=True, table=table, length=4)
            )
    for w_data in ("min", "max"):
        for saturate in ("min", "max"):
            cases.append(
                case(
                    gemm_blob,
                    2048,
                    9,
                    max_length=2,
                    x_dtype=Dtype.INT16,
                    out_dtype=Dtype.INT16,
                    saturate=saturate,
                    w_data=w_data,
                )
            )
    cases += [case(deep_gemm_blob, k, sign) for k in (4099, 65528) for sign in (-1, 1)]
    return cases


def layernorm_cases() -> list[tuple[str, Callable]]:
    """Edge widths, equal and extreme rows, epsilons, shifts."""
    cases = []
    dtypes = [(Dtype.INT8, None), (Dtype.INT16, Dtype.INT8), (Dtype.INT8, Dtype.INT16)]
    for i, c in enumerate((1, 2, 3, 7, 8, 9, 31, 255, 256, 257, 1023, 1024, 1025, 4095, 4096)):
        for j, data in enumerate(("random", "equal", "spike", "extreme", "small", "min", "max")):
            a, b = dtypes[(i + j) % 3]
            shifts = (18, 10) if a == Dtype.INT8 else (10, 18)
            length = 3 if c > 1000 else (1, 9, 5)[(i + j) % 3]
            max_length = 3 if c > 1000 else 9
            cases.append(
                case(
                    layernorm_blob,
                    c,
                    max_length=max_length,
                    length=length,
                    data=data,
                    a=a,
                    b=b,
                    shifts=shifts,
                )
            )
    for epsilon in (1, 2, 2**14, 2**31, 2**32 - 1, 2**32, 2**40 + 12345, 2**54 - 1):
        for data in ("small", "random", "equal"):
            cases.append(case(layernorm_blob, 19, data=data, epsilon=epsilon, b=Dtype.INT16))
    for shift in (1, 2, 15, 28, 29):
        for affine in ("extreme", "zero"):
            cases.append(
                case(
                    layernorm_blob,
                    26,
                    affine=affine,
                    shifts=(shift, 30 - shift),
                    a=Dtype.INT16,
                    b=Dtype.INT8,
                )
            )
    for zero_point in (-32768, -3, 5, 32768):
        cases.append(case(layernorm_blob, 12, zero_points=(zero_point, -zero_point), b=Dtype.INT16))
    cases += [case(layernorm_blob, c, one_row=True, length=2, b=Dtype.INT16) for c in (1, 8, 13)]
    cases += [case(layernorm_blob, 10, max_length=rows) for rows in (1, 7, 8, 17, 40)]
    return cases


def attention_cases() -> list[tuple[str, Callable]]:
    """Head dims and counts, masks, layouts, lengths, values."""
    cases = []
    masks = (None, "all", "tail", "holes", "last", "hidden")
    layouts = ("fused", "separate", "gaps")
    for i, head_dim in enumerate((1, 2, 3, 5, 7, 8, 9, 16, 26, 32, 33, 64)):
        for j, heads in enumerate((1, 2, 3, 12)):
            if heads * head_dim <= 256:
                out = (Dtype.INT8, Dtype.INT16)[(i + j) % 2]
                cases.append(
                    case(
                        attention_blob,
                        heads,
                        head_dim,
                        length=(1, 9, 8, 5)[(i + j) % 4],
                        mask=masks[(i + 2 * j) % 6],
                        out_dtype=out,
                        layout=layouts[(i + j) % 3],
                    )
                )
    for mask in masks:
        for layout in layouts:
            for length in (1, 4, 9):
                cases.append(case(attention_blob, 2, 5, mask=mask, layout=layout, length=length))
        for requant in ("sharp", "flat", "limits"):
            cases.append(
                case(attention_blob, 4, 3, mask=mask, requant=requant, out_dtype=Dtype.INT16)
            )
        for data in ("extreme", "min", "max", "zero", "equal", "small", "sorted"):
            cases.append(case(attention_blob, 2, 26, mask=mask, data=data))
    for rows in (1, 7, 8, 15, 16, 17, 64, 130):
        for mask in (None, "tail", "holes"):
            cases.append(case(attention_blob, 2, 8, max_length=rows, mask=mask))
    for zero_point in (-32768, -128, 11, 32768):
        for mask in ("tail", "hidden"):
            cases.append(case(attention_blob, 2, 4, zero_point=zero_point, mask=mask))
    for mask in (None, "tail", "holes", "last"):
        for rows in (1, 8, 9, 23):
            cases.append(case(attention_blob, 2, 7, max_length=rows, mask=mask, causal=True))
    cases.append(case(attention_blob, 3, 9, length=4, causal=True, layout="gaps"))
    cases.append(case(attention_blob, 256, 1, length=3))
    cases.append(
        case(attention_blob, 1, 1024, max_length=3, layout="separate", data="min", mask="tail")
    )
    cases.append(case(attention_blob, 1, 600, max_length=4, data="extreme"))
    return cases


def embed_cases() -> list[tuple[str, Callable]]:
    """Edge widths, saturation, shifts, with and without types."""
    cases = []
    for c in EDGES:
        for types in (0, 1, 3):
            cases.append(case(embed_blob, 31, c, types=types, length=(1, 9, 4)[types % 3]))
    for data in ("extreme", "min", "max", "zero", "small"):
        for types in (0, 2):
            cases.append(case(embed_blob, 5, 11, data=data, types=types, shift=1))
    cases += [case(embed_blob, 9, 10, shift=shift) for shift in (1, 2, 7, 15, 21, 22, 23, 31)]
    cases += [case(embed_blob, 1, 8, max_length=rows) for rows in (1, 2, 33)]
    cases.append(case(embed_blob, 7, 9, extra_positions=5))
    cases.append(case(embed_blob, 7, 9, types=3, types_default=2))
    return cases


def add_cases() -> list[tuple[str, Callable]]:
    """Edge widths, limits of multipliers and shifts, saturation."""
    cases = [case(add_blob, c, length=length) for c in EDGES for length in (1, 9)]
    for data in ("extreme", "min", "max", "small", "sorted"):
        for multipliers in ((16384, 16384), (0, 16384), (16384, 1), (0, 0)):
            for shift in (1, 14, 29):
                cases.append(
                    case(add_blob, 13, data=data, multipliers=multipliers, shift=shift, length=3)
                )
    cases += [case(add_blob, c, one_row=True, length=3) for c in (1, 9)]
    cases += [case(add_blob, 10, same=True), case(add_blob, 10, max_length=1)]
    return cases


def pool_cases() -> list[tuple[str, Callable]]:
    """Edge widths, masks, dtypes, zero points, saturation."""
    cases = []
    for i, c in enumerate(EDGES):
        for x_dtype in (Dtype.INT8, Dtype.INT16):
            for mode in Pool:
                length = (1, 9, 6)[i % 3]
                cases.append(case(pool_blob, c, mode, x_dtype=x_dtype, length=length))
    for mask in ("all", "tail", "holes", "last", "hidden"):
        for x_dtype in (Dtype.INT8, Dtype.INT16):
            for out_dtype in (Dtype.INT8, Dtype.INT16):
                for length in (1, 7, 9):
                    cases.append(
                        case(
                            pool_blob,
                            10,
                            mask=mask,
                            x_dtype=x_dtype,
                            out_dtype=out_dtype,
                            length=length,
                        )
                    )
    for mode in Pool:
        for data in ("min", "max", "extreme"):
            for zero_point_in in (-32768, 32768, 5):
                cases.append(
                    case(
                        pool_blob,
                        9,
                        mode,
                        data=data,
                        zero_point_in=zero_point_in,
                        zero_point=-zero_point_in,
                        out_dtype=Dtype.INT16,
                    )
                )
        for multiplier, shift in ((0, 1), (32767, 1), (32767, 46), (1, 46), (1, 8), (16384, 23)):
            cases.append(case(pool_blob, 9, mode, multiplier=multiplier, shift=shift))
    for rows in (1, 2, 100, 300):
        cases.append(case(pool_blob, 5, max_length=rows, data="extreme", mask="holes"))
    return cases


def encoder_cases() -> list[tuple[str, Callable]]:
    """The tiny encoder over pooling, lengths and inputs left out."""
    return [
        case(tiny_encoder_blob, pool, length, inputs)
        for pool in Pool
        for length in (1, 2, 8, 9)
        for inputs in ("all", "ids")
    ]


OP_CASES: list[tuple[str, Callable[[], Case]]] = [
    *embed_cases(),
    *layernorm_cases(),
    *gemm_cases(),
    *attention_cases(),
    *add_cases(),
    *pool_cases(),
    *encoder_cases(),
]
