"""The rule for embeddings: a sum of rows looked up by ids, by token types and by position."""

from __future__ import annotations

import numpy as np

from .net import Op
from .probes import Probes
from .rules import Match, float_weight, parameter_name
from .trace import rows_of


def embed(probes: Probes, wanted: str, op: Op) -> Match | None:
    """Match a sum of which one part is looked up by the ids."""
    if op.type not in ("Add", "Sum"):
        return None
    weights: dict[str, np.ndarray] = {}
    inputs: list[str] = []
    for part in _parts(probes, wanted):
        found = _looked_up(probes, part) or _by_place(probes, part)
        if found is None or found[0] in weights:
            return None
        weights[found[0]] = float_weight(found[1])
    if not {"word", "position"} <= weights.keys():
        return None
    inputs.append(probes.inputs.ids or "")
    ordered = {kind: weights[kind] for kind in ("word", "position", "type") if kind in weights}
    return Match("embed", _name(probes, wanted, op), inputs, {}, ordered)


def _name(probes: Probes, wanted: str, op: Op) -> str:
    names = [
        name
        for part in _parts(probes, wanted)
        if (gather := probes.net.producers.get(part)) is not None
        for name in gather.inputs
    ]
    stem = parameter_name(probes, op, names).rpartition(".")[0]
    return f"{stem}.sum" if stem else "embeddings.sum"


def _parts(probes: Probes, name: str) -> list[str]:
    """Return the values whose sum a value is."""
    producer = probes.net.producers.get(rows_of(probes, name))
    if producer is None or producer.type not in ("Add", "Sum"):
        return [rows_of(probes, name)]
    return [part for item in producer.inputs for part in _parts(probes, item)]


def _looked_up(probes: Probes, part: str) -> tuple[str, np.ndarray] | None:
    """Return kind and table of what is looked up by ids or token types."""
    op = probes.net.producers.get(part)
    if op is None or op.type != "Gather" or op.attributes.get("axis", 0) != 0:
        return None
    table = probes.constant(op.inputs[0])
    if table is None or table.ndim != 2:
        return None
    index = rows_of(probes, op.inputs[1])
    if index == probes.inputs.ids:
        return "word", table
    if index == probes.inputs.types:
        return "type", table
    return _by_fixed_index(probes, op, table)


def _by_fixed_index(probes: Probes, op: Op, table: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Return kind and table of what is looked up by numbers that follow from the shape alone."""
    kinds = set()
    for run in probes.sizes:
        index = run.known(op.inputs[1])
        if index is None or index.size == 0:
            return None
        row = index.reshape(-1, index.shape[-1])
        if np.array_equal(row, np.zeros_like(row)):
            kinds.add(("type", 0))
        elif np.array_equal(row, np.broadcast_to(row[0, 0] + np.arange(row.shape[1]), row.shape)):
            kinds.add(("position", int(row[0, 0])))
    if len(kinds) != 1:
        return None
    kind, first = kinds.pop()
    return kind, table[first:]


def _by_place(probes: Probes, part: str) -> tuple[str, np.ndarray] | None:
    """Return kind and table of rows that are constant, or the first rows of a constant."""
    known = [run.known(part) for run in probes.sizes]
    if known[0] is None or known[1] is None:
        return None
    if all(array.ndim == 1 or array.shape[-2] == 1 for array in known):
        return "type", known[0].reshape(1, -1)
    return _first_rows_of_a_table(probes, part, known)


def _first_rows_of_a_table(
    probes: Probes, part: str, known: list[np.ndarray]
) -> tuple[str, np.ndarray] | None:
    for table in _tables_before(probes, part):
        rows = table.reshape(-1, table.shape[-1])
        if all(_starts(rows, array) for array in known):
            return "position", rows
    return None


def _starts(rows: np.ndarray, array: np.ndarray) -> bool:
    """Whether every sequence of an array is the first rows of a table."""
    flat = array.reshape(-1, *array.shape[-2:])
    first = rows[: flat.shape[1]]
    return first.shape == flat.shape[1:] and bool((flat == first).all())


def _tables_before(probes: Probes, part: str) -> list[np.ndarray]:
    """Return the constants of two or more dimensions that a value is made of, directly or not."""
    names, found = [part], []
    while names:
        name = names.pop()
        array = probes.net.constants.get(name)
        if array is not None and array.ndim >= 2 and array.dtype.kind == "f":
            found.append(array)
        op = probes.net.producers.get(name)
        names += [] if op is None else [i for i in op.inputs if i]
    return found
