"""Writes blobs (SPEC.md section 1) from plain descriptions of tensors and ops.

The writer lays out bytes; it does not judge them.  It refuses only what it cannot write
(unknown names, data that do not fit their record).  Section 4 is checked by readers.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import blob_format as fmt

NUMPY_DTYPES = {
    fmt.Dtype.INT8: np.dtype("<i1"),
    fmt.Dtype.UINT8: np.dtype("<u1"),
    fmt.Dtype.INT16: np.dtype("<i2"),
    fmt.Dtype.INT32: np.dtype("<i4"),
}


@dataclass
class TensorSpec:
    """One tensor record.

    ``dims`` are the used dims (rank = len(dims)); dims[0] is max_length with DYNAMIC.
    Weights tensors have ``data`` (of shape ``dims``), arena tensors have ``offset``,
    their place in the arena in bytes.
    """

    name: str
    dtype: fmt.Dtype
    dims: tuple[int, ...]
    storage: fmt.Storage = fmt.Storage.ARENA
    flags: int = 0
    scale: float = 0.0
    zero_point: int = 0
    default_value: int = 0
    data: npt.NDArray[np.integer] | None = field(default=None, repr=False)
    offset: int | None = None

    @property
    def row_stride(self) -> int:
        """Elements from one row to the next (section 1.2)."""
        if self.storage == fmt.Storage.WEIGHTS:
            return int(np.prod(self.dims[1:], dtype=np.int64))
        return 1 if len(self.dims) == 1 else up8(self.dims[1])

    @property
    def bytes(self) -> int:
        """Size in bytes, padding of rows included."""
        return self.dims[0] * self.row_stride * NUMPY_DTYPES[fmt.Dtype(self.dtype)].itemsize


@dataclass
class OpSpec:
    """One op record: operands by name -> tensor name (absent: NONE), parameters by name.

    The names are those of section 3 (``blob_format.OPERANDS`` and ``PARAMS``); parameters
    left out are 0.  Parameters from 2^31 to 2^32 - 1 are written as their 32 bits.
    """

    kind: fmt.Op
    name: str
    operands: dict[str, str]
    params: dict[str, int] = field(default_factory=dict)


@dataclass
class EntrySpec:
    """One entry record (section 1.7): the next ``op_count`` ops, in the order of the entries."""

    name: str
    op_count: int
    max_length: int


def up8(n: int) -> int:
    """N rounded up to a multiple of 8."""
    return -(-n // fmt.BLOCK) * fmt.BLOCK


def align(n: int) -> int:
    """N rounded up to a multiple of ALIGN."""
    return -(-n // fmt.ALIGN) * fmt.ALIGN


def weights_tensor(name: str, dtype: fmt.Dtype, data: npt.ArrayLike) -> TensorSpec:
    """Describe a weights tensor of the shape of its data."""
    array = np.asarray(data)
    return TensorSpec(name, dtype, array.shape, fmt.Storage.WEIGHTS, data=array)


def pack_gemm_weights(w: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """GEMM weights int8 [K][N] -> blob layout int8 [up8(N)/8][up8(K)/8][8][8] (section 1.4)."""
    k, n = w.shape
    blocks = np.zeros((up8(n) // 8, up8(k) // 8, 8, 8), np.int8)
    for block in range(up8(k) // 8):
        part = w[8 * block : 8 * block + 8].T
        padded = np.zeros((up8(n), 8), np.int8)
        padded[:n, : part.shape[1]] = part
        blocks[:, block] = padded.reshape(-1, 8, 8)
    return blocks


def pack_requant(
    bias: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike
) -> npt.NDArray[np.int32]:
    """GEMM requantization: three [N] -> int32 [up8(N)][2], (bias, multiplier + 65536 * shift).

    The entries behind N are (0, 0 + 65536 * 1), which every reader accepts.
    """
    count = len(np.asarray(bias))
    packed = np.zeros((up8(count), 2), np.int64)
    packed[:, 1] = 1 << 16
    packed[:count, 0] = bias
    packed[:count, 1] = np.asarray(multiplier) + 65536 * np.asarray(shift, np.int64)
    return packed.astype(np.int32)


def epsilon_params(epsilon: int) -> dict[str, int]:
    """Return the two parameters of LAYERNORM that hold E."""
    return {"epsilon_low": epsilon & 0xFFFFFFFF, "epsilon_high": epsilon >> 32}


def place_without_reuse(tensors: Iterable[TensorSpec]) -> int:
    """Give each arena tensor a place of its own; returns the size of the arena."""
    end = 0
    for tensor in tensors:
        if tensor.storage == fmt.Storage.ARENA:
            tensor.offset = end
            end = align(end + tensor.bytes)
    return end


def write_blob(
    tensors: Sequence[TensorSpec],
    ops: Sequence[OpSpec],
    metadata: Mapping[str, Any],
    max_length: int,
    arena_bytes: int | None = None,
    entries: Sequence[EntrySpec] = (),
    context: int = 0,
) -> bytes:
    """Write the bytes of a blob; the same arguments always give the same bytes.

    Without ``arena_bytes`` the arena ends where its last tensor ends, rounded up to 64.
    With ``entries`` the blob has a section ENTRIES and ``context`` positions.
    """
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise ValueError("two tensors have the same name")
    strings = Strings()
    weights, weight_offsets = lay_out_weights(tensors)
    op_records = b"".join(op_record(op, names, strings) for op in ops)
    tensor_records = b"".join(tensor_record(tensor, weight_offsets, strings) for tensor in tensors)
    entry_section = entry_records(entries, strings)
    sections = {
        fmt.Section.OPS: op_records,
        fmt.Section.TENSORS: tensor_records,
        fmt.Section.STRINGS: strings.data,
        fmt.Section.METADATA: json_bytes(metadata),
        fmt.Section.WEIGHTS: weights,
    }
    if entries:
        sections[fmt.Section.ENTRIES] = entry_section
    if arena_bytes is None:
        arena_bytes = arena_end(tensors)
    return assemble(
        sections,
        arena_bytes=arena_bytes,
        max_length=max_length,
        op_count=len(ops),
        tensor_count=len(tensors),
        context=context,
        entry_count=len(entries),
    )


class Strings:
    """The STRINGS section: every name once, offset 0 is the empty name."""

    def __init__(self) -> None:
        """Only the empty name."""
        self.data = b"\0"
        self.offsets = {"": 0}

    def offset(self, name: str) -> int:
        """Return the offset of a name, which is added where it is new."""
        if "\0" in name:
            raise ValueError(f"name {name!r} holds a zero byte")
        if name not in self.offsets:
            self.offsets[name] = len(self.data)
            self.data += name.encode("utf-8") + b"\0"
        return self.offsets[name]


def json_bytes(metadata: Mapping[str, Any]) -> bytes:
    """METADATA: sorted keys, compact, UTF-8."""
    text = json.dumps(
        metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def arena_end(tensors: Sequence[TensorSpec]) -> int:
    """Return the end of the last arena tensor, rounded up."""
    ends = [
        tensor.offset + tensor.bytes
        for tensor in tensors
        if tensor.storage == fmt.Storage.ARENA and tensor.offset is not None
    ]
    return align(max(ends, default=0))


def lay_out_weights(tensors: Sequence[TensorSpec]) -> tuple[bytes, dict[str, int]]:
    """Return the WEIGHTS section and the offsets of its tensors by name."""
    parts: list[bytes] = []
    offsets = {}
    end = 0
    for tensor in tensors:
        if tensor.storage == fmt.Storage.WEIGHTS:
            data = weight_bytes(tensor)
            offsets[tensor.name] = end
            parts += [data, bytes(align(len(data)) - len(data))]
            end += align(len(data))
    return b"".join(parts), offsets


def weight_bytes(tensor: TensorSpec) -> bytes:
    """Return the elements of a weights tensor, little-endian."""
    if tensor.data is None:
        raise ValueError(f"weights tensor '{tensor.name}' has no data")
    data = np.asarray(tensor.data)
    if data.shape != tuple(tensor.dims):
        raise ValueError(f"tensor '{tensor.name}' has data {data.shape}, dims {tensor.dims}")
    dtype = NUMPY_DTYPES[fmt.Dtype(tensor.dtype)]
    stored = data.astype(dtype)
    if data.dtype.kind not in "iu" or not np.array_equal(stored, data):
        raise ValueError(f"data of tensor '{tensor.name}' do not fit {dtype}")
    return stored.tobytes()


def tensor_record(tensor: TensorSpec, weight_offsets: Mapping[str, int], strings: Strings) -> bytes:
    """Return the record of one tensor."""
    record = np.zeros((), fmt.TENSOR)
    offset = weight_offsets.get(tensor.name, tensor.offset)
    if offset is None:
        raise ValueError(f"arena tensor '{tensor.name}' has no offset")
    record["name"] = strings.offset(tensor.name)
    record["dtype"] = tensor.dtype
    record["storage"] = tensor.storage
    record["rank"] = len(tensor.dims)
    record["flags"] = tensor.flags
    record["dims"] = (*tensor.dims, *[1] * (4 - len(tensor.dims)))
    record["row_stride"] = tensor.row_stride
    record["offset"] = offset
    record["bytes"] = tensor.bytes
    record["scale"] = struct.unpack("<I", struct.pack("<f", tensor.scale))[0]
    record["zero_point"] = tensor.zero_point
    record["default_value"] = tensor.default_value
    return record.tobytes()


def op_record(op: OpSpec, names: Sequence[str], strings: Strings) -> bytes:
    """Return the record of one op."""
    kind = fmt.Op(op.kind)
    unknown = set(op.operands) - set(fmt.OPERANDS[kind]) | set(op.params) - set(fmt.PARAMS[kind])
    if unknown:
        raise ValueError(f"op '{op.name}': {kind.name} has no {min(unknown)}")
    record = np.zeros((), fmt.OP)
    record["kind"] = kind
    record["name"] = strings.offset(op.name)
    operands = [fmt.NONE] * 10
    for i, operand in enumerate(fmt.OPERANDS[kind]):
        if operand in op.operands:
            operands[i] = tensor_number(op, operand, names)
    params = [int32_bits(op.params.get(name, 0)) for name in fmt.PARAMS[kind]]
    record["operand"] = operands
    record["param"] = params + [0] * (12 - len(params))
    return record.tobytes()


def entry_records(entries: Sequence[EntrySpec], strings: Strings) -> bytes:
    """Return the records of all entries, which follow each other."""
    records = np.zeros(len(entries), fmt.ENTRY)
    first_op = 0
    for record, entry in zip(records, entries, strict=True):
        record["name"] = strings.offset(entry.name)
        record["first_op"], record["op_count"] = first_op, entry.op_count
        record["max_length"] = entry.max_length
        first_op += entry.op_count
    return records.tobytes()


def tensor_number(op: OpSpec, operand: str, names: Sequence[str]) -> int:
    """Return the number of the tensor an operand names."""
    name = op.operands[operand]
    if name not in names:
        raise ValueError(f"op '{op.name}': {operand} names no tensor: '{name}'")
    return names.index(name)


def int32_bits(value: int) -> int:
    """Value as int32; values from 2^31 to 2^32 - 1 keep their bits."""
    value = int(value)
    if not -(2**31) <= value < 2**32:
        raise ValueError(f"parameter {value} does not fit 32 bits")
    return value - 2**32 if value >= 2**31 else value


def assemble(sections: Mapping[fmt.Section, bytes], **header_fields: int) -> bytes:
    """Pad the sections, put them in the order of their kinds, header and table before them."""
    padded = {kind: data + bytes(-len(data) % fmt.ALIGN) for kind, data in sections.items()}
    kinds = sorted(padded)
    table = np.zeros(len(kinds), fmt.SECTION)
    end = fmt.HEADER_BYTES
    for record, kind in zip(table, kinds, strict=True):
        record["kind"], record["offset"], record["bytes"] = kind, end, len(padded[kind])
        record["crc"] = zlib.crc32(padded[kind])
        end += len(padded[kind])
    header = np.zeros((), fmt.HEADER)
    header["magic"] = np.frombuffer(fmt.MAGIC, np.uint8)
    header["version_major"] = fmt.VERSION_MAJOR
    header["version_minor"] = least_minor(kinds)
    header["file_bytes"], header["section_count"] = end, len(kinds)
    for name, value in header_fields.items():
        header[name] = value
    header["header_crc"] = zlib.crc32(front_bytes(header, table))
    return front_bytes(header, table) + b"".join(padded[kind] for kind in kinds)


def least_minor(kinds: Sequence[fmt.Section]) -> int:
    """Return the oldest minor version that knows these sections."""
    if fmt.Section.ENTRIES in kinds:
        return 2
    return int(fmt.Section.PLAN in kinds)


def with_plan(blob: bytes, plan: bytes) -> bytes:
    """Return a blob with a plan (its record and its descriptors), in place of one that is there."""
    header = np.frombuffer(blob, fmt.HEADER, 1)[0]
    table = np.frombuffer(blob, fmt.SECTION, int(header["section_count"]), fmt.HEADER.itemsize)
    sections = {
        fmt.Section(int(e["kind"])): blob[int(e["offset"]) : int(e["offset"] + e["bytes"])]
        for e in table
    }
    sections[fmt.Section.PLAN] = plan
    fields = ("arena_bytes", "max_length", "op_count", "tensor_count", "context", "entry_count")
    return assemble(sections, **{name: int(header[name]) for name in fields})


def front_bytes(header: np.ndarray, table: np.ndarray) -> bytes:
    """Header and section table, padded to HEADER_BYTES."""
    front = header.tobytes() + table.tobytes()
    return front + bytes(fmt.HEADER_BYTES - len(front))
