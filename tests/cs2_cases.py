"""Random CS2 commands with valid operands, in a memory full of random bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from cs2_reference import Reference, encode, up8
from csc_convert.cs2_format import DmaFlag, ElementFlag, GemmFlag, NormFlag, PoolFlag, SoftmaxFlag

LINE = 64
WEIGHTS, STORE = 1 << 30, 2 << 30
SRAM_BYTES, WEIGHTS_BYTES = 1 << 18, 1 << 15
HALF = 1 << 14  # of STORE, behind which targets begin
PROGRAM = 2 * HALF  # place in STORE that no case touches
STORE_BYTES = PROGRAM + (1 << 13)


class Scene:
    """Memory, parameters, and places for operands that do not overlap."""

    def __init__(self, seed: int, sram_bytes: int = SRAM_BYTES) -> None:
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.sram = self.bytes(sram_bytes)
        self.weights, self.store = self.bytes(WEIGHTS_BYTES), self.bytes(STORE_BYTES)
        self.params = [self.random.choice([0, 1, 7, 8, 9, 20, 33, 1000]) for _ in range(4)]
        self.top = 64 * self.random.randrange(10)
        self.setup: list[np.ndarray] = []  # commands that have to come first

    def bytes(self, count: int) -> np.ndarray:
        return self.numpy.integers(0, 256, count, np.uint8)

    def reference(self, **options) -> Reference:
        memories = self.sram.copy(), self.weights.copy(), self.store.copy()
        return Reference(*memories, params=self.params, **options)

    # --- operands ---------------------------------------------------------------------------------

    def place(self, count: int) -> int:
        """A line-aligned place for `count` bytes, with a gap in front of it."""
        start = self.top
        self.top = up8((start + count) // 8 + 1) // 8 * 64 + 64 * self.random.choice([0, 1, 6])
        assert self.top <= len(self.sram), "the scene is too small"
        return start

    def put(self, values: np.ndarray) -> int:
        """Place an array and return where."""
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        start = self.place(len(data))
        self.sram[start : start + len(data)] = data
        return start

    def span(self, rows: int, columns: int, size: int) -> tuple[int, int]:
        """Lines from a row of tiles to the next, and lines of the whole matrix."""
        row = up8(columns) // 8 * size + self.random.choice([0, 0, 1, 5])
        return row, row * (up8(rows) // 8)

    def tiles(self, field: str, shape: tuple[int, int], size: int, batch: int = 1) -> dict:
        """Fields of a matrix of random bytes: address, row stride, batch stride."""
        row, whole = self.span(*shape, size)
        gap = whole + self.random.choice([0, 1, 3])
        fields = {field: self.place(gap * batch * LINE), f"{field}_ROW": row}
        return fields | ({f"{field}_BATCH": gap} if batch > 1 else {})

    def integers(self, low: int, high: int, shape) -> np.ndarray:
        """Random numbers, small, large and extreme ones."""
        rng = self.numpy
        wide = rng.integers(low, high, shape, endpoint=True)
        small = rng.integers(max(low, -9), min(high, 9), shape, endpoint=True)
        ends = np.where(rng.random(shape) < 0.5, low, high)
        return np.choose(rng.integers(0, 6, shape), [wide, wide, wide, wide, small, ends])

    def entries(self, count: int, bias: int = 1 << 20, shift: int = 22) -> np.ndarray:
        """Requantization entries that give results of all sizes."""
        pairs = np.empty((count, 2), np.int32)
        pairs[:, 0] = self.integers(-bias, bias, count)
        multipliers = self.numpy.integers(0, 32768, count)
        pairs[:, 1] = multipliers + 65536 * self.numpy.integers(shift, shift + 8, count)
        return pairs

    def bounds(self, fields: dict, *names: str) -> dict:
        """Let parameters bound shapes in one of three commands."""
        for name in names:
            if self.random.random() < 0.33:
                fields[f"{name}_PARAM"] = self.random.randrange(1, 5)
                if name == "ROWS" and "no_first" not in fields:
                    fields["ROW_FIRST"] = self.random.choice([0, 0, 1, 8, 19])
        fields.pop("no_first", None)
        return fields

    def size(self, high: int = 40) -> int:
        return self.random.choice([1, 7, 8, 9, 16, self.random.randint(1, high)])

    def flags(self, kind, *names: str) -> int:
        return sum(kind[name] for name in names if self.random.random() < 0.5)


def zero_weights_beyond(scene: Scene, fields: dict, columns: int, depth: int, flags: int) -> None:
    """Make the columns of B behind DEPTH zeros, in every batch."""
    if depth % 8 == 0:
        return
    for batch in range(fields["BATCH"]):
        for column in range(up8(columns) // 8):
            line = batch * fields.get("B_BATCH", 0) + column * fields["B_COLUMN"]
            line += (up8(depth) // 8 - 1) * fields["B_DEPTH"]
            start = fields["B"] + line * LINE
            block = scene.sram[start : start + LINE].reshape(8, 8)
            if flags & GemmFlag.B_TRANSPOSED:
                block[depth % 8 :] = 0
            else:
                block[:, depth % 8 :] = 0


def b_operand(scene: Scene, columns: int, depth: int, batch: int) -> dict:
    """Blocks of B, deep or wide ones first."""
    across, deep = up8(columns) // 8, up8(depth) // 8
    if scene.random.random() < 0.5:
        column, step = deep + scene.random.choice([0, 2]), 1
    else:
        column, step = 1, across + scene.random.choice([0, 1])
    lines = across * column + deep * step
    fields = {"B": scene.place(lines * batch * LINE), "B_COLUMN": column, "B_DEPTH": step}
    return fields | ({"B_BATCH": lines} if batch > 1 else {})


def limits(scene: Scene, flags: int) -> dict:
    """CLAMP_LOW and CLAMP_HIGH that suit the result."""
    low, high = (-32768, 32767) if flags & GemmFlag.OUT_INT16 else (-128, 127)
    if flags & GemmFlag.TABLE:
        low, high = 0, 1023
    if scene.random.random() < 0.5:
        low, high = sorted((scene.random.randint(low, high), scene.random.randint(low, high)))
    return {"CLAMP_LOW": low, "CLAMP_HIGH": high}


def table(scene: Scene, name: str, field: str) -> int:
    """Have a table loaded first; return 1 if its entries are int16."""
    wide = scene.random.randrange(2)
    content = scene.bytes(2048 if wide else 1024)
    scene.setup.append(encode(name, FLAGS=wide, **{field: scene.put(content)}))
    return wide


def gemm(scene: Scene) -> np.ndarray:
    rows, columns, depth = scene.size(), scene.size(), scene.size(70)
    batch = scene.random.choice([1, 1, 2, 3])
    flags = scene.flags(GemmFlag, "B_TRANSPOSED") | scene.random.choice([0, 1, 2])
    flags |= scene.random.choice([0, GemmFlag.OUT_INT16, GemmFlag.OUT_INT32, GemmFlag.TABLE])
    if flags & GemmFlag.TABLE and table(scene, "BLOCK_TABLE", "A"):
        flags |= GemmFlag.OUT_INT16
    c_size = 4 if flags & GemmFlag.OUT_INT32 else 2 if flags & GemmFlag.OUT_INT16 else 1
    fields = {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "BATCH": batch, "FLAGS": flags}
    fields |= scene.tiles("A", (rows, depth), 2 if flags & GemmFlag.A_WIDE else 1, batch)
    fields |= b_operand(scene, columns, depth, batch)
    fields |= scene.tiles("C", (rows, columns), c_size, batch)
    if not flags & GemmFlag.OUT_INT32:
        fields |= limits(scene, flags) | {"ZERO_POINT": scene.random.randint(-200, 600)}
        fields["REQUANT"] = scene.put(scene.entries(up8(columns), shift=20))
    zero_weights_beyond(scene, fields, columns, depth, flags)
    names = ["ROWS", "COLUMNS"] + (["DEPTH"] if depth % 8 == 0 else [])
    fields = scene.bounds(fields, *names)
    if "DEPTH_PARAM" in fields:
        scene.params[fields["DEPTH_PARAM"] - 1] = scene.random.choice([0, 8, 16, 1000])
    return encode("GEMM", **fields)


def context(scene: Scene) -> np.ndarray:
    """A GEMM with CONTEXT; its rows have the sums that SOFTMAX would have written."""
    rows, columns, depth = scene.size(), scene.size(), scene.size()
    batch = scene.random.choice([1, 2, 4])
    flags = GemmFlag.CONTEXT | GemmFlag.A_UNSIGNED | scene.flags(GemmFlag, "OUT_INT16")
    flags |= scene.flags(GemmFlag, "B_TRANSPOSED")
    fields = {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "BATCH": batch, "FLAGS": flags}
    fields |= scene.tiles("A", (rows, depth), 1, batch) | b_operand(scene, columns, depth, batch)
    fields |= scene.tiles("C", (rows, columns), 2 if flags & GemmFlag.OUT_INT16 else 1, batch)
    fields |= limits(scene, flags) | {"ZERO_POINT": scene.random.randint(-200, 200)}
    fields["REQUANT"] = scene.put(scene.entries(batch, shift=16))
    lines = up8(rows) // 8 + scene.random.choice([0, 1])
    length = scene.numpy.integers(8, 22, (batch, lines, 16))
    words = scene.numpy.integers(2**14, 2**15, length.shape, endpoint=True) + 65536 * length
    words[scene.numpy.random(words.shape) < 0.1] = 0
    fields |= {"RECIP": scene.put(words.astype(np.uint32))}
    fields |= {"RECIP_BATCH": lines} if batch > 1 else {}
    zero_weights_beyond(scene, fields, columns, depth, flags)
    return encode("GEMM", **scene.bounds(fields, "ROWS", "COLUMNS"))


def geometry(scene: Scene) -> dict:
    """A window over an image; its command comes first."""
    pick = scene.random
    width, height = pick.randint(1, 13), pick.randint(1, 7)
    kernel = pick.choice([1, 2, 3, 3, 5]), pick.choice([1, 2, 3, 3])
    stride = pick.choice([1, 1, 2]), pick.choice([1, 1, 2])
    pad = pick.randrange(kernel[0]), pick.randrange(kernel[1])
    out = [
        max((size + 2 * before - taps) // step + 1, 1)
        for size, before, taps, step in zip((width, height), pad, kernel, stride, strict=True)
    ]
    names = "IN_WIDTH", "IN_HEIGHT", "OUT_WIDTH", "OUT_HEIGHT", "KERNEL_WIDTH", "KERNEL_HEIGHT"
    fields = dict(zip(names, (width, height, *out, *kernel), strict=True))
    fields |= {"STRIDE_X": stride[0], "STRIDE_Y": stride[1], "PAD_LEFT": pad[0], "PAD_TOP": pad[1]}
    fields["PAD_VALUE"] = pick.randint(-128, 127)
    scene.setup.append(encode("GEOMETRY", **fields))
    return fields


def window_fields(scene: Scene, flags: int, g: dict, columns: int, depth: int) -> dict:
    """What CONV and DEPTHWISE share."""
    image = g["IN_HEIGHT"] * up8(g["IN_WIDTH"]), depth
    result = g["OUT_HEIGHT"] * up8(g["OUT_WIDTH"]), columns
    fields = {"COLUMNS": columns, "DEPTH": depth, "FLAGS": flags, "BATCH": 1}
    fields |= scene.tiles("A", image, 2 if flags & GemmFlag.A_WIDE else 1)
    fields |= scene.tiles("C", result, 2 if flags & GemmFlag.OUT_INT16 else 1)
    fields |= limits(scene, flags) | {"ZERO_POINT": scene.random.randint(-200, 200)}
    return fields | {"REQUANT": scene.put(scene.entries(up8(columns), shift=18))}


def conv(scene: Scene) -> np.ndarray:
    g = geometry(scene)
    columns, depth = scene.size(20), scene.size(20)
    flags = GemmFlag.CONV | scene.flags(GemmFlag, "OUT_INT16", "B_TRANSPOSED")
    flags |= scene.random.choice([0, 0, GemmFlag.A_WIDE])
    fields = window_fields(scene, flags, g, columns, depth)
    taps = g["KERNEL_WIDTH"] * g["KERNEL_HEIGHT"]
    channels = up8(depth) // 8
    fields |= b_operand(scene, columns, up8(depth) * taps, 1)
    for number in range(channels * taps):
        if number // g["KERNEL_WIDTH"] % channels == channels - 1 and depth % 8:
            clear_block(scene, fields, number, columns, depth % 8)
    return encode("GEMM", **fields)


def clear_block(scene: Scene, fields: dict, number: int, columns: int, first: int) -> None:
    """Zeros for the channels from `first` on in block `number` in depth."""
    for column in range(up8(columns) // 8):
        line = column * fields["B_COLUMN"] + number * fields["B_DEPTH"]
        start = fields["B"] + line * LINE
        block = scene.sram[start : start + LINE].reshape(8, 8)
        (block.T if fields["FLAGS"] & GemmFlag.B_TRANSPOSED else block)[:, first:] = 0


def depthwise(scene: Scene) -> np.ndarray:
    g = geometry(scene)
    depth = scene.size(24)
    flags = GemmFlag.DEPTHWISE | scene.flags(GemmFlag, "OUT_INT16")
    fields = window_fields(scene, flags, g, depth, depth)
    lines = up8(g["KERNEL_WIDTH"] * g["KERNEL_HEIGHT"]) // 8 + scene.random.choice([0, 1])
    weights = scene.place(lines * up8(depth) // 8 * LINE)
    return encode("GEMM", **fields, B=weights, B_COLUMN=lines)


def norm(scene: Scene) -> np.ndarray:
    rows, columns = scene.size(), scene.random.choice([1, 8, 20, 33, 64, 200])
    flags = scene.flags(NormFlag, "A_INT16", "HAS_B", "B_INT16")
    fields = {"ROWS": rows, "COLUMNS": columns, "FLAGS": flags}
    fields |= scene.tiles("X", (rows, columns), 2)
    epsilon = scene.random.choice([1, 2**32 - 1, 2**32, 2**54 - 1, columns**2 * 1000])
    fields |= {"EPSILON_LOW": epsilon % 2**32, "EPSILON_HIGH": epsilon >> 32}
    for side in "AB" if flags & NormFlag.HAS_B else "A":
        affine = np.empty((up8(columns), 2), np.int32)
        affine[:, 0] = scene.integers(-(2**29), 2**29, len(affine))
        affine[:, 1] = scene.integers(-32767, 32767, len(affine))
        fields[f"AFFINE_{side}"] = scene.put(affine)
        fields |= scene.tiles(
            f"OUT_{side}", (rows, columns), 2 if flags & NormFlag[f"{side}_INT16"] else 1
        )
        fields[f"SHIFT_{side}"] = scene.random.choice([1, 15, 22, 29])
        fields[f"ZERO_{side}"] = scene.random.choice([0, -32768, 32768, 100, -7])
    if columns == 200:
        scene.sram[fields["X"] : fields["X"] + 64 * fields["X_ROW"]] = 5  # rows of equal elements
    return encode("NORM", **scene.bounds(fields, "ROWS", "COLUMNS"))


def elements(scene: Scene, sizes: dict[str, int]) -> dict:
    """Shape, operands with elements of these sizes, and parameters of an element-wise command."""
    rows, columns = scene.size(), scene.size(70)
    fields = {"ROWS": rows, "COLUMNS": columns}
    for field, size in sizes.items():
        fields |= scene.tiles(field, (rows, columns), size)
    if scene.random.random() < 0.3 and sizes["X"] == sizes["OUT"]:  # in place
        fields |= {"OUT": fields["X"], "OUT_ROW": fields["X_ROW"]}
    return scene.bounds(fields, "ROWS", "COLUMNS")


def add(scene: Scene) -> np.ndarray:
    fields = elements(scene, {"X": 2, "Y": 2, "OUT": 2})
    fields |= {f"MULTIPLIER_{n}": scene.random.choice([0, 16384, 777]) for n in "XY"}
    return encode("ADD", SHIFT=scene.random.choice([1, 10, 14, 29]), **fields)


def mul(scene: Scene) -> np.ndarray:
    flags = scene.flags(ElementFlag, "X_INT16", "Y_INT16", "OUT_INT16")
    sizes = {n: 2 if flags & ElementFlag[f"{n}_INT16"] else 1 for n in ("X", "Y", "OUT")}
    fields = elements(scene, sizes)
    for name in ("ZERO_X", "ZERO_Y", "ZERO_POINT"):
        fields[name] = scene.random.choice([0, 3, -128, 32768, -32768])
    multiplier, shift = scene.random.choice([0, 32767, 500]), scene.random.choice([1, 15, 24, 46])
    return encode("MUL", FLAGS=flags, MULTIPLIER=multiplier, SHIFT=shift, **fields)


def lookup(scene: Scene) -> np.ndarray:
    wide = table(scene, "VECTOR_TABLE", "X")
    flags = scene.flags(ElementFlag, "X_INT16") | wide * ElementFlag.OUT_INT16
    sizes = {"X": 2 if flags & ElementFlag.X_INT16 else 1, "OUT": 2 if wide else 1}
    fields = elements(scene, sizes) | {"ZERO_POINT": scene.random.choice([0, 512, -5, 32768])}
    multiplier = scene.random.choice([0, 32767, 16384])
    return encode(
        "LOOKUP",
        FLAGS=flags,
        MULTIPLIER=multiplier,
        SHIFT=scene.random.choice([1, 15, 46]),
        **fields,
    )


def softmax(scene: Scene) -> np.ndarray:
    rows, columns, batch = scene.size(), scene.size(70), scene.random.choice([1, 1, 2, 4])
    fields = {"ROWS": rows, "COLUMNS": columns, "BATCH": batch}
    fields["FLAGS"] = scene.flags(SoftmaxFlag, "MASK", "CAUSAL")
    fields |= scene.tiles("X", (rows, columns), 4, batch)
    fields |= scene.tiles("OUT", (rows, columns), 1, batch)
    start, end = fields["X"], scene.top
    scores = scene.sram[start:end].view("<i4")
    scores[:] = scene.integers(-(2**14), 2**14, len(scores)) << scene.random.choice([0, 9])
    start = fields["OUT"]
    mask = scene.numpy.integers(0, 3, columns).astype(np.uint8) * scene.random.choice([0, 1, 127])
    fields["MASK"] = scene.put(mask)
    fields["CAUSAL_FIRST"] = scene.random.choice([0, 0, 5, 30]) if fields["FLAGS"] & 2 else 0
    fields["REQUANT"] = scene.put(scene.entries(batch, shift=12)[:, ::-1])
    lines = up8(rows) // 8 + scene.random.choice([0, 1])
    fields["RECIP"] = scene.place(lines * batch * LINE)
    fields |= {"RECIP_BATCH": lines} if batch > 1 else {}
    return encode("SOFTMAX", **scene.bounds(fields, "ROWS", "COLUMNS"))


def pool(scene: Scene) -> np.ndarray:
    rows, columns = scene.size(), scene.size(70)
    flags = scene.flags(PoolFlag, "X_INT16", "OUT_INT16", "MASK", "MEAN")
    fields = {"ROWS": rows, "COLUMNS": columns, "FLAGS": flags}
    fields |= scene.tiles("X", (rows, columns), 2 if flags & PoolFlag.X_INT16 else 1)
    fields["OUT"] = scene.place(up8(columns) * 16)
    mask = scene.numpy.integers(0, 2, rows).astype(np.uint8) * scene.random.choice([0, 1, 200])
    fields["MASK"] = scene.put(mask)
    fields |= {"ZERO_X": scene.random.choice([0, -128, 32768, 9])}
    fields |= {"ZERO_POINT": scene.random.choice([0, 3, -32768])}
    multiplier, shift = scene.random.choice([1, 32767, 500]), scene.random.choice([1, 12, 20, 46])
    fields = scene.bounds(fields | {"no_first": True}, "ROWS", "COLUMNS")
    return encode("POOL", MULTIPLIER=multiplier, SHIFT=shift, **fields)


def embed(scene: Scene) -> np.ndarray:
    rows, columns, types = scene.size(), scene.size(70), scene.random.choice([0, 1, 3])
    fields = {"ROWS": rows, "COLUMNS": columns, "FLAGS": int(types > 0)}
    fields |= scene.tiles("X", (rows, columns), 1) | scene.tiles("Y", (rows, columns), 2)
    fields |= scene.tiles("OUT", (rows, columns), 2)
    fields["SCALE"] = scene.put(scene.numpy.integers(0, 32768, rows).astype(np.uint16))
    if types:
        width = (columns + 31) // 32 * 32
        fields["TABLE"] = scene.put(scene.integers(-32768, 32767, (types, width)).astype(np.int16))
        fields["INDEX"] = scene.put(scene.numpy.integers(0, types, rows).astype(np.int32))
        fields["INDEX_LIMIT"] = types
    shift = scene.random.choice([1, 6, 12, 31])
    return encode("EMBED", SHIFT=shift, **scene.bounds(fields, "ROWS", "COLUMNS"))


def transpose(scene: Scene) -> np.ndarray:
    rows, columns = scene.size(), scene.size()
    fields = {"ROWS": rows, "COLUMNS": columns}
    fields |= scene.tiles("X", (rows, columns), 1) | scene.tiles("OUT", (columns, rows), 1)
    return encode("TRANSPOSE", **scene.bounds(fields, "ROWS", "COLUMNS"))


def copy_side(scene: Scene, side: str, kind: str, rows: int, count: int, wide: int) -> dict:
    """Fields of one side of a COPY."""
    size, pick = 1 + wide, scene.random
    if kind == "tiles":
        row = up8((count + size - 1) // size) * size * 8 + pick.choice([0, 128])
        first = pick.choice([0, 0, 3, 7])  # the first row may lie inside a tile
        address = scene.place(row * (up8(rows + 7) // 8)) + first * 8 * size
        return {side: address, f"{side}_STRIDE": row}
    stride = count + pick.choice([0, 0, 3, 40])
    if kind == "sram":
        address = scene.place(stride * rows + 64) + pick.choice([0, 0, 1, 30])
    else:
        address = {"store": STORE, "weights": WEIGHTS}[kind]
        address += pick.choice([0, 64, 5, pick.randrange(2000)])
        address += HALF * (side == "TARGET")  # a source in STORE stays below
    return {side: address, f"{side}_STRIDE": stride}


COPY_KINDS = [
    *(("weights", each) for each in ("sram", "tiles")),
    *(("store", each) for each in ("sram", "tiles")),
    *((each, "store") for each in ("sram", "tiles", "weights", "store")),
    *((one, other) for one in ("sram", "tiles") for other in ("sram", "tiles")),
]


def copy(scene: Scene) -> np.ndarray:
    pick = scene.random
    rows, wide = pick.choice([1, 1, 2, 8, 11, 20]), pick.randrange(2)
    count = pick.choice([1, 8, 16, 64, 100, 256, 333] + ([5000] if rows == 1 else []))
    kinds = dict(zip(("SOURCE", "TARGET"), pick.choice(COPY_KINDS), strict=True))
    fields = {"ROWS": rows, "ROW_BYTES": count, "FLAGS": wide * DmaFlag.WIDE}
    for side, kind in kinds.items():
        fields |= copy_side(scene, side, kind, rows, count, wide)
        fields["FLAGS"] |= (kind == "tiles") * DmaFlag[f"{side}_TILES"]
    if kinds["SOURCE"] != "tiles" and pick.random() < 0.4:
        fields["FLAGS"] |= DmaFlag.GATHER
        fields["INDEX_LIMIT"] = rows
        fields["INDEX"] = scene.put(scene.numpy.integers(0, rows, rows).astype(np.int32))
    for side, kind in kinds.items():
        if kind in ("weights", "store") and pick.random() < 0.3:
            number = pick.randrange(1, 4)
            scene.params[number - 1] = pick.choice([0, 1, 9] if count < 300 else [0, 1])
            fields[f"{side}_PARAM"] = number
    return encode("COPY", **scene.bounds(fields, "ROWS"))


CASES: dict[str, Callable[[Scene], np.ndarray]] = {
    "gemm": gemm,
    "context": context,
    "conv": conv,
    "depthwise": depthwise,
    "norm": norm,
    "add": add,
    "mul": mul,
    "lookup": lookup,
    "softmax": softmax,
    "pool": pool,
    "embed": embed,
    "transpose": transpose,
    "copy": copy,
}
