"""A checked blob in memory and what its records say."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc import _blob_format as fmt
from csc._csc import ffi, lib
from csc._status import load_error
from csc.errors import BlobError

DTYPES: dict[int, np.dtype[Any]] = {
    fmt.Dtype.INT8: np.dtype(np.int8),
    fmt.Dtype.UINT8: np.dtype(np.uint8),
    fmt.Dtype.INT16: np.dtype(np.int16),
    fmt.Dtype.INT32: np.dtype(np.int32),
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a model.

    `shape` holds None where the length of the run stands; `scale` is 0 where the tensor has no
    single scale, else real = (q - zero_point) * scale.
    """

    number: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    scale: float
    zero_point: int
    optional: bool
    default: int
    flags: int
    storage: str
    offset: int
    nbytes: int
    row_stride: int


@dataclass(frozen=True)
class OpInfo:
    """One op of a model; `operands` maps the names of SPEC.md to tensor numbers."""

    number: int
    name: str
    kind: str
    operands: dict[str, int]
    params: dict[str, int]
    macs_per_row: int


@dataclass(frozen=True)
class PlanInfo:
    """The plan of a blob: commands for one chip (SPEC.md 1.6).

    `chip` spells the letters of the chip's register ID, `version` its register VERSION.
    """

    chip: str
    version: str
    commands: int
    max_length: int
    sram_bytes: int
    store_bytes: int


@dataclass(frozen=True)
class EntryInfo:
    """Ops of a model that run together (SPEC.md 1.7), and their inputs and outputs."""

    number: int
    name: str
    first_op: int
    op_count: int
    max_length: int
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


def aligned_bytes(count: int) -> NDArray[np.uint8]:
    """Return `count` zeroed bytes that start at a multiple of 64."""
    room = np.zeros(count + fmt.ALIGN, dtype=np.uint8)
    skip = -room.ctypes.data % fmt.ALIGN
    return room[skip : skip + count]


def _read_file(path: Path) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            data = aligned_bytes(os.fstat(file.fileno()).st_size)
            got = file.readinto(data.data)
    except OSError as error:
        reason = error.strerror or error
        raise BlobError(f"The blob {path} cannot be read: {reason}; check the path.") from None
    return data[:got]


def _letters(number: int) -> str:
    """Return the text a register ID spells, or its number where it spells none."""
    text = number.to_bytes(4, "little").rstrip(b"\0")
    return text.decode("ascii") if text.isalnum() else f"{number:#010x}"


