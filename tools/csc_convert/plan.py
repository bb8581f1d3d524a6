"""Places the arena tensors of a plan: tensors that are never alive together share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import blob_format as fmt
from .blob_writer import OpSpec, TensorSpec, align


@dataclass(frozen=True)
class Lifetime:
    """A tensor is alive from the op `first` to the op `last`, both included."""

    name: str
    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are alive at some op."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """offsets: in bytes by tensor name; size: of the arena; lower_bound: the most bytes alive."""

    offsets: dict[str, int]
    size: int
    lower_bound: int


def lifetimes(tensors: Sequence[TensorSpec], ops: Sequence[OpSpec]) -> list[Lifetime]:
    """When each arena tensor is alive.

    Inputs live from the first op, outputs to the last, and all stay apart from what an op that
    reads them writes.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, op in enumerate(ops):
        for name in op.operands.values():
            first.setdefault(name, index)
            last[name] = index
    result = []
    for tensor in tensors:
        if tensor.storage != fmt.Storage.ARENA:
            continue
        begin, end = first.get(tensor.name, 0), last.get(tensor.name, 0)
        if tensor.flags & fmt.Flag.INPUT:
            begin = 0
        if tensor.flags & fmt.Flag.OUTPUT:
            end = len(ops)
        result.append(Lifetime(tensor.name, align(tensor.bytes), begin, end))
    return result


def lower_bound(items: Sequence[Lifetime]) -> int:
    """Return the most bytes alive at one op: no arena is smaller."""
    return max(
        (
            sum(item.size for item in items if item.first <= start.first <= item.last)
            for start in items
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


def plan_arena(tensors: Sequence[TensorSpec], ops: Sequence[OpSpec]) -> Arena:
    """Place all arena tensors; sets their offsets."""
    arena = place(lifetimes(tensors, ops))
    for tensor in tensors:
        if tensor.storage == fmt.Storage.ARENA:
            tensor.offset = arena.offsets[tensor.name]
    return arena
