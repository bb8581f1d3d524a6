"""Do the waits of a CS2 program order every two commands that touch the same bytes?

A command is known to be complete before another starts if the one before it on its engine, a wait,
or a fence says so, directly or through other commands. Which of two unordered commands comes first
depends on the clocks, so a conflict between them is a race.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cs2_words import Command

ENGINES = ("DMA", "BLOCK", "VECTOR")
IN_PLACE = ("ADD", "MUL", "LOOKUP")  # OUT may be an operand of the same type


class HazardError(Exception):
    """Two commands on different engines touch the same bytes without an order.

    Or one command, which is both then, writes where another operand of its own is.
    """

    def __init__(self, first: int, second: int, kind: str, space: int, offset: int) -> None:
        super().__init__(
            f"commands {first} and {second} are not ordered: {kind} of space {space}, "
            f"byte {offset} (line {offset // 64})"
        )
        self.first, self.second, self.kind = first, second, kind
        self.space, self.offset = space, offset


class WaitError(Exception):
    """A wait that only a later command could end."""


def resolve_wait(wait: int, issued: int) -> int:
    """How many commands a wait asks for, of `issued` that stand before it in the queue."""
    behind = (issued - wait) % 2**16
    if behind >= 2**15:
        raise WaitError(f"wait for {wait} commands where only {issued} come before")
    return max(issued - behind, 0)


@dataclass
class Order:
    """For each command: how many commands of each engine are complete before it starts."""

    known: list[list[list[int]]] = field(default_factory=lambda: [[], [], []])
    floor: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, command: Command) -> list[int]:
        """Take the next command of the queue; raises WaitError."""
        if command.engine == "CONTROL":
            if command.name == "FENCE":
                self.floor = [len(each) for each in self.known]
            return self.floor
        engine = ENGINES.index(command.engine)
        done = list(self.floor)
        for other, name in enumerate(ENGINES):
            asked = len(self.known[engine]) if other == engine else 0
            if command.WAIT_ON >> other & 1:
                wait = command.fields[f"WAIT_{name}"]
                asked = max(asked, resolve_wait(wait, len(self.known[other])))
            if asked:
                before = self.known[other][asked - 1]
                done = [max(pair) for pair in zip(done, before, strict=True)]
                done[other] = max(done[other], asked)
        self.known[engine].append(done)
        return done


class Touches:
    """Who read and wrote each byte of a space last, per engine."""

    def __init__(self, size: int) -> None:
        self.last = {kind: np.full((3, size), -1, np.int32) for kind in ("read", "write")}


def is_same_place(one, other) -> bool:
    """Whether two operands are one matrix: the same tiles in the same order."""
    return np.array_equal(one.starts, other.starts) and one.run == other.run


def check_operands(number: int, command: Command, areas: list) -> None:
    """Raise HazardError if a result lies where another operand of the command is."""
    for result in (area for area in areas if area.is_written):
        for other in areas:
            if other is result or other.space != result.space:
                continue
            if result.end <= other.first or other.end <= result.first:
                continue
            if command.name in IN_PLACE and is_same_place(result, other):
                continue
            both = np.intersect1d(result.indices, other.indices)
            if len(both):
                kind = f"{other.field} under {result.field}"
                raise HazardError(number, number, kind, result.space, int(both[0]))


class HazardChecker:
    """Follows a program command by command; raises HazardError at the first race."""

    def __init__(self, sizes: dict[int, int]) -> None:
        self.spaces = {space: Touches(size) for space, size in sizes.items()}
        self.queue_numbers: list[list[int]] = [[], [], []]

    def add(self, number: int, command: Command, done: list[int], areas: list) -> None:
        """`done` is what Order says of this command, `areas` what it touches."""
        if command.engine == "CONTROL":
            return
        engine = ENGINES.index(command.engine)
        check_operands(number, command, areas)
        touched = [(each.space, each.indices.reshape(-1), each.is_written) for each in areas]
        touched = [each for each in touched if each[0] in self.spaces]
        for space, indices, is_written in touched:
            for kind in ("write", "read") if is_written else ("write",):
                self.check(number, engine, done, space, indices, (kind, is_written))
        for space, indices, is_written in touched:
            last = self.spaces[space].last["write" if is_written else "read"]
            last[engine][indices] = len(self.queue_numbers[engine])
        self.queue_numbers[engine].append(number)

    def check(self, number, engine, done, space, indices, how) -> None:
        kind, is_written = how
        for other in range(3):
            if other == engine:
                continue
            last = self.spaces[space].last[kind][other][indices]
            late = np.flatnonzero(last >= done[other])
            if len(late):
                first = self.queue_numbers[other][last[late[0]]]
                text = f"{'write' if is_written else 'read'} after {kind}"
                raise HazardError(first, number, text, space, int(indices[late[0]]))
