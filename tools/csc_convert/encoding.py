"""How integers of a tensor stand for real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import blob_format as fmt

INT8_LOW, INT8_HIGH = -128, 127
INT16_LOW, INT16_HIGH = -32768, 32767
# Thirteen bits have room for numbers calibration did not see; eight bits have none to spare.
WIDE_HEADROOM = 1.5


@dataclass(frozen=True)
class Encoding:
    """real = center + (q - zero_point) * scale, q clamped to low..high.

    scale, center: one number, or one per channel [C] (float64).
    """

    dtype: fmt.Dtype
    scale: np.ndarray | float
    low: int
    high: int
    zero_point: int = 0
    center: np.ndarray | float = 0.0

    @property
    def record_scale(self) -> float:
        """The scale of the tensor record: 0 where the channels have scales of their own."""
        plain = np.ndim(self.scale) == 0 and np.ndim(self.center) == 0 and self.center == 0
        return float(self.scale) if plain else 0.0

    def quantize(self, real: np.ndarray) -> np.ndarray:
        """Return the nearest integers, as float64."""
        steps = np.floor((real - self.center) / self.scale + 0.5) + self.zero_point
        return np.clip(steps, self.low, self.high)

    def decode(self, q: np.ndarray) -> np.ndarray:
        """Return the real numbers, float64."""
        return self.center + (np.asarray(q, np.float64) - self.zero_point) * self.scale

    def channels(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and center of each of `count` channels."""
        return (
            np.broadcast_to(np.asarray(self.scale, np.float64), (count,)),
            np.broadcast_to(np.asarray(self.center, np.float64), (count,)),
        )


def int16(largest: float) -> Encoding:
    """Symmetric int16 whose end is at `largest`."""
    return Encoding(fmt.Dtype.INT16, np.float64(largest / INT16_HIGH), INT16_LOW, INT16_HIGH)


def gemm_headroom(wide: bool) -> float:
    """Return how much further than the numbers seen a GEMM's input reaches."""
    return WIDE_HEADROOM if wide else 1.0


def gemm_limits(wide: bool) -> tuple[fmt.Dtype, int, int]:
    """Type and range of a GEMM's input: 8 bits, or 13 bits in int16 where it is wide."""
    if wide:
        return fmt.Dtype.INT16, fmt.WIDE_MIN, fmt.WIDE_MAX
    return fmt.Dtype.INT8, INT8_LOW, INT8_HIGH
