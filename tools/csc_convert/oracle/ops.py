"""The ops of SPEC.md section 3 as pure functions on integer NumPy arrays.

One sequence per call; T is the length of the sequence, R the number of rows.
Arrays hold the true columns only (no padding).  Results have the dtype of the
output tensor, given as ``out_dtype`` where the op leaves a choice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arithmetic import (
    EXP,
    RS,
    IntLike,
    Ints,
    as_int64,
    clamp,
    matmul_exact,
    mean8,
    rq,
    rsqrt,
)

BLOCK = 8
WIDE_MIN, WIDE_MAX = -4096, 4095
POOL_MEAN, POOL_LAST = 1, 2
ATTENTION_ROWS = 512  # rows of scores held at once, only to bound memory

Array = npt.NDArray[np.integer]
Dtype = npt.DTypeLike


def up8(n: int) -> int:
    """Round n up to a multiple of 8."""
    return (n + 7) // 8 * 8


def store(values: Ints, dtype: Dtype) -> Array:
    """Clamp values to the limits of dtype, convert them to dtype."""
    limits = np.iinfo(dtype)
    return clamp(values, int(limits.min), int(limits.max)).astype(dtype)


def pack_blocks(w: Array) -> Array:
    """int8 [K][N] -> blob layout int8 [up8(N)/8][up8(K)/8][8][8] (section 1.4)."""
    k, n = w.shape
    padded = np.zeros((up8(n), up8(k)), np.int8)
    padded[:n, :k] = np.asarray(w).T
    blocks = padded.reshape(up8(n) // BLOCK, BLOCK, up8(k) // BLOCK, BLOCK)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))


def unpack_blocks(blocks: Array, k: int, n: int) -> Array:
    """Blob layout int8 [up8(N)/8][up8(K)/8][8][8] -> int8 [K][N]."""
    n_blocks, k_blocks = blocks.shape[:2]
    rows = blocks.transpose(0, 2, 1, 3).reshape(n_blocks * BLOCK, k_blocks * BLOCK)
    return np.ascontiguousarray(rows[:n, :k].T)


def split_requant(packed: IntLike) -> tuple[Ints, Ints]:
    """Split multiplier + 65536 * shift into (multiplier, shift), any shape."""
    packed = as_int64(packed)
    return packed & 0xFFFF, packed >> 16


def embed(
    ids: Array,
    types: Array | None,
    word: Array,
    word_multiplier: Array,
    position: Array,
    type_table: Array | None,
    shift: int,
    first_position: int = 0,
) -> Array:
    """EMBED (3.1): ids int32 [T] -> int16 [T][C]; the ids must be in range."""
    ids = as_int64(ids)
    scaled = as_int64(word)[ids] * as_int64(word_multiplier)[ids][:, None]
    positions = first_position + np.arange(len(ids))
    total = RS(scaled, shift) + as_int64(position)[positions]
    if types is not None and type_table is not None:
        total = total + as_int64(type_table)[as_int64(types)]
    return store(total, np.int16)


def layernorm_normalize(x: Array, epsilon: int) -> Ints:
    """Normalize rows (3.2): x int16 [R][C] -> n int64 [R][C] with 10 fractional bits."""
    x = as_int64(x)
    width = x.shape[1]
    total = x.sum(axis=1)
    variance = width * (x * x).sum(axis=1) - total * total
    r, h = rsqrt(variance + epsilon)
    deviation = width * x - total[:, None]
    return clamp(RS(deviation * r[:, None], 12 + h[:, None]), -32767, 32767)


def layernorm(
    x: Array, affine: Array, epsilon: int, shift: int, zero_point: int, out_dtype: Dtype
) -> Array:
    """One output of LAYERNORM (3.2): x int16 [R][C], affine int32 [C][2] (offset, gain)."""
    offset, gain = as_int64(affine)[:, 0], as_int64(affine)[:, 1]
    normalized = layernorm_normalize(x, epsilon)
    return store(RS(normalized * gain + offset, shift) + zero_point, out_dtype)


def gemm(
    x: Array,
    weights: Array,
    requant: Array,
    table: Array | None,
    n: int,
    zero_point: int,
    clamp_low: int,
    clamp_high: int,
    out_dtype: Dtype,
) -> Array:
    """GEMM (3.3): x int8/int16 [R][K], weights in blob layout, requant int32 [up8(N)][2]."""
    values = as_int64(x)
    if x.dtype == np.int16:
        values = clamp(values, WIDE_MIN, WIDE_MAX)
    w = unpack_blocks(weights, x.shape[1], n)
    bias = as_int64(requant)[:n, 0]
    multiplier, shift = split_requant(as_int64(requant)[:n, 1])
    acc = bias + matmul_exact(values, w)
    u = clamp(rq(acc, multiplier, shift) + zero_point, clamp_low, clamp_high)
    if table is not None:
        return np.asarray(table)[u].astype(out_dtype)
    return u.astype(out_dtype)


def attention_head(
    q: Ints, k: Ints, v: Ints, visible: npt.NDArray[np.bool_], score: int, context: int
) -> Ints:
    """One head of ATTENTION: q [I][D], k, v [S][D] -> int64 [I][D] before zero point and clamp.

    ``visible`` [I][S]; ``score`` and ``context`` are the packed entries of head_requant.
    """
    score_multiplier, score_shift = split_requant(score)
    context_multiplier, context_shift = split_requant(context)
    scores = matmul_exact(q, k.T)
    top = np.where(visible, scores, -(2**40)).max(axis=1, keepdims=True)
    below_top = np.where(visible, top - scores, 0)
    index = np.minimum(rq(below_top, score_multiplier, score_shift), 255)
    weights = np.where(visible, EXP[index], 0)
    contexts = matmul_exact(weights, v)
    means = mean8(contexts, weights.sum(axis=1, keepdims=True))
    return rq(means, context_multiplier, context_shift)


def visible_keys(
    rows: int, keys: int, mask: Array | None, first_position: int | None
) -> npt.NDArray[np.bool_]:
    """Which keys each row sees, bool [rows][keys].

    ``first_position`` is the position of row 0 among the keys where attention is causal.
    """
    visible = np.ones((rows, keys), bool)
    if mask is not None:
        visible &= np.asarray(mask)[None, :] != 0
    if first_position is not None:
        visible &= np.arange(keys)[None, :] <= first_position + np.arange(rows)[:, None]
    return visible


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    head_requant: Array,
    heads: int,
    head_dim: int,
    q_column: int,
    k_column: int,
    v_column: int,
    zero_point: int,
    out_dtype: Dtype,
    first_position: int | None = None,
) -> Array:
    """ATTENTION (3.4): q int8 [T][..], k, v [S][..], mask uint8 [S] or None -> [T][H*D].

    With ``first_position`` it is causal: row i sees the keys up to first_position + i.
    """
    length = len(q)
    q, k, v = as_int64(q), as_int64(k), as_int64(v)
    visible = visible_keys(length, len(k), mask, first_position)
    out = np.zeros((length, heads * head_dim), np.int64)
    for head in range(heads):
        start = head * head_dim
        columns = [slice(c + start, c + start + head_dim) for c in (q_column, k_column, v_column)]
        score, context = (int(entry) for entry in head_requant[head])
        for row in range(0, length, ATTENTION_ROWS):
            rows = slice(row, min(row + ATTENTION_ROWS, length))
            out[rows, start : start + head_dim] = attention_head(
                q[rows, columns[0]],
                k[:, columns[1]],
                v[:, columns[2]],
                visible[rows],
                score,
                context,
            )
    return store(out + zero_point, out_dtype)


def add(a: Array, b: Array, multiplier_a: int, multiplier_b: int, shift: int) -> Array:
    """ADD (3.5): int16 [R][C] and int16 [R][C] -> int16 [R][C]."""
    total = as_int64(a) * multiplier_a + as_int64(b) * multiplier_b
    return store(RS(total, shift), np.int16)


def pool(
    x: Array,
    mask: Array | None,
    mode: int,
    multiplier: int,
    shift: int,
    zero_point_in: int,
    zero_point: int,
    out_dtype: Dtype,
) -> Array:
    """POOL (3.6): x int8/int16 [T][C] -> [1][C]; mode is FIRST, MEAN or LAST."""
    values = as_int64(x) - zero_point_in
    if mode == POOL_MEAN:
        visible = np.ones(len(x), bool) if mask is None else np.asarray(mask) != 0
        m = mean8(values[visible].sum(axis=0), int(visible.sum()))
    else:
        m = values[-1 if mode == POOL_LAST else 0] * 256
    return store(rq(m, multiplier, shift) + zero_point, out_dtype)[None, :]


def append(x: Array, state: Array, column: int, position: int) -> Array:
    """APPEND (3.7): the state after the rows of x were put into it at a position."""
    result = state.copy()
    result[position : position + len(x)] = x[:, column : column + state.shape[1]]
    return result
