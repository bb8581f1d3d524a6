"""ATTENTION -> commands: scores, exponentials, context, chunk by chunk of query rows and heads.

While the vector engine makes the exponentials of a chunk, the block engine makes the scores of the
next one: scores and exponentials have two buffers each, which the chunks take in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from csc_convert import cs2_format as chip
from csc_convert.blob_writer import up8
from csc_convert.errors import NoPlan
from csc_convert.oracle import Op

from .program import LINE, Access, Buffer, Part, Tiles, row_fields

if TYPE_CHECKING:
    from .lower import Lowering

MAX_BATCH = 255
MOST_ROWS = 32
LIMITS = {1: (-128, 127), 2: (-32768, 32767)}


@dataclass(frozen=True)
class Chunk:
    """Query rows and heads of one round."""

    part: Part
    first_head: int
    heads: int

    @property
    def tile_rows(self) -> int:
        """Rows of tiles of its query rows."""
        return up8(self.part.rows) // 8


@dataclass(frozen=True)
class Room:
    """Buffers of one round: scores, exponentials, reciprocals, each by head and row of tiles."""

    scores: Buffer
    weights: Buffer
    reciprocals: Buffer


class AttentionLowering:
    """One ATTENTION."""

    def __init__(self, lowering: Lowering, op: Op) -> None:
        """Check what CS2 needs, take the operands."""
        self.lowering, self.op, self.p = lowering, op, op.params
        self.keys = lowering.max_length
        self.key_tiles = up8(self.keys) // 8
        check_columns(op)
        self.q, self.k, self.v = (self._value(name) for name in "qkv")
        out, requant = op.operands["out"], op.operands["head_requant"]
        assert out is not None and requant is not None
        self.out = lowering.result(out)
        self.requant = lowering.constant(op, requant)

    def run(self) -> None:
        """Scores one chunk ahead of the contexts."""
        chunks = self._chunks()
        rooms = [self._room(chunks[0]) for _ in range(min(2, len(chunks)))]
        self._score(chunks[0], rooms[0])
        for i, chunk in enumerate(chunks):
            room = rooms[i % len(rooms)]
            self._softmax(chunk, room)
            if i + 1 < len(chunks):
                self._score(chunks[i + 1], rooms[(i + 1) % len(rooms)])
            self._context(chunk, room)

    def _value(self, name: str) -> Tiles:
        tensor = self.op.operands[name]
        assert tensor is not None
        return self.lowering.value(tensor)

    def _chunks(self) -> list[Chunk]:
        """As many heads as the scores of 8 rows allow, then as many rows."""
        tile_bytes = self.key_tiles * 4 * LINE
        fit = max(1, self.lowering.settings.score_bytes // tile_bytes)
        heads = min(self.p["heads"], fit, MAX_BATCH)
        rows = min(8 * max(1, fit // heads), MOST_ROWS)
        return [
            Chunk(Part(row, min(rows, self.keys - row)), head, min(heads, self.p["heads"] - head))
            for row in range(0, self.keys, rows)
            for head in range(0, self.p["heads"], heads)
        ]

    def _room(self, chunk: Chunk) -> Room:
        lines = chunk.heads * chunk.tile_rows * self.key_tiles
        name = self.op.name
        return Room(
            Buffer(f"{name} scores", 4 * LINE * lines),
            Buffer(f"{name} exponentials", LINE * lines),
            Buffer(f"{name} reciprocals", LINE * chunk.heads * chunk.tile_rows),
        )

    def _score(self, chunk: Chunk, room: Room) -> None:
        head_tiles = self.p["head_dim"] // 8
        batch = (chunk.heads, head_tiles)
        width, row = self.p["head_dim"], 4 * self.key_tiles
        fields = {
            **row_fields(chunk.part, True),
            "BATCH": chunk.heads,
            "FLAGS": int(chip.GemmFlag.OUT_INT32),
            "COLUMNS_PARAM": 1,
            "A_ROW": self.q.row_lines,
            "B_COLUMN": self.k.row_lines,
            "B_DEPTH": 1,
            "C_ROW": row,
            "COLUMNS": self.keys,
            "DEPTH": width,
            "A_BATCH": head_tiles,
            "B_BATCH": head_tiles,
            "C_BATCH": chunk.tile_rows * row,
        }
        accesses = [
            self.q.access("A", chunk.part, self._column("q", chunk), width, batch=batch),
            self.k.access("B", Part(0, self.keys), self._column("k", chunk), width, batch=batch),
            self._whole("C", room.scores, chunk, row, is_written=True),
        ]
        self.lowering.emit("GEMM", self.op, fields, accesses)

    def _softmax(self, chunk: Chunk, room: Room) -> None:
        mask = self.op.operands["mask"]
        row = self.key_tiles
        fields = {
            **row_fields(chunk.part, True),
            "BATCH": chunk.heads,
            "FLAGS": int(chip.SoftmaxFlag.MASK) if mask is not None else 0,
            "COLUMNS_PARAM": 1,
            "COLUMNS": self.keys,
            "RECIP_BATCH": chunk.tile_rows,
            "X_ROW": 4 * row,
            "OUT_ROW": row,
            "X_BATCH": chunk.tile_rows * 4 * row,
            "OUT_BATCH": chunk.tile_rows * row,
        }
        accesses = [
            self._whole("X", room.scores, chunk, 4 * row),
            self._whole("OUT", room.weights, chunk, row, is_written=True),
            self._whole("RECIP", room.reciprocals, chunk, 1, is_written=True),
            self._requant(chunk),
        ]
        if mask is not None:
            accesses.append(Access("MASK", self.lowering.inputs[mask.index], 0, self.keys))
        self.lowering.emit("SOFTMAX", self.op, fields, accesses)

    def _context(self, chunk: Chunk, room: Room) -> None:
        width, head_tiles = self.p["head_dim"], self.p["head_dim"] // 8
        low, high = LIMITS[self.out.size]
        kind = chip.GemmFlag.A_UNSIGNED | chip.GemmFlag.B_TRANSPOSED | chip.GemmFlag.CONTEXT
        fields = {
            **row_fields(chunk.part, True),
            "BATCH": chunk.heads,
            "FLAGS": int(kind | (chip.GemmFlag.OUT_INT16 if self.out.size == 2 else 0)),
            "DEPTH_PARAM": 1,
            "ZERO_POINT": self.p["zero_point"],
            "CLAMP_LOW": low,
            "CLAMP_HIGH": high,
            "A_ROW": self.key_tiles,
            "B_COLUMN": 1,
            "B_DEPTH": self.v.row_lines,
            "C_ROW": self.out.row_lines,
            "COLUMNS": width,
            "DEPTH": self.keys,
            "A_BATCH": chunk.tile_rows * self.key_tiles,
            "B_BATCH": head_tiles,
            "C_BATCH": head_tiles * self.out.size,
            "RECIP_BATCH": chunk.tile_rows,
        }
        batch = (chunk.heads, head_tiles)
        result = (chunk.heads, head_tiles * self.out.size)
        out_column = chunk.first_head * width
        accesses = [
            self._whole("A", room.weights, chunk, self.key_tiles),
            self.v.access("B", Part(0, self.keys), self._column("v", chunk), width, batch=batch),
            self.out.access("C", chunk.part, out_column, width, is_written=True, batch=result),
            self._requant(chunk),
            self._whole("RECIP", room.reciprocals, chunk, 1),
        ]
        self.lowering.emit("GEMM", self.op, fields, accesses)

    def _column(self, name: str, chunk: Chunk) -> int:
        return self.p[f"{name}_column"] + chunk.first_head * self.p["head_dim"]

    def _whole(
        self, name: str, buffer: Buffer, chunk: Chunk, row: int, is_written: bool = False
    ) -> Access:
        """All of a buffer of a room that the chunk uses; `row` lines per row of tiles."""
        run = chunk.heads * chunk.tile_rows * row * LINE
        return Access(name, buffer, 0, run, (), is_written)

    def _requant(self, chunk: Chunk) -> Access:
        return Access("REQUANT", self.requant, 8 * chunk.first_head, 8 * chunk.heads)


def lower_attention(lowering: Lowering, op: Op) -> None:
    """Append the commands of an ATTENTION."""
    AttentionLowering(lowering, op).run()


def check_columns(op: Op) -> None:
    """Heads must begin with a tile, since the engines address whole tiles."""
    for name in ("head_dim", "q_column", "k_column", "v_column"):
        if op.params[name] % 8:
            raise NoPlan(
                f"{op.place}: {name} is {op.params[name]}, CS2 needs a multiple of 8; "
                "use a head size that is one, or no plan."
            )
