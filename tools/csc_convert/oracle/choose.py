"""Choosing a token from logits (SPEC.md section 3.8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arithmetic import EXP, rq

MASK32 = 2**32 - 1


@dataclass
class Chooser:
    """Draws from the ``top_k`` largest logits; ``random`` is the state of the generator."""

    top_k: int
    multiplier: int
    shift: int
    random: int

    def choose(self, logits: npt.ArrayLike) -> int:
        """Return a token, move the generator on."""
        values = np.asarray(logits).reshape(-1).astype(np.int64)
        order = sorted(range(len(values)), key=lambda n: (-int(values[n]), n))[: self.top_k]
        below = values[order[0]] - values[order]
        weights = EXP[np.minimum(255, rq(below, self.multiplier, self.shift))]
        self.random = xorshift(self.random)
        u = self.random * int(weights.sum()) // 2**32
        place = int(np.argmax(np.cumsum(weights) > u))
        return order[place]


def greedy(logits: npt.ArrayLike) -> int:
    """Return the smallest index with the largest logit."""
    return int(np.argmax(np.asarray(logits).reshape(-1)))


def xorshift(x: int) -> int:
    """Return the next state of Marsaglia's generator."""
    x = (x ^ (x << 13)) & MASK32
    x ^= x >> 17
    return (x ^ (x << 5)) & MASK32
