"""CS2's commands by name: fields of CHIP.md in, descriptors out."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

from csc._cs2_format import COMMAND_BYTES, COMMANDS, HEADER, Field


def _put(words: list[int], name: str, field: str, place: Field, value: SupportsIndex) -> None:
    word, low, bits, signed = place
    bottom, top = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    number = index(value)
    if not bottom <= number <= top:
        raise ValueError(f"{name}.{field} must be between {bottom} and {top}, got {number}.")
    words[word] |= (number & (1 << bits) - 1) << low


def command(name: str, **fields: SupportsIndex) -> bytes:
    """Return the descriptor of a command of CS2, 64 bytes; CHIP.md lists commands and fields.

    Fields that are not given are 0, BATCH is 1. Only the width of a field is checked here: the chip
    checks the rest. Descriptors in a row, joined, are a program for `Chip("cs2").run`.

    >>> command("NOP").hex()[:8]
    '02010000'

    Raises:
        ValueError: there is no such command or field, or a value does not fit its field.

    """
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise ValueError(f"CS2 has no command {name!r}; its commands are: {known}.")
    code, _, own = COMMANDS[name]
    places = HEADER | own
    words = [0] * (COMMAND_BYTES // 4)
    for field, value in {"CODE": code, "BATCH": 1, **fields}.items():
        if field not in places:
            known = ", ".join(places)
            raise ValueError(f"{name} has no field {field!r}; its fields are: {known}.")
        _put(words, name, field, places[field], value)
    return b"".join(word.to_bytes(4, "little") for word in words)
