"""Puts a model into the firmware of a board, without a compiler (PROTOCOL.md, section 4)."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from csc import _blob_format as blob_fmt
from csc import _frames as fmt
from csc.errors import FirmwareError
from csc.model import Model

_HEADER = np.dtype(
    [
        ("ident", "u1", (16,)),
        ("type", "<u2"),
        ("machine", "<u2"),
        ("version", "<u4"),
        ("entry", "<u4"),
        ("phoff", "<u4"),
        ("shoff", "<u4"),
        ("flags", "<u4"),
        ("ehsize", "<u2"),
        ("phentsize", "<u2"),
        ("phnum", "<u2"),
        ("shentsize", "<u2"),
        ("shnum", "<u2"),
        ("shstrndx", "<u2"),
    ]
)
_SEGMENT = np.dtype(
    [(name, "<u4") for name in ("type", "offset", "vaddr", "paddr", "filesz", "memsz", "flags")]
    + [("align", "<u4")]
)
_ELF32_LITTLE = b"\x7fELF\x01\x01"
_LOAD = 1
_READ, _WRITE = 4, 2
_PLAN_BOARDS = {"cs2"}  # whose chip runs plans


def _up(value: int) -> int:
    return -(-value // blob_fmt.ALIGN) * blob_fmt.ALIGN


def work_bytes(model: Model, board: str = "") -> int:
    """Return the bytes of RAM a model needs on a board: the arena and one record per op.

    A chip that runs the model's plan stores results in the place of the arena.
    """
    room = model.arena_bytes
    if board in _PLAN_BOARDS and model.plan is not None:
        room = max(room, model.plan.store_bytes)
    return _up(room) + _up(len(model.ops) * fmt.OP_CLOCKS.itemsize)


def boards() -> list[str]:
    """Return the names of the boards whose firmware this package carries."""
    folder = resources.files("csc") / "boards"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if ".elf" in entry.name)


def board_elf(board: str) -> bytes:
    """Return the ELF file of a board's firmware, without a model. Raises FirmwareError."""
    if board not in boards():
        known = ", ".join(f"'{name}'" for name in boards())
        raise FirmwareError(f"There is no firmware for the board '{board}'; there is {known}.")
    return (resources.files("csc") / "boards" / f"{board}.elf").read_bytes()


def read_elf(board: str, elf: str | os.PathLike[str] | None = None) -> bytes:
    """Return a firmware you built, or that of the package. Raises FirmwareError."""
    if elf is None:
        return board_elf(board)
    try:
        return Path(elf).read_bytes()
    except OSError as error:
        raise FirmwareError(f"The firmware {elf} cannot be read: {error.strerror}.") from None


