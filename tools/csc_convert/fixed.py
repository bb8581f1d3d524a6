"""Real factors as the multipliers and shifts of SPEC.md."""

from __future__ import annotations

import numpy as np

from . import blob_format as fmt

# The largest factor a multiplier with the smallest shift can express.
LARGEST_FACTOR = fmt.MAX_MULTIPLIER / 2
NORM_FRACTION_BITS = 10
EXP_STEPS_PER_UNIT = 32
MEAN_FRACTION_BITS = 8


def multipliers(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, s) with M / 2^s ~ factor, M in 16384..32767 where the shift can reach that.

    Factors are between 0 and LARGEST_FACTOR; those too small for the largest shift get a smaller
    M, in the end 0.
    """
    factors = np.asarray(factors, np.float64)
    if not np.all((factors >= 0) & (factors <= LARGEST_FACTOR)):
        raise AssertionError("a requantization factor is out of range")
    _, exponent = np.frexp(factors)
    shift = np.clip(15 - exponent, 1, fmt.MAX_SHIFT)
    multiplier = np.floor(np.ldexp(factors, shift) + 0.5).astype(np.int64)
    carried = (multiplier > fmt.MAX_MULTIPLIER) & (shift > 1)
    multiplier = np.where(carried, (multiplier + 1) >> 1, multiplier)
    shift = np.where(carried, shift - 1, shift)
    return np.minimum(multiplier, fmt.MAX_MULTIPLIER), shift


def packed(factors: np.ndarray) -> np.ndarray:
    """Multiplier and shift in one number: multiplier + 65536 * shift."""
    multiplier, shift = multipliers(factors)
    return multiplier + (shift.astype(np.int64) << 16)


def add_multipliers(factor_a: float, factor_b: float) -> tuple[int, int, int]:
    """(multiplier_a, multiplier_b, shift) of an ADD; (16384, 16384, 14) for factors of 1."""
    largest = max(factor_a, factor_b)
    shift = int(np.clip(14 - np.ceil(np.log2(largest)), 1, fmt.MAX_NORM_SHIFT))
    pair = [
        min(round(factor * 2.0**shift), fmt.MAX_ADD_MULTIPLIER) for factor in (factor_a, factor_b)
    ]
    return pair[0], pair[1], shift


def norm_affine(gain: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, int]:
    """Layernorm gain and offset, in steps of the output, as int32 [C][2] (offset, gain) and shift.

    The shift is the largest at which all entries keep the limits.
    """
    largest_gain = max(float(np.abs(gain).max()) / 2**NORM_FRACTION_BITS, 1e-30)
    largest_offset = max(float(np.abs(offset).max()), 1e-30)
    shift = int(
        np.floor(
            min(
                np.log2(fmt.MAX_MULTIPLIER / largest_gain),
                np.log2((fmt.MAX_BETA - 1) / largest_offset),
            )
        )
    )
    shift = int(np.clip(shift, 1, fmt.MAX_NORM_SHIFT))
    affine = np.stack([offset * 2.0**shift, gain * 2.0 ** (shift - NORM_FRACTION_BITS)], axis=1)
    affine = np.floor(affine + 0.5)
    limits = np.array([fmt.MAX_BETA, fmt.MAX_MULTIPLIER])
    return np.clip(affine, -limits, limits).astype(np.int64), shift


def norm_epsilon(epsilon: float, width: int, scale: float) -> int:
    """E of a layernorm whose input has this scale."""
    value = round(epsilon * width * width / (scale * scale))
    return int(min(max(value, 1), 2**fmt.MAX_EPSILON_BITS - 1))
