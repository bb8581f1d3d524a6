"""Gives every buffer its place in SRAM.

Buffers whose lifetimes in program order meet do not share a byte; `order` makes the commands that
write into a place wait for those that used it before.
Inputs and outputs of the model have their places; the ring of weights goes as high as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from csc_convert.cs2_format import Engine

from .program import LINE, Buffer, Command

TRIES = 24  # orders of buffers that are tried, beginning with each of a few


@dataclass(eq=False)
class Lifetime:
    """A buffer, and the numbers of the first and last command that touch it.

    writer: the engine of the first of them; last_by: the last command of each engine.
    """

    buffer: Buffer
    first: int
    last: int
    writer: Engine | None = None
    last_by: dict[Engine, int] = field(default_factory=dict)

    def meets(self, other: Lifetime) -> bool:
        """Whether both are alive at some command."""
        return self.first <= other.last and other.first <= self.last

    def hurries(self, older: Lifetime, distances: tuple[int, int]) -> bool:
        """Whether this one in the place of an older one would hold up its writer.

        That is so if another engine uses the older one less than a distance before, in commands.
        """
        distance = distances[self.writer != Engine.DMA]
        return any(
            last <= self.first < last + distance
            for engine, last in older.last_by.items()
            if engine != self.writer
        )

    def apart(self, other: Lifetime, distances: tuple[int, int]) -> bool:
        """Whether the two may share a place."""
        close = self.hurries(other, distances) or other.hurries(self, distances)
        return not close and not self.meets(other)


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
            life = found.setdefault(buffer, Lifetime(buffer, number, number, command.engine))
            life.last = life.last_by[command.engine] = number
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


def layout(
    items: Sequence[Lifetime], ring: Buffer, sram_bytes: int, distances: tuple[int, int] = (0, 0)
) -> Layout | None:
    """Return places for all buffers within the SRAM, or None where no order of them fits.

    distances: how many commands shall lie between the use of a place by one engine and the next
    write into it by another, so that this need not wait: by the DMA engine, by the others.
    """
    fixed = [(life.buffer.pinned, life) for life in items if life.buffer.pinned is not None]
    placed = [(address, life) for address, life in fixed if address is not None]
    if any(address + life.buffer.size > sram_bytes for address, life in placed):
        return None
    for life in items:
        if life.buffer is ring:
            address = highest(placed, life, sram_bytes)
            if address is None:
                return None
            placed.append((address, life))
    rest = [life for life in items if life.buffer is not ring and life.buffer.pinned is None]
    return search(Neighbours([life for _, life in placed] + rest, distances), placed, sram_bytes)


class Neighbours:
    """Which lifetimes may not share a place."""

    def __init__(self, items: list[Lifetime], distances: tuple[int, int]) -> None:
        """Compare all pairs."""
        self.items, self.numbers = items, {life: n for n, life in enumerate(items)}
        self.of = [
            {
                n
                for n, other in enumerate(items)
                if other is life or not life.apart(other, distances)
            }
            for life in items
        ]


def search(near: Neighbours, placed: list[tuple[int, Lifetime]], sram_bytes: int) -> Layout | None:
    """Try some orders; a buffer without room is moved to the front, again and again."""
    rest = near.items[len(placed) :]
    start = {near.numbers[life]: address for address, life in placed}
    for order in orders(rest):
        numbers = [near.numbers[life] for life in order]
        for _ in range(TRIES):
            places, missing = fill(near, start, numbers, sram_bytes)
            if missing is None:
                return Layout([(address, near.items[n]) for n, address in places.items()])
            if numbers[0] == missing:
                break
            numbers.remove(missing)
            numbers.insert(0, missing)
    return None


def orders(items: Sequence[Lifetime]) -> list[list[Lifetime]]:
    """Orders to place buffers in, the most promising first."""
    return [
        sorted(items, key=lambda i: (-i.buffer.size, i.first)),
        sorted(items, key=lambda i: (-(i.last - i.first) * i.buffer.size, i.first)),
    ]


def highest(placed: list[tuple[int, Lifetime]], life: Lifetime, sram_bytes: int) -> int | None:
    """Return the highest address with room for a buffer."""
    address = (sram_bytes - life.buffer.size) // LINE * LINE
    for start, other in sorted(placed, key=lambda pair: -pair[0]):
        if other.meets(life) and start + other.buffer.size > address:
            address = start // LINE * LINE - life.buffer.size
    return address if address >= 0 else None


def fill(
    near: Neighbours, start: dict[int, int], order: list[int], sram_bytes: int
) -> tuple[dict[int, int], int | None]:
    """Give each buffer in turn the lowest address with room; returns the first without room too."""
    places, sizes = dict(start), [life.buffer.size for life in near.items]
    for number in order:
        address = 0
        meeting = sorted((places[n], n) for n in near.of[number] if n in places)
        for begin, other in meeting:
            if address + sizes[number] <= begin:
                break
            address = max(address, begin + sizes[other])
        if address + sizes[number] > sram_bytes:
            return places, number
        places[number] = address
    return places, None


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
