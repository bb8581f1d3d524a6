"""An independent executor of CS2 commands, without clocks: what a program leaves in memory.

Written from CHIP.md and SPEC.md alone, on the arithmetic of the oracle.
Commands run one after another in the order of the queue; with check_hazards=True the waits of the
program must also order every two commands that touch the same bytes, so that the chip, which
overlaps its engines, leaves the same bytes whatever its clocks are.
Bytes that CHIP.md leaves unspecified are filled at random and marked in `unspecified`.
"""

from __future__ import annotations

import numpy as np

from cs2_hazards import HazardChecker, HazardError, Order, WaitError
from cs2_operands import (
    WINDOWED,
    Area,
    Checker,
    CommandError,
    Shape,
    areas_of,
    dynamic_shape,
    uses_index,
)
from cs2_words import NAMES, Command, decode, encode, from_tiles, to_tiles, up8
from csc_convert.cs2_format import (
    COMMANDS,
    PARAMS,
    SRAM_SIZE,
    Cause,
    ElementFlag,
    EmbedFlag,
    Engine,
    GemmFlag,
    NormFlag,
    PoolFlag,
    SoftmaxFlag,
    Space,
)
from csc_convert.oracle import ops
from csc_convert.oracle.arithmetic import EXP, RS, as_int64, clamp, matmul_exact, mean8, recip, rq

__all__ = [
    "CommandError",
    "HazardError",
    "Reference",
    "WaitError",
    "decode",
    "encode",
    "from_tiles",
    "to_tiles",
    "up8",
]


def as_bytes(memory) -> np.ndarray:
    """A view of the caller's bytes where there is one to write through, else a copy."""
    if isinstance(memory, np.ndarray):
        return memory.reshape(-1).view(np.uint8)
    return np.frombuffer(memory if isinstance(memory, bytearray) else bytearray(memory), np.uint8)


def limits_of(dtype) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def requant(acc, entries):
    """rq with packed entries that follow the last axis of `acc`."""
    multiplier, shift = ops.split_requant(as_int64(entries))
    return rq(acc, multiplier, np.maximum(shift, 1))


