"""Puts the commands that load constants into a program, early enough to keep the DMA engine busy.

Weights go through a ring: each chunk stands behind the one before it, and from the end of the ring
the next one goes to its start.
A load comes into the program as soon as the commands before it have used up what it overwrites, but
not so early that the FIFO of the DMA engine would be full and hold up everything behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .program import Buffer, Command


class RingTooSmall(Exception):  # noqa: N818
    """The ring cannot hold all chunks that are needed at once."""


@dataclass
class Use:
    """Where in the program a buffer with a load is used first and last."""

    first: int
    last: int


@dataclass
class Ring:
    """Places in the ring; a new chunk drives out those whose place it takes."""

    bytes: int
    end: int = 0
    places: dict[Buffer, int] = field(default_factory=dict)
    resident: list[Buffer] = field(default_factory=list)

    def take(self, buffer: Buffer) -> list[Buffer]:
        """Give a chunk its place; returns those driven out."""
        if buffer.size > self.bytes:
            raise RingTooSmall
        start = self.end if self.end + buffer.size <= self.bytes else 0
        self.places[buffer], self.end = start, start + buffer.size
        out = [old for old in self.resident if self._meets(old, start)]
        self.resident = [old for old in self.resident if old not in out] + [buffer]
        return out

    def _meets(self, old: Buffer, start: int) -> bool:
        return self.places[old] < self.end and start < self.places[old] + old.size


@dataclass(frozen=True)
class Streamed:
    """A program with its loads, and the places of chunks within the ring."""

    commands: list[Command]
    ring_places: dict[Buffer, int]


def uses(commands: list[Command]) -> dict[Buffer, Use]:
    """Return the buffers with a load in the order of their first use."""
    found: dict[Buffer, Use] = {}
    for position, command in enumerate(commands):
        for buffer in command.buffers:
            if buffer.load is not None:
                found.setdefault(buffer, Use(position, position)).last = position
    return found


def insert_loads(commands: list[Command], ring_bytes: int, ahead: int) -> Streamed:
    """Put every load before a command of the program; raises RingTooSmall.

    ahead: how many loads may stand before the first command that uses the oldest of them.  It is
    doubled once the ring is full, since loads then come one by one.
    """
    found, ring = uses(commands), Ring(ring_bytes)
    loads: dict[int, list[Command]] = {}
    position, order, is_full = 0, list(found), False
    for number, buffer in enumerate(order):
        driven_out = ring.take(buffer) if buffer.in_ring else []
        is_full = is_full or (bool(driven_out) and ahead > 1)
        oldest = number - ahead * (2 if is_full else 1)
        if oldest >= 0:
            position = max(position, found[order[oldest]].first)
        position = max([position, *(found[old].last + 1 for old in driven_out)])
        if position > found[buffer].first:
            raise RingTooSmall
        assert buffer.load is not None
        loads.setdefault(position, []).append(buffer.load)
    program: list[Command] = []
    for position, command in enumerate(commands):
        program += [*loads.get(position, []), command]
    return Streamed(program, ring.places)


def check_loads(commands: list[Command]) -> None:
    """Every constant is loaded once, before the first command that uses it."""
    there: set[Buffer] = set()
    for command in commands:
        for buffer in command.buffers:
            if buffer.load is command:
                assert buffer not in there, f"{buffer.name} is loaded twice"
                there.add(buffer)
            assert buffer.load is None or buffer in there, f"{buffer.name} is used before its load"
