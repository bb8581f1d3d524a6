"""Activation tables: 1024 entries between a GEMM's requantized result and its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import blob_format as fmt
from .encoding import Encoding, gemm_headroom, gemm_limits
from .migrate import output_error, search_rows

_CLIPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
_TRIMS = tuple(2.0**i for i in range(-3, 6))
_GRID = 4096
_LAST = fmt.TABLE_ENTRIES - 1

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Table:
    """index = pre / scale + zero_point, clamped to 0..1023; entries int64 [1024]."""

    scale: float
    zero_point: int
    entries: np.ndarray


def asymmetric(low: float, high: float, wide: bool) -> Encoding:
    """Return the encoding of a GEMM's input from low to high, with an exact 0."""
    dtype, q_low, q_high = gemm_limits(wide)
    high = max(high, 1e-6) * gemm_headroom(wide)
    low = min(low, 0.0) * gemm_headroom(wide)
    scale = (high - low) / (q_high - q_low)
    zero_point = int(np.clip(round(q_low - low / scale), q_low, q_high))
    return Encoding(dtype, np.float64(scale), q_low, q_high, zero_point)


def search_table_output(
    sample: np.ndarray, low: float, high: float, weight: np.ndarray, wide: bool
) -> Encoding:
    """Return the encoding of an activation's output with the least error behind the next GEMM.

    sample [n][K]: outputs of the activation; weight [N][K]: of the GEMM that reads them.
    """
    x = search_rows(sample)
    candidates = [asymmetric(low, high * clip, wide) for clip in _CLIPS]
    importance = np.ones(len(weight))
    errors = [output_error(x, weight, candidate, importance) for candidate in candidates]
    return candidates[int(np.argmin(errors))]


def make_table(
    function: Function, pre: np.ndarray, low: float, high: float, encoding: Encoding
) -> Table:
    """Return the table with the least mean square error.

    pre: a sample of the function's arguments, which lie between low and high.
    The ends of that range may be left out where the encoded function hardly changes; the entries
    then stand closer where it does.
    """
    sample = search_rows(pre).reshape(-1)
    wanted = function(sample)
    best, least = None, np.inf
    for trim in _TRIMS:
        ends = _trim(function, low, high, encoding, trim * float(encoding.scale))
        table = _table(function, *ends, encoding)
        index = np.clip(np.floor(sample / table.scale + 0.5) + table.zero_point, 0, _LAST)
        found = encoding.decode(table.entries)[index.astype(np.int64)]
        error = float(np.square(found - wanted).mean())
        if error < least:
            best, least = table, error
    assert best is not None
    return best


def _trim(
    function: Function, low: float, high: float, encoding: Encoding, tolerance: float
) -> tuple[float, float]:
    """Move both ends inwards as long as the encoded function changes less than the tolerance."""
    grid = np.linspace(low, high, _GRID)
    limits = encoding.decode(np.array([encoding.low, encoding.high]))
    values = np.clip(function(grid), *limits)
    spread_left = np.maximum.accumulate(values) - np.minimum.accumulate(values)
    spread_right = (np.maximum.accumulate(values[::-1]) - np.minimum.accumulate(values[::-1]))[::-1]
    left = int(np.searchsorted(spread_left, tolerance, side="right")) - 1
    right = _GRID - int(np.searchsorted(spread_right[::-1], tolerance, side="right"))
    if left >= right:
        return low, high
    return float(grid[left]), float(grid[right])


def _table(function: Function, low: float, high: float, encoding: Encoding) -> Table:
    """Return the table whose first entry stands for about low and whose last for about high."""
    scale = max(high - low, 1e-6) / _LAST
    zero_point = round(-low / scale)
    if abs(zero_point) > fmt.MAX_ZERO_POINT:
        scale = max(abs(low), abs(high)) / (fmt.MAX_ZERO_POINT - _LAST)
        zero_point = round(-low / scale)
    arguments = (np.arange(fmt.TABLE_ENTRIES) - zero_point) * scale
    return Table(scale, zero_point, encoding.quantize(function(arguments)).astype(np.int64))
