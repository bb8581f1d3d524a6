"""Inputs as arrays [N][T], cut into batches of sequences of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from .graph import Graph

TOKENS_PER_BATCH = 8192

Arrays = dict[str, np.ndarray]


class Batch(NamedTuple):
    """Some of the sequences: their numbers, and the inputs [B][T] without fully padded columns."""

    numbers: np.ndarray
    inputs: Arrays


def complete(graph: Graph, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """All inputs of the graph as [N][T]; those left out are filled with their default.

    Raises ValueError with one sentence.
    """
    known = [item.name for item in graph.inputs]
    for name in inputs:
        if name not in known:
            raise ValueError(f"input {name!r} is unknown; inputs are {', '.join(known)}")
    shape = None
    arrays: Arrays = {}
    for item in graph.inputs:
        if item.name in inputs:
            arrays[item.name] = _as_rows(item.name, inputs[item.name])
            shape = shape or arrays[item.name].shape
            if arrays[item.name].shape != shape:
                raise ValueError(
                    f"input {item.name!r} has the shape {arrays[item.name].shape}, "
                    f"the others {shape}"
                )
        elif item.default is None:
            raise ValueError(f"input {item.name!r} is missing")
    for item in graph.inputs:
        arrays.setdefault(item.name, np.full(shape, item.default))
    return arrays


def _as_rows(name: str, values: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        raise ValueError(f"input {name!r} must hold integers, not {array.dtype}")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"input {name!r} must be [N][T] and not empty, not {array.shape}")
    return np.atleast_2d(array)


def check_ids(graph: Graph, arrays: Arrays) -> None:
    """Every id is a row of its table, T fits the table of positions, padding is where it can be.

    Raises ValueError with one sentence.
    """
    _check_padding(graph, arrays)
    for node in graph.nodes:
        if node.op != "embed":
            continue
        for name, table in zip(node.inputs, ("word", "type"), strict=False):
            _check_range(name, arrays[name], len(node.weights[table]))
        positions = len(node.weights["position"])
        length = arrays[node.inputs[0]].shape[1]
        if length > positions:
            raise ValueError(
                f"sequences of {length} tokens are longer than the {positions} "
                "positions of the model"
            )


def _check_padding(graph: Graph, arrays: Arrays) -> None:
    """Refuse more than the length of a sequence in a mask that no node reads."""
    for item in graph.inputs:
        if item.kind == "mask" and not graph.consumers(item.name):
            visible = arrays[item.name] != 0
            bad = np.flatnonzero((visible[:, 1:] & ~visible[:, :-1]).any(axis=1))
            if len(bad):
                raise ValueError(
                    f"{item.name}[{bad[0]}] hides a token before a visible one; this model needs "
                    "its padding behind the text"
                )


def _check_range(name: str, ids: np.ndarray, limit: int) -> None:
    bad = np.argwhere((ids < 0) | (ids >= limit))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise ValueError(
            f"{name}[{row}][{column}] is {ids[row, column]}; the model knows the ids "
            f"0 to {limit - 1}"
        )


def visible_of(graph: Graph, arrays: Arrays) -> np.ndarray:
    """Return bool [N][T]: the tokens the mask shows; all of them in a model without a mask."""
    masks = [arrays[item.name] != 0 for item in graph.inputs if item.kind == "mask"]
    some = next(iter(arrays.values()))
    return np.logical_and.reduce(masks) if masks else np.ones(some.shape, bool)


def visible_rows(array: np.ndarray, visible: np.ndarray, pooled: bool) -> np.ndarray:
    """Return the rows [n][C] of a value [B][T][C] or, pooled, [B][1][C] that mean something."""
    return array[:, 0] if pooled else array[visible]


def lengths_of(visible: np.ndarray) -> np.ndarray:
    """Return int [N]: the number of tokens up to the last visible one, at least 1."""
    length = visible.shape[1]
    last = length - np.argmax(visible[:, ::-1], axis=1)
    return np.where(visible.any(axis=1), last, 1)


def batches(graph: Graph, arrays: Arrays) -> Iterator[Batch]:
    """All sequences, shortest first."""
    lengths = lengths_of(visible_of(graph, arrays))
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - start) <= TOKENS_PER_BATCH:
            end += 1
        numbers = order[start:end]
        width = lengths[numbers[-1]]
        yield Batch(numbers, {name: array[numbers, :width] for name, array in arrays.items()})
        start = end
