"""CS2 descriptors and tiles for tests: fields to words and back, matrices to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csc_convert.cs2_format import COMMANDS, HEADER

WORDS = 16
NAMES = {code: name for name, (code, _, _) in COMMANDS.items()}


def all_fields(name: str) -> dict[str, tuple[int, int, int, bool]]:
    return HEADER | COMMANDS[name][2]


def word_of(name: str, field: str) -> int:
    """The descriptor's word that holds a field."""
    return all_fields(name)[field][0]


def encode(name: str, **fields: int) -> np.ndarray:
    """Return the 16 words of a command; BATCH is 1 and everything else 0 unless given."""
    known = all_fields(name)
    words = [0] * WORDS
    for field, value in {"CODE": COMMANDS[name][0], "BATCH": 1, **fields}.items():
        if field not in known:
            raise TypeError(f"{name} has no field {field}")
        word, low, bits, signed = known[field]
        bottom, top = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
        if not bottom <= int(value) < top:
            raise ValueError(f"{name}.{field} = {value} does not fit {bits} bits")
        words[word] |= (int(value) & (1 << bits) - 1) << low
    return np.array(words, np.uint32)


@dataclass(frozen=True)
class Command:
    """A decoded descriptor; fields are attributes under their names."""

    name: str
    engine: str
    words: tuple[int, ...]
    fields: dict[str, int]

    def __getattr__(self, field: str) -> int:
        try:
            return self.__dict__["fields"][field]
        except KeyError:
            raise AttributeError(field) from None


def decode(words: np.ndarray) -> Command | None:
    """Return the command, or None if its code is unknown or a reserved bit is not 0."""
    numbers = tuple(int(each) for each in np.asarray(words, np.uint32))
    name = NAMES.get(numbers[0] & 0xFF)
    if name is None:
        return None
    used, fields = [0] * WORDS, {}
    for field, (word, low, bits, signed) in all_fields(name).items():
        mask = (1 << bits) - 1
        value = numbers[word] >> low & mask
        fields[field] = value - (1 << bits) if signed and value >> bits - 1 else value
        used[word] |= mask << low
    if any(number & ~mask for number, mask in zip(numbers, used, strict=True)):
        return None
    return Command(name, COMMANDS[name][1], numbers, fields)


def up8(n: int) -> int:
    return (n + 7) // 8 * 8


def to_tiles(matrix: np.ndarray, fill: int = 0) -> np.ndarray:
    """[rows][columns] -> [rows/8][columns/8][8][8], rounded up and filled up with `fill`."""
    rows, columns = matrix.shape
    padded = np.full((up8(rows), up8(columns)), fill, matrix.dtype)
    padded[:rows, :columns] = matrix
    tiles = padded.reshape(up8(rows) // 8, 8, up8(columns) // 8, 8).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles)


def from_tiles(tiles: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """[...][rows/8][columns/8][8][8] -> [...][rows][columns]; the rest of the tiles is dropped."""
    *batch, down, across = tiles.shape[:-2]
    matrix = np.swapaxes(tiles, -3, -2).reshape(*batch, down * 8, across * 8)
    return matrix[..., :rows, :columns]
