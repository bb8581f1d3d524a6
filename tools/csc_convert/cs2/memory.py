"""Gives every buffer its place in SRAM.

Buffers whose lifetimes in program order meet do not share a byte; `order` makes the commands that
write into a place wait for those that used it before.
Inputs and outputs of the model have their places; the ring of weights goes as high as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .program import LINE, Buffer, Command


@dataclass(eq=False)
class Lifetime:
    """A buffer, and the numbers of the first and last command that touch it."""

    buffer: Buffer
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are alive at some command."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Layout:
    """Where all is: lifetimes with their addresses, the first byte behind all of them."""

    places: list[tuple[int, Lifetime]]

    @property
    def end(self) -> int:
        """The first byte behind all buffers."""
        return max((address + life.buffer.size for address, life in self.places), default=0)


def lifetimes(commands: Sequence[Command], ring: Buffer) -> list[Lifetime]:
    """When each buffer is alive; all chunks of weights together are the ring."""
    found: dict[Buffer, Lifetime] = {}
    for number, command in enumerate(commands):
        for access in command.accesses:
            buffer = ring if access.buffer.in_ring else access.buffer
            life = found.setdefault(buffer, Lifetime(buffer, number, number))
            life.last = number
            if buffer.pinned is not None:
                if access.is_written:
                    life.last = len(commands)
                else:
                    life.first = -1
    return list(found.values())


def peak(items: Sequence[Lifetime]) -> tuple[int, int]:
    """Return the most bytes alive at once, and the number of the first such command."""
    totals = (
        (sum(i.buffer.size for i in items if i.first <= at.first <= i.last), at.first)
        for at in items
    )
    return max(totals, key=lambda total: (total[0], -total[1]), default=(0, 0))


def layout(items: Sequence[Lifetime], ring: Buffer, sram_bytes: int) -> Layout | None:
    """Return places for all buffers within the SRAM, or None where none of the orders fits."""
    placed = [(life.buffer.pinned, life) for life in items if life.buffer.pinned is not None]
    fixed = [(address, life) for address, life in placed if address is not None]
    if any(address + life.buffer.size > sram_bytes for address, life in fixed):
        return None
    rings = [life for life in items if life.buffer is ring]
    for life in rings:
        address = highest(fixed, life, sram_bytes)
        if address is None:
            return None
        fixed.append((address, life))
    rest = [life for life in items if life.buffer is not ring and life.buffer.pinned is None]
    for order in orders(rest):
        places = fill(fixed, order, sram_bytes)
        if places is not None:
            return Layout(places)
    return None


def orders(items: Sequence[Lifetime]) -> list[list[Lifetime]]:
    """Orders to place buffers in, the most promising first."""
    return [
        sorted(items, key=lambda i: (-i.buffer.size, i.first)),
        sorted(items, key=lambda i: (-(i.last - i.first) * i.buffer.size, i.first)),
        sorted(items, key=lambda i: (-(i.last - i.first), i.first)),
        sorted(items, key=lambda i: (i.first, -i.buffer.size)),
    ]


def highest(placed: list[tuple[int, Lifetime]], life: Lifetime, sram_bytes: int) -> int | None:
    """Return the highest address with room for a buffer."""
    address = (sram_bytes - life.buffer.size) // LINE * LINE
    for start, other in sorted(placed, key=lambda pair: -pair[0]):
        if other.meets(life) and start + other.buffer.size > address:
            address = start // LINE * LINE - life.buffer.size
    return address if address >= 0 else None


def fill(
    fixed: list[tuple[int, Lifetime]], order: list[Lifetime], sram_bytes: int
) -> list[tuple[int, Lifetime]] | None:
    """Give each buffer in turn the lowest address with room; None where one has none."""
    placed = list(fixed)
    for life in order:
        address = 0
        meeting = [pair for pair in placed if pair[1].meets(life)]
        for start, other in sorted(meeting, key=lambda pair: pair[0]):
            if address + life.buffer.size <= start:
                break
            address = max(address, start + other.buffer.size)
        if address + life.buffer.size > sram_bytes:
            return None
        placed.append((address, life))
    return placed


def settle(found: Layout, ring: Buffer, ring_places: dict[Buffer, int]) -> None:
    """Write the addresses into the buffers."""
    for address, life in found.places:
        life.buffer.address = address
    for buffer, offset in ring_places.items():
        buffer.address = ring.address + offset


def check_layout(found: Layout, sram_bytes: int) -> None:
    """No two buffers that are alive at the same time share a byte; all are inside the SRAM."""
    for number, (address, life) in enumerate(found.places):
        end = address + life.buffer.size
        assert address >= 0 and end <= sram_bytes, f"{life.buffer.name} is outside the SRAM"
        assert address % LINE == 0, f"{life.buffer.name} does not begin with a line"
        for start, other in found.places[:number]:
            apart = end <= start or start + other.buffer.size <= address
            assert apart or not life.meets(other), f"{life.buffer.name} on {other.buffer.name}"
