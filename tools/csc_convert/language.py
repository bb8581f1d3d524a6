"""How well the next token of a text is told: perplexity, and the distance of two predictions."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the shares softmax gives each row [n][V], float64."""
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=1, keepdims=True))


def divergence(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of each row [n] of two logits [n][V], in nats.

    It is what the mean loss grows by if the texts are as the first logits tell.
    """
    exact, other = log_softmax(wanted), log_softmax(found)
    return (np.exp(exact) * (exact - other)).sum(axis=1)


@dataclass
class Predictions:
    """Sums over texts.

    tokens: how many were predicted; float_loss, integer_loss: minus the logarithms of the shares
    they got; rows: of logits compared; divergence: of their predictions, float to integer.
    """

    tokens: int = 0
    float_loss: float = 0.0
    integer_loss: float = 0.0
    rows: int = 0
    divergence: float = 0.0

    def add(self, ids: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> None:
        """Take in one text: its tokens [T] and the logits of both models [T][V]."""
        rows, following = np.arange(len(ids) - 1), ids[1:]
        self.tokens += len(rows)
        self.float_loss -= float(log_softmax(wanted)[rows, following].sum())
        self.integer_loss -= float(log_softmax(found)[rows, following].sum())
        self.rows += len(ids)
        self.divergence += float(divergence(wanted, found).sum())

    @property
    def perplexities(self) -> tuple[float, float]:
        """Perplexity of the float model and of the integers."""
        count = max(self.tokens, 1)
        return exp(self.float_loss / count), exp(self.integer_loss / count)

    @property
    def mean_divergence(self) -> float:
        """Divergence per row."""
        return self.divergence / max(self.rows, 1)
