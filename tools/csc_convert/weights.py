"""Weights as int8 with one scale per output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import blob_format as fmt

WEIGHT_HIGH = 127
_SHRINK = np.linspace(1.0, 0.8, 9)
_ANY = (np.float64(1e-30), np.float64(1e30))


@dataclass(frozen=True)
class QuantizedWeights:
    """weight[n][k] ~ q[n][k] * scale[n]; q int8 values as float64."""

    q: np.ndarray
    scale: np.ndarray


def quantize_weights(
    weight: np.ndarray,
    power: np.ndarray | None = None,
    limits: tuple[np.ndarray, np.ndarray] = _ANY,
) -> QuantizedWeights:
    """Quantize float [N][K].

    power [K]: mean square of each input; each output's scale is then the one with the least mean
        square error of the output, else the one that just reaches the largest weight.
    limits: the smallest and the largest scale of each output [N]; beyond the largest, weights
        saturate.
    """
    scale = np.abs(weight).max(axis=1) / WEIGHT_HIGH
    if power is not None:
        scale = _best_scale(weight, scale, power)
    scale = np.clip(scale, *limits)
    return QuantizedWeights(_round(weight, scale), scale)


def _round(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    steps = np.floor(weight / scale[:, None] + 0.5)
    return np.clip(steps, -WEIGHT_HIGH, WEIGHT_HIGH)


def _best_scale(weight: np.ndarray, scale: np.ndarray, power: np.ndarray) -> np.ndarray:
    safe = np.where(scale > 0, scale, 1.0)
    errors = []
    for factor in _SHRINK:
        step = safe * factor
        errors.append(((weight - _round(weight, step) * step[:, None]) ** 2) @ power)
    return scale * _SHRINK[np.argmin(errors, axis=0)]


def scale_limits(bias: np.ndarray, out_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales [N] between which bias and requantization keep the limits of SPEC.md.

    bias [N]: in units of the output; out_scale: the output's scale.
    """
    least = np.maximum(np.abs(bias) / (fmt.MAX_BIAS // 2), out_scale * 2.0**-24)
    return least, np.maximum(least, out_scale * 2.0**13)
