"""Places the arena tensors of a plan: tensors that are never alive together share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import blob_format as fmt
from .blob_writer import EntrySpec, OpSpec, TensorSpec, align


@dataclass(frozen=True)
class Lifetime:
    """A tensor is alive from the op `first` to the op `last`, both included.

    later: more such spans, in the entries behind the first one that has the tensor.
    """

    name: str
    size: int
    first: int
    last: int
    later: tuple[tuple[int, int], ...] = ()

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """All spans in which the tensor is alive."""
        return ((self.first, self.last), *self.later)

    def alive(self, op: int) -> bool:
        """Whether the tensor is alive at an op."""
        return any(first <= op <= last for first, last in self.spans)

    def meets(self, other: Lifetime) -> bool:
        """Whether both are alive at some op."""
        return any(
            first <= other_last and other_first <= last
            for first, last in self.spans
            for other_first, other_last in other.spans
        )


@dataclass(frozen=True)
class Arena:
    """offsets: in bytes by tensor name; size: of the arena; lower_bound: the most bytes alive."""

    offsets: dict[str, int]
    size: int
    lower_bound: int


def lifetimes(
    tensors: Sequence[TensorSpec], ops: Sequence[OpSpec], entries: Sequence[EntrySpec] = ()
) -> list[Lifetime]:
    """When each arena tensor is alive.

    Inputs live from the first op of an entry, outputs to its last, states always, and all stay
    apart from what an op that reads them writes.
    """
    arena = {t.name: t for t in tensors if t.storage == fmt.Storage.ARENA}
    spans: dict[str, list[tuple[int, int]]] = {name: [] for name in arena}
    start = end = 0
    for count in [entry.op_count for entry in entries] or [len(ops)]:
        for name, (first, last) in _uses(ops[start : start + count]).items():
            if name in arena:
                flags = arena[name].flags
                first = 0 if flags & fmt.Flag.INPUT else first
                last = count if flags & fmt.Flag.OUTPUT else last
                spans[name].append((end + first, end + last))
        start += count
        end += count + 1
    for name, tensor in arena.items():
        if tensor.flags & fmt.Flag.STATE:
            spans[name] = [(0, end)]
    found = {name: spans[name] or [(0, 0)] for name in arena}
    return [
        Lifetime(name, align(tensor.bytes), *found[name][0], tuple(found[name][1:]))
        for name, tensor in arena.items()
    ]


def _uses(ops: Sequence[OpSpec]) -> dict[str, tuple[int, int]]:
    """Return the first and the last op that has each tensor as an operand."""
    found: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(ops):
        for name in op.operands.values():
            found[name] = (found.get(name, (index, index))[0], index)
    return found


def lower_bound(items: Sequence[Lifetime]) -> int:
    """Return the most bytes alive at one op: no arena is smaller."""
    return max(
        (
            sum(item.size for item in items if item.alive(first))
            for start in items
            for first, _ in start.spans
        ),
        default=0,
    )


def place(items: Sequence[Lifetime]) -> Arena:
    """Give each tensor an offset.

    Several orders are tried, each tensor going to the lowest gap it fits in; the smallest arena
    wins, the first of them where there are several.
    """
    orders = [
        sorted(items, key=lambda i: (-i.size, i.first, i.name)),
        sorted(items, key=lambda i: (i.first, -i.size, i.name)),
        sorted(items, key=lambda i: (-(i.last - i.first), -i.size, i.name)),
        sorted(items, key=lambda i: (-(i.last - i.first + 1) * i.size, i.name)),
    ]
    arenas = [_place_in_order(order) for order in orders]
    offsets, size = min(arenas, key=lambda pair: pair[1])
    return Arena(offsets, size, lower_bound(items))


def _place_in_order(order: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    placed: list[tuple[int, Lifetime]] = []
    for item in order:
        offset = 0
        for start, other in sorted(placed, key=lambda pair: pair[0]):
            if not item.meets(other):
                continue
            if offset + item.size <= start:
                break
            offset = max(offset, start + other.size)
        placed.append((offset, item))
    return (
        {item.name: offset for offset, item in placed},
        max((offset + item.size for offset, item in placed), default=0),
    )


def plan_arena(
    tensors: Sequence[TensorSpec], ops: Sequence[OpSpec], entries: Sequence[EntrySpec] = ()
) -> Arena:
    """Place all arena tensors; sets their offsets."""
    arena = place(lifetimes(tensors, ops, entries))
    for tensor in tensors:
        if tensor.storage == fmt.Storage.ARENA:
            tensor.offset = arena.offsets[tensor.name]
    return arena
