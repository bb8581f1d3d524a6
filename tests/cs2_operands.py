"""Which bytes a CS2 command reads and writes, and what makes a descriptor invalid.

Written from CHIP.md and the tables of commands alone; it serves the reference of the CS2 commands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cs2_words import Command, up8, word_of
from csc_convert.cs2_format import (
    MAX_DEPTH_S8,
    MAX_DEPTH_WIDE,
    MAX_KEYS,
    MAX_NORM,
    PARAMS,
    Cause,
    DmaFlag,
    ElementFlag,
    EmbedFlag,
    GemmFlag,
    NormFlag,
    PoolFlag,
    SoftmaxFlag,
    Space,
)

LINE = 64
# Flags of GEMM that contradict each other.
EXCLUSIVE = [
    {"A_WIDE", "A_UNSIGNED"},
    {"OUT_INT16", "OUT_INT32"},
    {"TABLE", "OUT_INT32"},
    *({"CONTEXT", other} for other in ("OUT_INT32", "TABLE", "CONV", "DEPTHWISE")),
    {"CONV", "DEPTHWISE"},
    *({"DEPTHWISE", other} for other in ("A_WIDE", "A_UNSIGNED", "B_TRANSPOSED")),
]
BATCHED = ("GEMM", "SOFTMAX")
WINDOWED = GemmFlag.CONV | GemmFlag.DEPTHWISE


class CommandError(Exception):
    """A command that CS2 refuses: cause and info as in ERROR and ERROR_INFO."""

    def __init__(self, cause: Cause, info: int) -> None:
        super().__init__(f"{cause.name}, info {info}")
        self.cause, self.info = cause, info
        self.number = self.tag = self.engine = self.code = -1


@dataclass(frozen=True)
class Shape:
    """Rows, columns and depth of a command, bounded by its parameters or not."""

    rows: int
    columns: int
    depth: int

    @property
    def is_empty(self) -> bool:
        return 0 in (self.rows, self.columns, self.depth)


def static_shape(command: Command) -> Shape:
    """1 stands for what a command does not have."""
    fields = command.fields
    return Shape(fields.get("ROWS") or 1, fields.get("COLUMNS", 1), fields.get("DEPTH", 1))


def dynamic_shape(command: Command, params: list[int]) -> Shape:
    shape = static_shape(command)
    rows, columns, depth = shape.rows, shape.columns, shape.depth
    if command.ROWS_PARAM:
        first = command.fields.get("ROW_FIRST", 0)
        rows = min(rows, max(params[command.ROWS_PARAM - 1] - first, 0))
    if command.COLUMNS_PARAM:
        columns = min(columns, params[command.COLUMNS_PARAM - 1])
    if command.DEPTH_PARAM:
        depth = min(depth, params[command.DEPTH_PARAM - 1])
    return Shape(rows, columns, depth)


Level = tuple["int | np.ndarray", int]


@dataclass(frozen=True)
class Area:
    """Bytes of one operand: runs of bytes that begin in a pattern of places, in one space.

    A level is (count, stride in bytes) or (numbers, stride), outermost first.
    A run of bytes in a row of tiles is cut into pieces, 8 pieces apart; piece 0 is no tiles.
    Nothing is spread out before it is asked for, since a wrong descriptor can name any sizes.
    """

    field: str
    address: int
    levels: tuple[Level, ...]
    run: int
    align: int = LINE
    is_written: bool = False
    piece: int = 0
    moved: int = 0

    @property
    def space(self) -> int:
        return self.address >> 30

    @property
    def first(self) -> int:
        return (self.address & (1 << 30) - 1) + self.moved

    @property
    def starts(self) -> np.ndarray:
        starts = np.array([self.first], np.int64)
        for count, stride in self.levels:
            numbers = np.arange(count, dtype=np.int64) if isinstance(count, int) else count
            starts = (starts[:, None] + numbers * stride).reshape(-1)
        return starts

    @property
    def offsets(self) -> np.ndarray:
        offsets = np.arange(self.run, dtype=np.int64)
        if self.piece:
            offsets = offsets // self.piece * (8 * self.piece) + offsets % self.piece
        return offsets

    @property
    def end(self) -> int:
        """Behind the last byte."""
        last = self.run - 1
        if self.piece:
            last = last // self.piece * (8 * self.piece) + last % self.piece
        for count, stride in self.levels:
            last += ((count if isinstance(count, int) else int(max(count)) + 1) - 1) * stride
        return self.first + last + 1

    @property
    def indices(self) -> np.ndarray:
        return self.starts[:, None] + self.offsets


def tiles(command, field, rows, columns, row_lines, size, batch_lines=0, is_written=False):
    """The area of a matrix in tiles; `size` is that of an element."""
    address = command.fields[field]
    levels = (command.BATCH, batch_lines * LINE), (up8(rows) // 8, row_lines * LINE)
    return Area(field, address, levels, up8(columns) * 8 * size, LINE, is_written)


def flat(command, field, count, align=LINE, is_written=False):
    """The area of `count` bytes that follow each other."""
    address = command.fields[field]
    return Area(field, address, (), count, align, is_written)


# --- operands of each command ---------------------------------------------------------------------


def tile_rows(rows: np.ndarray, stride: int, piece: int) -> np.ndarray:
    """Where rows of a matrix in tiles begin."""
    return rows // 8 * stride + rows % 8 * piece


def copy_side(command: Command, side: str, rows: np.ndarray, params: list[int]) -> Area:
    """Where the given rows of SOURCE or TARGET lie."""
    address, stride = command.fields[side], command.fields[f"{side}_STRIDE"]
    parameter = command.fields[f"{side}_PARAM"]
    piece, moved = 0, params[parameter - 1] * stride if parameter else 0
    level: Level = (rows, stride)
    if command.FLAGS & DmaFlag[f"{side}_TILES"]:
        piece = 16 if command.FLAGS & DmaFlag.WIDE else 8
        level = (tile_rows(rows, stride, piece), 1)
    is_written, align = side == "TARGET", piece or 1
    return Area(side, address, (level,), command.ROW_BYTES, align, is_written, piece, moved)


def copy_areas(command: Command, shape: Shape, params: list[int], index=None) -> list[Area]:
    """`index` is the rows of a GATHER, or None for the first and last of its table."""
    rows = np.arange(shape.rows, dtype=np.int64)
    areas, source = [], rows
    if command.FLAGS & DmaFlag.GATHER:
        areas.append(flat(command, "INDEX", 4 * shape.rows, 4))
        source = np.array([0, max(command.INDEX_LIMIT - 1, 0)]) if index is None else index
    areas.append(copy_side(command, "SOURCE", source, params))
    return [*areas, copy_side(command, "TARGET", rows, params)]


def gemm_sizes(command: Command) -> tuple[int, int]:
    """Bytes of an element of A and of C."""
    flags = command.FLAGS
    wide = {GemmFlag.OUT_INT16: 2, GemmFlag.OUT_INT32: 4}
    c_size = max([size for flag, size in wide.items() if flags & flag], default=1)
    return 2 if flags & GemmFlag.A_WIDE else 1, c_size


def gemm_rows(command: Command, shape: Shape, geometry) -> tuple[int, int]:
    """Rows of A and C that their rows of tiles stand for."""
    if command.FLAGS & WINDOWED:
        g = geometry
        return g.IN_HEIGHT * up8(g.IN_WIDTH), g.OUT_HEIGHT * up8(g.OUT_WIDTH)
    return shape.rows, shape.rows


def weight_blocks(command: Command, shape: Shape, geometry) -> tuple[int, int]:
    """Blocks of B: (of 8 columns, in depth)."""
    depth = up8(shape.depth) // 8
    if command.FLAGS & GemmFlag.DEPTHWISE:
        return depth, up8(geometry.KERNEL_WIDTH * geometry.KERNEL_HEIGHT) // 8
    if command.FLAGS & GemmFlag.CONV:
        depth *= geometry.KERNEL_WIDTH * geometry.KERNEL_HEIGHT
    return up8(shape.columns) // 8, depth


def b_area(command: Command, shape: Shape, geometry) -> Area:
    across, deep = weight_blocks(command, shape, geometry)
    step = 1 if command.FLAGS & GemmFlag.DEPTHWISE else command.B_DEPTH
    levels = (
        (command.BATCH, command.B_BATCH * LINE),
        (across, command.B_COLUMN * LINE),
        (deep, step * LINE),
    )
    return Area("B", command.B, levels, LINE)


def gemm_areas(command: Command, shape: Shape, geometry) -> list[Area]:
    a_size, c_size = gemm_sizes(command)
    a_rows, c_rows = gemm_rows(command, shape, geometry)
    a = tiles(command, "A", a_rows, shape.depth, command.A_ROW, a_size, command.A_BATCH)
    areas = [a, b_area(command, shape, geometry)]
    if command.FLAGS & GemmFlag.CONTEXT:
        areas.append(flat(command, "REQUANT", 8 * command.BATCH, 8))
        levels = (command.BATCH, command.RECIP_BATCH * LINE), (up8(shape.rows) // 8, LINE)
        areas.append(Area("RECIP", command.RECIP, levels, LINE))
    elif not command.FLAGS & GemmFlag.OUT_INT32:
        areas.append(flat(command, "REQUANT", 8 * up8(shape.columns)))
    c = tiles(command, "C", c_rows, shape.columns, command.C_ROW, c_size, command.C_BATCH, True)
    return [*areas, c]


def norm_areas(command: Command, shape: Shape) -> list[Area]:
    rows, columns, flags = shape.rows, shape.columns, command.FLAGS
    size = 2 if flags & NormFlag.A_INT16 else 1
    areas = [
        tiles(command, "X", rows, columns, command.X_ROW, 2),
        flat(command, "AFFINE_A", 8 * up8(columns)),
        tiles(command, "OUT_A", rows, columns, command.OUT_A_ROW, size, is_written=True),
    ]
    if flags & NormFlag.HAS_B:
        size = 2 if flags & NormFlag.B_INT16 else 1
        areas.append(flat(command, "AFFINE_B", 8 * up8(columns)))
        areas.append(tiles(command, "OUT_B", rows, columns, command.OUT_B_ROW, size, 0, True))
    return areas


def element_areas(command: Command, shape: Shape) -> list[Area]:
    """ADD, MUL and LOOKUP."""
    flags = command.fields.get("FLAGS", 7)
    areas = []
    for field in ("X", "Y", "OUT") if command.name != "LOOKUP" else ("X", "OUT"):
        size = 2 if flags & ElementFlag[f"{field}_INT16"] else 1
        row = command.fields[f"{field}_ROW"]
        areas.append(tiles(command, field, shape.rows, shape.columns, row, size, 0, field == "OUT"))
    return areas


def softmax_areas(command: Command, shape: Shape) -> list[Area]:
    rows, columns = shape.rows, shape.columns
    areas = [tiles(command, "X", rows, columns, command.X_ROW, 4, command.X_BATCH)]
    if command.FLAGS & SoftmaxFlag.MASK:
        areas.append(flat(command, "MASK", columns))
    areas.append(flat(command, "REQUANT", 8 * command.BATCH, 8))
    areas.append(tiles(command, "OUT", rows, columns, command.OUT_ROW, 1, command.OUT_BATCH, True))
    levels = (command.BATCH, command.RECIP_BATCH * LINE), (up8(rows) // 8, LINE)
    return [*areas, Area("RECIP", command.RECIP, levels, LINE, LINE, True)]


def pool_areas(command: Command, shape: Shape) -> list[Area]:
    size = [1, 2]
    flags, columns = command.FLAGS, shape.columns
    x_size = size[bool(flags & PoolFlag.X_INT16)]
    areas = [tiles(command, "X", shape.rows, columns, command.X_ROW, x_size)]
    if flags & PoolFlag.MASK:
        areas.append(flat(command, "MASK", shape.rows))
    out_size = size[bool(flags & PoolFlag.OUT_INT16)]
    return [*areas, tiles(command, "OUT", 8, columns, 0, out_size, is_written=True)]


def embed_areas(command: Command, shape: Shape) -> list[Area]:
    rows, columns = shape.rows, shape.columns
    areas = [
        tiles(command, "X", rows, columns, command.X_ROW, 1),
        flat(command, "SCALE", 2 * rows),
        tiles(command, "Y", rows, columns, command.Y_ROW, 2),
    ]
    if command.FLAGS & EmbedFlag.TYPES:
        width = (command.COLUMNS + 31) // 32 * 32
        areas.append(flat(command, "TABLE", 2 * width * command.INDEX_LIMIT))
        areas.append(flat(command, "INDEX", 4 * rows))
    return [*areas, tiles(command, "OUT", rows, columns, command.OUT_ROW, 2, 0, True)]


def transpose_areas(command: Command, shape: Shape) -> list[Area]:
    x = tiles(command, "X", shape.rows, shape.columns, command.X_ROW, 1)
    return [x, tiles(command, "OUT", shape.columns, shape.rows, command.OUT_ROW, 1, 0, True)]


def table_areas(command: Command, field: str) -> list[Area]:
    return [flat(command, field, 2048 if command.FLAGS & 1 else 1024)]


def areas_of(command: Command, shape: Shape, params=(0,) * PARAMS, geometry=None, index=None):
    """All operands of a command with the given shape."""
    name = command.name
    if name == "COPY":
        return copy_areas(command, shape, params, index)
    if name == "GEMM":
        return gemm_areas(command, shape, geometry)
    if name in ("BLOCK_TABLE", "VECTOR_TABLE"):
        return table_areas(command, "A" if name == "BLOCK_TABLE" else "X")
    makers = {"NORM": norm_areas, "SOFTMAX": softmax_areas, "POOL": pool_areas}
    makers |= dict.fromkeys(("ADD", "MUL", "LOOKUP"), element_areas)
    makers |= {"EMBED": embed_areas, "TRANSPOSE": transpose_areas}
    return makers[name](command, shape) if name in makers else []


def uses_index(command: Command) -> bool:
    """Whether a command takes rows of a table by number."""
    flag = {"COPY": DmaFlag.GATHER, "EMBED": EmbedFlag.TYPES}.get(command.name, 0)
    return bool(flag and command.FLAGS & flag)


def is_windowed(command: Command) -> bool:
    """Whether a command gathers its rows as GEOMETRY says."""
    return command.name == "GEMM" and bool(command.FLAGS & WINDOWED)


# --- what is refused ------------------------------------------------------------------------------


class Checker:
    """Refuses what CHIP.md says is invalid; sizes are those of the spaces."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def fail(self, command: Command, cause: Cause, field: str) -> None:
        raise CommandError(cause, word_of(command.name, field))

    def check(self, command: Command, state) -> None:
        """`state` tells the geometry and the types of the tables that earlier commands set."""
        self.check_header(command)
        self.check_shape(command, state)
        self.check_values(command)
        self.check_tables(command, state)
        areas = areas_of(command, static_shape(command), geometry=state.geometry)
        for area in areas:
            self.check_area(command, area)
        if command.name == "COPY":
            self.check_sides(command, areas[-2:])

    def check_sides(self, command: Command, sides: list[Area]) -> None:
        """Rows of tiles begin where a row of a tile may begin."""
        for side in sides:
            if command.fields[f"{side.field}_STRIDE"] % side.align:
                self.fail(command, Cause.ALIGNMENT, f"{side.field}_STRIDE")

    def check_header(self, command: Command) -> None:
        """A shape may only be bounded where there is one, and by a register that exists."""
        is_window = is_windowed(command)
        batch = command.BATCH
        if batch == 0 or (batch > 1 and (command.name not in BATCHED or is_window)):
            self.fail(command, Cause.SHAPE, "BATCH")
        for shape in ("ROWS", "COLUMNS", "DEPTH"):
            number = command.fields[f"{shape}_PARAM"]
            if number > PARAMS or (number and (shape not in command.fields or is_window)):
                self.fail(command, Cause.VALUE, f"{shape}_PARAM")
        if command.name != "COPY" and command.SOURCE_PARAM | command.TARGET_PARAM:
            self.fail(command, Cause.VALUE, "SOURCE_PARAM")

    def check_shape(self, command: Command, state) -> None:
        is_window = is_windowed(command)
        shapes = ("COLUMNS", "DEPTH", "ROW_BYTES")
        for field in shapes if is_window else ("ROWS", *shapes):
            if command.fields.get(field) == 0:
                self.fail(command, Cause.SHAPE, field)
        if command.name == "COPY" and command.ROW_BYTES >= 2**31:
            self.fail(command, Cause.SHAPE, "ROW_BYTES")
        if command.name == "GEOMETRY":
            self.check_geometry(command)
        if command.name == "GEMM":
            self.check_gemm(command, state)
        limit = {"NORM": MAX_NORM, "SOFTMAX": MAX_KEYS}.get(command.name)
        if limit is not None and limit < command.COLUMNS:
            self.fail(command, Cause.SHAPE, "COLUMNS")
        if uses_index(command) and not 0 < command.INDEX_LIMIT < 2**31:
            self.fail(command, Cause.SHAPE, "INDEX_LIMIT")

    def check_geometry(self, command: Command) -> None:
        for field in ("IN_WIDTH", "IN_HEIGHT", "OUT_WIDTH", "OUT_HEIGHT"):
            if command.fields[field] == 0:
                self.fail(command, Cause.SHAPE, field)
        for field, high in (("KERNEL_WIDTH", 15), ("KERNEL_HEIGHT", 15), ("STRIDE_X", 2)):
            self.check_within(command, field, 1, high)
        self.check_within(command, "STRIDE_Y", 1, 2)
        self.check_within(command, "PAD_LEFT", 0, command.KERNEL_WIDTH - 1)
        self.check_within(command, "PAD_TOP", 0, command.KERNEL_HEIGHT - 1)

    def check_gemm(self, command: Command, state) -> None:
        flags, terms = command.FLAGS, up8(command.DEPTH)
        if flags & WINDOWED:
            if state.geometry is None:
                self.fail(command, Cause.VALUE, "FLAGS")
            if command.ROWS:
                self.fail(command, Cause.SHAPE, "ROWS")
            window = state.geometry.KERNEL_WIDTH * state.geometry.KERNEL_HEIGHT
            terms = window if flags & GemmFlag.DEPTHWISE else terms * window
        if flags & GemmFlag.DEPTHWISE and command.COLUMNS != command.DEPTH:
            self.fail(command, Cause.SHAPE, "COLUMNS")
        limit = MAX_DEPTH_WIDE if flags & GemmFlag.A_WIDE else MAX_DEPTH_S8
        if terms > (MAX_KEYS if flags & GemmFlag.CONTEXT else limit):
            self.fail(command, Cause.BOUND, "DEPTH")

    def check_within(self, command: Command, field: str, low: int, high: int) -> None:
        if not low <= command.fields[field] <= high:
            self.fail(command, Cause.VALUE, field)

    def check_values(self, command: Command) -> None:
        name, fields = command.name, command.fields
        limits = {"MULTIPLIER": (0, 32767), "MULTIPLIER_X": (0, 16384), "MULTIPLIER_Y": (0, 16384)}
        limits |= dict.fromkeys(("ZERO_X", "ZERO_Y", "ZERO_A"), (-32768, 32768))
        limits["SHIFT"] = (1, {"ADD": 29, "EMBED": 31}.get(name, 46))
        limits["SHIFT_A"] = (1, 29)
        if name in ("MUL", "LOOKUP", "POOL"):
            limits["ZERO_POINT"] = (-32768, 32768)
        if name == "NORM":
            if command.FLAGS & NormFlag.HAS_B:
                limits |= {"SHIFT_B": (1, 29), "ZERO_B": (-32768, 32768)}
            limits["EPSILON_HIGH"] = (0, 2**22 - 1)
            limits["EPSILON_LOW"] = (0 if command.EPSILON_HIGH else 1, 2**32 - 1)
        for field, (low, high) in limits.items():
            if field in fields:
                self.check_within(command, field, low, high)
        self.check_flags(command)

    def check_flags(self, command: Command) -> None:
        kinds = {"COPY": DmaFlag, "GEMM": GemmFlag, "NORM": NormFlag, "SOFTMAX": SoftmaxFlag}
        kinds |= {"POOL": PoolFlag, "MUL": ElementFlag, "LOOKUP": ElementFlag, "EMBED": EmbedFlag}
        if "FLAGS" in command.fields:
            kind = kinds.get(command.name)
            known = sum(kind) if kind else 1
            if command.name == "LOOKUP":
                known -= ElementFlag.Y_INT16
            if command.FLAGS & ~known:
                self.fail(command, Cause.VALUE, "FLAGS")
        if command.name == "GEMM":
            self.check_gemm_flags(command)
        both = DmaFlag.GATHER | DmaFlag.SOURCE_TILES
        if command.name == "COPY" and command.FLAGS & both == both:
            self.fail(command, Cause.VALUE, "FLAGS")

    def check_gemm_flags(self, command: Command) -> None:
        present = {flag.name for flag in GemmFlag if command.FLAGS & flag}
        for pair in EXCLUSIVE:
            if pair <= present:
                self.fail(command, Cause.VALUE, "FLAGS")
        if "OUT_INT32" not in present:
            low, high = -32768, 32767
            if command.FLAGS & GemmFlag.TABLE:
                low, high = 0, 1023
            elif not command.FLAGS & GemmFlag.OUT_INT16:
                low, high = -128, 127
            if not low <= command.CLAMP_LOW <= command.CLAMP_HIGH <= high:
                self.fail(command, Cause.VALUE, "CLAMP_LOW")

    def check_tables(self, command: Command, state) -> None:
        """A table must have been loaded, with entries of the type of the result."""
        uses = command.name == "LOOKUP"
        wide = ElementFlag.OUT_INT16 if uses else GemmFlag.OUT_INT16
        if uses or (command.name == "GEMM" and command.FLAGS & GemmFlag.TABLE):
            table = state.tables.get(command.engine)
            if table is None or (table.dtype == np.int16) != bool(command.FLAGS & wide):
                self.fail(command, Cause.VALUE, "FLAGS")

    def check_area(self, command: Command, area: Area) -> None:
        if (area.address & (1 << 30) - 1) % area.align:
            self.fail(command, Cause.ALIGNMENT, area.field)
        allowed = [Space.SRAM]
        if command.name == "COPY" and area.align == 1:
            allowed += [Space.STORE] if area.is_written else [Space.WEIGHTS, Space.STORE]
        if area.space not in allowed:
            self.fail(command, Cause.RANGE, area.field)
        if area.end > self.sizes[area.space]:
            self.fail(command, Cause.RANGE, area.field)