class Image:
    """The firmware of a board as an ELF file, changed in place.

    >>> from csc.image import Image, board_elf
    >>> Image(board_elf("cs1"), "cs1").board
    'cs1'
    """

    def __init__(self, elf: bytes, where: str) -> None:
        """Take an ELF file called `where`. Raises FirmwareError if it is no firmware of ours."""
        self.where = where
        self.data = bytearray(elf)
        if self.data[:6] != _ELF32_LITTLE:
            raise self._error("is no little-endian 32-bit ELF file")
        header = self._record(0, _HEADER)
        first = int(header["phoff"])
        self._segments = [
            self._record(first + i * _SEGMENT.itemsize, _SEGMENT).copy()
            for i in range(int(header["phnum"]))
        ]
        self._place = self._find()
        if int(self.record["version"]) != fmt.IMAGE_VERSION:
            raise self._error(f"has an image record of version {self.record['version']}")

    def _error(self, what: str) -> FirmwareError:
        return FirmwareError(f"The firmware {self.where} {what}; give an ELF file of this project.")

    def _record(self, offset: int, dtype: np.dtype[Any]) -> Any:
        end = offset + dtype.itemsize
        if end > len(self.data):
            raise self._error("is cut short")
        return np.frombuffer(self.data, dtype, 1, offset)[0]

    def _find(self) -> int:
        """Return the file offset of the image record."""
        found = self.data.find(fmt.IMAGE_MAGIC)
        while found >= 0 and found % 8:
            found = self.data.find(fmt.IMAGE_MAGIC, found + 1)
        if found < 0 or found + fmt.IMAGE.itemsize > len(self.data):
            raise self._error("holds no image record")
        return found

    @property
    def record(self) -> Any:
        """A copy of the image record."""
        return self._record(self._place, fmt.IMAGE).copy()

    def _write_record(self, record: Any) -> None:
        self.data[self._place : self._place + fmt.IMAGE.itemsize] = record.tobytes()

    @property
    def board(self) -> str:
        """The name of the board."""
        return bytes(self.record["board"]).rstrip(b"\0").decode()

    @property
    def open_first(self) -> int:
        """The address of the first free byte of the memory with an open end."""
        regions = self.record["regions"]
        open_ends = regions["kind"] == fmt.Memory.OPEN_END
        if not open_ends.any():
            raise FirmwareError(f"The RAM of the board '{self.board}' has a fixed size.")
        return int(regions["first"][open_ends][0])

    def set_ram_end(self, end: int) -> None:
        """Say where the RAM ends. Raises FirmwareError where the board has a fixed memory."""
        record = self.record
        open_ends = record["regions"]["kind"] == fmt.Memory.OPEN_END
        if end <= self.open_first or end > 0xFFFFFFFF:
            raise FirmwareError(f"The firmware of '{self.board}' does not fit into {end} bytes.")
        record["regions"]["end"][open_ends] = end
        self._write_record(record)

    def set_uart_divisor(self, clocks: int) -> None:
        """Set the clocks per bit of the UART."""
        record = self.record
        record["uart_divisor"] = clocks
        self._write_record(record)

    def add_model(self, model: Model) -> None:
        """Put a model in; raises FirmwareError, with need and have, where it does not fit."""
        record = self.record
        if record["model_bytes"]:
            raise FirmwareError(f"The firmware {self.where} holds a model already.")
        every = {fmt.Memory.READ, fmt.Memory.RAM, fmt.Memory.OPEN_END}
        blob = model._blob.data.tobytes()
        work = work_bytes(model, self.board)
        record["model_address"] = self._take(record, len(blob), every, "blob")
        record["model_bytes"] = len(blob)
        record["work_address"] = self._take(record, work, every - {fmt.Memory.READ}, "work memory")
        record["work_bytes"] = work
        self._write_record(record)
        self._add_segment(int(record["model_address"]), blob, len(blob), _READ)
        self._add_segment(int(record["work_address"]), b"", work, _READ | _WRITE)
        self._write_segments()

    def _take(self, record: Any, size: int, kinds: set[fmt.Memory], what: str) -> int:
        """Take `size` bytes of the first region with room, and return their address."""
        largest = 0
        for region in record["regions"]:
            if int(region["kind"]) not in kinds:
                continue
            first, end = _up(int(region["first"])), int(region["end"])
            if first + size <= end:
                region["first"] = first + size
                return first
            largest = max(largest, end - first)
        raise FirmwareError(
            f"The {what} of the model needs {size} bytes, but the board '{self.board}' has a piece "
            f"of at most {largest}; take a board with more memory, a smaller model, or, where the "
            f"board's RAM has an open end, give ram_bytes."
        )

    def _add_segment(self, address: int, content: bytes, size: int, flags: int) -> None:
        self.data += bytes(_up(len(self.data)) - len(self.data))
        segment = np.zeros((), _SEGMENT)
        segment["type"], segment["offset"] = _LOAD, len(self.data)
        segment["vaddr"] = segment["paddr"] = address
        segment["filesz"], segment["memsz"] = len(content), size
        segment["flags"], segment["align"] = flags, blob_fmt.ALIGN
        self.data += content
        self._segments.append(segment)

    def _write_segments(self) -> None:
        """Put the table of segments at the end of the file, where it may grow."""
        self.data += bytes(_up(len(self.data)) - len(self.data))
        header = self._record(0, _HEADER).copy()
        header["phoff"], header["phnum"] = len(self.data), len(self._segments)
        self.data[: _HEADER.itemsize] = header.tobytes()
        self.data += b"".join(segment.tobytes() for segment in self._segments)


def ram_needed(model: Model, board: str, elf: str | os.PathLike[str] | None = None) -> int:
    """Return where RAM must end for a model, in whole MiB, on a board with an open end."""
    first = Image(read_elf(board, elf), str(elf or board)).open_first
    end = _up(_up(first) + model.blob_bytes) + work_bytes(model, board)
    return -(-end >> 20) << 20


def make_firmware(
    model: Model | str | os.PathLike[str] | bytes,
    board: str,
    *,
    elf: str | os.PathLike[str] | None = None,
    ram_bytes: int | None = None,
    uart_divisor: int | None = None,
) -> bytes:
    """Return the ELF file of a board's firmware with a model in it.

    Args:
        model: a Model, or what `csc.load` takes.
        board: a name out of `csc.image.boards()`.
        elf: a firmware you built yourself, instead of the one this package carries.
        ram_bytes: where the RAM ends, for boards where it is open: its size on `cs1` (4 MiB by
            default), the address behind the external memory on `cs2` (0x41000000 by default).
        uart_divisor: clocks per bit of the UART, for boards that use it.

    Raises:
        BlobError: the model is not usable.
        FirmwareError: there is no such board, or the model does not fit into its memory.

    """
    loaded = model if isinstance(model, Model) else Model(model)
    image = Image(read_elf(board, elf), str(elf or board))
    if image.board != board:
        raise FirmwareError(f"The firmware {image.where} is for '{image.board}', not '{board}'.")
    if ram_bytes is not None:
        image.set_ram_end(ram_bytes)
    if uart_divisor is not None:
        image.set_uart_divisor(uart_divisor)
    image.add_model(loaded)
    return bytes(image.data)
