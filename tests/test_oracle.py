"""Tests of the oracle (the NumPy implementation of SPEC.md) and of the blob writer.

The arithmetic is compared with exact fractions, the ops with float mathematics and with a
second, naive implementation in plain Python integers, the reader with every rule of section 4
broken once.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from decimal import Decimal, getcontext
from fractions import Fraction
from functools import cache
from math import erf, isqrt
from pathlib import Path

import numpy as np
import pytest

import blob_factory as factory
from blob_editor import Editor, same_place, set_item
from csc_convert import blob_format as fmt
from csc_convert import blob_writer as writer
from csc_convert.oracle import OracleError, Session, blob, ops, read_blob, run
from csc_convert.oracle.arithmetic import EXP, RS, RSQRT, bitlen, mean8, recip, rq, rsqrt
from entry_factory import ENTRY_CASES

SPEC = (Path(__file__).parent.parent / "SPEC.md").read_text(encoding="utf-8")
RNG_SEED = 20240


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers in every test."""
    return np.random.default_rng(RNG_SEED)


# ---------------------------------------------------------------------------- arithmetic


def floor_fraction(value: Fraction) -> int:
    """The largest integer not above value."""
    return value.numerator // value.denominator


def half_up(value: Fraction) -> int:
    """value rounded to the nearest integer, halves up."""
    return floor_fraction(value + Fraction(1, 2))


def test_rs_by_hand():
    """Halves go up, also below zero."""
    values = [(5, 1, 3), (-5, 1, -2), (4, 1, 2), (1, 1, 1), (-1, 1, 0), (-3, 1, -1), (7, 3, 1)]
    values += [(3, 3, 0), (4, 3, 1), (-4, 3, 0), (-5, 3, -1), (-12, 3, -1), (-13, 3, -2)]
    for a, s, wanted in values:
        assert int(RS(a, s)) == wanted


def test_rs_is_nearest_integer(rng):
    """RS(a, s) is a / 2^s to the nearest integer, halves up."""
    a = rng.integers(-(2**46), 2**46, 3000)
    s = rng.integers(1, 47, 3000)
    a[:1000] = (a[:1000] >> s[:1000] << s[:1000]) + (1 << (s[:1000] - 1))
    wanted = [half_up(Fraction(int(x), 2 ** int(y))) for x, y in zip(a, s, strict=True)]
    assert RS(a, s).tolist() == wanted


def test_rq_at_its_limits():
    """The largest operands do not overflow int64."""
    for a in (-(2**31), 2**31 - 1, -1, 0, 1):
        for multiplier in (0, 1, 32767):
            for shift in (1, 2, 31, 46):
                wanted = half_up(Fraction(a * multiplier, 2**shift))
                assert int(rq(a, multiplier, shift)) == wanted
    assert int(rq(2**31 - 1, 32767, 46)) == 1
    assert int(rq(-(2**31), 32767, 46)) == -1


def test_floats_are_refused():
    """Nothing but integers goes in."""
    with pytest.raises(TypeError):
        RS(1.0, 1)


def test_bitlen():
    """Exact at every power of two."""
    values = [2**i + d for i in range(62) for d in (-1, 0, 1) if 2**i + d >= 1]
    assert bitlen(np.array(values)).tolist() == [v.bit_length() for v in values]


