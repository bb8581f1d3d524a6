"""Weights as int8 with one scale per output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import blob_format as fmt

WEIGHT_HIGH = 127
_ANY = (np.float64(1e-30), np.float64(1e30))


@dataclass(frozen=True)
class QuantizedWeights:
    """weight[n][k] ~ q[n][k] * scale[n]; q int8 values as float64."""

    q: np.ndarray
    scale: np.ndarray


def quantize_weights(
    weight: np.ndarray, limits: tuple[np.ndarray, np.ndarray] = _ANY
) -> QuantizedWeights:
    """Quantize float [N][K]: the largest weight of each output becomes 127 steps.

    limits: the smallest and the largest scale of each output [N]; beyond the largest, weights
        saturate.
    """
    scale = np.clip(np.abs(weight).max(axis=1) / WEIGHT_HIGH, *limits)
    steps = np.floor(weight / scale[:, None] + 0.5)
    return QuantizedWeights(np.clip(steps, -WEIGHT_HIGH, WEIGHT_HIGH), scale)


def scale_limits(bias: np.ndarray, out_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales [N] between which bias and requantization keep the limits of SPEC.md.

    bias [N]: in units of the output; out_scale: the output's scale.
    """
    least = np.maximum(np.abs(bias) / (fmt.MAX_BIAS // 2), out_scale * 2.0**-24)
    return least, np.maximum(least, out_scale * 2.0**13)
