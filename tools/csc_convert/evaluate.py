"""Measures a finished blob, run by the oracle, against the float model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import oracle
from .batches import Arrays, lengths_of, visible_of
from .graph import Graph, check
from .language import Predictions
from .lower import Plan
from .reference import evaluate

LOGITS = "logits"

Progress = Callable[[str, int, int], None]


@dataclass
class Tally:
    """Sums over the visible rows of one tensor.

    saturated: numbers at a limit of the tensor whose float value rounds to beyond it.
    """

    signal: float = 0.0
    error: float = 0.0
    saturated: int = 0
    count: int = 0

    def add(self, wanted: np.ndarray, found: np.ndarray, saturated: int) -> None:
        """Take in some rows."""
        self.signal += float(np.square(wanted, dtype=np.float64).sum())
        self.error += float(np.square(wanted - found, dtype=np.float64).sum())
        self.saturated += saturated
        self.count += wanted.size

    @property
    def sqnr_db(self) -> float:
        """Signal to error in decibels, at most 200."""
        if self.error <= self.signal * 1e-20:
            return 200.0
        return 10 * np.log10(max(self.signal, 1e-30) / self.error)


@dataclass
class Measurement:
    """How far the integers are from the float model.

    tensors: by tensor name; cosines: of each row of each output; agreement: share of sequences
    whose largest logit is the same, of tokens where there are logits for each, None without logits;
    predictions: of a model that tells the next token.
    """

    sequences: int
    outputs: list[str]
    tensors: dict[str, Tally] = field(default_factory=dict)
    cosines: dict[str, list[float]] = field(default_factory=dict)
    agreements: list[bool] = field(default_factory=list)
    predictions: Predictions | None = None

    @property
    def sqnr_db(self) -> float:
        """The worst output's."""
        return min(self.tensors[name].sqnr_db for name in self.outputs)

    @property
    def agreement(self) -> float | None:
        """See the class."""
        return float(np.mean(self.agreements)) if self.agreements else None


def evenly_chosen(count: int, limit: int) -> np.ndarray:
    """Up to `limit` numbers evenly spread over 0..count - 1."""
    limit = min(count, limit)
    return np.arange(limit) * count // limit


def measure(
    blob: bytes,
    plan: Plan,
    graph: Graph,
    arrays: Arrays,
    numbers: np.ndarray,
    progress: Progress | None = None,
    entry: str | None = None,
) -> Measurement:
    """Run the sequences with these numbers through the oracle and the float model.

    entry: the entry of the blob that computes what the graph does.
    """
    parsed = oracle.read_blob(blob)
    visible = visible_of(graph, arrays)
    lengths = lengths_of(visible)
    tokens = {name: shape.tokens for name, shape in check(graph, after="lowering").items()}
    names = {tensor.name for tensor in parsed.inputs}
    result = Measurement(len(numbers), list(graph.outputs))
    if graph.generates:
        result.predictions = Predictions()
    for done, number in enumerate(numbers):
        length = lengths[number]
        inputs = {name: array[number, :length] for name, array in arrays.items()}
        wanted: dict[str, np.ndarray] = {}
        evaluate(
            graph,
            {name: array[None] for name, array in inputs.items()},
            observer=wanted.__setitem__,
        )
        given = {name: array for name, array in inputs.items() if name in names}
        found = oracle.run(parsed, given, trace=True, entry=entry)
        for name, value in plan.values.items():
            rows = visible[number, :length] if tokens[value] else slice(None)
            _compare(result, plan, name, wanted[value][0][rows], found[name][rows])
        if result.predictions:
            real = plan.encodings[LOGITS].decode(found[LOGITS])
            result.predictions.add(inputs["input_ids"], wanted[LOGITS][0], real)
        if progress:
            progress("measure", done + 1, len(numbers))
    return result


def _compare(
    result: Measurement, plan: Plan, name: str, wanted: np.ndarray, found: np.ndarray
) -> None:
    encoding = plan.encodings[name]
    lowest = encoding.decode(np.array([[encoding.low - 0.5]]))
    highest = encoding.decode(np.array([[encoding.high + 0.5]]))
    saturated = int(
        (
            ((found <= encoding.low) & (wanted < lowest))
            | ((found >= encoding.high) & (wanted > highest))
        ).sum()
    )
    real = encoding.decode(found)
    result.tensors.setdefault(name, Tally()).add(wanted, real, saturated)
    if name not in result.outputs:
        return
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(real, axis=1)
    cosines = (wanted * real).sum(axis=1) / np.maximum(norms, 1e-30)
    result.cosines.setdefault(name, []).extend(cosines.tolist())
    if name == LOGITS:
        result.agreements.extend((wanted.argmax(axis=1) == real.argmax(axis=1)).tolist())
