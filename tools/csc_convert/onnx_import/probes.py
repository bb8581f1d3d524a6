"""A net seen from outside: run at two sizes, and under many masks.

What is the same at both sizes is constant; what follows from the mask alone is computed for every
mask, so it does not matter by which ops an exporter has written it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..errors import UnsupportedModel
from .net import Net, NetInput
from .run import Run, Unknown, Value

# Two sizes [batch, tokens] that differ in both; tokens few enough for any table of positions.
_SIZES = ((2, 3), (5, 4))
_FREE_TOKENS = 4
_RANDOM_MASKS = 12


class Inputs:
    """What the inputs of a net are for: ids, types and mask; None for one it does not have."""

    def __init__(self, net: Net) -> None:
        self.net = net
        for item in net.inputs:
            self._check(item)
        looked_up = [item.name for item in net.inputs if self._is_index(item.name)]
        self.ids, self.types = self._split(looked_up)
        rest = [item.name for item in net.inputs if item.name not in (self.ids, self.types)]
        if len(rest) > 1:
            raise UnsupportedModel(
                f"{net.path}: inputs {', '.join(map(repr, rest))} have no role here; an encoder "
                "takes ids, token types and one mask: export it without the others."
            )
        self.mask = rest[0] if rest else None

    def _check(self, item: NetInput) -> None:
        if item.dtype.kind not in "iub":
            raise UnsupportedModel(
                f"{self.net.path}: input {item.name!r} holds {item.dtype}; supported are inputs "
                "of integers, one per token."
            )
        if item.dims is not None and len(item.dims) != 2:
            shown = ["?" if dim is None else dim for dim in item.dims]
            raise UnsupportedModel(
                f"{self.net.path}: input {item.name!r} has the shape "
                f"[{', '.join(map(str, shown))}], whose dimensions cannot be told apart; export "
                "the model with this input as [batch, tokens]."
            )

    def _is_index(self, name: str) -> bool:
        """Whether rows of a constant table are looked up by an input, perhaps after a cast."""
        readers = [op for op in self.net.ops if name in op.inputs]
        return any(
            (op.type == "Gather" and op.inputs[1] == name and op.inputs[0] in self.net.fixed)
            or (op.type == "Cast" and self._is_index(op.outputs[0]))
            for op in readers
        )

    def _split(self, names: list[str]) -> tuple[str | None, str | None]:
        """Tell ids and token types apart by their names."""
        types = [name for name in names if "type" in name.lower() or "segment" in name.lower()]
        ids = [name for name in names if name not in types]
        if len(ids) > 1 or len(types) > 1:
            raise UnsupportedModel(
                f"{self.net.path}: rows of tables are looked up by the inputs "
                f"{', '.join(map(repr, names))}; supported are ids and token types alone: export "
                "the model without the others."
            )
        return ids[0] if ids else None, types[0] if types else None


class Probes:
    """Runs of a net: `sizes` at two sizes, `masks` under many masks."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.inputs = Inputs(net)
        self.sizes = [self._run(batch, tokens) for batch, tokens in _SIZES]

    @cached_property
    def masks(self) -> list[tuple[Run, np.ndarray]]:
        """Runs with a known mask, each with its visible tokens, bool [batch][tokens]."""
        return [(self._run(*visible.shape, visible), visible) for visible in self._visible()]

    def constant(self, name: str) -> np.ndarray | None:
        """Return the array of a value that is the same at all sizes; else None."""
        first, second = (run.known(name) for run in self.sizes)
        if first is None or second is None:
            return None
        same = np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        return first if same else None

    def scalar(self, name: str) -> float | None:
        """Return the number of a constant of one element; else None."""
        array = self.constant(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def is_main(self, name: str) -> bool:
        """Whether a value holds what the model computes of ids, not of shapes and mask alone."""
        return bool(name) and self.masks[0][0].known(name) is None

    def shapes(self, name: str) -> list[tuple[int, ...]] | None:
        """Return the shapes of a value at both sizes; None where one is not known."""
        found = [run.shape(name) for run in self.sizes]
        return None if None in found else found

    def width(self, name: str) -> int | None:
        """Return the last dimension of a value, where that is the same at both sizes."""
        shapes = self.shapes(name)
        last = {shape[-1] if shape else None for shape in shapes or []}
        return last.pop() if len(last) == 1 else None

    def _run(self, batch: int, tokens: int, visible: np.ndarray | None = None) -> Run:
        values: dict[str, Value] = {}
        for item in self.net.inputs:
            shape = tuple(
                size if dim is None else dim
                for dim, size in zip(item.dims or (None, None), (batch, tokens), strict=True)
            )
            is_mask = visible is not None and item.name == self.inputs.mask
            values[item.name] = (
                visible.astype(item.dtype) if is_mask else Unknown(shape, item.dtype)
            )
        return Run(self.net, values)

    def fixed(self, axis: int) -> int | None:
        """Return the size of an axis of the inputs if the file fixes it."""
        found = [item.dims[axis] for item in self.net.inputs if item.dims and item.dims[axis]]
        return found[0] if found else None

    def _visible(self) -> list[np.ndarray]:
        """Return masks to try; of the first, every token is visible."""
        batch, tokens = self.fixed(0), self.fixed(1) or _FREE_TOKENS
        if self.inputs.mask is None:
            return [np.ones((batch or 2, tokens), bool)]
        rows = _masks(tokens)
        if batch is None:
            return [np.ones((2, tokens), bool), rows]
        rows = np.concatenate([rows, np.ones((-len(rows) % batch, tokens), bool)])
        return [np.ones((batch, tokens), bool), *rows.reshape(-1, batch, tokens)]


def _masks(tokens: int) -> np.ndarray:
    """Return rows of masks with a visible token: all there are of few tokens, some of many."""
    if tokens <= _FREE_TOKENS:
        numbers = np.arange(1, 2**tokens)
        return (numbers[:, None] >> np.arange(tokens)) & 1 == 1
    rows = np.random.default_rng(0).random((_RANDOM_MASKS, tokens)) < 0.5
    lengths = [1, 2, tokens // 2, tokens - 1]
    rows[: len(lengths)] = np.arange(tokens) < np.array(lengths)[:, None]
    rows[:, 0] |= ~rows.any(axis=1)
    return rows
