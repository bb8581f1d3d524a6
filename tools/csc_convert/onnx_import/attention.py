"""The rule for attention: two products with a softmax between them, however it is written.

The layout of heads is read off the places of numbered elements.  Scale and mask are read off the
weights that random scores get under many masks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import UnsupportedModel
from .net import Op
from .probes import Probes
from .rules import Match, parameter_name
from .run import Run
from .trace import Chain, Region, chain_to, numbered, regions

BETWEEN = (
    *("Add", "And", "Cast", "Clip", "Div", "Equal", "Expand", "IsInf", "IsNaN", "Max", "Min"),
    *("Mul", "Not", "Or", "Reshape", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
    "Where",
)
_SAME_WEIGHTS = 1e-5
# A factor written in float16 differs by up to 5e-4.
_SAME_SCALE = 1e-3


class _Layout(NamedTuple):
    """Where an operand of a product comes from: columns of a value."""

    base: str
    column: int
    factor: float


def attention(probes: Probes, wanted: str, _op: Op) -> Match | None:
    """Match the value that holds the context of all heads, one row per token."""
    chain = chain_to(probes, wanted)
    second = probes.net.producers.get(chain.base)
    if not chain.steps or chain.factor != 1 or not _is_product(probes, second):
        return None
    heads = _heads_of_context(probes, chain)
    between = _weights_region(probes, second.inputs[0])
    if heads is None or between is None:
        return None
    first = probes.net.producers[between.leaf]
    q = _operand(probes, first.inputs[0], heads, transposed=False)
    k = _operand(probes, first.inputs[1], heads, transposed=True)
    v = _operand(probes, second.inputs[1], heads, transposed=False)
    if q is None or k is None or v is None:
        return None
    head_dim = probes.width(chain.base) or 0
    scale, masked = _scale_and_mask(probes, between)
    _check_scale(probes, between, scale * q.factor * k.factor * v.factor, head_dim, v.factor)
    attributes = {"heads": heads, "head_dim": head_dim}
    for letter, layout in zip("qkv", (q, k, v), strict=True):
        if layout.column:
            attributes[f"{letter}_column"] = layout.column
    name = f"{_name(probes, (q, k, v), second)}.context"
    return Match("attention", name, [q.base, k.base, v.base], attributes, mask=masked)


def _is_product(probes: Probes, op: Op | None) -> bool:
    """Whether an op multiplies two computed values."""
    return op is not None and op.type == "MatMul" and all(map(probes.is_main, op.inputs))


def _weights_region(probes: Probes, weights: str) -> Region | None:
    """Return the ops from the scores, a product of two values, to the weights of a softmax."""
    for region in regions(probes, weights, lambda op: op.type in BETWEEN):
        has_softmax = any(op.type == "Softmax" for op in region.ops)
        if has_softmax and _is_product(probes, probes.net.producers.get(region.leaf)):
            return region
    return None


def _batch_and_tokens(run: Run) -> tuple[int, int]:
    item = run.net.inputs[0]
    batch, tokens = run.shape(item.name) or (0, 0)
    return batch, tokens


def _heads_of_context(probes: Probes, chain: Chain) -> int | None:
    """Return the number of heads where the chain makes one row per token of all heads' results."""
    found = set()
    for run in probes.sizes:
        batch, tokens = _batch_and_tokens(run)
        shape = run.shape(chain.base) or ()
        if len(shape) < 3:
            return None
        heads = int(np.prod(shape[:-2])) // batch
        places = numbered((batch, tokens, heads, shape[-1])).transpose(0, 2, 1, 3)
        if places.size != np.prod(shape):
            return None
        moved = chain.moved(run, places.reshape(shape))
        if moved is None or moved.shape[-1] != heads * shape[-1]:
            return None
        if not np.array_equal(moved.reshape(-1), np.arange(moved.size)):
            return None
        found.add(heads)
    return found.pop() if len(found) == 1 else None


