"""Reads a blob into plain Python objects and enforces section 4 of SPEC.md.

Written from SPEC.md alone with ``struct``; it shares no code and no constants with
the writer, the generated records or the runtime.  Rule 1's alignment of the first
byte is a matter of memory and has no meaning here.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .ops import up8

MAGIC = bytes((0x43, 0x53, 0x43, 0x42, 0x0D, 0x0A, 0x1A, 0x0A))
HEADER_BYTES = 192
ALIGN = 64
NONE = 0xFFFFFFFF
MAX_LENGTH = 8192
MAX_OPS = 2048
MAX_TENSORS = 16384
MAX_WIDTH = 65528
MAX_K = {"int8": 65528, "int16": 2048}
MAX_N = 65528
MAX_NORM = 4096
MAX_HEAD_DIM = 1024
MAX_HEADS = 256
MAX_ZERO_POINT = 32768

DTYPES = {1: "int8", 2: "uint8", 3: "int16", 4: "int32"}
ARENA, WEIGHTS = 0, 1
DYNAMIC, INPUT, OUTPUT, OPTIONAL, STATE = 1, 2, 4, 8, 16
SECTION_NAMES = ("OPS", "TENSORS", "STRINGS", "METADATA", "WEIGHTS", "PLAN", "ENTRIES")
POOL_MEAN, POOL_LAST = 1, 2
KEYS_CONTEXT = 1

HEADER = struct.Struct("<8s2H7I6I")
SECTION = struct.Struct("<4I")
TENSOR = struct.Struct("<I4B4I4I2i4I")
OP = struct.Struct("<2HI10I12i")
PLAN = struct.Struct("<16I")
ENTRY = struct.Struct("<16I")
DESCRIPTOR_BYTES = 64

# kind: (name, operands, parameters), in the order of section 3
OPS: dict[int, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    1: (
        "EMBED",
        ("ids", "types", "word", "word_multiplier", "position", "type", "out"),
        ("shift", "positions"),
    ),
    2: (
        "LAYERNORM",
        ("x", "affine_a", "out_a", "affine_b", "out_b"),
        ("epsilon_low", "epsilon_high", "shift_a", "zero_point_a", "shift_b", "zero_point_b"),
    ),
    3: (
        "GEMM",
        ("x", "weights", "requant", "table", "out", "scratch"),
        ("zero_point", "clamp_low", "clamp_high"),
    ),
    4: (
        "ATTENTION",
        ("q", "k", "v", "mask", "head_requant", "out", "scratch"),
        (
            *("heads", "head_dim", "q_column", "k_column", "v_column", "zero_point"),
            *("keys", "causal"),
        ),
    ),
    5: ("ADD", ("a", "b", "out"), ("multiplier_a", "multiplier_b", "shift")),
    6: (
        "POOL",
        ("x", "mask", "out"),
        ("mode", "multiplier", "shift", "zero_point_in", "zero_point"),
    ),
    7: ("APPEND", ("x", "state"), ("column",)),
}
OPTIONAL_OPERANDS = {
    "EMBED": {"types", "type"},
    "LAYERNORM": {"affine_b", "out_b"},
    "GEMM": {"table"},
    "ATTENTION": {"mask"},
    "ADD": set(),
    "POOL": {"mask"},
    "APPEND": set(),
}
OUT_OPERANDS = ("out", "out_a", "out_b", "state")


class OracleError(ValueError):
    """A blob that breaks a rule of section 4, or inputs that do not fit it."""


def need(condition: bool, rule: int, place: str, message: str) -> None:
    """Raise OracleError naming the rule and the place unless condition holds."""
    if not condition:
        raise OracleError(f"rule {rule}: {place}: {message}")


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor record; ``data`` holds the elements of a weights tensor, shape dims[:rank]."""

    index: int
    name: str
    dtype: str
    storage: int
    rank: int
    flags: int
    dims: tuple[int, int, int, int]
    row_stride: int
    offset: int
    bytes: int
    scale: float
    zero_point: int
    default_value: int
    data: npt.NDArray[np.integer] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The dims without the unused ones; dims[0] is max_length where dynamic."""
        return self.dims[: self.rank]

    @property
    def dynamic(self) -> bool:
        """Whether dims[0] is the length of the run."""
        return bool(self.flags & DYNAMIC)

    @property
    def is_state(self) -> bool:
        """Whether it keeps its content from run to run."""
        return bool(self.flags & STATE)

    @property
    def in_arena(self) -> bool:
        """Whether the tensor stands in the arena."""
        return self.storage == ARENA

    @property
    def place(self) -> str:
        """How messages name this tensor."""
        return f"tensor {self.index} '{self.name}'"

    def overlaps(self, other: Tensor) -> bool:
        """Whether the places of two arena tensors share a byte."""
        return self.offset < other.offset + other.bytes and other.offset < self.offset + self.bytes


@dataclass(frozen=True, eq=False)
class Op:
    """One op record with its operands and parameters by name."""

    index: int
    kind: str
    name: str
    operands: dict[str, Tensor | None]
    params: dict[str, int]

    @property
    def place(self) -> str:
        """How messages name this op."""
        return f"op {self.index} '{self.name}' ({self.kind})"

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors this op gives a value to."""
        return [t for key, t in self.operands.items() if key in OUT_OPERANDS and t is not None]

    @property
    def writes(self) -> list[Tensor]:
        """The outputs and the scratch of this op."""
        scratch = self.operands.get("scratch")
        return self.outputs + ([scratch] if scratch is not None else [])

    @property
    def reads(self) -> list[Tensor]:
        """The arena tensors this op reads."""
        return [
            t
            for key, t in self.operands.items()
            if t is not None and t.in_arena and key not in (*OUT_OPERANDS, "scratch")
        ]