def scalar_rsqrt(u: int) -> tuple[int, int]:
    """rsqrt with Python integers."""
    h = (u.bit_length() - 15) // 2
    m = u // 4**h if h >= 0 else u * 4**-h
    assert 2**14 <= m < 2**16
    y = half_up_root(512 * (m // 512 - 32) + 16640)
    t = m * ((y * y + 2**13) // 2**14)
    assert t < 2**32
    return (y * ((3 * 2**30 - t + 2**15) // 2**16) + 2**14) // 2**15, h


def half_up_root(value: int) -> int:
    """2^22 / sqrt(value) rounded half up, from the definition of rounding."""
    guess = isqrt(2**44 // value)
    return max(y for y in (guess - 1, guess, guess + 1) if (2 * y - 1) ** 2 * value <= 4 * 2**44)


def test_rsqrt_table():
    """RSQRT is 2^22 / sqrt at the middle of each interval, rounded half up."""
    assert RSQRT.tolist() == [half_up_root(512 * i + 16640) for i in range(96)]
    assert (RSQRT[0], RSQRT[95]) == (32515, 16416)


def test_rsqrt_by_hand():
    """Powers of two: 1/sqrt(U) exactly or almost."""
    for u in (1, 2, 3, 4, 2**14, 2**15, 2**16 - 1, 2**55, 2**56 - 1):
        assert tuple(int(x) for x in rsqrt(u)) == scalar_rsqrt(u)
    r, h = rsqrt(1)
    assert int(h) == -7 and abs(int(r) * 2**-15 - 1) < 2**-12
    assert int(rsqrt(2**56 - 1)[1]) == 20


def rsqrt_samples(rng: np.random.Generator) -> np.ndarray:
    """All leading parts at several lengths, and random numbers of all lengths."""
    m = np.arange(2**14, 2**16)
    random = rng.integers(1, 2**56, 200000) >> rng.integers(0, 55, 200000)
    return np.concatenate([m, m << 1, m << 17, m << 40, (m << 40) + 2**40 - 1, random.clip(1)])


def test_rsqrt_is_accurate(rng):
    """Relative error below 2^-13, bounds of section 2.3."""
    u = rsqrt_samples(rng)
    r, h = rsqrt(u)
    assert r.min() >= 2**14 and r.max() <= 2**15
    assert h.min() == -7 and h.max() == 20
    exact = np.sqrt(u.astype(np.longdouble))
    error = abs(r * np.longdouble(2) ** -(22 + h) * exact - 1)
    assert error.max() < 2**-13


def test_rsqrt_matches_scalar(rng):
    """Vectors and Python integers agree."""
    u = rng.choice(rsqrt_samples(rng), 4000)
    r, h = rsqrt(u)
    assert list(zip(r.tolist(), h.tolist(), strict=True)) == [scalar_rsqrt(int(x)) for x in u]


def test_recip_by_hand():
    """Exact for powers of two; the smallest r."""
    for n, wanted in ((1, (32768, 1)), (2, (32768, 2)), (255, (16448, 8)), (3, (21845, 2))):
        assert tuple(int(x) for x in recip(n)) == wanted
    assert tuple(int(x) for x in recip(65535)) == (16384, 16)
    assert tuple(int(x) for x in recip(2**24 - 1)) == (16384, 24)


def test_recip_exhaustive():
    """Every n below 2^24: bounds and relative error."""
    n = np.arange(1, 2**24)
    r, length = recip(n)
    assert r.min() == 2**14 and r.max() == 2**15
    error = abs(r * 2.0 ** -(14.0 + length) * n - 1)
    assert error.max() < 2**-14
    small = n < 2**16
    exact = [half_up(Fraction(2 ** (14 + k.bit_length()), k)) for k in range(1, 2**11)]
    assert r[: 2**11 - 1].tolist() == exact
    assert error[small].max() <= 2**-15


def test_mean8_by_hand():
    """Simple quotients, and none."""
    assert int(mean8(7, 0)) == 0
    assert int(mean8(7, 1)) == 7 * 256
    assert int(mean8(-7, 2)) == -7 * 128
    assert int(mean8(2**31 - 1, 1)) == (2**31 - 1) * 256
    assert int(mean8(-(2**31) + 1, 2**24 - 1)) == -32768


def test_mean8_is_accurate(rng):
    """|mean8(a, n) - 256 a / n| <= 1/2 + relative error of recip."""
    n = rng.integers(1, 2**21, 20000)
    a = rng.integers(-128, 128, 20000) * n + rng.integers(-5, 6, 20000)
    exact = 256.0 * a / n
    assert (abs(mean8(a, n) - exact) <= 0.5 + abs(exact) * 2**-14).all()


def test_mean8_bound_of_attention():
    """Section 3.4: |mean8(a, n)| <= 2^15 + 2 for |a| <= 128 n, every n an attention can have."""
    n = np.arange(1, 255 * 8192 + 1)
    assert mean8(128 * n, n).max() <= 2**15 + 2
    assert mean8(-128 * n, n).min() >= -(2**15) - 2


def test_mean8_bound_of_pool():
    """Section 3.6: |m| <= 2^24 (1 + 2^-14) for |x - zero_point_in| <= 2^16."""
    n = np.arange(1, 8193)
    assert abs(mean8(2**16 * n, n)).max() <= 2**24 + 2**10


def exp_bounds(k: int) -> tuple[Fraction, Fraction]:
    """Two fractions around 255 e^(-k/32): the alternating series of e^(-1/32) to a power."""
    term, low = Fraction(1), Fraction(1)
    for i in range(1, 20):
        term *= Fraction(-1, 32 * i)
        low += term
    high = low + abs(term)
    return 255 * low**k, 255 * high**k


def test_exp_table():
    """Every entry from exact bounds; the entries named in section 2.5."""
    for k in range(256):
        low, high = exp_bounds(k)
        assert half_up(low) == half_up(high) == EXP[k]
    assert (EXP[0], EXP[199], EXP[200], EXP[255]) == (255, 1, 0, 0)


def test_exp_table_against_decimal():
    """The same with another method."""
    getcontext().prec = 40
    wanted = [int(255 * (Decimal(-k) / 32).exp() + Decimal("0.5")) for k in range(256)]
    assert EXP.tolist() == wanted


# ------------------------------------------------------------------- ops against floats


def test_gemm_against_float(rng):
    """int8 GEMM: the real product within one step."""
    x = rng.integers(-128, 128, (20, 100)).astype(np.int8)
    w = rng.integers(-128, 128, (100, 30)).astype(np.int8)
    bias = rng.integers(-50000, 50000, 30)
    requant = writer.pack_requant(bias, np.full(30, 20000), np.full(30, 25))
    got = ops.gemm(x, ops.pack_blocks(w), requant, None, 30, -3, -128, 127, np.int8)
    exact = (x.astype(float) @ w.astype(float) + bias) * 20000 / 2**25 - 3
    assert abs(got - exact.clip(-128, 127)).max() <= 0.5
    assert len(np.unique(got)) > 100


def test_gemm_clamps_wide_input():
    """int16 inputs carry 13 bits."""
    x = np.array([[-32768, 0], [-4097, 0], [-4096, 0], [4095, 0], [4096, 0]], np.int16)
    w = ops.pack_blocks(np.array([[1], [1]], np.int8))
    requant = writer.pack_requant([0], [2**14], [14])
    got = ops.gemm(x, w, requant, None, 1, 0, -32768, 32767, np.int16)
    assert got[:, 0].tolist() == [-4096, -4096, -4096, 4095, 4095]


def test_gelu_table_against_float(rng):
    """A GEMM with a GELU table: GELU of the real product within table and output steps."""
    x = rng.integers(-128, 128, (40, 64)).astype(np.int8)
    w = rng.integers(-60, 61, (64, 24)).astype(np.int8)
    scale = 1 / 12000.0  # real value of one accumulator step
    step = 1 / 64.0  # real value of one table index
    gelu = np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))
    table = np.round(gelu((np.arange(1024) - 512) * step) / 0.05).clip(-128, 127)
    multiplier = round(scale / step * 2**22)
    requant = writer.pack_requant(np.zeros(24), np.full(24, multiplier), np.full(24, 22))
    got = ops.gemm(x, ops.pack_blocks(w), requant, table.astype(np.int8), 24, 512, 0, 1023, np.int8)
    real = gelu(x.astype(float) @ w.astype(float) * scale) / 0.05
    assert abs(got - real.clip(-128, 127)).max() <= 0.5 + 1.13 * step / 2 / 0.05 + 0.01
    assert len(np.unique(got)) > 50


def test_layernorm_against_float(rng):
    """Layernorm within the rounding of n and of the output."""
    x = rng.integers(-30000, 30001, (50, 256)).astype(np.int16)
    x[0] //= 1000
    gain, offset = rng.integers(-20000, 20001, 256), rng.integers(-(2**24), 2**24, 256)
    affine = np.stack([offset, gain], axis=1)
    got = ops.layernorm(x, affine, 1, 12, 7, np.int16)
    centred = x - x.mean(axis=1, keepdims=True)
    normal = centred / x.std(axis=1, keepdims=True)
    exact = (normal * 1024 * gain + offset) / 2**12 + 7
    error = (0.5 + 2**-13 * 1024 * abs(normal)) * abs(gain) / 2**12 + 0.51
    assert (abs(got - exact) <= error).all()


def test_layernorm_epsilon(rng):
    """E stands beside C^2 times the variance."""
    x = rng.integers(-3, 4, (10, 32)).astype(np.int16)
    epsilon = 32 * 32 * 5
    got = ops.layernorm_normalize(x, epsilon)
    exact = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 5)
    assert abs(got - exact * 1024).max() < 1


def test_layernorm_equal_rows(rng):
    """Rows of equal elements give the offset."""
    x = np.array([[-32768], [0], [32767]], np.int16).repeat(9, axis=1)
    affine = np.stack([rng.integers(-(2**29), 2**29, 9), rng.integers(-9, 9, 9)], axis=1)
    got = ops.layernorm(x, affine, 1, 17, -5, np.int16)
    assert (got == RS(affine[:, 0], 17) - 5).all()


@pytest.mark.parametrize("length", [1, 5, 64])
def test_attention_against_float(rng, length):
    """Softmax attention within the steps of the exponential table and of the output."""
    heads, dim = 3, 26
    q, k, v = (rng.integers(-128, 128, (length, heads * dim)).astype(np.int8) for _ in "qkv")
    mask = (rng.integers(0, 3, length) > 0).astype(np.uint8)
    mask[0] = 1
    multiplier, shift = 20000, 24  # one score step is multiplier / 2^shift / 32 natural units
    entry = multiplier + 65536 * shift
    context = 16384 + 65536 * 20
    requant = np.array([[entry, context]] * heads)
    got = ops.attention(q, k, v, mask, requant, heads, dim, 0, 0, 0, 0, np.int16)
    for h in range(heads):
        part = slice(h * dim, (h + 1) * dim)
        score = q[:, part].astype(float) @ k[:, part].astype(float).T * multiplier / 2**shift / 32
        weight = np.exp(score - score[:, mask != 0].max(axis=1, keepdims=True)) * (mask != 0)
        exact = weight / weight.sum(axis=1, keepdims=True) @ v[:, part].astype(float) * 4
        assert abs(got[:, part] - exact).max() < 512 * 0.03 + 1


def test_attention_without_visible_key(rng):
    """The zero point alone."""
    x = rng.integers(-128, 128, (4, 6)).astype(np.int8)
    requant = np.array([[65536, 65536]] * 2)
    mask = np.zeros(4, np.uint8)
    got = ops.attention(x, x, x, mask, requant, 2, 3, 0, 0, 0, 300, np.int8)
    assert (got == 127).all()


def test_hidden_keys_do_not_matter(rng):
    """What stands in hidden keys and values does not change a bit."""
    q, k, v = (rng.integers(-128, 128, (9, 8)).astype(np.int8) for _ in "qkv")
    mask = np.array([1, 0, 3, 0, 0, 255, 1, 0, 0], np.uint8)
    requant = factory.make_head_requant(rng, 2, 4, "random")
    first = ops.attention(q, k, v, mask, requant, 2, 4, 0, 0, 0, 0, np.int8)
    k[mask == 0], v[mask == 0] = 127, -128
    second = ops.attention(q, k, v, mask, requant, 2, 4, 0, 0, 0, 0, np.int8)
    assert (first == second).all() and len(np.unique(first)) > 5


def test_embed_add_pool_against_float(rng):
    """The small ops within half a step."""
    word = rng.integers(-128, 128, (9, 12)).astype(np.int8)
    scale = rng.integers(0, 32768, 9).astype(np.int16)
    position = rng.integers(-999, 999, (7, 12)).astype(np.int16)
    ids, types = rng.integers(0, 9, 5), rng.integers(0, 2, 5)
    got = ops.embed(ids, types, word, scale, position, position[:2], 9)
    exact = (word * (scale[:, None] / 512))[ids] + position[:5] + position[:2][types]
    assert abs(got - exact).max() <= 0.5
    a, b = (rng.integers(-32768, 32768, (5, 12)).astype(np.int16) for _ in "ab")
    got = ops.add(a, b, 9000, 12000, 14)
    assert abs(got - ((a * 9000.0 + b * 12000.0) / 2**14).clip(-32768, 32767)).max() <= 0.5
    mask = np.array([0, 1, 1, 0, 9], np.uint8)
    got = ops.pool(a, mask, True, 16384, 22, 100, 3, np.int16)
    assert got.shape == (1, 12)
    assert abs(got - (a[mask != 0].mean(axis=0) - 100 + 3)).max() <= 0.51 + 2**-14 * 32868
    got = ops.pool(a, None, False, 16384, 22, 100, 3, np.int16)
    assert (got[0] == (a[0].astype(int) - 97).clip(-32768, 32767)).all()


# ------------------------------------------- ops against a naive second implementation


def shift_round(a: int, s: int) -> int:
    """RS with Python integers."""
    return (a + 2 ** (s - 1)) // 2**s


def naive_mean8(a: int, n: int) -> int:
    """mean8 with Python integers."""
    if n == 0:
        return 0
    length = n.bit_length()
    m = n * 2 ** (16 - length) if length <= 16 else n // 2 ** (length - 16)
    return shift_round(a * ((2**30 + m // 2) // m), 6 + length)


def limit(value: int, dtype: str) -> int:
    """value clamped to a dtype."""
    info = np.iinfo(dtype)
    return min(max(value, int(info.min)), int(info.max))


def naive_embed(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.1 element by element."""
    first = x["position of the run"] if p["positions"] else 0
    out = []
    for t, i in enumerate(x["ids"]):
        row = []
        for c in range(len(x["word"][0])):
            value = shift_round(x["word"][i][c] * x["word_multiplier"][i], p["shift"])
            value += x["position"][first + t][c]
            if x["types"] is not None:
                value += x["type"][x["types"][t]][c]
            row.append(limit(value, "int16"))
        out.append(row)
    return [out]


def naive_layernorm(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.2 element by element."""
    epsilon = p["epsilon_low"] % 2**32 + 2**32 * p["epsilon_high"]
    outs = []
    for letter in "ab" if x["affine_b"] is not None else "a":
        dtype = op.operands[f"out_{letter}"].dtype
        out = []
        for row in x["x"]:
            width, total = len(row), sum(row)
            r, h = scalar_rsqrt(width * sum(v * v for v in row) - total**2 + epsilon)
            values = []
            for v, (offset, gain) in zip(row, x[f"affine_{letter}"], strict=True):
                n = shift_round((width * v - total) * r, 12 + h)
                n = min(max(n, -32767), 32767)
                value = shift_round(n * gain + offset, p[f"shift_{letter}"])
                values.append(limit(value + p[f"zero_point_{letter}"], dtype))
            out.append(values)
        outs.append(out)
    return outs


def naive_gemm(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.3 element by element, weights read in place."""
    wide = op.operands["x"].dtype == "int16"
    out = []
    for row in x["x"]:
        values = [min(max(v, -4096), 4095) if wide else v for v in row]
        result = []
        for n in range(op.operands["out"].dims[1]):
            bias, packed = x["requant"][n]
            blocks = x["weights"][n // 8]
            acc = bias + sum(v * blocks[k // 8][n % 8][k % 8] for k, v in enumerate(values))
            assert -(2**31) <= acc < 2**31
            u = shift_round(acc * (packed % 65536), packed // 65536) + p["zero_point"]
            u = min(max(u, p["clamp_low"]), p["clamp_high"])
            result.append(u if x["table"] is None else x["table"][u])
        out.append(result)
    return [out]


def naive_attention(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.4 element by element."""
    length, dim = len(x["q"]), p["head_dim"]
    first = x["position of the run"] if p["keys"] else 0
    keys = first + length if p["keys"] else len(x["k"])
    unhidden = [j for j in range(keys) if x["mask"] is None or x["mask"][j] != 0]
    out = [[0] * (p["heads"] * dim) for _ in range(length)]
    for h in range(p["heads"]):
        (ms, ss), (mc, sc) = ((e % 65536, e // 65536) for e in x["head_requant"][h])
        q, k, v = (
            range(p[f"{n}_column"] + h * dim, p[f"{n}_column"] + h * dim + dim) for n in "qkv"
        )
        for i in range(length):
            visible = [j for j in unhidden if not p["causal"] or j <= first + i]
            score = {
                j: sum(x["q"][i][a] * x["k"][j][b] for a, b in zip(q, k, strict=True))
                for j in visible
            }
            top = max(score.values(), default=0)
            e = {j: int(EXP[min(255, shift_round((top - score[j]) * ms, ss))]) for j in visible}
            n = sum(e.values())
            for d, column in enumerate(v):
                a = sum(e[j] * x["v"][j][column] for j in visible)
                value = shift_round(naive_mean8(a, n) * mc, sc) + p["zero_point"]
                out[i][h * dim + d] = limit(value, op.operands["out"].dtype)
    return [out]


def naive_add(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.5 element by element."""
    return [
        [
            [
                limit(
                    shift_round(a * p["multiplier_a"] + b * p["multiplier_b"], p["shift"]), "int16"
                )
                for a, b in zip(*rows, strict=True)
            ]
            for rows in zip(x["a"], x["b"], strict=True)
        ]
    ]


def naive_pool(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.6 element by element."""
    rows = [r for t, r in enumerate(x["x"]) if x["mask"] is None or x["mask"][t] != 0]
    out = []
    for c in range(len(x["x"][0])):
        if p["mode"] != 1:
            m = (x["x"][0 if p["mode"] == 0 else -1][c] - p["zero_point_in"]) * 256
        else:
            m = naive_mean8(sum(row[c] - p["zero_point_in"] for row in rows), len(rows))
        value = shift_round(m * p["multiplier"], p["shift"]) + p["zero_point"]
        out.append(limit(value, op.operands["out"].dtype))
    return [[out]]


def naive_append(p: dict, x: dict, op: blob.Op) -> list[list[list[int]]]:
    """3.7 element by element."""
    first, width = x["position of the run"], len(x["state"][0])
    state = [list(row) for row in x["state"]]
    for t, row in enumerate(x["x"]):
        state[first + t] = row[p["column"] : p["column"] + width]
    return [state]


NAIVE = {
    "EMBED": naive_embed,
    "LAYERNORM": naive_layernorm,
    "GEMM": naive_gemm,
    "ATTENTION": naive_attention,
    "ADD": naive_add,
    "POOL": naive_pool,
    "APPEND": naive_append,
}


def naive_run(model: blob.Blob, inputs: dict[str, np.ndarray]) -> dict[str, list]:
    """The outputs of a blob without entries, from the naive ops."""
    length = len(next(iter(inputs.values())))
    values = {
        t.index: inputs[t.name].tolist() if t.name in inputs else [t.default_value] * length
        for t in model.inputs
    }
    naive_ops(model.ops, values, 0)
    return {t.name: values[t.index] for t in model.outputs}


def naive_ops(ops: list[blob.Op], values: dict[int, list], position: int) -> None:
    """Run ops at a position; values are changed."""
    for op in ops:
        x: dict = {"position of the run": position}
        for name, tensor in op.operands.items():
            if tensor is None:
                x[name] = None
            elif tensor.in_arena:
                x[name] = values.get(tensor.index)
            else:
                x[name] = tensor.data.tolist()
        results = NAIVE[op.kind](op.params, x, op)
        values.update(zip((t.index for t in op.outputs), results, strict=True))


def naive_session(model: blob.Blob, runs: list[tuple[str, dict]]) -> list[dict[str, list]]:
    """The outputs of runs of entries one after another."""
    states = {t.index: [[t.default_value] * t.dims[1]] * t.dims[0] for t in model.states}
    position, outputs = 0, []
    for name, inputs in runs:
        entry = next(entry for entry in model.entries if entry.name == name)
        values = dict(states)
        values.update({t.index: inputs[t.name].tolist() for t in entry.inputs})
        naive_ops(entry.ops, values, position)
        states = {index: values[index] for index in states}
        lengths = [len(inputs[t.name]) for t in entry.inputs if t.dynamic]
        position += lengths[0]
        outputs.append({t.name: values[t.index] for t in entry.outputs})
    return outputs


def work(model: blob.Blob, length: int) -> int:
    """About how many inner steps the naive run takes."""
    total = 0
    for op in model.ops:
        rows = max(t.dims[0] if not t.dynamic else length for t in op.outputs)
        width = max(t.dims[1] for t in op.outputs)
        if op.kind == "GEMM":
            width *= op.operands["x"].dims[1]
        if op.kind == "ATTENTION":
            width *= 2 * length
        total += rows * width
    return total


@cache
def built(name: str) -> factory.Case:
    """A case of the grid, built once."""
    return dict(factory.OP_CASES)[name]()


CASE_NAMES = [name for name, _ in factory.OP_CASES]


@pytest.mark.parametrize("name", CASE_NAMES)
def test_case(name):
    """Every case is valid and runs; the small ones agree with the naive implementation."""
    data, inputs = built(name)
    model = read_blob(data)
    length = len(inputs["ids"])
    outputs = run(model, inputs)
    assert list(outputs) == [t.name for t in model.outputs]
    for tensor in model.outputs:
        rows = length if tensor.dynamic else tensor.dims[0]
        assert outputs[tensor.name].shape == (rows, *tensor.shape[1:])
        assert outputs[tensor.name].dtype == tensor.dtype
    if work(model, length) < 30000:
        naive = naive_run(model, inputs)
        for name, value in outputs.items():
            assert value.tolist() == naive[name]


@pytest.mark.parametrize("build", [pytest.param(build, id=n) for n, build in ENTRY_CASES])
def test_entry_case(build):
    """Runs of entries one after another agree with the naive implementation."""
    data, runs = build()
    model = read_blob(data)
    length = max(len(x) for _, inputs in runs for x in inputs.values())
    session = Session(model)
    got = [session.run(entry, inputs) for entry, inputs in runs]
    if work(model, length) < 60000:
        for mine, naive in zip(got, naive_session(model, runs), strict=True):
            assert {name: value.tolist() for name, value in mine.items()} == naive


def test_most_entry_cases_are_small_enough():
    """Else the test above would compare nothing."""
    small = [work(read_blob(build()[0]), 9) < 60000 for _, build in ENTRY_CASES]
    assert sum(small) > 0.9 * len(small)


def test_cases_reach_every_op_and_edge():
    """The grid holds a few hundred cases, their ids differ, and all kinds are there."""
    assert len(set(CASE_NAMES)) == len(CASE_NAMES) > 300
    for word in ("gemm", "layernorm", "attention", "embed", "add", "pool", "tiny_encoder"):
        assert any(name.startswith(word) for name in CASE_NAMES)


def test_factory_is_deterministic():
    """The same arguments, the same bytes."""
    for builder in (factory.tiny_encoder_blob, lambda: factory.gemm_blob(9, 7)):
        assert builder()[0] == builder()[0]


# --------------------------------------------------------------------------------- runs


def test_trace_holds_every_written_tensor():
    """With trace, all tensors any op gives a value to."""
    data, inputs = factory.tiny_encoder_blob()
    model = read_blob(data)
    trace = run(model, inputs, trace=True)
    assert set(trace) == {t.name for op in model.ops for t in op.outputs}
    for name, value in run(model, inputs).items():
        assert (trace[name] == value).all()
    for name, value in trace.items():
        assert len(np.unique(value)) > 2, f"{name} tests nothing"


def test_optional_inputs():
    """Left out, an optional input has its default value."""
    data, inputs = factory.tiny_encoder_blob(inputs="ids")
    length = len(inputs["ids"])
    explicit = {
        **inputs,
        "types": np.zeros(length, np.int32),
        "mask": np.ones(length, np.uint8),
    }
    first, second = run(data, inputs), run(data, explicit)
    assert all((first[name] == second[name]).all() for name in first)
    explicit["types"][:] = 1
    assert any((first[name] != run(data, explicit)[name]).any() for name in first)


def test_padding_does_not_matter():
    """Hidden tokens at the end change neither the visible rows nor the logits."""
    data, inputs = factory.tiny_encoder_blob(factory.Pool.MEAN)
    visible = int(inputs["mask"].sum())
    assert 0 < visible < len(inputs["mask"])
    other = {**inputs, "ids": inputs["ids"].copy()}
    other["ids"][visible:] = (other["ids"][visible:] + 5) % 31
    short = {name: value[:visible] for name, value in inputs.items()}
    results = [run(data, x) for x in (inputs, other, short)]
    for result in results[1:]:
        assert (result["logits"] == results[0]["logits"]).all()
        hidden = "layer1.norm2.a"
        assert (result[hidden][:visible] == results[0][hidden][:visible]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([0, 31, 0])}, r"op 0 'embed.op' \(EMBED\): ids\[1\] = 31"),
        ({"ids": np.array([0, 0, -1])}, r"ids\[2\] = -1"),
        ({"ids": np.zeros(3, int), "types": np.array([0, 0, 2])}, r"types\[2\] = 2"),
        ({"ids": np.zeros(10, int)}, "length 10"),
        ({"ids": np.zeros(0, int)}, "length 0"),
        ({"ids": np.zeros((1, 3), int)}, r"has shape \(1, 3\), not \(1,\)"),
        ({"ids": np.zeros(3, int), "mask": np.zeros(2, int)}, "one length"),
        ({"mask": np.zeros(2, int)}, "'ids' is missing"),
        ({"ids": np.zeros(3, int), "extra": np.zeros(3, int)}, "unknown input 'extra'"),
        ({"ids": np.zeros(3)}, "does not hold int32"),
        ({"ids": np.zeros(3, int), "mask": np.full(3, 256)}, "does not hold uint8"),
    ],
)
def test_bad_inputs(change, message):
    """Wrong inputs end in a clear error."""
    with pytest.raises(OracleError, match=message):
        run(factory.tiny_encoder_blob()[0], change)


# ------------------------------------------------------------------------ writer, reader


def test_round_trip(rng):
    """The reader finds what the writer was given."""
    model = factory.Builder(7)
    out = model.embed(
        "größe",
        rng.integers(-128, 128, (4, 5)),
        rng.integers(0, 32768, 4),
        rng.integers(-9, 9, (8, 5)),
        3,
        rng.integers(-9, 9, (2, 5)),
        -4,
    )
    model.find(out).flags |= fmt.Flag.OUTPUT
    model.find(out).scale, model.find(out).zero_point = 0.1, -7
    arena = writer.place_without_reuse(model.tensors)
    metadata = {"source": "x", "labels": ["ä", "b"]}
    data = writer.write_blob(model.tensors, model.ops, metadata, 7)
    got = read_blob(data)
    assert got.metadata == metadata
    assert got.metadata_bytes.startswith('{"labels":["ä","b"],"source":"x"}'.encode())
    assert (got.max_length, got.arena_bytes) == (7, arena)
    for want, have in zip(model.tensors, got.tensors, strict=True):
        assert (want.name, want.dims, want.flags) == (have.name, have.shape, have.flags)
        assert fmt.Dtype(want.dtype).name.lower() == have.dtype
        assert have.scale == np.float32(want.scale)
        assert have.zero_point == want.zero_point
        assert have.default_value == want.default_value
        if want.data is None:
            assert have.data is None and have.offset == want.offset
        else:
            assert (want.data == have.data).all()
    assert [op.kind for op in got.ops] == ["EMBED"]
    assert got.ops[0].operands["out"] is got.tensors[-1]
    assert got.ops[0].params == {"shift": 3, "positions": 0}


@pytest.mark.parametrize(("k", "n"), [(1, 1), (8, 8), (9, 7), (16, 24), (7, 17)])
def test_packing(rng, k, n):
    """The element for input k and output n is where section 1.4 says, the rest is 0."""
    w = rng.integers(-128, 128, (k, n)).astype(np.int8)
    packed = writer.pack_gemm_weights(w)
    assert packed.shape == (-(-n // 8), -(-k // 8), 8, 8)
    wanted = np.zeros_like(packed)
    for i in range(k):
        for j in range(n):
            wanted[j // 8, i // 8, j % 8, i % 8] = w[i, j]
    assert (packed == wanted).all()
    assert (ops.pack_blocks(w) == wanted).all()
    assert (ops.unpack_blocks(packed, k, n) == w).all()


def test_pack_requant():
    """(bias, multiplier + 65536 * shift), then entries every reader accepts."""
    got = writer.pack_requant([5, -6], [32767, 1], [46, 1])
    assert got.dtype == np.int32 and got.shape == (8, 2)
    assert got[:3].tolist() == [[5, 32767 + 65536 * 46], [-6, 65537], [0, 65536]]


def test_writer_refuses_what_it_cannot_write():
    """Wrong names and data."""
    tensor = writer.TensorSpec("a", fmt.Dtype.INT8, (3,), offset=0)
    bad_op = writer.OpSpec(fmt.Op.ADD, "add", {"a": "b"})
    big = writer.weights_tensor("w", fmt.Dtype.INT8, np.array([200]))
    for tensors, operations, message in (
        ([tensor, tensor], [], "same name"),
        ([tensor], [bad_op], "names no tensor"),
        ([tensor], [writer.OpSpec(fmt.Op.ADD, "add", {"x": "a"})], "has no x"),
        ([big], [], "do not fit"),
        ([writer.TensorSpec("a", fmt.Dtype.INT8, (3,))], [], "no offset"),
    ):
        with pytest.raises(ValueError, match=message):
            writer.write_blob(tensors, operations, {}, 5)


def spec_table(name: str) -> list[list[str]]:
    """The rows of a generated table of SPEC.md."""
    text = SPEC.split(f"<!-- generated: {name} -->")[1].split("<!-- end generated -->")[0]
    rows = [line.strip("| ").split(" | ") for line in text.strip().splitlines()]
    return [[re.sub(r"^`|`$", "", cell.strip()) for cell in row] for row in rows[2:]]


def test_constants_of_the_document():
    """The oracle's own constants are those of the tables of SPEC.md."""
    for name, value, _ in spec_table("constants"):
        if hasattr(blob, name):
            have = getattr(blob, name)
            assert have == int(value), name
    values = {name: int(value) for name, value, _ in spec_table("constants")}
    assert {"int8": values["MAX_K_S8"], "int16": values["MAX_K_S16"]} == blob.MAX_K
    assert values["WIDE_MIN"] == ops.WIDE_MIN and values["WIDE_MAX"] == ops.WIDE_MAX
    for number, name, _ in spec_table("enum dtype"):
        assert blob.DTYPES[int(number)] == name.lower()
    for number, name, _ in spec_table("enum flag"):
        assert getattr(blob, name) == int(number)
    for number, name, _ in spec_table("enum op"):
        kind, operands, params = blob.OPS[int(number)]
        rows = spec_table(f"op {name}")
        assert kind == name
        assert [row[1] for row in rows if row[0].startswith("operand")] == list(operands)
        assert [row[1] for row in rows if row[0].startswith("param")] == list(params)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("header", blob.HEADER),
        ("section", blob.SECTION),
        ("tensor", blob.TENSOR),
        ("op", blob.OP),
    ],
)
def test_records_of_the_document(name, record):
    """The oracle's structs have the fields of the tables of SPEC.md."""
    codes = {"u8": "B", "u16": "H", "u32": "I", "i32": "i"}
    wanted = ""
    for _, kind, field, _ in spec_table(f"record {name}"):
        base, count = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", kind).groups()
        wanted += "8s" if field == "magic" else codes[base] * int(count or 1)
    plain = re.sub(r"(\d+)([A-Zi])", lambda m: m[2] * int(m[1]), record.format.lstrip("<"))
    assert plain == wanted


# ------------------------------------------------------------------- rules of section 4


@cache
def base_blob() -> bytes:
    """The tiny encoder with mean pooling."""
    return factory.tiny_encoder_blob(factory.Pool.MEAN)[0]


BIG = 2**32 - 64
QKV, CONTEXT, SCRATCH = "layer0.qkv", "layer0.context", "layer0.qkv.scratch"
HIDDEN = "layer1.norm2.a"

# (rule, what is broken, the change)
BROKEN: list[tuple[int, str, Callable[[Editor], object]]] = [
    (1, "magic", lambda e: set_item(e.data, 3, 0x44)),
    (1, "version_major", lambda e: set_item(e.header["version_major"], 0, 2)),
    (1, "version_minor", lambda e: set_item(e.header["version_minor"], 0, 3)),
    (15, "version_minor of entries", lambda e: set_item(e.header["version_minor"], 0, 2)),
    (1, "file_bytes", lambda e: set_item(e.header["file_bytes"], 0, len(e.data) + 64)),
    (1, "reserved", lambda e: set_item(e.header["reserved"], (0, 3), 1)),
    (1, "table padding", lambda e: set_item(e.data, 144, 1)),
    (1, "table padding end", lambda e: set_item(e.data, 191, 1)),
    (2, "section_count", lambda e: set_item(e.header["section_count"], 0, 4)),
    (2, "section kind", lambda e: set_item(e.sections["kind"], 1, 3)),
    (2, "section offset", lambda e: set_item(e.sections["offset"], 2, e.offsets[2] + 64)),
    (2, "first offset", lambda e: set_item(e.sections["offset"], 0, 256)),
    (2, "section size", lambda e: set_item(e.sections["bytes"], 3, e.sections["bytes"][3] + 32)),
    (2, "section behind end", lambda e: set_item(e.sections["bytes"], 4, BIG)),
    (2, "section wraps", lambda e: set_item(e.sections["bytes"], 2, BIG)),
    (2, "not the end", lambda e: set_item(e.sections["bytes"], 4, e.sections["bytes"][4] - 64)),
    (3, "op_count 0", lambda e: set_item(e.header["op_count"], 0, 0)),
    (3, "op_count large", lambda e: set_item(e.header["op_count"], 0, blob.MAX_OPS + 1)),
    (3, "op_count huge", lambda e: set_item(e.header["op_count"], 0, 2**31)),
    (3, "tensor_count 0", lambda e: set_item(e.header["tensor_count"], 0, 0)),
    (3, "tensor_count large", lambda e: set_item(e.header["tensor_count"], 0, 16385)),
    (3, "max_length 0", lambda e: set_item(e.header["max_length"], 0, 0)),
    (15, "context without entries", lambda e: set_item(e.header["context"], 0, 1)),
    (15, "entry_count without entries", lambda e: set_item(e.header["entry_count"], 0, 1)),
    (17, "state without entries", lambda e: e.tensor("logits.scratch", flags=16)),
    (17, "positions without entries", lambda e: e.param("embed.op", "positions", 1)),
    (17, "CONTEXT without entries", lambda e: e.param(f"{CONTEXT}.op", "keys", 1)),
    (3, "max_length large", lambda e: set_item(e.header["max_length"], 0, 8193)),
    (3, "OPS size", lambda e: set_item(e.header["op_count"], 0, len(e.ops) + 2)),
    (3, "TENSORS size", lambda e: set_item(e.header["tensor_count"], 0, len(e.tensors) - 1)),
    (3, "STRINGS end", lambda e: set_item(e.data, e.offsets[3] - 1, 65)),
    (4, "tensor name", lambda e: e.tensor("ids", name=e.sections["bytes"][2])),
    (4, "dtype 0", lambda e: e.tensor("ids", dtype=0)),
    (4, "dtype 5", lambda e: e.tensor("ids", dtype=5)),
    (4, "storage", lambda e: e.tensor("ids", storage=2)),
    (4, "flags", lambda e: e.tensor("ids", flags=3 + 32)),
    (4, "rank 0", lambda e: e.tensor("ids", rank=0)),
    (4, "rank 5", lambda e: e.tensor("embed.word", rank=5)),
    (4, "dim 0", lambda e: set_item(e.tensor(SCRATCH)["dims"], 0, 0)),
    (4, "unused dim", lambda e: set_item(e.tensor("ids")["dims"], 3, 2)),
    (4, "row_stride of rank 1", lambda e: e.tensor("ids", row_stride=8)),
    (4, "row_stride of rank 2", lambda e: e.tensor(QKV, row_stride=56)),
    (4, "row_stride of weights", lambda e: e.tensor("embed.word", row_stride=24)),
    (4, "bytes", lambda e: e.tensor("ids", bytes=32)),
    (4, "bytes that wrap", lambda e: set_item(e.tensor(SCRATCH)["dims"], 0, 8 + 2**28)),
    (4, "offset", lambda e: e.tensor("ids", offset=8)),
    (4, "tensor reserved", lambda e: set_item(e.tensor("ids")["reserved"], 2, 1)),
    (5, "arena rank 3", lambda e: e.tensor(SCRATCH, rank=3)),
    (5, "wide arena tensor", lambda e: e.shape("layer0.up.scratch", 1, 65536)),
    (5, "arena end", lambda e: set_item(e.header["arena_bytes"], 0, 1024)),
    (5, "arena end that wraps", lambda e: e.tensor("ids", offset=BIG)),
    (5, "dynamic dims[0]", lambda e: e.shape("mask", 8)),
    (6, "flags of weights", lambda e: e.tensor("embed.word", flags=1)),
    (6, "weights order", lambda e: e.tensor("embed.word", offset=64)),
    (6, "weights end", lambda e: e.shape("embed.word", 1000000, 16)),
    (6, "weights gap", lambda e: e.shape("embed.word", 1, 16)),
    (7, "OPTIONAL without INPUT", lambda e: e.tensor(QKV, flags=1 + 8)),
    (7, "INPUT and OUTPUT", lambda e: e.tensor("ids", flags=1 + 2 + 4)),
    (7, "input not dynamic", lambda e: e.tensor("ids", flags=2)),
    (7, "input rank 2", lambda e: e.tensor(QKV, flags=3)),
    (7, "input int16", lambda e: e.tensor("ids", dtype=3, bytes=18)),
    (7, "input int8", lambda e: e.tensor("mask", dtype=1)),
    (7, "default without OPTIONAL", lambda e: e.tensor("ids", default_value=1)),
    (7, "default too large", lambda e: e.tensor("mask", default_value=256)),
    (7, "default negative", lambda e: e.tensor("mask", default_value=-1)),
    (8, "kind 0", lambda e: e.op("norm.op", kind=0)),
    (8, "kind 7", lambda e: e.op("norm.op", kind=7)),
    (8, "op reserved", lambda e: e.op("norm.op", reserved=1)),
    (8, "op name", lambda e: e.op("norm.op", name=2**31)),
    (8, "operand number", lambda e: e.operand("norm.op", "x", len(e.tensors))),
    (8, "operand NONE", lambda e: e.operand("norm.op", "x", None)),
    (8, "scratch NONE", lambda e: e.operand("logits.op", "scratch", None)),
    (8, "unused operand", lambda e: set_item(e.op("norm.op")["operand"], 9, 0)),
    (8, "unused parameter", lambda e: set_item(e.op("norm.op")["param"], 11, 1)),
    (8, "types without type", lambda e: e.operand("embed.op", "type", None)),
    (8, "type without types", lambda e: e.operand("embed.op", "types", None)),
    (8, "affine_b without out_b", lambda e: e.operand("norm.op", "out_b", None)),
    (8, "out_b without affine_b", lambda e: e.operand("norm.op", "affine_b", None)),
    (8, "mask for FIRST", lambda e: e.param("pooled.op", "mode", 0)),
    (9, "EMBED ids dtype", lambda e: e.operand("embed.op", "ids", "mask")),
    (9, "EMBED word in arena", lambda e: e.operand("embed.op", "word", "norm.a")),
    (9, "EMBED word dtype", lambda e: e.operand("embed.op", "word", "embed.position")),
    (9, "EMBED word width", lambda e: e.shape("embed.word", 16, 31)),
    (9, "EMBED multiplier count", lambda e: e.shape("embed.word_multiplier", 30)),
    (9, "EMBED type width", lambda e: e.shape("embed.type", 4, 8)),
    (9, "EMBED out dtype", lambda e: e.operand("embed.op", "out", QKV)),
    (9, "EMBED out static", lambda e: e.tensor("embed", flags=0)),
    (9, "LAYERNORM x in weights", lambda e: e.operand("norm.op", "x", "embed.position")),
    (9, "LAYERNORM x dtype", lambda e: e.operand("norm.op", "x", QKV)),
    (9, "LAYERNORM out width", lambda e: e.operand("norm.op", "out_a", QKV)),
    (9, "LAYERNORM rows", lambda e: e.operand("norm.op", "out_a", "pooled")),
    (9, "LAYERNORM dynamic and not", lambda e: e.tensor("norm.a", flags=0)),
    (9, "LAYERNORM affine shape", lambda e: e.shape("norm.a.affine", 32)),
    (9, "LAYERNORM affine_b", lambda e: e.operand("norm.op", "affine_b", "embed.position")),
    (9, "GEMM x dtype", lambda e: e.operand("layer0.qkv.op", "x", SCRATCH)),
    (9, "GEMM x rank", lambda e: e.operand("layer0.qkv.op", "x", "ids")),
    (9, "GEMM weights shape", lambda e: e.shape("layer0.qkv.weights", 2, 6, 8, 8)),
    (9, "GEMM weights rank", lambda e: e.shape("layer0.qkv.weights", 12, 8, 8)),
    (9, "GEMM requant shape", lambda e: e.shape("logits.requant", 2, 8)),
    (9, "GEMM table dtype", lambda e: e.operand("layer0.up.op", "table", "layer1.up.table")),
    (9, "GEMM table shape", lambda e: e.shape("layer0.up.table", 512, 2)),
    (9, "GEMM scratch width", lambda e: e.operand("layer0.qkv.op", "scratch", "logits.scratch")),
    (9, "GEMM scratch rank", lambda e: e.shape(SCRATCH, 384)),
    (9, "GEMM rows", lambda e: e.operand("layer0.qkv.op", "out", "pooled")),
    (9, "ATTENTION q dtype", lambda e: e.operand("layer0.context.op", "q", "norm.b")),
    (9, "ATTENTION k width", lambda e: e.operand("layer0.context.op", "k", "norm.a")),
    (9, "ATTENTION v column", lambda e: e.param("layer0.context.op", "v_column", 33)),
    (9, "ATTENTION column wraps", lambda e: e.param("layer0.context.op", "v_column", 2**31 - 1)),
    (9, "ATTENTION mask dtype", lambda e: e.operand("layer0.context.op", "mask", "ids")),
    (9, "ATTENTION out width", lambda e: e.operand("layer0.context.op", "out", QKV)),
    (9, "ATTENTION requant shape", lambda e: e.shape("layer0.context.requant", 4)),
    (9, "ATTENTION scratch size", lambda e: e.shape(f"{CONTEXT}.scratch", 895)),
    (9, "ATTENTION scratch of T_max", lambda e: e.shape(f"{CONTEXT}.scratch", 616)),
    (9, "ADD dtype", lambda e: e.operand("layer0.add1.op", "b", "norm.a")),
    (9, "ADD static out", lambda e: e.tensor("layer0.add1", flags=0)),
    (9, "POOL x static", lambda e: e.operand("pooled.op", "x", "pooler")),
    (9, "POOL mask dtype", lambda e: e.operand("pooled.op", "mask", "types")),
    (9, "POOL out rows", lambda e: e.operand("pooled.op", "out", "norm.a")),
    (9, "POOL out width", lambda e: e.shape("pooled", 1, 15)),
    (10, "EMBED shift 0", lambda e: e.param("embed.op", "shift", 0)),
    (10, "EMBED shift 32", lambda e: e.param("embed.op", "shift", 32)),
    (10, "epsilon 0", lambda e: e.param("norm.op", "epsilon_low", 0)),
    (10, "epsilon 2^54", lambda e: e.param("norm.op", "epsilon_high", 2**22)),
    (10, "epsilon negative", lambda e: e.param("norm.op", "epsilon_high", -1)),
    (10, "shift_a 0", lambda e: e.param("norm.op", "shift_a", 0)),
    (10, "shift_b 30", lambda e: e.param("norm.op", "shift_b", 30)),
    (10, "zero_point_a", lambda e: e.param("norm.op", "zero_point_a", 32769)),
    (10, "zero_point_b", lambda e: e.param("norm.op", "zero_point_b", -32769)),
    (10, "GEMM zero_point", lambda e: e.param("layer0.qkv.op", "zero_point", 32769)),
    (10, "GEMM clamp_low", lambda e: e.param("layer0.qkv.op", "clamp_low", -129)),
    (10, "GEMM clamp_high", lambda e: e.param("layer0.qkv.op", "clamp_high", 128)),
    (10, "GEMM clamps crossed", lambda e: e.param("layer0.qkv.op", "clamp_high", -129)),
    (10, "GEMM table clamp_low", lambda e: e.param("layer0.up.op", "clamp_low", 1)),
    (10, "GEMM table clamp_high", lambda e: e.param("layer0.up.op", "clamp_high", 1024)),
    (10, "GEMM clamp without table", lambda e: e.operand("layer0.up.op", "table", None)),
    (10, "heads 0", lambda e: e.param("layer0.context.op", "heads", 0)),
    (10, "heads 257", lambda e: e.param("layer0.context.op", "heads", 257)),
    (10, "head_dim 0", lambda e: e.param("layer0.context.op", "head_dim", 0)),
    (10, "head_dim 1025", lambda e: e.param("layer0.context.op", "head_dim", 1025)),
    (10, "q_column", lambda e: e.param("layer0.context.op", "q_column", -1)),
    (10, "ATTENTION zero_point", lambda e: e.param("layer0.context.op", "zero_point", 40000)),
    (10, "multiplier_a", lambda e: e.param("layer0.add1.op", "multiplier_a", 16385)),
    (10, "multiplier_b", lambda e: e.param("layer0.add1.op", "multiplier_b", -1)),
    (10, "ADD shift 0", lambda e: e.param("layer0.add1.op", "shift", 0)),
    (10, "ADD shift 30", lambda e: e.param("layer0.add1.op", "shift", 30)),
    (10, "POOL mode", lambda e: e.param("pooled.op", "mode", 3)),
    (10, "POOL multiplier", lambda e: e.param("pooled.op", "multiplier", 32768)),
    (10, "POOL shift", lambda e: e.param("pooled.op", "shift", 47)),
    (10, "POOL zero_point_in", lambda e: e.param("pooled.op", "zero_point_in", 32769)),
    (10, "POOL zero_point", lambda e: e.param("pooled.op", "zero_point", -32769)),
    (11, "word multiplier", lambda e: set_item(e.weights("embed.word_multiplier"), 30, -1)),
    (11, "bias", lambda e: set_item(e.weights("logits.requant"), (2, 0), 2**30)),
    (11, "bias below", lambda e: set_item(e.weights("logits.requant"), (0, 0), -(2**30))),
    (11, "bias -2^31", lambda e: set_item(e.weights("logits.requant"), (0, 0), -(2**31))),
    (11, "multiplier", lambda e: set_item(e.weights("logits.requant"), (1, 1), 65536 + 32768)),
    (11, "shift 0", lambda e: set_item(e.weights("logits.requant"), (1, 1), 32767)),
    (11, "shift 47", lambda e: set_item(e.weights("logits.requant"), (1, 1), 47 * 65536)),
    (11, "negative entry", lambda e: set_item(e.weights("logits.requant"), (1, 1), -65536)),
    (11, "requant behind N", lambda e: set_item(e.weights("logits.requant"), (7, 1), 0)),
    (11, "score shift", lambda e: set_item(e.weights(f"{CONTEXT}.requant"), (1, 0), 7)),
    (11, "context multiplier", lambda e: set_item(e.weights(f"{CONTEXT}.requant"), (0, 1), -1)),
    (11, "gain", lambda e: set_item(e.weights("norm.a.affine"), (15, 1), 32768)),
    (11, "gain -32768", lambda e: set_item(e.weights("norm.b.affine"), (0, 1), -32768)),
    (11, "offset", lambda e: set_item(e.weights("norm.a.affine"), (15, 0), 2**29 + 1)),
    (11, "offset -2^31", lambda e: set_item(e.weights("norm.a.affine"), (0, 0), -(2**31))),
    (12, "read before written", lambda e: e.operand("norm.op", "x", "layer0.dense")),
    (12, "read of scratch place", lambda e: same_place(e, "layer0.dense.scratch", "norm.b")),
    (12, "scratch on own input", lambda e: same_place(e, "layer0.qkv.scratch", "norm.a")),
    (12, "output on own input", lambda e: same_place(e, "layer0.add1", "layer0.dense")),
    (12, "in place", lambda e: e.operand("layer0.add1.op", "out", "layer0.dense")),
    (12, "overwritten between", lambda e: same_place(e, QKV, "norm.b")),
    (12, "outputs overlap", lambda e: same_place(e, "norm.b", "norm.a")),
    (12, "scratch on output", lambda e: same_place(e, SCRATCH, QKV, 64)),
    (12, "inputs overlap", lambda e: same_place(e, "types", "ids")),
    (12, "input place written early", lambda e: same_place(e, QKV, "mask")),
    (12, "input place as early scratch", lambda e: same_place(e, SCRATCH, "mask")),
    (12, "output never written", lambda e: e.tensor("logits.scratch", flags=4)),
    (12, "output overwritten", lambda e: same_place(e, "pooled", HIDDEN, 64)),
    (12, "output overwritten by scratch", lambda e: same_place(e, "logits.scratch", HIDDEN)),
]


def test_editor_changes_nothing_by_itself():
    """The base of the broken blobs is valid."""
    assert Editor(base_blob()).done() == base_blob()


@pytest.mark.parametrize(
    ("rule", "change"),
    [pytest.param(rule, change, id=f"{rule}-{name}") for rule, name, change in BROKEN],
)
def test_broken_rule(rule, change):
    """A blob that breaks one rule is refused, and the message names the rule."""
    editor = Editor(base_blob())
    change(editor)
    with pytest.raises(OracleError, match=rf"^rule {rule}: \S"):
        read_blob(editor.done())


def test_weights_behind_k():
    """Rule 11: GEMM weights are 0 where k >= K."""
    editor = Editor(factory.gemm_blob(9, 8)[0])
    editor.weights("out.weights")[0, 1, 3, 1] = 1
    with pytest.raises(OracleError, match=r"rule 11: op 2 .*k >= K"):
        read_blob(editor.done())


def test_weights_section_too_long():
    """Rule 6: nothing stands behind the last weights tensor."""
    longer = Editor(base_blob())
    longer.sections["bytes"][4] += 64
    longer.header["file_bytes"] += 64
    longer.sections["crc"][4] = zlib.crc32(longer.data[longer.offsets[4] :] + bytes(64))
    longer.header["header_crc"] = 0
    longer.header["header_crc"] = zlib.crc32(longer.data[:192])
    with pytest.raises(OracleError, match="rule 6: section WEIGHTS"):
        read_blob(bytes(longer.data) + bytes(64))


def test_too_few_positions():
    """Rule 9: the position table has a row for every token."""
    with pytest.raises(OracleError, match=r"rule 9: .*position"):
        read_blob(factory.embed_blob(3, 8, extra_positions=-1)[0])


def test_wide_gemm_input_is_limited():
    """Rule 9: K of an int16 input is at most 2048."""
    model = factory.Builder(2)
    x = model.rows16("x", np.zeros((2, 2049), np.int64))
    requant = writer.pack_requant([0], [1], [1])
    model.gemm("out", x, np.zeros((2049, 1), np.int8), requant, fmt.Dtype.INT8)
    with pytest.raises(OracleError, match=r"rule 9: .*K 2049"):
        read_blob(model.build("out"))


def test_wide_layernorm_is_limited():
    """Rule 9: a layernorm has at most 4096 columns."""
    with pytest.raises(OracleError, match=r"rule 9: .*4097"):
        read_blob(factory.layernorm_blob(4097, max_length=2)[0])


def test_place_reuse_is_allowed():
    """Rule 12: a place may be used again once its tensor has been read for the last time."""
    editor = Editor(base_blob())
    same_place(editor, "layer0.up", "layer0.context")
    same_place(editor, "layer1.qkv", "layer0.qkv")
    same_place(editor, "logits.scratch", "mask")
    changed = editor.done()
    inputs = factory.tiny_encoder_blob(factory.Pool.MEAN)[1]
    first, second = run(base_blob(), inputs), run(changed, inputs)
    assert all((first[name] == second[name]).all() for name in first)


def test_short_blob():
    """Rule 1: fewer bytes than a header, or than file_bytes."""
    for size in (0, 1, 191, 192, len(base_blob()) - 1):
        with pytest.raises(OracleError, match="rule 1"):
            read_blob(base_blob()[:size])


def test_flipped_bits(rng):
    """Every flipped bit is detected: all of the front, many of the rest."""
    data = bytearray(base_blob())
    places = [*range(192 * 8), *rng.integers(192 * 8, len(data) * 8, 400).tolist()]
    for place in places:
        data[place // 8] ^= 1 << place % 8
        with pytest.raises(OracleError, match=r"rule [123]: "):
            read_blob(data)
        data[place // 8] ^= 1 << place % 8


def test_metadata_that_is_not_json():
    """The reader does not need METADATA; asking for it fails clearly."""
    editor = Editor(base_blob())
    editor.data[editor.offsets[3]] = ord("]")
    model = read_blob(editor.done())
    with pytest.raises(OracleError, match="METADATA"):
        _ = model.metadata


def test_scale_bits():
    """The scale is the float32 of its bits."""
    editor = Editor(base_blob())
    editor.tensor("logits", scale=struct.unpack("<I", struct.pack("<f", 0.3))[0])
    model = read_blob(editor.done())
    assert next(t for t in model.tensors if t.name == "logits").scale == np.float32(0.3)
