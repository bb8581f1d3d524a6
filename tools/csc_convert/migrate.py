"""Searches for the encodings of GEMM inputs, by the error they cause behind the GEMM.

A layernorm, like a GEMM, can give each channel its own scale and offset for free.  A channel with
outliers is made smaller before the product and its weights larger, and its middle moves to 0; the
weights' int8 has to bear the difference, so the search weighs both errors.
"""

from __future__ import annotations

import numpy as np

from .encoding import Encoding, gemm_headroom, gemm_limits
from .weights import quantize_weights

SEARCH_ROWS = 384
_EXPONENTS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)


def output_error(
    x: np.ndarray, weight: np.ndarray, encoding: Encoding, importance: np.ndarray
) -> float:
    """Mean square error of weight @ x when x is encoded and the weights are int8.

    A constant error of an output counts nothing: the bias takes it.  importance [N]: the weight of
    each output.
    """
    scale, center = encoding.channels(weight.shape[1])
    q = encoding.quantize(x) - encoding.zero_point
    folded = quantize_weights(weight * scale)
    error = (x - center) @ weight.T - (q @ folded.q.T) * folded.scale
    return float(importance @ error.var(axis=0))


def search_rows(sample: np.ndarray) -> np.ndarray:
    """Evenly chosen rows for a search, float64."""
    step = max(1, len(sample) // SEARCH_ROWS)
    return sample[::step].astype(np.float64)


def migrated(
    low: np.ndarray, high: np.ndarray, weight: np.ndarray, exponent: float, wide: bool
) -> Encoding:
    """Per-channel encoding: scale ~ range^exponent / (largest weight)^(1 - exponent)."""
    dtype, q_low, q_high = gemm_limits(wide)
    center = (low.astype(np.float64) + high) / 2
    half = (high.astype(np.float64) - low) / 2
    half = np.maximum(half, max(half.max(), 1e-6) * 1e-4)
    largest = np.abs(weight).max(axis=0)
    largest = np.maximum(largest, max(largest.max(), 1e-6) * 1e-4)
    shape = half**exponent / largest ** (1 - exponent)
    scale = shape * (half / shape).max() * gemm_headroom(wide) / q_high
    return Encoding(dtype, scale, q_low, q_high, 0, center)


def search_migration(
    sample: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    weight: np.ndarray,
    importance: np.ndarray,
    wide: bool,
) -> Encoding:
    """Return the best per-channel encoding of a GEMM's input.

    sample [n][K], low, high [K]: the input; weight [N][K]: of the GEMMs that read it.
    """
    x = search_rows(sample)
    candidates = [migrated(low, high, weight, exponent, wide) for exponent in _EXPONENTS]
    errors = [output_error(x, weight, candidate, importance) for candidate in candidates]
    return candidates[int(np.argmin(errors))]
