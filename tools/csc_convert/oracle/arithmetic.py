"""The shared integer arithmetic of SPEC.md section 2, on int64 arrays.

Written from SPEC.md alone.  The tables are computed here with exact integers and
``decimal``, so that a mistake in generated tables elsewhere cannot be mirrored.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal
from math import isqrt

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
IntLike = npt.ArrayLike


def as_int64(values: IntLike) -> Ints:
    """Convert an integer array (any shape) to int64; floating point is refused."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"integers wanted, not {array.dtype}")
    return array.astype(np.int64)


def make_exp_table() -> Ints:
    """EXP (section 2.5): int64 [256]."""
    context = Context(prec=60)
    half = Decimal(1) / 2
    values = []
    for k in range(256):
        exact = context.multiply(255, context.exp(context.divide(Decimal(-k), Decimal(32))))
        values.append(int((exact + half).to_integral_value(rounding=ROUND_FLOOR)))
    return np.array(values, dtype=np.int64)


def make_rsqrt_table() -> Ints:
    """RSQRT (section 2.3): int64 [96]."""
    return np.array([(isqrt(2**46 // (512 * i + 16640)) + 1) >> 1 for i in range(96)], np.int64)


EXP = make_exp_table()
RSQRT = make_rsqrt_table()
EXP.setflags(write=False)
RSQRT.setflags(write=False)


def RS(a: IntLike, s: IntLike) -> Ints:  # noqa: N802 - the name of the document
    """Shift right with rounding, half up (section 2.1): (a + 2^(s-1)) >> s, s >= 1."""
    a, s = as_int64(a), as_int64(s)
    return (a + (np.int64(1) << (s - 1))) >> s


def rq(a: IntLike, multiplier: IntLike, shift: IntLike) -> Ints:
    """Requantization (section 2.2): RS(a * M, s); a int32, M 0..32767, s 1..46."""
    return RS(as_int64(a) * as_int64(multiplier), shift)


def bitlen(a: IntLike) -> Ints:
    """Count the binary digits of a, 1 <= a < 2^63, by integer steps only."""
    rest = as_int64(a)
    length = np.ones_like(rest)
    for step in (32, 16, 8, 4, 2, 1):
        high = rest >> step
        length = np.where(high > 0, length + step, length)
        rest = np.where(high > 0, high, rest)
    return length


def rsqrt(u: IntLike) -> tuple[Ints, Ints]:
    """Reciprocal square root (section 2.3) of 1 <= u < 2^56: (r, h), 1/sqrt(u) ~ r 2^-(22+h)."""
    u = as_int64(u)
    h = (bitlen(u) - 15) >> 1
    right = np.maximum(2 * h, 0)
    left = np.maximum(-2 * h, 0)
    m = (u >> right) << left
    y = RSQRT[(m >> 9) - 32]
    t = m * RS(y * y, 14)
    r = RS(y * RS(3 * 2**30 - t, 16), 15)
    return r, h


def recip(n: IntLike) -> tuple[Ints, Ints]:
    """Reciprocal (section 2.4) of 1 <= n < 2^24: (r, L), 1/n ~ r 2^-(14+L)."""
    n = as_int64(n)
    length = bitlen(n)
    m = (n << np.maximum(16 - length, 0)) >> np.maximum(length - 16, 0)
    r = (2**30 + (m >> 1)) // m
    return r, length


def mean8(a: IntLike, n: IntLike) -> Ints:
    """Compute a / n with 8 fractional bits (section 2.4); 0 where n is 0.  |a| < 2^31, n < 2^24."""
    a, n = np.broadcast_arrays(as_int64(a), as_int64(n))
    r, length = recip(np.maximum(n, 1))
    return np.where(n == 0, 0, RS(a * r, 6 + length))


def clamp(a: IntLike, low: int, high: int) -> Ints:
    """min(max(a, low), high)."""
    return np.minimum(np.maximum(as_int64(a), low), high)


def matmul_exact(a: IntLike, b: IntLike) -> Ints:
    """Integer matrix product [R][K] x [K][N] -> int64 [R][N], computed in float64.

    Exact in any order of summation: the caller's operands satisfy
    sum over k of |a[r][k] * b[k][n]| < 2^53, checked here with the coarse bound
    K * max|a| * max|b|, so every partial sum is an integer float64 holds exactly.
    (Largest in SPEC.md: GEMM 2^30, attention scores 2^24, attention contexts 2^28.)
    """
    a, b = as_int64(a), as_int64(b)
    if a.size == 0 or b.size == 0:
        return a @ b
    bound = a.shape[-1] * int(np.abs(a).max()) * int(np.abs(b).max())
    if bound >= 2**53:
        raise OverflowError(f"product sums up to {bound} are not exact in float64")
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