def _operand(probes: Probes, name: str, heads: int, *, transposed: bool) -> _Layout | None:
    """Return where the queries, keys (transposed) or values of all heads come from."""
    chain = chain_to(probes, name)
    first, second = (_column(run, chain, heads, transposed) for run in probes.sizes)
    return None if first is None or first != second else _Layout(chain.base, first, chain.factor)


def _column(run: Run, chain: Chain, heads: int, transposed: bool) -> int | None:
    """Return the first of the columns that the heads of an operand are, one after the other."""
    shape = run.shape(chain.base)
    batch, tokens = _batch_and_tokens(run)
    moved = None if shape is None else chain.moved(run, numbered(shape))
    if moved is None or np.prod(shape[:-1]) != batch * tokens:
        return None
    moved = np.swapaxes(moved, -1, -2) if transposed else moved
    width, column = heads * moved.shape[-1], int(moved.reshape(-1)[0])
    chosen = numbered((batch, tokens, shape[-1]))[..., column : column + width]
    if chosen.size != moved.size:
        return None
    places = chosen.reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3)
    return column if np.array_equal(places.reshape(-1), moved.reshape(-1)) else None


def _scale_and_mask(probes: Probes, between: Region) -> tuple[float, bool]:
    """Return the factor between product and softmax, and whether the mask hides keys.

    Raises UnsupportedModel where the weights are something else than a masked softmax.
    """
    scale = None
    fits = {True: True, False: True}
    for run, visible in probes.masks:
        scores = _random_scores(run, between.leaf)
        weights = between.value(run, scores)
        if weights is None or weights.shape != scores.shape:
            raise _no_softmax(probes, between)
        if scale is None:
            scale = _slope(scores, weights)
        for masked in fits:
            shown = visible if masked else np.ones_like(visible)
            wanted = _softmax(scores * scale, shown)
            fits[masked] = fits[masked] and np.abs(weights - wanted).max() < _SAME_WEIGHTS
    if not any(fits.values()):
        raise _no_softmax(probes, between)
    return scale, not fits[False] or probes.inputs.mask is None


def _random_scores(run: Run, name: str) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, run.shape(name)).astype(np.float32)


def _slope(scores: np.ndarray, weights: np.ndarray) -> float:
    """Return by how much scores are multiplied before the softmax that made these weights."""
    if scores.shape[-1] == 1:
        return 1.0
    x = scores[..., 1:] - scores[..., :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(weights[..., 1:] / weights[..., :1])
        slope = float((x * y).sum() / (x * x).sum())
    return slope if np.isfinite(slope) else 1.0


def _softmax(scores: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return softmax over the visible keys; scores [batch][heads][tokens][tokens] or [n][..]."""
    batch, tokens = visible.shape
    shaped = scores.reshape(batch, -1, tokens, tokens)
    shaped = np.where(visible[:, None, None], shaped, -np.inf)
    powers = np.exp(shaped - shaped.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).reshape(scores.shape)


def _no_softmax(probes: Probes, between: Region) -> UnsupportedModel:
    softmax = next(op for op in between.ops if op.type == "Softmax")
    return UnsupportedModel(
        f"{probes.net.path}: the attention at {softmax.name!r} is no softmax of scaled scores over "
        "the tokens that the mask shows; other masks and biases are not supported."
    )


def _check_scale(
    probes: Probes, between: Region, scale: float, head_dim: int, v_factor: float
) -> None:
    softmax = next(op for op in between.ops if op.type == "Softmax")
    if abs(scale * head_dim**0.5 - 1) > _SAME_SCALE or v_factor != 1:
        raise UnsupportedModel(
            f"{probes.net.path}: the attention at {softmax.name!r} multiplies its scores by "
            f"{scale:.6g}; supported is {head_dim**-0.5:.6g}, the inverse root of the "
            f"{head_dim} columns of a head."
        )


def _name(probes: Probes, layouts: tuple[_Layout, ...], op: Op) -> str:
    """Return what the names of the layers of q, k and v have in common."""
    names = []
    for layout in layouts:
        producer = probes.net.producers.get(layout.base)
        if producer is not None:
            names.append(parameter_name(probes, producer, producer.inputs).split("."))
    common = []
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common) or parameter_name(probes, op, [])
