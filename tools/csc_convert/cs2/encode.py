"""Commands -> descriptors of 64 bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from csc_convert import cs2_format as chip
from csc_convert.errors import NoPlan

from .program import Command

WORDS = chip.COMMAND_BYTES // 4


def encode(commands: Sequence[Command]) -> bytes:
    """Return the descriptors of a program."""
    return b"".join(descriptor(command) for command in commands)


def descriptor(command: Command) -> bytes:
    """Return one descriptor."""
    code, _, own = chip.COMMANDS[command.name]
    layout, words = chip.HEADER | own, [0] * WORDS
    for name, value in all_fields(command, code).items():
        word, low, bits, signed = layout[name]
        bottom, top = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if not bottom <= value < top:
            raise NoPlan(
                f"op {command.tag}: {name} of a {command.name} is {value}, CS2 takes {bottom} to "
                f"{top - 1}; make the model or max_length smaller."
            )
        words[word] |= (value & (1 << bits) - 1) << low
    return struct.pack(f"<{WORDS}I", *words)


def all_fields(command: Command, code: int) -> dict[str, int]:
    """Fields with code, addresses and waits."""
    fields = {"CODE": code, "BATCH": 1, "TAG": command.tag & 0xFFFF, **command.fields}
    for access in command.accesses:
        fields[access.field] = access.buffer.address + access.offset
    for engine, wait in command.waits.items():
        fields[f"WAIT_{engine.name}"] = wait % 2**16
    fields["WAIT_ON"] = sum(1 << engine for engine in command.waits)
    return fields
