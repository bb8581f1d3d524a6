"""Waits: which commands of the other engines must be complete before a command starts.

Engines overlap freely, so a reader must wait for the writer, and a writer for those that read or
wrote the same lines before it, whatever buffer they were then.
An engine's commands run one after another, so one number per engine says it all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from csc_convert import cs2_format as chip

from .program import LINE, Command

ENGINES = (chip.Engine.DMA, chip.Engine.BLOCK, chip.Engine.VECTOR)
FARTHEST = 2**14  # commands that a wait may lie back, so that its 16 bits stay unambiguous


class Lines:
    """For every line of SRAM and every engine: its last command that wrote and that read it."""

    def __init__(self, sram_bytes: int) -> None:
        """Nothing was touched."""
        shape = (len(ENGINES), -(-sram_bytes // LINE))
        self.written, self.read = np.zeros(shape, np.int32), np.zeros(shape, np.int32)

    def needed(self, command: Command) -> list[int]:
        """How many commands of each engine must be complete before this one."""
        needed = np.zeros(len(ENGINES), np.int32)
        for access in command.accesses:
            lines = access.lines()
            needed = np.maximum(needed, self.written[:, lines].max(axis=1))
            if access.is_written:
                needed = np.maximum(needed, self.read[:, lines].max(axis=1))
        return [int(number) for number in needed]

    def touch(self, command: Command, number: int) -> None:
        """Note a command that is the engine's `number`th."""
        for access in command.accesses:
            kind = self.written if access.is_written else self.read
            kind[command.engine, access.lines()] = number


def add_waits(commands: Sequence[Command], sram_bytes: int) -> None:
    """Fill in the waits of all commands."""
    lines, counts = Lines(sram_bytes), [0] * len(ENGINES)
    for command in commands:
        needed = lines.needed(command)
        command.waits = {
            engine: max(needed[engine], counts[engine] - FARTHEST)
            for engine in ENGINES
            if engine != command.engine and needed[engine]
        }
        counts[command.engine] += 1
        lines.touch(command, counts[command.engine])


def check_waits(commands: Sequence[Command]) -> None:
    """Every wait is for commands that stand before it, so the queue cannot stop for ever."""
    counts = [0] * len(ENGINES)
    for command in commands:
        for engine, wait in command.waits.items():
            assert 0 < wait <= counts[engine], f"op {command.tag} waits for a later command"
            assert counts[engine] - wait <= FARTHEST, f"op {command.tag} waits for an old command"
        counts[command.engine] += 1
