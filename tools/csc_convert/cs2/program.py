"""The program of a plan while it is being made: commands on buffers that have no address yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from csc_convert import cs2_format as chip
from csc_convert.blob_writer import align, up8

LINE = chip.LINE
WEIGHTS_SPACE = int(chip.Space.WEIGHTS) << 30


@dataclass(eq=False)
class Buffer:
    """Bytes of SRAM that hold one value.

    pinned: the address an input or output of the model has; load: the command that brings a
    constant; in_ring: whether its place is in the ring of weights.
    """

    name: str
    bytes: int
    pinned: int | None = None
    load: Command | None = None
    in_ring: bool = False
    address: int = -1

    @property
    def size(self) -> int:
        """Bytes that it occupies: whole lines."""
        return align(self.bytes)


@dataclass(frozen=True)
class Access:
    """An operand of a command: `run` bytes from `offset` on, repeated as (count, stride) says."""

    field: str
    buffer: Buffer
    offset: int
    run: int
    repeats: tuple[tuple[int, int], ...] = ()
    is_written: bool = False

    @property
    def end(self) -> int:
        """The first byte behind all it touches, from the start of the buffer."""
        return self.offset + self.run + sum((n - 1) * stride for n, stride in self.repeats)

    def lines(self) -> npt.NDArray[np.int64]:
        """Numbers of all SRAM lines it touches."""
        starts = np.array([self.buffer.address + self.offset], np.int64)
        for count, stride in self.repeats:
            starts = (starts[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
        first, last = starts // LINE, (starts + self.run - 1) // LINE
        steps = np.arange(int((last - first).max()) + 1)
        return np.unique(np.minimum(first[:, None] + steps, last[:, None]))


@dataclass(eq=False)
class Command:
    """One command: fields by name, the addresses of its operands in `accesses`."""

    name: str
    tag: int
    fields: dict[str, int]
    accesses: list[Access]
    waits: dict[chip.Engine, int] = field(default_factory=dict)

    @property
    def engine(self) -> chip.Engine:
        """Which engine executes it."""
        return chip.Engine[chip.COMMANDS[self.name][1]]

    @property
    def buffers(self) -> Iterator[Buffer]:
        """The buffers it touches."""
        return (access.buffer for access in self.accesses)


@dataclass(frozen=True)
class Part:
    """Rows `first` to `first + rows` - 1 of a matrix."""

    first: int
    rows: int


@dataclass(frozen=True)
class Tiles:
    """A matrix in tiles.

    size: of an element; dynamic: whether T bounds its rows; pad: unused lines behind every row of
    tiles.
    """

    buffer: Buffer
    rows: int
    columns: int
    size: int
    dynamic: bool
    pad: int = 0

    @property
    def row_lines(self) -> int:
        """Lines from a row of tiles to the next."""
        return up8(self.columns) // 8 * self.size + self.pad

    def access(
        self,
        name: str,
        part: Part,
        first: int = 0,
        columns: int | None = None,
        is_written: bool = False,
        batch: tuple[int, int] = (1, 0),
    ) -> Access:
        """Rows of `part`, `columns` columns from the column `first` on, in batches of columns."""
        width = self.columns - first if columns is None else columns
        offset = (part.first // 8 * self.row_lines + first // 8 * self.size) * LINE
        repeats = ((batch[0], batch[1] * LINE), (up8(part.rows) // 8, self.row_lines * LINE))
        run = up8(width) // 8 * self.size * LINE
        return Access(name, self.buffer, offset, run, repeats, is_written)


def make_tiles(name: str, rows: int, columns: int, size: int, dynamic: bool, pad: int = 0) -> Tiles:
    """Return a matrix in a buffer of its own."""
    made = Tiles(Buffer(name, 0), rows, columns, size, dynamic, pad)
    made.buffer.bytes = up8(rows) // 8 * made.row_lines * LINE
    return made


def split_rows(rows: int) -> list[Part]:
    """Two parts, so that the vector engine can follow the block engine; multiples of 16 rows.

    The types of 16 rows fill a line, which the command EMBED wants to begin with.
    """
    half = -(-rows // 32) * 16
    if half >= rows:
        return [Part(0, rows)]
    return [Part(0, half), Part(half, rows - half)]


def row_fields(part: Part, dynamic: bool) -> dict[str, int]:
    """Return the fields of a command that say which rows it is about."""
    if not dynamic:
        return {"ROWS": part.rows}
    return {"ROWS": part.rows, "ROW_FIRST": part.first, "ROWS_PARAM": 1}


def macs(command: Command) -> int:
    """Multiply-accumulates of a command with its static shape."""
    if command.name != "GEMM":
        return 0
    shape = (command.fields[key] for key in ("ROWS", "COLUMNS", "DEPTH"))
    product = command.fields.get("BATCH", 1)
    for size in shape:
        product *= size
    return product


def external_bytes(command: Command) -> int:
    """Bytes that a command moves over the external bus, with its static shape."""
    if command.fields.get("SOURCE", 0) >> 30 == 0:
        return 0
    return command.fields["ROWS"] * command.fields["ROW_BYTES"]