@dataclass(frozen=True, eq=False)
class ChipCommands:
    """The section PLAN: its record and its descriptors, which the chip itself checks."""

    chip: int
    version: int
    command_count: int
    max_length: int
    sram_bytes: int
    store_bytes: int
    descriptors: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class Entry:
    """Ops that run together (section 1.7)."""

    name: str
    max_length: int
    ops: list[Op] = field(repr=False)

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs its ops read, in the order of their records."""
        found = {t.index: t for op in self.ops for t in op.reads if t.flags & INPUT}
        return [found[index] for index in sorted(found)]

    @property
    def outputs(self) -> list[Tensor]:
        """The outputs its ops write, in the order of their records."""
        found = {t.index: t for op in self.ops for t in op.outputs if t.flags & OUTPUT}
        return [found[index] for index in sorted(found)]


@dataclass(frozen=True, eq=False)
class Blob:
    """A checked blob; `entries` is empty and `context` 0 where it has no section ENTRIES."""

    arena_bytes: int
    max_length: int
    tensors: list[Tensor]
    ops: list[Op]
    metadata_bytes: bytes = field(repr=False)
    plan: ChipCommands | None = None
    context: int = 0
    entries: tuple[Entry, ...] = ()

    @property
    def states(self) -> list[Tensor]:
        """The states, in order."""
        return [t for t in self.tensors if t.is_state]

    def entry(self, name: str | None = None) -> Entry | None:
        """Return the entry of a name, or the only one; None where the blob has no entries."""
        if name is None and len(self.entries) <= 1:
            return self.entries[0] if self.entries else None
        for entry in self.entries:
            if entry.name == name:
                return entry
        names = [entry.name for entry in self.entries]
        raise OracleError(f"there is no entry {name!r}; entries are {names}")

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs of the model, in order."""
        return [t for t in self.tensors if t.flags & INPUT]

    @property
    def outputs(self) -> list[Tensor]:
        """The outputs of the model, in order."""
        return [t for t in self.tensors if t.flags & OUTPUT]

    @property
    def metadata(self) -> dict[str, Any]:
        """The JSON object of METADATA (no rule of section 4 asks a reader to check it)."""
        try:
            value = json.loads(self.metadata_bytes.rstrip(b"\0").decode("utf-8"))
        except ValueError as error:
            raise OracleError(f"METADATA is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise OracleError("METADATA is not a JSON object")
        return value


def read_blob(data: bytes) -> Blob:
    """Parse and check a blob (sections 1 and 4)."""
    data = bytes(data)
    header = read_header(data)
    sections = read_sections(data, header)
    strings = sections["STRINGS"]
    tensors = read_tensors(sections, header, strings)
    check_weights_order(tensors, len(sections["WEIGHTS"]))
    ops = [read_op(sections["OPS"], i, strings, tensors) for i in range(header["op_count"])]
    entries: tuple[Entry, ...] = ()
    if "ENTRIES" in sections:
        entries = read_entries(sections["ENTRIES"], header, strings, ops)
    for op in ops:
        OpChecks(op, header["max_length"], header["context"]).check()
    check_states(tensors, ops, bool(entries))
    check_all_flow(tensors, ops, entries)
    plan = read_plan(sections["PLAN"], header, tensors) if "PLAN" in sections else None
    return Blob(
        header["arena_bytes"],
        header["max_length"],
        tensors,
        ops,
        sections["METADATA"],
        plan,
        header["context"],
        entries,
    )


def read_header(data: bytes) -> dict[str, int]:
    """Rules 1 and 3, what concerns the header: its fields by name."""
    need(len(data) >= HEADER_BYTES, 1, "blob", f"{len(data)} bytes are fewer than a header")
    fields = HEADER.unpack_from(data)
    names = (
        "version_major version_minor file_bytes header_crc section_count arena_bytes max_length "
        "op_count tensor_count context entry_count"
    )
    header = dict(zip(names.split(), fields[1:12], strict=True))
    need(fields[0] == MAGIC, 1, "header", "wrong magic")
    need(header["version_major"] == 1, 1, "header", "version_major is not 1")
    need(header["version_minor"] <= 2, 1, "header", "version_minor is newer than this reader")
    need(header["file_bytes"] == len(data), 1, "header", f"file_bytes is not {len(data)}")
    crc = zlib.crc32(data[:16] + bytes(4) + data[20:HEADER_BYTES])
    need(header["header_crc"] == crc, 1, "header", "header_crc does not match")
    need(not any(fields[12:]), 1, "header", "reserved fields are not 0")
    table_end = 64 + SECTION.size * min(max(header["section_count"], 5), 7)
    padding = f"bytes {table_end} to 191 are not 0"
    need(not any(data[table_end:HEADER_BYTES]), 1, "header", padding)
    for name, limit in (
        ("op_count", MAX_OPS),
        ("tensor_count", MAX_TENSORS),
        ("max_length", MAX_LENGTH),
    ):
        need(1 <= header[name] <= limit, 3, "header", f"{name} is not in 1..{limit}")
    if header["version_minor"] == 2:
        need(1 <= header["context"] <= MAX_LENGTH, 15, "header", "context is not in 1..8192")
        need(header["entry_count"] >= 1, 15, "header", "entry_count is 0")
    else:
        need(header["context"] == 0, 15, "header", "context is not 0 without entries")
        need(header["entry_count"] == 0, 15, "header", "entry_count is not 0 without entries")
    return header


def wanted_sections(header: dict[str, int]) -> list[int]:
    """Rule 2: the kinds of the sections, by version and count."""
    with_entries = header["version_minor"] == 2
    plans = header["section_count"] - 5 - with_entries
    allowed = (0, 1) if header["version_minor"] else (0,)
    need(plans in allowed, 2, "header", f"section_count {header['section_count']} does not fit")
    return [1, 2, 3, 4, 5, *[6] * plans, *[7] * with_entries]


def read_sections(data: bytes, header: dict[str, int]) -> dict[str, bytes]:
    """Rules 2 and 3, what concerns the sections: their bytes by name."""
    sections = {}
    end = HEADER_BYTES
    for i, wanted in enumerate(wanted_sections(header)):
        name = SECTION_NAMES[wanted - 1]
        place = f"section {name}"
        kind, offset, size, crc = SECTION.unpack_from(data, 64 + 16 * i)
        need(kind == wanted, 2, place, f"kind is {kind}, not {wanted}")
        need(offset == end, 2, place, f"offset is {offset}, not {end}")
        need(size % ALIGN == 0, 2, place, f"size {size} is not a multiple of {ALIGN}")
        end = offset + size
        need(end <= len(data), 2, place, "ends behind the end of the blob")
        need(zlib.crc32(data[offset:end]) == crc, 2, place, "crc does not match")
        sections[name] = data[offset:end]
    need(end == len(data), 2, f"section {name}", "does not end with the blob")
    for name, count, record in (("OPS", "op_count", OP), ("TENSORS", "tensor_count", TENSOR)):
        size = -(-header[count] * record.size // ALIGN) * ALIGN
        need(len(sections[name]) == size, 3, f"section {name}", f"size is not {size}")
    strings = sections["STRINGS"]
    need(strings[-1:] == b"\0", 3, "section STRINGS", "last byte is not 0")
    return sections


def read_name(strings: bytes, offset: int, rule: int, place: str) -> str:
    """Read the name at an offset of STRINGS."""
    need(offset < len(strings), rule, place, f"name at {offset} is outside STRINGS")
    return strings[offset : strings.index(b"\0", offset)].decode("utf-8", "backslashreplace")


def read_tensors(
    sections: dict[str, bytes], header: dict[str, int], strings: bytes
) -> list[Tensor]:
    """All tensor records, checked one by one (rules 4 to 7)."""
    tensors = []
    for i in range(header["tensor_count"]):
        tensor = read_tensor(sections["TENSORS"], i, strings)
        if tensor.in_arena:
            check_arena_tensor(tensor, header)
        check_flags(tensor, bool(header["context"]))
        tensors.append(tensor if tensor.in_arena else with_data(tensor, sections["WEIGHTS"]))
    return tensors


def read_tensor(section: bytes, index: int, strings: bytes) -> Tensor:
    """Rule 4: one tensor record, without data."""
    place = f"tensor {index}"
    fields = TENSOR.unpack_from(section, index * TENSOR.size)
    name_offset, dtype, storage, rank, flags = fields[:5]
    dims, (row_stride, offset, size, scale) = fields[5:9], fields[9:13]
    zero_point, default_value = fields[13:15]
    name = read_name(strings, name_offset, 4, place)
    place = f"tensor {index} '{name}'"
    need(not any(fields[15:]), 4, place, "reserved fields are not 0")
    need(dtype in DTYPES, 4, place, f"dtype {dtype} is unknown")
    need(storage in (ARENA, WEIGHTS), 4, place, f"storage {storage} is unknown")
    need(1 <= rank <= 4, 4, place, f"rank {rank} is not in 1..4")
    need(flags < 2 * STATE, 4, place, f"flags {flags} unknown")
    need(min(dims) >= 1, 4, place, "a dim is 0")
    need(all(d == 1 for d in dims[rank:]), 4, place, "an unused dim is not 1")
    wanted = record_stride(storage, rank, dims)
    need(row_stride == wanted, 4, place, f"row_stride is {row_stride}, not {wanted}")
    wanted = dims[0] * row_stride * np.dtype(DTYPES[dtype]).itemsize
    need(size == wanted, 4, place, f"bytes is {size}, not {wanted}")
    need(offset % ALIGN == 0, 4, place, f"offset {offset} is not a multiple of {ALIGN}")
    scale_value = struct.unpack("<f", struct.pack("<I", scale))[0]
    return Tensor(
        index,
        name,
        DTYPES[dtype],
        storage,
        rank,
        flags,
        dims,
        row_stride,
        offset,
        size,
        scale_value,
        zero_point,
        default_value,
    )


def record_stride(storage: int, rank: int, dims: tuple[int, ...]) -> int:
    """Compute the row stride section 1.2 prescribes."""
    if storage == WEIGHTS:
        return dims[1] * dims[2] * dims[3]
    return 1 if rank == 1 else up8(dims[1])


def check_arena_tensor(tensor: Tensor, header: dict[str, int]) -> None:
    """Rule 5."""
    place = tensor.place
    need(tensor.rank <= 2, 5, place, "an arena tensor has rank 1 or 2")
    need(tensor.dims[1] <= MAX_WIDTH, 5, place, f"dims[1] is above {MAX_WIDTH}")
    need(tensor.offset + tensor.bytes <= header["arena_bytes"], 5, place, "ends behind the arena")
    if tensor.dynamic:
        need(
            tensor.dims[0] == header["max_length"],
            5,
            place,
            "a dynamic tensor's dims[0] is not max_length",
        )


def check_flags(tensor: Tensor, with_entries: bool) -> None:
    """Rule 6 (no flags in weights), rule 7, and what section 1.7 says about a state."""
    place, flags = tensor.place, tensor.flags
    need(tensor.in_arena or flags == 0, 6, place, "a weights tensor has flags")
    need(not (flags & OPTIONAL) or flags & INPUT, 7, place, "OPTIONAL without INPUT")
    need(not (flags & INPUT and flags & OUTPUT), 7, place, "INPUT and OUTPUT")
    if flags & INPUT and not with_entries:
        need(
            tensor.rank == 1 and tensor.dynamic and tensor.dtype in ("int32", "uint8"),
            7,
            place,
            "an input is rank 1, dynamic, int32 or uint8",
        )
    if tensor.is_state:
        need(flags == STATE, 16, place, "a state is dynamic, an input or an output")
    if flags & (OPTIONAL | STATE):
        limits = np.iinfo(tensor.dtype)
        need(
            limits.min <= tensor.default_value <= limits.max,
            7,
            place,
            "default_value does not fit the dtype",
        )
    else:
        need(tensor.default_value == 0, 7, place, "default_value without OPTIONAL is not 0")


def with_data(tensor: Tensor, weights: bytes) -> Tensor:
    """Return a weights tensor with its elements."""
    need(tensor.offset + tensor.bytes <= len(weights), 6, tensor.place, "ends behind the section")
    raw = weights[tensor.offset : tensor.offset + tensor.bytes]
    wire = np.dtype(tensor.dtype).newbyteorder("<")
    data = np.frombuffer(raw, wire).astype(tensor.dtype).reshape(tensor.shape)
    data.setflags(write=False)
    values = {name: getattr(tensor, name) for name in tensor.__dataclass_fields__}
    return Tensor(**{**values, "data": data})


def check_weights_order(tensors: list[Tensor], section_bytes: int) -> None:
    """Rule 6: weights tensors follow one another and fill the section."""
    end = 0
    for tensor in tensors:
        if not tensor.in_arena:
            need(tensor.offset == end, 6, tensor.place, f"offset is {tensor.offset}, not {end}")
            end = -(-(tensor.offset + tensor.bytes) // ALIGN) * ALIGN
    need(end == section_bytes, 6, "section WEIGHTS", f"tensors end at {end}, not its end")


def read_op(section: bytes, index: int, strings: bytes, tensors: list[Tensor]) -> Op:
    """Rule 8: one op record."""
    place = f"op {index}"
    fields = OP.unpack_from(section, index * OP.size)
    kind, reserved, name_offset = fields[:3]
    numbers, values = fields[3:13], fields[13:]
    need(kind in OPS, 8, place, f"kind {kind} is unknown")
    need(reserved == 0, 8, place, "reserved is not 0")
    kind_name, operand_names, param_names = OPS[kind]
    name = read_name(strings, name_offset, 8, place)
    place = f"op {index} '{name}' ({kind_name})"
    unused = numbers[len(operand_names) :]
    need(all(n == NONE for n in unused), 8, place, "an unused operand is not NONE")
    need(not any(values[len(param_names) :]), 8, place, "an unused parameter is not 0")
    operands: dict[str, Tensor | None] = {}
    for operand, number in zip(operand_names, numbers, strict=False):
        need(number == NONE or number < len(tensors), 8, place, f"{operand}: no tensor {number}")
        allowed = number != NONE or operand in OPTIONAL_OPERANDS[kind_name]
        need(allowed, 8, place, f"{operand} is NONE")
        operands[operand] = None if number == NONE else tensors[number]
    return Op(index, kind_name, name, operands, dict(zip(param_names, values, strict=False)))


class OpChecks:
    """Rules 8 to 11 for one op: operands, parameters, content of weights."""

    def __init__(self, op: Op, max_length: int, context: int = 0) -> None:
        """Prepare to check op in a blob planned for max_length; context is 0 without entries."""
        self.op = op
        self.max_length = max_length
        self.context = context

    def check(self) -> None:
        """Check the op by its kind."""
        getattr(self, self.op.kind.lower())()

    def need(self, condition: bool, rule: int, message: str) -> None:
        """Raise OracleError unless condition holds, the place being this op."""
        need(condition, rule, self.op.place, message)

    def tensor(self, operand: str) -> Tensor:
        """Return an operand that is there."""
        tensor = self.op.operands[operand]
        assert tensor is not None
        return tensor

    def has(self, operand: str) -> bool:
        """Whether an operand is there."""
        return self.op.operands[operand] is not None

    def same_absence(self, first: str, second: str) -> None:
        """Rule 8: one operand is NONE exactly when the other is."""
        self.need(self.has(first) == self.has(second), 8, f"{first} and {second} come together")

    def arena(self, operand: str, dtypes: str, rank: int) -> Tensor:
        """Rule 9: an operand in the arena of one of the dtypes and of the rank."""
        tensor = self.tensor(operand)
        self.need(tensor.in_arena, 9, f"{operand} is not in the arena")
        self.need(tensor.dtype in dtypes.split(), 9, f"{operand} is {tensor.dtype}, not {dtypes}")
        self.need(tensor.rank == rank, 9, f"{operand} has rank {tensor.rank}, not {rank}")
        return tensor

    def dynamic(self, operand: str, dtypes: str, rank: int) -> Tensor:
        """Rule 9: like arena, with [T] first."""
        tensor = self.arena(operand, dtypes, rank)
        self.need(tensor.dynamic, 9, f"{operand} is not dynamic")
        return tensor

    def static(self, operand: str, dtypes: str, shape: tuple[int, ...]) -> Tensor:
        """Rule 9: like arena, with a shape that does not depend on T."""
        tensor = self.arena(operand, dtypes, len(shape))
        self.need(not tensor.dynamic, 9, f"{operand} is dynamic")
        self.need(tensor.shape == shape, 9, f"{operand} is {tensor.shape}, not {shape}")
        return tensor

    def rows(self, **operands: str) -> list[Tensor]:
        """Rule 9: operands [R][..] with their dtypes."""
        tensors = [self.arena(name, dtypes, 2) for name, dtypes in operands.items()]
        self.need(
            len({(t.dynamic, t.dims[0]) for t in tensors}) == 1,
            9,
            f"{', '.join(operands)} differ in rows",
        )
        return tensors

    def weights(self, operand: str, dtypes: str, shape: tuple[int | None, ...]) -> Tensor:
        """Rule 9: an operand in the weights; None in shape stands for any size."""
        tensor = self.tensor(operand)
        self.need(not tensor.in_arena, 9, f"{operand} is not in the weights")
        self.need(tensor.dtype in dtypes.split(), 9, f"{operand} is {tensor.dtype}, not {dtypes}")
        fits = tensor.rank == len(shape) and all(
            want is None or want == have for want, have in zip(shape, tensor.shape, strict=False)
        )
        self.need(fits, 9, f"{operand} is {tensor.shape}, not {shape}")
        return tensor

    def width(self, operand: str, tensor: Tensor, width: int) -> None:
        """Rule 9: the last dimension of an operand [R][C]."""
        self.need(tensor.dims[1] == width, 9, f"{operand} has {tensor.dims[1]} columns not {width}")

    def param(self, name: str, low: int, high: int) -> None:
        """Rule 10: a parameter is in its range."""
        value = self.op.params[name]
        self.need(low <= value <= high, 10, f"{name} {value} is not in {low}..{high}")

    def zero_point(self, name: str) -> None:
        """Rule 10: a parameter that is a zero point."""
        self.param(name, -MAX_ZERO_POINT, MAX_ZERO_POINT)

    def packed_requant(self, name: str, packed: npt.NDArray[np.integer]) -> None:
        """Rule 11: entries multiplier + 65536 * shift."""
        packed = packed.astype(np.int64)
        multiplier, shift = packed & 0xFFFF, packed >> 16
        self.need(bool((multiplier <= 32767).all()), 11, f"{name}: a multiplier is above 32767")
        self.need(bool(((shift >= 1) & (shift <= 46)).all()), 11, f"{name}: a shift is not 1..46")

    def affine(self, name: str, data: npt.NDArray[np.integer]) -> None:
        """Rule 11: entries (offset, gain) of a layernorm."""
        data = data.astype(np.int64)
        self.need(bool((abs(data[:, 0]) <= 2**29).all()), 11, f"{name}: an offset is above 2^29")
        self.need(bool((abs(data[:, 1]) <= 32767).all()), 11, f"{name}: a gain is above 32767")

    def only_with_entries(self, wanted: bool, what: str) -> None:
        """Rule 17."""
        self.need(not wanted or self.context > 0, 17, f"{what} without entries")

    def state(self, operand: str) -> None:
        """Rules 9 and 17: an operand int8 [context][C] that is a state."""
        tensor = self.tensor(operand)
        self.need(tensor.is_state, 9, f"{operand} is no state")
        self.need(tensor.dims[0] == self.context, 17, f"{operand} has not {self.context} rows")

    def embed(self) -> None:
        """3.1."""
        self.param("positions", 0, 1)
        from_context = self.op.params["positions"] == 1
        self.only_with_entries(from_context, "positions 1")
        self.same_absence("types", "type")
        self.dynamic("ids", "int32", 1)
        out = self.dynamic("out", "int16", 2)
        width = out.dims[1]
        word = self.weights("word", "int8", (None, width))
        multiplier = self.weights("word_multiplier", "int16", (word.dims[0],))
        position = self.weights("position", "int16", (None, width))
        least = self.context if from_context else self.max_length
        self.need(position.dims[0] >= least, 9, "position has too few rows")
        if self.has("types"):
            self.dynamic("types", "int32", 1)
            self.weights("type", "int16", (None, width))
        self.param("shift", 1, 31)
        self.need(bool((multiplier.data >= 0).all()), 11, "word_multiplier: an entry is negative")

    def layernorm(self) -> None:
        """3.2."""
        self.same_absence("affine_b", "out_b")
        dtypes = {"x": "int16", "out_a": "int8 int16"}
        if self.has("out_b"):
            dtypes["out_b"] = "int8 int16"
        tensors = self.rows(**dtypes)
        width = tensors[0].dims[1]
        self.need(width <= MAX_NORM, 9, f"{width} columns are above {MAX_NORM}")
        for name, tensor in zip(dtypes, tensors, strict=True):
            self.width(name, tensor, width)
        low, high = self.op.params["epsilon_low"], self.op.params["epsilon_high"]
        epsilon = (low & 0xFFFFFFFF) + 2**32 * high
        self.need(1 <= epsilon < 2**54, 10, f"epsilon {epsilon} is not in 1..2^54-1")
        for letter in "ab" if self.has("out_b") else "a":
            self.param(f"shift_{letter}", 1, 29)
            self.zero_point(f"zero_point_{letter}")
            affine = self.weights(f"affine_{letter}", "int32", (width, 2))
            self.affine(f"affine_{letter}", affine.data)
        if not self.has("out_b"):
            self.param("shift_b", 0, 0)
            self.param("zero_point_b", 0, 0)

    def gemm(self) -> None:
        """3.3."""
        x, out = self.rows(x="int8 int16", out="int8 int16")
        k, n = x.dims[1], out.dims[1]
        self.need(k <= MAX_K[x.dtype], 9, f"K {k} is above {MAX_K[x.dtype]}")
        self.need(n <= MAX_N, 9, f"N {n} is above {MAX_N}")
        weights = self.weights("weights", "int8", (up8(n) // 8, up8(k) // 8, 8, 8))
        requant = self.weights("requant", "int32", (up8(n), 2))
        self.static("scratch", "int32", (8, up8(n)))
        self.zero_point("zero_point")
        if self.has("table"):
            self.weights("table", out.dtype, (1024,))
            self.param("clamp_low", 0, 0)
            self.param("clamp_high", 1023, 1023)
        else:
            limits = np.iinfo(out.dtype)
            self.param("clamp_low", int(limits.min), int(limits.max))
            self.param("clamp_high", self.op.params["clamp_low"], int(limits.max))
        bias = requant.data[:, 0].astype(np.int64)
        self.need(bool((abs(bias) < 2**30).all()), 11, "requant: a bias is not below 2^30")
        self.packed_requant("requant", requant.data[:, 1])
        if k % 8:
            self.need(not weights.data[:, -1, :, k % 8 :].any(), 11, "weights: not 0 where k >= K")

    def attention(self) -> None:
        """3.4."""
        self.param("heads", 1, MAX_HEADS)
        self.param("head_dim", 1, MAX_HEAD_DIM)
        self.param("keys", 0, 1)
        self.param("causal", 0, 1)
        heads, head_dim = self.op.params["heads"], self.op.params["head_dim"]
        self.attention_keys()
        for name in ("q", "k", "v"):
            tensor = self.tensor(name)
            column = self.op.params[f"{name}_column"]
            self.need(column >= 0, 10, f"{name}_column is negative")
            self.need(column + heads * head_dim <= tensor.dims[1], 9, f"{name} has too few columns")
        if self.has("mask"):
            self.dynamic("mask", "uint8", 1)
            self.need(self.tensor("k").dynamic, 8, "mask is not NONE where S is not T")
        self.width("out", self.dynamic("out", "int8 int16", 2), heads * head_dim)
        scratch_bytes = 40 * up8(self.tensor("k").dims[0]) + 32 * up8(head_dim)
        self.static("scratch", "uint8", (scratch_bytes,))
        self.zero_point("zero_point")
        head_requant = self.weights("head_requant", "int32", (heads, 2))
        self.packed_requant("head_requant", head_requant.data)

    def attention_keys(self) -> None:
        """3.4: the rows of q are tokens, those of k and v the keys."""
        self.dynamic("q", "int8", 2)
        k, _ = self.rows(k="int8", v="int8")
        self.need(k.dims[0] <= MAX_LENGTH, 9, f"k has more than {MAX_LENGTH} rows")
        if self.op.params["keys"] == KEYS_CONTEXT:
            self.only_with_entries(True, "keys CONTEXT")
            self.state("k")
            self.state("v")

    def add(self) -> None:
        """3.5."""
        a, b, out = self.rows(a="int16", b="int16", out="int16")
        self.width("b", b, a.dims[1])
        self.width("out", out, a.dims[1])
        self.param("multiplier_a", 0, 16384)
        self.param("multiplier_b", 0, 16384)
        self.param("shift", 1, 29)

    def pool(self) -> None:
        """3.6."""
        self.param("mode", 0, POOL_LAST)
        is_mean = self.op.params["mode"] == POOL_MEAN
        self.need(not self.has("mask") or is_mean, 8, "mask is not NONE for FIRST or LAST")
        x = self.dynamic("x", "int8 int16", 2)
        if self.has("mask"):
            self.dynamic("mask", "uint8", 1)
        self.static("out", "int8 int16", (1, x.dims[1]))
        self.param("multiplier", 0, 32767)
        self.param("shift", 1, 46)
        self.zero_point("zero_point_in")
        self.zero_point("zero_point")

    def append(self) -> None:
        """3.7."""
        self.only_with_entries(True, "APPEND")
        x = self.dynamic("x", "int8", 2)
        state = self.arena("state", "int8", 2)
        self.state("state")
        column = self.op.params["column"]
        self.need(column >= 0, 10, "column is negative")
        self.need(column + state.dims[1] <= x.dims[1], 9, "x has too few columns")


def read_entries(
    section: bytes, header: dict[str, int], strings: bytes, ops: list[Op]
) -> tuple[Entry, ...]:
    """Rule 15: the entries, which cover all ops in order."""
    place = "section ENTRIES"
    size = -(-header["entry_count"] * ENTRY.size // ALIGN) * ALIGN
    need(len(section) == size, 15, place, f"size is not {size}")
    entries: list[Entry] = []
    end = 0
    for i in range(header["entry_count"]):
        name_offset, first, count, length, *reserved = ENTRY.unpack_from(section, i * ENTRY.size)
        name = read_name(strings, name_offset, 15, f"entry {i}")
        place = f"entry {i} '{name}'"
        need(all(name != entry.name for entry in entries), 15, place, "its name is taken")
        need(first == end, 15, place, f"first_op is {first}, not {end}")
        need(1 <= count <= len(ops) - end, 15, place, f"op_count is {count}")
        need(1 <= length <= header["max_length"], 15, place, f"max_length is {length}")
        need(not any(reserved), 15, place, "reserved fields are not 0")
        end = first + count
        entries.append(Entry(name, length, ops[first:end]))
    need(end == len(ops), 15, place, f"the entries end at op {end}, not {len(ops)}")
    return tuple(entries)


def check_states(tensors: list[Tensor], ops: list[Op], with_entries: bool) -> None:
    """Rules 16 and 17, what concerns states."""
    arena = [t for t in tensors if t.in_arena]
    for state in (t for t in arena if t.is_state):
        need(with_entries, 17, state.place, "a state without entries")
        for other in arena:
            apart = other is state or not state.overlaps(other)
            need(apart, 16, state.place, f"overlaps {other.place}")
    for op in ops:
        for tensor in op.writes:
            allowed = op.kind == "APPEND" or not tensor.is_state
            need(allowed, 16, op.place, f"writes the state {tensor.place}")


def check_all_flow(tensors: list[Tensor], ops: list[Op], entries: tuple[Entry, ...]) -> None:
    """Rule 12, and rule 16: every entry by itself, and every output is written by one."""
    inputs = [t for t in tensors if t.flags & INPUT]
    outputs = [t for t in tensors if t.flags & OUTPUT]
    if not entries:
        check_data_flow(tensors, ops, inputs, outputs)
        return
    for entry in entries:
        check_data_flow(tensors, entry.ops, entry.inputs, entry.outputs)
    written = {t.index for entry in entries for t in entry.outputs}
    for tensor in outputs:
        need(tensor.index in written, 12, tensor.place, "an output is not written")


def check_data_flow(
    tensors: list[Tensor], ops: list[Op], inputs: list[Tensor], outputs: list[Tensor]
) -> None:
    """Rule 12, for ops that run together, and their inputs and outputs.

    ``valid`` holds the numbers of the arena tensors that have their value at the moment.
    Scratch gives a tensor no value.  "Inputs are never written" is taken by its letter: an
    input is no op's output or scratch; its place is free after its last reader.
    """
    arena = [t for t in tensors if t.in_arena]
    for i, tensor in enumerate(inputs):
        for other in inputs[:i]:
            need(not tensor.overlaps(other), 12, tensor.place, f"overlaps {other.place}")
    valid = {t.index for t in inputs} | {t.index for t in arena if t.is_state}
    for op in ops:
        check_op_flow(op, valid)
        for tensor in arena:
            if any(tensor.overlaps(written) for written in op.writes):
                valid.discard(tensor.index)
        valid.update(t.index for t in op.outputs)
    for tensor in outputs:
        need(tensor.index in valid, 12, tensor.place, "an output is not written or overwritten")


def check_op_flow(op: Op, valid: set[int]) -> None:
    """Rule 12 for one op, given the tensors that have their value before it."""
    writes = op.writes
    for i, tensor in enumerate(writes):
        need(not tensor.flags & INPUT, 12, op.place, f"writes the input {tensor.place}")
        for other in writes[:i]:
            need(not tensor.overlaps(other), 12, op.place, f"{tensor.place} on {other.place}")
    for tensor in op.reads:
        need(tensor.index in valid, 12, op.place, f"reads {tensor.place}, which has no value there")
        for written in writes:
            need(
                not tensor.overlaps(written),
                12,
                op.place,
                f"reads {tensor.place} and writes {written.place} into its place",
            )


def read_plan(section: bytes, header: dict[str, int], tensors: list[Tensor]) -> ChipCommands:
    """Rule 14."""
    place = "section PLAN"
    need(len(section) >= PLAN.size, 14, place, "it is smaller than its record")
    fields = PLAN.unpack_from(section)
    plan = ChipCommands(*fields[:6], section[PLAN.size :])
    size = PLAN.size + DESCRIPTOR_BYTES * plan.command_count
    need(len(section) == size, 14, place, f"size is not {size}")
    need(plan.chip != 0, 14, place, "chip is 0")
    limit = header["max_length"]
    need(1 <= plan.max_length <= limit, 14, place, f"max_length is not in 1..{limit}")
    need(not any(fields[6:]), 14, place, "reserved fields are not 0")
    for tensor in tensors:
        if tensor.flags & (INPUT | OUTPUT):
            end = tensor.offset + tensor.bytes
            need(end <= plan.sram_bytes, 14, tensor.place, "it ends behind the plan's SRAM")
    return plan