class Head:
    """What the records of a checked blob say; `data` needs to hold all but the weights.

    The records of plan and entries lie behind the weights; where `data` ends before them,
    `take_plan` and `take_entries` are to be called with them.
    """

    def __init__(self, data: NDArray[np.uint8], where: str) -> None:
        """Read the records. Raises BlobError for what SPEC.md leaves to this reader (rule 13)."""
        self.data = data
        self.where = where
        self.header = self.data[: fmt.HEADER.itemsize].view(fmt.HEADER)[0]
        count = int(self.header["section_count"])
        table = self._records("SECTION", fmt.HEADER.itemsize, count)
        self._sections = {int(section["kind"]): section for section in table}
        self.tensors = self._read_tensors()
        self.ops = self._read_ops()
        self.metadata = self._read_metadata()
        self._check_names()
        self.plan: PlanInfo | None = None
        self.entries: list[EntryInfo] = []
        offset = self.plan_offset
        if offset is not None and offset < len(data):
            self.take_plan(data[offset : offset + fmt.PLAN.itemsize].tobytes())
        place = self.entries_place
        if place is not None and place[0] < len(data):
            self.take_entries(data[place[0] : sum(place)].tobytes())

    @property
    def plan_offset(self) -> int | None:
        """The place of the plan's record, or None where the blob has none."""
        section = self._sections.get(fmt.Section.PLAN)
        return None if section is None else int(section["offset"])

    @property
    def entries_place(self) -> tuple[int, int] | None:
        """Offset and size of the records of the entries, or None where the blob has none."""
        section = self._sections.get(fmt.Section.ENTRIES)
        if section is None:
            return None
        return int(section["offset"]), int(self.header["entry_count"]) * fmt.ENTRY.itemsize

    def take_entries(self, data: bytes) -> None:
        """Read the records of the entries."""
        records = np.frombuffer(data, fmt.ENTRY)
        self.entries = [self._entry(number, record) for number, record in enumerate(records)]
        names = [entry.name for entry in self.entries]
        if "" in names:
            raise self._unusable(f"its entries need names, but are {names}")

    def _entry(self, number: int, record: Any) -> EntryInfo:
        first, count = int(record["first_op"]), int(record["op_count"])
        ops = self.ops[first : first + count]
        used = {tensor for op in ops for tensor in op.operands.values()}
        own = [tensor for tensor in self.tensors if tensor.number in used]
        return EntryInfo(
            number=number,
            name=self._name(int(record["name"])),
            first_op=first,
            op_count=count,
            max_length=int(record["max_length"]),
            inputs=[tensor for tensor in own if tensor.flags & fmt.Flag.INPUT],
            outputs=[tensor for tensor in own if tensor.flags & fmt.Flag.OUTPUT],
        )

    def take_plan(self, data: bytes) -> None:
        """Read the plan's record."""
        record = np.frombuffer(data, fmt.PLAN, 1)[0]
        version = int(record["version"])
        self.plan = PlanInfo(
            chip=_letters(int(record["chip"])),
            version=f"{version >> 16}.{version & 0xFFFF}",
            commands=int(record["command_count"]),
            max_length=int(record["max_length"]),
            sram_bytes=int(record["sram_bytes"]),
            store_bytes=int(record["store_bytes"]),
        )

    def _check_names(self) -> None:
        faces = [t for t in self.tensors if t.flags & (fmt.Flag.INPUT | fmt.Flag.OUTPUT)]
        names = [tensor.name for tensor in faces]
        if "" in names or len(set(names)) < len(names):
            raise self._unusable(f"its inputs and outputs need different names, but are {names}")
        for tensor in self.tensors:
            if not (math.isfinite(tensor.scale) and tensor.scale >= 0):
                raise self._unusable(f"tensor '{tensor.name}' has the scale {tensor.scale}")

    def _unusable(self, reason: str) -> BlobError:
        return BlobError(
            f"{self.where} is not a usable blob: {reason} (SPEC.md section 4, rule 13). Make the "
            f"blob again with 'csc convert'."
        )

    def _records(self, name: str, offset: int, count: int) -> NDArray[Any]:
        record = getattr(fmt, name)
        end = offset + count * record.itemsize
        records: NDArray[Any] = self.data[offset:end].view(record)
        return records

    def section(self, kind: fmt.Section) -> NDArray[np.uint8]:
        """Return the bytes of a section."""
        place = self._sections[kind]
        return self.data[int(place["offset"]) : int(place["offset"]) + int(place["bytes"])]

    def _name(self, offset: int) -> str:
        text = self.section(fmt.Section.STRINGS)[offset:].tobytes()
        try:
            return text[: text.index(0)].decode("utf-8")
        except UnicodeDecodeError:
            raise self._unusable(f"the name at byte {offset} of STRINGS is not UTF-8") from None

    def _read_tensors(self) -> list[TensorInfo]:
        offset = int(self._sections[fmt.Section.TENSORS]["offset"])
        records = self._records("TENSOR", offset, int(self.header["tensor_count"]))
        return [self._tensor(number, record) for number, record in enumerate(records)]

    def _tensor(self, number: int, record: Any) -> TensorInfo:
        flags = int(record["flags"])
        shape: list[int | None] = [int(dim) for dim in record["dims"][: record["rank"]]]
        if flags & fmt.Flag.DYNAMIC:
            shape[0] = None
        return TensorInfo(
            number=number,
            name=self._name(int(record["name"])),
            dtype=DTYPES[int(record["dtype"])],
            shape=tuple(shape),
            scale=float(record["scale"].view(np.float32)),
            zero_point=int(record["zero_point"]),
            optional=bool(flags & fmt.Flag.OPTIONAL),
            default=int(record["default_value"]),
            flags=flags,
            storage=fmt.Storage(int(record["storage"])).name.lower(),
            offset=int(record["offset"]),
            nbytes=int(record["bytes"]),
            row_stride=int(record["row_stride"]),
        )

    def _read_ops(self) -> list[OpInfo]:
        offset = int(self._sections[fmt.Section.OPS]["offset"])
        records = self._records("OP", offset, int(self.header["op_count"]))
        return [self._op(number, record) for number, record in enumerate(records)]

    def _op(self, number: int, record: Any) -> OpInfo:
        kind = fmt.Op(int(record["kind"]))
        operands = zip(fmt.OPERANDS[kind], record["operand"].tolist(), strict=False)
        params = zip(fmt.PARAMS[kind], record["param"].tolist(), strict=False)
        present = {name: int(tensor) for name, tensor in operands if tensor != fmt.NONE}
        macs = 0
        if kind == fmt.Op.GEMM:
            macs = (self.tensors[present["x"]].shape[1] or 0) * (
                self.tensors[present["out"]].shape[1] or 0
            )
        return OpInfo(
            number=number,
            name=self._name(int(record["name"])),
            kind=kind.name,
            operands=present,
            params={name: int(value) for name, value in params},
            macs_per_row=macs,
        )

    def _read_metadata(self) -> dict[str, Any]:
        text = self.section(fmt.Section.METADATA).tobytes().rstrip(b"\0")
        try:
            metadata = json.loads(text)
        except (ValueError, RecursionError):
            metadata = None
        if not isinstance(metadata, dict):
            raise self._unusable("its METADATA section is no JSON object")
        return metadata


class Blob(Head):
    """A blob that has passed every check of the loader; read only, shared between threads."""

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        if isinstance(source, bytes):
            where = "the blob given as bytes"
            data = aligned_bytes(len(source))
            data[:] = np.frombuffer(source, np.uint8)
        else:
            where = str(source)
            data = _read_file(Path(source))
        data.flags.writeable = False
        self.view = ffi.new("csc_model_t *")
        error = ffi.new("csc_error_t *")
        pointer = ffi.from_buffer(data, require_writable=False)
        if lib.csc_load_model(self.view, pointer, data.size, error):
            raise load_error(error, data.data, where)
        super().__init__(data, where)
