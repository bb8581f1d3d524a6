"""Finding the part of a net before a value: chains that only move numbers, and regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .net import Op
from .probes import Probes
from .run import Run

_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")
MOVES = (*_RESHAPES, "Transpose", "Slice", "Split", "Gather")
_LARGEST_REGION = 60


class Step(NamedTuple):
    """An op that only moves numbers: the value it moves and what it makes of it."""

    op: Op
    source: str
    result: str


@dataclass(frozen=True)
class Chain:
    """Steps from `base` to another value, which all in all multiply by `factor`."""

    base: str
    steps: tuple[Step, ...]
    factor: float

    def moved(self, run: Run, array: np.ndarray) -> np.ndarray | None:
        """Return where the elements of an array in place of the base end up; None if unknown."""
        for step in self.steps:
            result = run.replay([step.op], {step.source: array})[step.result]
            if not isinstance(result, np.ndarray):
                return None
            array = result
        return array


def chain_to(probes: Probes, name: str) -> Chain:
    """Return the longest chain that ends in a value."""
    steps: list[Step] = []
    factor = 1.0
    while (op := probes.net.producers.get(name)) is not None:
        scaled = _scaled(probes, op)
        if scaled is not None:
            name, factor = scaled[0], factor * scaled[1]
        elif _is_move(probes, op):
            steps.append(Step(op, op.inputs[0], name))
            name = op.inputs[0]
        else:
            break
    return Chain(name, tuple(reversed(steps)), factor)


def _is_move(probes: Probes, op: Op) -> bool:
    others = op.inputs[1:]
    return op.type in MOVES and not any(probes.is_main(name) for name in others)


def _scaled(probes: Probes, op: Op) -> tuple[str, float] | None:
    """Return the value an op multiplies by a number, and the number; None for other ops."""
    if op.type == "Cast":
        return op.inputs[0], 1.0
    if op.type not in ("Mul", "Div"):
        return None
    left, right = op.inputs
    number = probes.scalar(right)
    if number:
        return left, number if op.type == "Mul" else 1 / number
    number = probes.scalar(left)
    return (right, number) if number and op.type == "Mul" else None


def rows_of(probes: Probes, name: str) -> str:
    """Return the value that has the same rows one after the other, before any reshape or cast."""
    while (op := probes.net.producers.get(name)) is not None:
        same = op.type == "Cast" or (op.type in _RESHAPES and _keeps_rows(probes, op))
        if not same or not probes.is_main(op.inputs[0]):
            break
        name = op.inputs[0]
    return name


def _keeps_rows(probes: Probes, op: Op) -> bool:
    width = probes.width(op.inputs[0])
    return width is not None and width == probes.width(op.outputs[0])


class Region(NamedTuple):
    """All ops between one value, the leaf, and a result, in order."""

    ops: list[Op]
    leaf: str
    result: str

    def constants(self, probes: Probes) -> list[np.ndarray]:
        """Return the constants the region reads, in order of its ops."""
        found = [probes.constant(i) for op in self.ops for i in op.inputs if i and i != self.leaf]
        return [array for array in found if array is not None]

    def value(self, run: Run, leaf: np.ndarray) -> np.ndarray | None:
        """Return the result for an array in place of the leaf; None if it cannot be known."""
        found = run.replay(self.ops, {self.leaf: leaf})[self.result]
        return found if isinstance(found, np.ndarray) else None


def regions(probes: Probes, result: str, may_hold: Callable[[Op], bool]) -> Iterator[Region]:
    """Yield the regions that end in a value, smallest first; `may_hold` says of what ops."""
    producers = probes.net.producers
    ops: list[Op] = []
    border = {result}
    while border and len(ops) < _LARGEST_REGION:
        if any(name not in producers for name in border):
            return
        op = max((producers[name] for name in border), key=lambda op: op.place)
        if not may_hold(op):
            return
        ops.insert(0, op)
        border -= set(op.outputs)
        border |= {name for name in op.inputs if probes.is_main(name)}
        if len(border) == 1:
            yield Region(list(ops), next(iter(border)), result)


def numbered(shape: Sequence[int]) -> np.ndarray:
    """Return an array whose elements are their own places."""
    return np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
