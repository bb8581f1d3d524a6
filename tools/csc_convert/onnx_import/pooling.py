"""Rules for one row per sequence: the first token, the mean of the visible, and its length."""

from __future__ import annotations

import numpy as np

from .net import Op
from .probes import Probes
from .rules import Match, parameter_name
from .trace import Region, chain_to, numbered, regions

OF_MEAN = (
    *("Add", "Cast", "Clip", "Div", "Einsum", "Expand", "MatMul", "Max", "Mul", "Reciprocal"),
    *("ReduceMean", "ReduceSum", "Squeeze", "Unsqueeze", "Where"),
)
_OF_NORM = (
    *("Abs", "Add", "Cast", "Clip", "Div", "Expand", "LpNormalization", "Max", "Mul", "Pow"),
    *("Reciprocal", "ReduceL2", "ReduceSum", "ReduceSumSquare", "Sqrt", "Unsqueeze"),
)
_SAME = 1e-5


def first(probes: Probes, wanted: str, op: Op) -> Match | None:
    """Any choice of the first row of each sequence."""
    chain = chain_to(probes, wanted)
    if not chain.steps or chain.factor != 1:
        return None
    for run in probes.sizes:
        shape = run.shape(chain.base)
        if shape is None or len(shape) != 3 or shape[1] == 1:
            return None
        places = numbered(shape)
        moved = chain.moved(run, places)
        if moved is None or not np.array_equal(moved.reshape(-1), places[:, 0].reshape(-1)):
            return None
    name = f"{parameter_name(probes, op, [])}.first"
    return Match("pool", name, [chain.base], {"mode": "first"})


def mean(probes: Probes, wanted: str, op: Op) -> Match | None:
    """Any ops that compute the mean of the visible rows, or of all rows."""
    for region in regions(probes, wanted, lambda op: op.type in OF_MEAN):
        fits = {masked: _is_mean(probes, region, masked) for masked in (True, False)}
        if any(fits.values()):
            masked = not fits[False] or probes.inputs.mask is None
            name = f"{parameter_name(probes, op, [])}.mean"
            return Match("pool", name, [region.leaf], {"mode": "mean"}, mask=masked)
    return None


def _is_mean(probes: Probes, region: Region, masked: bool) -> bool:
    """Whether a region is the mean of rows: of the visible ones, or of all."""
    for run, visible in probes.masks:
        shape = run.shape(region.leaf)
        if shape is None or len(shape) != 3 or shape[:2] != visible.shape:
            return False
        rows = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        shown = (visible if masked else np.ones_like(visible))[..., None]
        wanted = (rows * shown).sum(axis=1) / shown.sum(axis=1)
        found = region.value(run, rows)
        if found is None or found.size != wanted.size:
            return False
        if np.abs(found.reshape(wanted.shape) - wanted).max() > _SAME:
            return False
    return True


def unnormalized(probes: Probes, wanted: str) -> str | None:
    """Return the value of which a value is each row, divided by its length; else None."""
    for region in regions(probes, wanted, lambda op: op.type in _OF_NORM):
        run = probes.sizes[0]
        shape = run.shape(region.leaf)
        if shape is None or shape != run.shape(wanted):
            continue
        rows = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
        found = region.value(run, rows)
        length = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
        if (
            found is not None
            and found.shape == shape
            and np.abs(found - rows / length).max() < _SAME
        ):
            return region.leaf
    return None
