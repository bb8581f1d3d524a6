"""Random CS2 programs over all engines: free of races by their waits, equal to the reference."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cs2_bench import ChipBench
from cs2_cases import STORE, WEIGHTS, Scene
from cs2_hazards import ENGINES
from cs2_operands import areas_of, dynamic_shape
from cs2_reference import HazardError, decode, encode
from csc_convert.cs2_format import Engine, GemmFlag

# Slots are matrices of 24 rows and 32 columns, of elements of 1, 2 and 4 bytes.
HIGH, WIDE, SLOTS = 24, 32, 5
SHAPES = {"ROWS": (8, 16, 24), "COLUMNS": (8, 24, 32)}
LENGTHS = [0, 8, 16, 24, 1000]


class Program:
    """Commands on shared slots; each waits for what it conflicts with, and not for more."""

    def __init__(self, seed: int) -> None:
        self.scene = Scene(seed)
        self.random = random.Random(seed)
        self.words: list[np.ndarray] = []
        self.touched: list[list[tuple[set[int], set[int]]]] = [[], [], []]
        self.scene.params = [self.random.choice(LENGTHS) for _ in range(4)]
        self.slots = {size: [self.slot(size) for _ in range(SLOTS)] for size in (1, 2, 4)}
        self.recips = [self.scene.place(64 * 3) for _ in range(3)]
        self.requant = self.scene.put(self.scene.entries(WIDE, shift=20))
        self.heads = self.scene.put(self.scene.entries(1, bias=0, shift=14)[:, [1, 1]])
        self.affine = self.scene.put(self.scene.integers(-32767, 32767, (WIDE, 2)).astype(np.int32))
        self.mask = self.scene.put(self.scene.numpy.integers(0, 2, WIDE).astype(np.uint8))
        table = self.scene.put(self.scene.bytes(1024))
        self.add("BLOCK_TABLE", A=table)
        self.add("VECTOR_TABLE", X=table)

    def slot(self, size: int) -> int:
        start = self.scene.place(HIGH * WIDE * size)
        if size == 4:  # scores of a size that SOFTMAX meets
            room = self.scene.sram[start : start + HIGH * WIDE * size].view(np.int32)
            room[:] = self.scene.integers(-(2**20), 2**20, len(room))
        return start

    # --- waits ------------------------------------------------------------------------------------

    def add(self, name: str, **fields: int) -> None:
        command = decode(encode(name, **fields))
        engine = ENGINES.index(command.engine)
        reads, writes = self.lines(command)
        on = 0
        for other, name_of in enumerate(ENGINES):
            last = self.last_conflict(other, reads, writes) if other != engine else 0
            if self.random.random() < 0.03:
                last = len(self.touched[other])  # more than is needed
            if last:
                fields[f"WAIT_{name_of}"], on = last, on | 1 << other
        self.words.append(encode(name, **fields, WAIT_ON=on, TAG=len(self.words)))
        self.touched[engine].append((reads, writes))

    def lines(self, command) -> tuple[set[int], set[int]]:
        """What a command touches with the longest shapes, as (space, line) in one number."""
        sides: tuple[set[int], set[int]] = set(), set()
        shape = dynamic_shape(command, [2**20] * 4)
        for area in areas_of(command, shape, self.scene.params):
            numbers = (area.space << 30) + np.unique(area.indices // 64)
            sides[area.is_written].update(numbers.tolist())
        return sides

    def last_conflict(self, engine: int, reads: set[int], writes: set[int]) -> int:
        for number in range(len(self.touched[engine]), 0, -1):
            read, written = self.touched[engine][number - 1]
            if written & (reads | writes) or read & writes:
                return number
        return 0

    # --- commands ---------------------------------------------------------------------------------

    def pick(self, size: int, *others: int) -> int:
        """A slot; results of most commands may not lie where their operands are."""
        return self.random.choice([each for each in self.slots[size] if each not in others])

    def shape(self) -> dict[str, int]:
        fields = {name: self.random.choice(sizes) for name, sizes in SHAPES.items()}
        if self.random.random() < 0.2:
            fields["ROWS_PARAM"] = self.random.randrange(1, 5)
        return fields

    def gemm(self) -> None:
        flags = self.random.choice([0, GemmFlag.OUT_INT16, GemmFlag.OUT_INT32, GemmFlag.TABLE])
        wide = self.random.randrange(2)
        size = {GemmFlag.OUT_INT16: 2, GemmFlag.OUT_INT32: 4}.get(flags, 1)
        shape = self.shape() | {"COLUMNS": self.random.choice([8, 16, 24])}
        low, high = (0, 1023) if flags == GemmFlag.TABLE else (-128, 127)
        a, b = self.pick(1 + wide), self.pick(1)
        self.add(
            "GEMM", **shape, FLAGS=flags + wide, DEPTH=self.random.choice([8, 24, 32]), A=a,
            A_ROW=4 * (1 + wide), B=b, B_COLUMN=4, B_DEPTH=1, C=self.pick(size, a, b),
            C_ROW=4 * size, REQUANT=self.requant, CLAMP_LOW=low, CLAMP_HIGH=high,
        )  # fmt: skip

    def attention(self) -> None:
        shape, recip, weights = self.shape(), self.random.choice(self.recips), self.pick(1)
        self.add(
            "SOFTMAX", **shape, FLAGS=self.random.randrange(4), X=self.pick(4), X_ROW=16,
            OUT=weights, OUT_ROW=4, RECIP=recip, REQUANT=self.heads, MASK=self.mask,
        )  # fmt: skip
        if self.random.random() < 0.5:
            self.element()
        flags = GemmFlag.CONTEXT + GemmFlag.A_UNSIGNED
        shape |= {"COLUMNS": self.random.choice([8, 16, 24]), "DEPTH": shape["COLUMNS"]}
        values = self.pick(1)
        self.add(
            "GEMM", **shape, FLAGS=flags, A=weights, A_ROW=4, B=values, B_COLUMN=4, B_DEPTH=1,
            C=self.pick(1, weights, values), C_ROW=4, REQUANT=self.heads, RECIP=recip,
            CLAMP_LOW=-128, CLAMP_HIGH=127,
        )  # fmt: skip

    def element(self) -> None:
        rows = {"X_ROW": 4, "Y_ROW": 4, "OUT_ROW": 4}
        if self.random.random() < 0.5:
            operands = {name: self.pick(1) for name in ("X", "Y", "OUT")}
            self.add("MUL", **self.shape(), **operands, **rows, MULTIPLIER=20000, SHIFT=21)
            return
        double = {name: 2 * lines for name, lines in rows.items()}
        operands = {name: self.pick(2) for name in ("X", "Y", "OUT")}
        multipliers = {"MULTIPLIER_X": 9000, "MULTIPLIER_Y": 8000, "SHIFT": 14}
        self.add("ADD", **self.shape(), **operands, **double, **multipliers)

    def norm(self) -> None:
        self.add(
            "NORM", **self.shape(), FLAGS=2 + 4, X=self.pick(2, self.slots[2][0]), X_ROW=8,
            AFFINE_A=self.affine, AFFINE_B=self.affine, OUT_A=self.slots[1][0], OUT_A_ROW=4,
            OUT_B=self.slots[2][0], OUT_B_ROW=8, EPSILON_LOW=99, SHIFT_A=19, SHIFT_B=11,
        )  # fmt: skip

    def single(self) -> None:
        x, out = self.pick(1), self.pick(1)
        if self.random.random() < 0.5 and x != out:
            shape = {"ROWS": 24, "COLUMNS": self.random.choice([8, 24])}
            self.add("TRANSPOSE", **shape, X=x, X_ROW=4, OUT=out, OUT_ROW=4)
        else:
            scaled = {"MULTIPLIER": 30000, "SHIFT": 13, "ZERO_POINT": 500}
            self.add("LOOKUP", **self.shape(), **scaled, X=x, X_ROW=4, OUT=out, OUT_ROW=4)

    def copy(self) -> None:
        size = self.random.choice([1, 2])
        count = self.random.choice([64, 256, 512])
        inside, far = self.pick(size), 4096 * self.random.randrange(3)
        ends = self.random.choice([
            (WEIGHTS + far, inside), (STORE + far, inside), (inside, STORE + far),
            (inside, self.pick(3 - size)),
        ])  # fmt: skip
        self.add("COPY", SOURCE=ends[0], TARGET=ends[1], ROWS=1, ROW_BYTES=count)

    def fill(self, count: int) -> None:
        makers = [self.gemm, self.gemm, self.attention, self.element, self.norm, self.single]
        while len(self.words) < count:
            self.random.choice([*makers, self.copy, self.copy, self.copy])()
            if self.random.random() < 0.05:
                self.words.append(encode(self.random.choice(["FENCE", "NOP"])))


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    program = Program(seed)
    program.fill(60)
    reference = program.scene.reference(check_hazards=True)
    reference.execute(np.stack(program.words))
    other = random.Random(seed).choice([{}, {"ext_latency": 3}, {"array": 8, "lanes": 64}])
    bench = ChipBench(program.scene, **other)
    run = bench.run(program.words)
    bench.assert_same(reference)
    engines = sum(decode(each).engine != "CONTROL" for each in program.words)
    assert sorted(event.number for event in run.events) == sorted(
        number for number, each in enumerate(program.words) if decode(each).engine != "CONTROL"
    )
    assert len(run.events) == engines
    assert_in_order(run.events, program.words)


def assert_in_order(events: tuple, words: list) -> None:
    """Commands of an engine follow each other, and none starts before its waits are over."""
    done: list[list[int]] = [[], [], []]
    for event in sorted(events, key=lambda each: each.number):
        mine = done[event.engine]
        assert event.started > event.dispatched
        assert not mine or event.started >= mine[-1]
        command = decode(words[event.number])
        for other, name in enumerate(ENGINES):
            if command.WAIT_ON >> other & 1:
                assert event.started >= done[other][command.fields[f"WAIT_{name}"] - 1]
        mine.append(event.completed)


def test_engines_work_at_the_same_time() -> None:
    overlaps = 0
    for seed in range(10):
        program = Program(seed)
        program.fill(60)
        events = ChipBench(program.scene).run(program.words).events
        spans = [(each.started, each.completed, each.engine) for each in events]
        overlaps += sum(
            one[0] < two[1] and two[0] < one[1] and one[2] < two[2]
            for one in spans
            for two in spans
        )
    assert overlaps > 50


def test_most_waits_are_needed() -> None:
    """Without one of its waits a program has a race, unless another path orders the commands."""
    found = tried = 0
    for seed in range(6):
        program = Program(seed)
        program.fill(30)
        for number, words in enumerate(program.words):
            if not int(words[2]) >> 16 & 7:
                continue
            changed = [each.copy() for each in program.words]
            changed[number][2] &= np.uint32(~(7 << 16) & 0xFFFFFFFF)
            tried += 1
            try:
                program.scene.reference(check_hazards=True).execute(np.stack(changed))
            except HazardError:
                found += 1
    assert found > tried // 2 > 10


def test_waits_count_modulo_2_to_16() -> None:
    scene = Scene(0)
    window = {"IN_WIDTH": 1, "IN_HEIGHT": 1, "OUT_WIDTH": 1, "OUT_HEIGHT": 1, "KERNEL_WIDTH": 1}
    window |= {"KERNEL_HEIGHT": 1, "STRIDE_X": 1, "STRIDE_Y": 1}
    many = 2**16 + 3
    shape = {"ROWS": 24, "COLUMNS": 24, "DEPTH": 256}
    strides = {"A_ROW": 32, "B_COLUMN": 32, "B_DEPTH": 1, "C_ROW": 3}
    limits = {"REQUANT": scene.put(scene.entries(24, shift=24)), "CLAMP_LOW": -128}
    places = {"A": scene.place(8192), "B": scene.place(8192), "C": scene.place(576)}
    product = encode("GEMM", **shape, **strides, **limits, **places, CLAMP_HIGH=127)
    turned = scene.place(576)
    turn = encode("TRANSPOSE", X=places["C"], X_ROW=3, OUT=turned, OUT_ROW=3, ROWS=24, COLUMNS=24,
                  WAIT_ON=1 << Engine.BLOCK, WAIT_BLOCK=4)  # fmt: skip
    tail = [product, turn]
    reference = scene.reference()
    reference.execute(np.stack([product, encode("TRANSPOSE", **decode_fields(turn))]))
    program = np.concatenate([np.tile(encode("GEOMETRY", **window), (many, 1)), np.stack(tail)])
    scene.weights = program.view(np.uint8).reshape(-1)
    bench = ChipBench(scene)
    run = bench.run(program, at=WEIGHTS, max_clocks=20_000_000)
    for space in (reference.sram, bench.sram):
        assert space[turned : turned + 576].any()
    wrong = (bench.sram != reference.sram) & ~reference.unspecified[0]
    assert not wrong.any()
    first, second = run.events[-2:]
    assert second.started >= first.completed
    assert second.waited_for == 1 << Engine.BLOCK


def decode_fields(words: np.ndarray) -> dict[str, int]:
    """The fields of a command but for its waits."""
    fields = decode(words).fields
    return {name: value for name, value in fields.items() if not name.startswith("WAIT")}