class Reference:
    """The memories of a chip, and commands done to them."""

    def __init__(
        self, sram=SRAM_SIZE, weights=b"", store=b"", params=(), check_hazards=False, seed=0
    ) -> None:
        """`sram` is a number of bytes or the bytes; `seed` is that of unspecified bytes."""
        self.sram = np.zeros(sram, np.uint8) if isinstance(sram, int) else as_bytes(sram)
        self.weights, self.store = as_bytes(weights), as_bytes(store)
        self.params = [*params, *[0] * (PARAMS - len(params))]
        self.unspecified = {
            Space.SRAM: np.zeros(len(self.sram), bool),
            Space.STORE: np.zeros(len(self.store), bool),
        }
        self.check_hazards = check_hazards
        self.random = np.random.default_rng(seed)
        self.geometry: Command | None = None
        self.tables: dict[str, np.ndarray] = {}
        self.hazards: HazardChecker | None = None

    # --- programs ---------------------------------------------------------------------------------

    def execute(self, descriptors) -> None:
        """Run descriptors, [n][16] words or bytes, as the first commands after a soft reset.

        Raises:
            CommandError: a command is invalid; those before it are done, nothing of it is.
            WaitError: a wait that the commands before it cannot end.
            HazardError: with check_hazards, a race.

        """
        if not isinstance(descriptors, np.ndarray) and isinstance(descriptors, bytes | bytearray):
            descriptors = np.frombuffer(bytes(descriptors), "<u4")
        program = np.asarray(descriptors, np.uint32).reshape(-1, 16)
        sizes = {Space.SRAM: len(self.sram), Space.STORE: len(self.store)}
        self.hazards = HazardChecker(sizes) if self.check_hazards else None
        order = Order()
        for number, words in enumerate(program):
            try:
                self.execute_one(number, words, order)
            except CommandError as error:
                error.number, error.tag = number, int(words[0]) >> 16
                error.code = int(words[0]) & 0xFF
                name = NAMES.get(error.code)
                error.engine = Engine[COMMANDS[name][1] if name else "CONTROL"]
                raise

    def execute_one(self, number: int, words: np.ndarray, order: Order) -> None:
        command = decode(words)
        if command is None:
            raise CommandError(Cause.CODE, int(words[0]) & 0xFF)
        Checker(self.sizes()).check(command, self)
        done = list(order.add(command))
        shape = dynamic_shape(command, self.params)
        if shape.is_empty or command.engine == "CONTROL":
            self.note(number, command, done, [])
            return
        index = self.gather_rows(command, shape)
        areas = areas_of(command, shape, self.params, self.geometry, index)
        for area in areas:
            Checker(self.sizes()).check_area(command, area)
        self.note(number, command, done, areas)
        by_field = {area.field: area for area in areas}
        getattr(self, f"do_{command.name.lower()}")(command, shape, by_field)

    def note(self, number: int, command: Command, done: list[int], areas: list[Area]) -> None:
        if self.hazards is not None:
            self.hazards.add(number, command, done, areas)

    def sizes(self) -> list[int]:
        return [len(self.sram), len(self.weights), len(self.store), 0]

    def gather_rows(self, command: Command, shape: Shape):
        """Rows of a GATHER or None; every index is checked first."""
        if not uses_index(command):
            return None
        start = command.INDEX
        rows = as_int64(self.sram[start : start + 4 * shape.rows].view("<i4"))
        bad = np.flatnonzero((rows < 0) | (rows >= command.INDEX_LIMIT))
        if len(bad):
            raise CommandError(Cause.INDEX, int(bad[0]))
        return rows

    # --- operands ---------------------------------------------------------------------------------

    def memory(self, space: int) -> np.ndarray:
        return {Space.SRAM: self.sram, Space.WEIGHTS: self.weights}.get(Space(space), self.store)

    def load(self, area: Area, dtype) -> np.ndarray:
        """The bytes of an area as [starts][elements]."""
        return np.ascontiguousarray(self.memory(area.space)[area.indices]).view(dtype)

    def load_vector(self, area: Area, dtype) -> np.ndarray:
        return as_int64(self.load(area, dtype)[0])

    def load_matrix(self, area: Area, batch: int, columns: int, dtype) -> np.ndarray:
        """[batch][rows rounded up to 8][columns] as int64."""
        tiles = self.load(area, dtype).reshape(batch, -1, up8(columns) // 8, 8, 8)
        return as_int64(from_tiles(tiles, tiles.shape[1] * 8, columns))

    def put(self, area: Area, data: np.ndarray, is_unspecified) -> None:
        """Write bytes [starts][offsets] and note which of them are unspecified."""
        self.memory(area.space)[area.indices] = data
        self.unspecified[Space(area.space)][area.indices] = is_unspecified

    def store_matrix(self, area: Area, values: np.ndarray, dtype) -> None:
        """Store [batch][rows][columns] into tiles; the rest of the tiles is unspecified."""
        batch, rows, columns = values.shape
        size = np.dtype(dtype).itemsize
        padded = self.random.integers(0, 256, (batch, up8(rows), up8(columns) * size), np.uint8)
        padded = padded.view(dtype)
        padded[:, :rows, :columns] = values
        known = np.zeros(padded.shape, bool)
        known[:, :rows, :columns] = True
        data = self.lines(padded, area).view(np.uint8)
        self.put(area, data, ~self.lines(known, area).repeat(size, axis=-1))

    @staticmethod
    def lines(matrix: np.ndarray, area: Area) -> np.ndarray:
        """[batch][rows8][columns8] -> [starts of tiles][elements]."""
        batch, rows, columns = matrix.shape
        tiles = matrix.reshape(batch, rows // 8, 8, columns // 8, 8).swapaxes(2, 3)
        return np.ascontiguousarray(tiles).reshape(len(area.starts), -1)

    # --- DMA engine -------------------------------------------------------------------------------

    def do_copy(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        source, target = areas["SOURCE"], areas["TARGET"]
        data = self.memory(source.space)[source.indices]
        unspecified = False
        if source.space != Space.WEIGHTS:
            unspecified = self.unspecified[Space(source.space)][source.indices]
        self.put(target, data, unspecified)

    # --- block engine -----------------------------------------------------------------------------

    def do_block_table(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        self.tables["BLOCK"] = self.load(areas["A"], "<i2" if command.FLAGS else "i1")[0]

    def do_geometry(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        self.geometry = command

    def do_gemm(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        if command.FLAGS & WINDOWED:
            acc = self.window_product(command, shape, areas)
        else:
            a = self.left_operand(command, areas["A"], shape.depth)[:, : shape.rows]
            b = self.right_operand(command, shape, areas["B"])
            acc = np.stack([matmul_exact(x, y.T) for x, y in zip(a, b, strict=True)])
        acc = acc[:, :, : shape.columns]
        out, dtype = self.finish(command, shape, acc, areas)
        if command.FLAGS & WINDOWED:
            self.store_image(areas["C"], out, dtype)
        else:
            self.store_matrix(areas["C"], out, dtype)

    def left_operand(self, command: Command, area: Area, depth: int) -> np.ndarray:
        """[batch][rows8][depth8], the columns behind DEPTH included."""
        if command.FLAGS & GemmFlag.A_WIDE:
            return clamp(self.load_matrix(area, command.BATCH, up8(depth), "<i2"), -4096, 4095)
        dtype = "u1" if command.FLAGS & GemmFlag.A_UNSIGNED else "i1"
        return self.load_matrix(area, command.BATCH, up8(depth), dtype)

    def right_operand(self, command: Command, shape: Shape, area: Area) -> np.ndarray:
        """[batch][columns8][depth in the order of its blocks]."""
        blocks = self.load(area, "i1").reshape(command.BATCH, up8(shape.columns) // 8, -1, 8, 8)
        if command.FLAGS & GemmFlag.B_TRANSPOSED:
            blocks = blocks.swapaxes(-1, -2)
        batch, across, deep = blocks.shape[:3]
        return as_int64(blocks.swapaxes(2, 3).reshape(batch, across * 8, deep * 8))

    def windows(self, command: Command, area: Area, depth: int) -> np.ndarray:
        """What lies under each tap: [batch][KERNEL_HEIGHT][KERNEL_WIDTH][OUT_H][OUT_W][depth8]."""
        g = self.geometry
        image = self.left_operand(command, area, depth)
        image = image.reshape(command.BATCH, g.IN_HEIGHT, up8(g.IN_WIDTH), -1)
        y, y_out = self.taps(g.OUT_HEIGHT, g.STRIDE_Y, g.KERNEL_HEIGHT, g.PAD_TOP, g.IN_HEIGHT)
        x, x_out = self.taps(g.OUT_WIDTH, g.STRIDE_X, g.KERNEL_WIDTH, g.PAD_LEFT, g.IN_WIDTH)
        under = image[:, y[:, None, :, None], x[None, :, None, :]]
        outside = y_out[:, None, :, None] | x_out[None, :, None, :]
        return np.where(outside[None, ..., None], g.PAD_VALUE, under)

    @staticmethod
    def taps(out: int, stride: int, kernel: int, pad: int, size: int):
        """Input positions [kernel][out], bounded to the image, and which lay outside."""
        place = np.arange(out) * stride + np.arange(kernel)[:, None] - pad
        return np.clip(place, 0, size - 1), (place < 0) | (place >= size)

    def window_product(self, command: Command, shape: Shape, areas: dict[str, Area]) -> np.ndarray:
        """[batch][OUT_HEIGHT * OUT_WIDTH][columns8] of CONV and DEPTHWISE."""
        windows = self.windows(command, areas["A"], shape.depth)
        batch, height, width, out_height, out_width, depth = windows.shape
        pixels = out_height * out_width
        if command.FLAGS & GemmFlag.DEPTHWISE:
            taps = self.load(areas["B"], "i1").reshape(batch, depth // 8, -1, 8, 8)
            taps = as_int64(taps.transpose(0, 2, 3, 1, 4).reshape(batch, -1, depth))
            flat = windows.reshape(batch, height * width, pixels, depth)
            return (flat * taps[:, : height * width, None]).sum(axis=1)
        blocks = windows.reshape(batch, height, width, pixels, depth // 8, 8)
        a = blocks.transpose(0, 3, 1, 4, 2, 5).reshape(batch, pixels, -1)
        b = self.right_operand(command, shape, areas["B"])
        return np.stack([matmul_exact(x, y.T) for x, y in zip(a, b, strict=True)])

    def finish(self, command: Command, shape: Shape, acc: np.ndarray, areas: dict[str, Area]):
        """What becomes of the sums: (values, dtype)."""
        flags = command.FLAGS
        if flags & GemmFlag.OUT_INT32:
            return acc, "<i4"
        if flags & GemmFlag.CONTEXT:
            acc = self.context(command, shape, acc, areas)
        else:
            entries = self.load_vector(areas["REQUANT"], "<i4").reshape(-1, 2)[: shape.columns]
            acc = requant(acc + entries[:, 0], entries[:, 1])
        out = clamp(acc + command.ZERO_POINT, command.CLAMP_LOW, command.CLAMP_HIGH)
        if flags & GemmFlag.TABLE:
            out = self.tables["BLOCK"][out]
        return out, "<i2" if flags & GemmFlag.OUT_INT16 else "i1"

    def context(self, command: Command, shape: Shape, acc: np.ndarray, areas) -> np.ndarray:
        words = self.load(areas["RECIP"], "<u4").reshape(command.BATCH, -1, 16)[:, :, :8]
        words = as_int64(words.reshape(command.BATCH, -1, 1)[:, : shape.rows])
        r, length = words & 0xFFFF, words >> 16
        means = np.where(r == 0, 0, RS(acc * r, 6 + length))
        entries = self.load_vector(areas["REQUANT"], "<i4").reshape(-1, 2)[:, 1]
        return requant(means, entries[:, None, None])

    def store_image(self, area: Area, out: np.ndarray, dtype) -> None:
        """Store [batch][pixels][channels]; every row of pixels begins a row of tiles."""
        g = self.geometry
        batch, _, channels = out.shape
        rows = out.reshape(batch * g.OUT_HEIGHT, g.OUT_WIDTH, channels)
        self.store_matrix(area, rows, dtype)

    # --- vector engine ----------------------------------------------------------------------------

    def do_vector_table(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        self.tables["VECTOR"] = self.load(areas["X"], "<i2" if command.FLAGS else "i1")[0]

    def rows_of(self, area: Area, shape: Shape, dtype) -> np.ndarray:
        return self.load_matrix(area, 1, shape.columns, dtype)[0, : shape.rows]

    def do_norm(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        x = self.rows_of(areas["X"], shape, "<i2")
        normalized = ops.layernorm_normalize(x, command.EPSILON_LOW + (command.EPSILON_HIGH << 32))
        wide = {"A": NormFlag.A_INT16, "B": NormFlag.B_INT16}
        for side in "AB" if command.FLAGS & NormFlag.HAS_B else "A":
            dtype = "<i2" if command.FLAGS & wide[side] else "i1"
            affine = self.load_vector(areas[f"AFFINE_{side}"], "<i4").reshape(-1, 2)
            affine = affine[: shape.columns]
            scaled = RS(normalized * affine[:, 1] + affine[:, 0], command.fields[f"SHIFT_{side}"])
            out = clamp(scaled + command.fields[f"ZERO_{side}"], *limits_of(dtype))
            self.store_matrix(areas[f"OUT_{side}"], out[None], dtype)

    def do_add(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        x, y = (self.rows_of(areas[each], shape, "<i2") for each in "XY")
        out = ops.add(x, y, command.MULTIPLIER_X, command.MULTIPLIER_Y, command.SHIFT)
        self.store_matrix(areas["OUT"], out[None], "<i2")

    def do_mul(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        factors = []
        for field in "XY":
            dtype = "<i2" if command.FLAGS & ElementFlag[f"{field}_INT16"] else "i1"
            values = self.rows_of(areas[field], shape, dtype) - command.fields[f"ZERO_{field}"]
            factors.append(clamp(values, -32768, 32767))
        scaled = rq(factors[0] * factors[1], command.MULTIPLIER, command.SHIFT)
        dtype = "<i2" if command.FLAGS & ElementFlag.OUT_INT16 else "i1"
        out = clamp(scaled + command.ZERO_POINT, *limits_of(dtype))
        self.store_matrix(areas["OUT"], out[None], dtype)

    def do_lookup(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        dtype = "<i2" if command.FLAGS & ElementFlag.X_INT16 else "i1"
        scaled = rq(self.rows_of(areas["X"], shape, dtype), command.MULTIPLIER, command.SHIFT)
        table = self.tables["VECTOR"]
        out = table[clamp(scaled + command.ZERO_POINT, 0, 1023)]
        self.store_matrix(areas["OUT"], out[None], table.dtype)

    def do_transpose(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        self.store_matrix(areas["OUT"], self.rows_of(areas["X"], shape, "i1").T[None], "i1")

    def do_embed(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        words = self.rows_of(areas["X"], shape, "i1")
        scale = self.load_vector(areas["SCALE"], "<u2")[:, None]
        total = RS(words * scale, command.SHIFT) + self.rows_of(areas["Y"], shape, "<i2")
        if command.FLAGS & EmbedFlag.TYPES:
            table = self.load_vector(areas["TABLE"], "<i2").reshape(command.INDEX_LIMIT, -1)
            total = total + table[self.gather_rows(command, shape), : shape.columns]
        self.store_matrix(areas["OUT"], clamp(total, -32768, 32767)[None], "<i2")

    def do_pool(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        flags = command.FLAGS
        x = self.rows_of(areas["X"], shape, "<i2" if flags & PoolFlag.X_INT16 else "i1")
        visible = np.ones(shape.rows, bool)
        if flags & PoolFlag.MASK:
            visible = self.load_vector(areas["MASK"], "u1") != 0
        values = x - command.ZERO_X
        if flags & PoolFlag.MEAN:
            m = mean8(values[visible].sum(axis=0), int(visible.sum()))
        else:
            m = values[0] * 256
        dtype = "<i2" if flags & PoolFlag.OUT_INT16 else "i1"
        out = rq(m, command.MULTIPLIER, command.SHIFT) + command.ZERO_POINT
        rows = np.zeros((1, 8, shape.columns), np.int64)
        rows[0, 0] = clamp(out, *limits_of(dtype))
        self.store_matrix(areas["OUT"], rows, dtype)

    def do_softmax(self, command: Command, shape: Shape, areas: dict[str, Area]) -> None:
        score = self.load_matrix(areas["X"], command.BATCH, shape.columns, "<i4")[:, : shape.rows]
        visible = self.visible(command, shape, areas)
        lowest = np.iinfo(np.int64).min
        top = np.where(visible, score, lowest).max(axis=2, keepdims=True)
        entries = self.load_vector(areas["REQUANT"], "<i4").reshape(-1, 2)[:, 0]
        below = np.where(visible, top - score, 0)
        index = clamp(requant(below, entries[:, None, None]), 0, 255)
        weights = np.where(visible, EXP[index], 0)
        padded = np.zeros((*weights.shape[:2], up8(shape.columns)), np.int64)
        padded[:, :, : shape.columns] = weights
        self.store_matrix(areas["OUT"], padded, "u1")
        self.store_reciprocals(areas["RECIP"], weights.sum(axis=2))

    @staticmethod
    def causal(command: Command, shape: Shape) -> np.ndarray:
        first = command.CAUSAL_FIRST + command.ROW_FIRST
        return np.arange(shape.columns) <= first + np.arange(shape.rows)[:, None]

    def visible(self, command: Command, shape: Shape, areas: dict[str, Area]) -> np.ndarray:
        visible = np.ones((shape.rows, shape.columns), bool)
        if command.FLAGS & SoftmaxFlag.CAUSAL:
            visible &= self.causal(command, shape)
        if command.FLAGS & SoftmaxFlag.MASK:
            visible &= self.load_vector(areas["MASK"], "u1") != 0
        return visible

    def store_reciprocals(self, area: Area, sums: np.ndarray) -> None:
        """One word for each of 8 rows at the start of a line; the rest of it is unspecified."""
        batch, rows = sums.shape
        r, length = recip(np.maximum(sums, 1))
        lines = self.random.integers(0, 256, (batch, up8(rows) // 8, 64), np.uint8).view("<u4")
        words = np.where(sums == 0, 0, r + 65536 * length)
        known = np.zeros(lines.shape, bool)
        for row in range(rows):
            lines[:, row // 8, row % 8] = words[:, row]
            known[:, row // 8, row % 8] = True
        shape = len(area.starts), 64
        self.put(area, lines.view(np.uint8).reshape(shape), ~known.repeat(4, axis=2).reshape(shape))
