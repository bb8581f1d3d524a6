"""Ops of a blob -> commands on buffers, in the order the engines shall execute them.

Row-wise ops that follow one another (EMBED, LAYERNORM, ADD) go part by part of the rows, so that
the vector engine works on one part while the block engine makes the next.
Constants are buffers with the command that loads them; `stream` puts those into the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from csc_convert import cs2_format as chip
from csc_convert.blob_writer import align, up8
from csc_convert.errors import NoPlan
from csc_convert.oracle import Blob, Op, Tensor

from .attention import lower_attention
from .program import (
    WEIGHTS_SPACE,
    Access,
    Buffer,
    Command,
    Part,
    Tiles,
    make_tiles,
    row_fields,
    split_rows,
)

SIZES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4}
LIMITS = {"int8": (-128, 127), "int16": (-32768, 32767)}
ROW_WISE = ("EMBED", "LAYERNORM", "ADD")
PAD = 4  # lines behind the rows of Q, K and V where these would all begin in the same bank
LAG = 2  # column blocks by which a part of rows follows the part before it


@dataclass(frozen=True)
class Settings:
    """How coarse a plan is: bytes of a chunk of weights and of a buffer of scores, loads ahead."""

    chunk_bytes: int
    score_bytes: int
    ahead: int


def flags(*pairs: tuple[bool, int]) -> int:
    """Return the sum of the flags whose condition holds."""
    return sum(int(flag) for condition, flag in pairs if condition)


class Lowering:
    """Makes the commands of a blob for sequences of at most `max_length`."""

    def __init__(self, blob: Blob, max_length: int, settings: Settings) -> None:
        """Begin with the inputs alone."""
        self.blob = blob
        self.max_length = max_length
        self.settings = settings
        self.commands: list[Command] = []
        self.constants: dict[tuple[int, int, int], Buffer] = {}
        self.inputs = {t.index: self._pinned(t) for t in blob.inputs}
        self.values: dict[int, Tiles] = {}
        self.attended = {
            required(op, name).index for op in blob.ops if op.kind == "ATTENTION" for name in "qkv"
        }

    def run(self) -> list[Command]:
        """Lower all ops, then move the outputs of the model to their places."""
        for _, group in groupby(self.blob.ops, self._group_key):
            ops = list(group)
            if ops[0].kind in ROW_WISE:
                self._row_wise(ops)
            for op in ops:
                self._single(op)
        for tensor in self.blob.outputs:
            self._output(tensor)
        return self.commands

    def emit(self, name: str, op: Op, fields: dict[str, int], accesses: list[Access]) -> None:
        """Append a command."""
        self.commands.append(Command(name, op.index, fields, accesses))

    def constant(
        self, op: Op, tensor: Tensor, first: int = 0, size: int | None = None, ring: bool = False
    ) -> Buffer:
        """Return a buffer with bytes of a weights tensor; the same one for the same op."""
        size = tensor.bytes - first if size is None else size
        key = (op.index, tensor.index, first)
        if key not in self.constants:
            buffer = Buffer(f"{tensor.name}[{first}]", size, in_ring=ring)
            source = WEIGHTS_SPACE + tensor.offset + first
            buffer.load = copy_command(op.index, source, buffer, (1, size, size, size))
            self.constants[key] = buffer
        return self.constants[key]

    def value(self, tensor: Tensor) -> Tiles:
        """Return the matrix a tensor holds at the moment."""
        return self.values[tensor.index]

    def result(self, tensor: Tensor) -> Tiles:
        """Give a tensor a new value."""
        rows = self.max_length if tensor.dynamic else tensor.dims[0]
        size, lines = SIZES[tensor.dtype], up8(tensor.dims[1]) // 8
        in_one_bank = tensor.index in self.attended and lines % chip.BANKS == 0
        pad = PAD if in_one_bank else 0
        made = make_tiles(tensor.name, rows, tensor.dims[1], size, tensor.dynamic, pad)
        self.values[tensor.index] = made
        return made

    def _group_key(self, op: Op) -> tuple[object, ...]:
        if op.kind not in ROW_WISE:
            return (op.index,)
        out = op.outputs[0]
        return (ROW_WISE, out.dynamic, out.dims[0])

    def _row_wise(self, ops: list[Op]) -> None:
        makers = {"EMBED": self._embed, "LAYERNORM": self._layernorm, "ADD": self._add}
        emitters = [makers[op.kind](op) for op in ops]
        out = self.value(ops[0].outputs[0])
        for part in split_rows(out.rows):
            for emit in emitters:
                emit(part)

    def _single(self, op: Op) -> None:
        if op.kind == "GEMM":
            self._gemm(op)
        elif op.kind == "ATTENTION":
            lower_attention(self, op)
        elif op.kind == "POOL":
            self._pool(op)

    def _pinned(self, tensor: Tensor) -> Buffer:
        return Buffer(tensor.name, self.max_length * SIZES[tensor.dtype], pinned=tensor.offset)

    def _embed(self, op: Op) -> Callable[[Part], None]:
        out = self.result(required(op, "out"))
        return lambda part: self._embed_part(op, out, part)

    def _embed_part(self, op: Op, out: Tiles, part: Part) -> None:
        ids, word = required(op, "ids"), required(op, "word")
        types, table = op.operands["types"], op.operands["type"]
        width, local = out.columns, Part(0, part.rows)
        words = make_tiles(f"{op.name} words", part.rows, width, 1, True)
        words.buffer.load = self._gather(op, part, word, words.buffer, words.row_lines)
        multipliers = Buffer(f"{op.name} multipliers", 2 * part.rows)
        multipliers.load = self._gather(op, part, required(op, "word_multiplier"), multipliers, 0)
        positions = make_tiles(f"{op.name} positions", part.rows, width, 2, True)
        positions.buffer.load = self._positions(op, part, positions)
        fields = {
            **row_fields(part, True),
            "FLAGS": flags((types is not None, chip.EmbedFlag.TYPES)),
            "SHIFT": op.params["shift"],
            "COLUMNS": width,
            "X_ROW": words.row_lines,
            "Y_ROW": positions.row_lines,
            "OUT_ROW": out.row_lines,
        }
        accesses = [
            words.access("X", local),
            Access("SCALE", multipliers, 0, 2 * part.rows),
            positions.access("Y", local),
            out.access("OUT", part, is_written=True),
        ]
        if types is not None and table is not None:
            fields["INDEX_LIMIT"] = at_most(op, "rows of types", table.dims[0], 65535)
            accesses.append(self._type_table(op, table))
            index = self.inputs[types.index]
            accesses.append(Access("INDEX", index, 4 * part.first, 4 * part.rows))
        at_most(op, "rows of words", word.dims[0], 2**32 - 1)
        assert ids.index in self.inputs
        self.emit("EMBED", op, fields, accesses)

    def _gather(self, op: Op, part: Part, table: Tensor, target: Buffer, row: int) -> Command:
        """Rows of a table by the ids; into tiles where `row` is their stride in lines."""
        ids = self.inputs[required(op, "ids").index]
        row_bytes = table.row_stride * SIZES[table.dtype]
        strides = (row_bytes, 64 * row if row else row_bytes)
        shape = (part.rows, row_bytes, *strides)
        load = copy_command(op.index, WEIGHTS_SPACE + table.offset, target, shape)
        tiles = chip.DmaFlag.TARGET_TILES if row else 0
        load.fields |= {**row_fields(part, True), "FLAGS": int(chip.DmaFlag.GATHER | tiles)}
        load.fields["INDEX_LIMIT"] = table.dims[0]
        load.accesses.append(Access("INDEX", ids, 4 * part.first, 4 * part.rows))
        return load

    def _positions(self, op: Op, part: Part, target: Tiles) -> Command:
        table = required(op, "position")
        row_bytes = 2 * target.columns
        source = WEIGHTS_SPACE + table.offset + part.first * row_bytes
        shape = (part.rows, row_bytes, row_bytes, 64 * target.row_lines)
        load = copy_command(op.index, source, target.buffer, shape)
        load.fields |= row_fields(part, True)
        load.fields["FLAGS"] = int(chip.DmaFlag.TARGET_TILES | chip.DmaFlag.WIDE)
        return load

    def _type_table(self, op: Op, table: Tensor) -> Access:
        """Rows of types, each rounded up to whole lines."""
        key = (op.index, table.index, 0)
        row_bytes = 2 * table.dims[1]
        size = table.dims[0] * align(row_bytes)
        if key not in self.constants:
            buffer = Buffer(table.name, size)
            shape = (table.dims[0], row_bytes, row_bytes, align(row_bytes))
            source = WEIGHTS_SPACE + table.offset
            buffer.load = copy_command(op.index, source, buffer, shape)
            self.constants[key] = buffer
        return Access("TABLE", self.constants[key], 0, size)

    def _layernorm(self, op: Op) -> Callable[[Part], None]:
        x = self.value(required(op, "x"))
        outs = {
            letter.upper(): self.result(required(op, f"out_{letter}"))
            for letter in "ab"
            if op.operands[f"out_{letter}"] is not None
        }
        return lambda part: self._layernorm_part(op, x, outs, part)

    def _layernorm_part(self, op: Op, x: Tiles, outs: dict[str, Tiles], part: Part) -> None:
        p, sizes = op.params, {side: out.size for side, out in outs.items()}
        fields = {
            **row_fields(part, x.dynamic),
            "FLAGS": flags(
                (sizes["A"] == 2, chip.NormFlag.A_INT16),
                ("B" in sizes, chip.NormFlag.HAS_B),
                (sizes.get("B") == 2, chip.NormFlag.B_INT16),
            ),
            "EPSILON_LOW": p["epsilon_low"] & 0xFFFFFFFF,
            "EPSILON_HIGH": p["epsilon_high"],
            "COLUMNS": x.columns,
            "X_ROW": x.row_lines,
        }
        accesses = [x.access("X", part)]
        for side, out in outs.items():
            letter = side.lower()
            fields[f"SHIFT_{side}"] = p[f"shift_{letter}"]
            fields[f"ZERO_{side}"] = p[f"zero_point_{letter}"]
            fields[f"OUT_{side}_ROW"] = out.row_lines
            affine = self.constant(op, required(op, f"affine_{letter}"))
            accesses.append(Access(f"AFFINE_{side}", affine, 0, affine.bytes))
            accesses.append(out.access(f"OUT_{side}", part, is_written=True))
        self.emit("NORM", op, fields, accesses)

    def _add(self, op: Op) -> Callable[[Part], None]:
        x, y = (self.value(required(op, name)) for name in "ab")
        out = self._in_place(op, required(op, "a"), required(op, "out"))
        return lambda part: self._add_part(op, (x, y, out), part)

    def _in_place(self, op: Op, x: Tensor, out: Tensor) -> Tiles:
        """Give `out` a new value in the place of `x`, if that is not needed any more."""
        later = self.blob.ops[op.index + 1 :]
        if x in self.blob.outputs or any(x in other.reads for other in later):
            return self.result(out)
        self.values[out.index] = self.value(x)
        return self.value(x)

    def _add_part(self, op: Op, matrices: tuple[Tiles, Tiles, Tiles], part: Part) -> None:
        x, y, out = matrices
        fields = {
            **row_fields(part, out.dynamic),
            "MULTIPLIER_X": op.params["multiplier_a"],
            "MULTIPLIER_Y": op.params["multiplier_b"],
            "SHIFT": op.params["shift"],
            "COLUMNS": out.columns,
            "X_ROW": x.row_lines,
            "Y_ROW": y.row_lines,
            "OUT_ROW": out.row_lines,
        }
        accesses = [
            x.access("X", part),
            y.access("Y", part),
            out.access("OUT", part, is_written=True),
        ]
        self.emit("ADD", op, fields, accesses)

    def _gemm(self, op: Op) -> None:
        x = self.value(required(op, "x"))
        out = self.result(required(op, "out"))
        self._table(op)
        chunks = self._chunks(op, x.columns, out.columns)
        for part, (first, columns) in skewed(split_rows(out.rows), chunks):
            self._gemm_part(op, (x, out), part, first, columns)

    def _table(self, op: Op) -> None:
        tensor = op.operands["table"]
        if tensor is not None:
            table = self.constant(op, tensor)
            fields = {"FLAGS": SIZES[tensor.dtype] - 1}
            self.emit("BLOCK_TABLE", op, fields, [Access("A", table, 0, table.bytes)])

    def _chunks(self, op: Op, depth: int, width: int) -> list[tuple[int, int]]:
        """Return the columns of each chunk of weights: (first, number of columns)."""
        blocks, block_bytes = up8(width) // 8, 8 * up8(depth)
        count = max(1, -(-blocks * block_bytes // self.settings.chunk_bytes))
        count = min(count, blocks)
        borders = [8 * (blocks * i // count) for i in range(count)] + [width]
        return [(low, high - low) for low, high in pairwise(borders)]

    def _gemm_part(
        self, op: Op, matrices: tuple[Tiles, Tiles], part: Part, first: int, columns: int
    ) -> None:
        """One chunk of the weights for one part of the rows."""
        x, out = matrices
        depth_lines = up8(x.columns) // 8
        size = up8(columns) // 8 * depth_lines * 64
        weights = self.constant(
            op, required(op, "weights"), first // 8 * depth_lines * 64, size, ring=True
        )
        requant = self.constant(op, required(op, "requant"))
        fields = {
            **row_fields(part, out.dynamic),
            "FLAGS": flags(
                (x.size == 2, chip.GemmFlag.A_WIDE),
                (out.size == 2, chip.GemmFlag.OUT_INT16),
                (op.operands["table"] is not None, chip.GemmFlag.TABLE),
            ),
            "ZERO_POINT": op.params["zero_point"],
            "CLAMP_LOW": op.params["clamp_low"],
            "CLAMP_HIGH": op.params["clamp_high"],
            "A_ROW": x.row_lines,
            "B_COLUMN": depth_lines,
            "B_DEPTH": 1,
            "C_ROW": out.row_lines,
            "COLUMNS": columns,
            "DEPTH": x.columns,
        }
        accesses = [
            x.access("A", part),
            Access("B", weights, 0, size),
            Access("REQUANT", requant, 8 * first, 8 * up8(columns)),
            out.access("C", part, first, columns, is_written=True),
        ]
        self.emit("GEMM", op, fields, accesses)

    def _pool(self, op: Op) -> None:
        x, p = self.value(required(op, "x")), op.params
        out, mask = self.result(required(op, "out")), op.operands["mask"]
        is_mean = p["mode"] == 1
        part = Part(0, x.rows if is_mean else 1)
        fields = {
            "ROWS": part.rows,
            "ROWS_PARAM": int(is_mean),
            "FLAGS": flags(
                (x.size == 2, chip.PoolFlag.X_INT16),
                (out.size == 2, chip.PoolFlag.OUT_INT16),
                (mask is not None, chip.PoolFlag.MASK),
                (is_mean, chip.PoolFlag.MEAN),
            ),
            "MULTIPLIER": p["multiplier"],
            "SHIFT": p["shift"],
            "COLUMNS": x.columns,
            "X_ROW": x.row_lines,
            "ZERO_X": p["zero_point_in"],
            "ZERO_POINT": p["zero_point"],
        }
        accesses = [x.access("X", part), out.access("OUT", Part(0, 1), is_written=True)]
        if mask is not None:
            accesses.append(Access("MASK", self.inputs[mask.index], 0, x.rows))
        self.emit("POOL", op, fields, accesses)

    def _output(self, tensor: Tensor) -> None:
        """Row by row to the place the runtime reads it from."""
        source = self.value(tensor)
        row_bytes, stride = source.columns * source.size, tensor.row_stride * source.size
        target = Buffer(f"output {tensor.name}", source.rows * stride, pinned=tensor.offset)
        part = Part(0, source.rows)
        wide = (source.size == 2, chip.DmaFlag.WIDE)
        fields = {
            **row_fields(part, source.dynamic),
            "FLAGS": flags((True, chip.DmaFlag.SOURCE_TILES), wide),
            "SOURCE_STRIDE": 64 * source.row_lines,
            "TARGET_STRIDE": stride,
            "ROW_BYTES": row_bytes,
        }
        accesses = [
            source.access("SOURCE", part),
            Access("TARGET", target, 0, target.bytes, is_written=True),
        ]
        self.commands.append(Command("COPY", self._last_writer(tensor), fields, accesses))

    def _last_writer(self, tensor: Tensor) -> int:
        return max(op.index for op in self.blob.ops if tensor in op.outputs)


def copy_command(
    tag: int, source: int, target: Buffer, shape: tuple[int, int, int, int]
) -> Command:
    """Rows from external memory into a buffer; shape: rows, bytes of one, the two strides."""
    rows, row_bytes, source_stride, target_stride = shape
    fields = {
        "SOURCE": source,
        "SOURCE_STRIDE": source_stride,
        "TARGET_STRIDE": target_stride,
        "ROWS": rows,
        "ROW_BYTES": row_bytes,
    }
    return Command("COPY", tag, fields, [Access("TARGET", target, 0, target.bytes, (), True)])


def skewed(
    parts: list[Part], chunks: list[tuple[int, int]]
) -> Iterator[tuple[Part, tuple[int, int]]]:
    """Pairs of part and chunk; each part follows the one before it at a distance of LAG chunks.

    So the rows a part needs can become ready while the part before it is computed.
    """
    for step in range(len(chunks) + LAG * (len(parts) - 1)):
        for number, part in enumerate(parts):
            chunk = step - LAG * number
            if 0 <= chunk < len(chunks):
                yield part, chunks[chunk]


def required(op: Op, name: str) -> Tensor:
    """Return an operand that is there in every valid blob."""
    tensor = op.operands[name]
    assert tensor is not None
    return tensor


def at_most(op: Op, what: str, found: int, limit: int) -> int:
    """Refuse what a field of a command cannot hold."""
    if found > limit:
        raise NoPlan(f"{op.place}: it has {found} {what}, CS2 takes at most {limit}.")
    return found
