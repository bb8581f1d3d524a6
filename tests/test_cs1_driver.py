"""The CS1 driver on the engine model: exact products, honest counters, no way to hang.

Driver and model are compiled here into a small library of their own: the driver is no part of the
Python package's face.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from building import ROOT, build

OK, BUS_ERROR, TIMEOUT = 0, 1, 2
BASE = 0x1000_0000
CTRL, STATUS, SIZE, PERF, A, B, C = 0x000, 0x004, 0x01C, 0x028, 0x100, 0x300, 0x500
RUN_READS = 515  # reads of CTRL, one in each clock, until a run of size 8 shows its end

READ = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
)
WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)


class Bus(ctypes.Structure):
    _fields_: ClassVar = [("ctx", ctypes.c_void_p), ("read32", READ), ("write32", WRITE)]


class Driver(ctypes.Structure):
    _fields_: ClassVar = [
        ("bus", ctypes.POINTER(Bus)),
        ("base", ctypes.c_uint32),
        ("poll_limit", ctypes.c_uint32),
        ("blocks", ctypes.c_uint64),
        ("engine_clocks", ctypes.c_uint64),
        ("reads", ctypes.c_uint64),
        ("writes", ctypes.c_uint64),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = build("plain-tests", "cs1_bench", tmp_path_factory.mktemp("cs1"))
    path = folder / "tests/c/libcs1_bench.so"
    loaded = ctypes.CDLL(str(path))
    loaded.csc_sim_cs1_sizeof.restype = ctypes.c_size_t
    loaded.csc_sim_cs1_read.restype = ctypes.c_uint32
    loaded.csc_sim_cs1_clock.restype = ctypes.c_uint64
    return loaded


class Bench:
    """One engine model, the native bus in front of it, and a driver on top."""

    def __init__(self, library: ctypes.CDLL, poll_limit: int = 1024) -> None:
        self.library = library
        self.engine = (ctypes.c_uint64 * (library.csc_sim_cs1_sizeof() // 8 + 1))()
        library.csc_sim_cs1_init(self.engine)
        self.place = ctypes.c_void_p(ctypes.addressof(self.engine))  # a csc_sim_cs1_bus_t
        address = ctypes.cast(library.csc_sim_cs1_bus_read32, ctypes.c_void_p).value
        self.native_read = READ(address)
        address = ctypes.cast(library.csc_sim_cs1_bus_write32, ctypes.c_void_p).value
        self.native_write = WRITE(address)
        self.ctx = ctypes.addressof(self.place)
        self.driver = Driver()
        self.connect(self.native_read, self.native_write, poll_limit)

    def connect(self, read: object, write: object, poll_limit: int = 1024) -> None:
        """Put other functions between driver and model, and start the counters anew."""
        self.bus = Bus(
            self.ctx,
            read if isinstance(read, READ) else READ(read),
            write if isinstance(write, WRITE) else WRITE(write),
        )
        self.library.csc_cs1_init(
            ctypes.byref(self.driver),
            ctypes.byref(self.bus),
            ctypes.c_uint32(BASE),
            ctypes.c_uint32(poll_limit),
        )

    def dirty(self, seed: int = 9) -> None:
        """Fill A, B and, by a run over them, C with large values."""
        rng = np.random.default_rng(seed)
        for offset in (*range(A, A + 256, 4), *range(B, B + 256, 4)):
            self.poke(offset, int(rng.integers(2**31, 2**32)))
        self.poke(SIZE, 8)
        self.poke(CTRL, 1)
        self.library.csc_sim_cs1_step(self.engine, ctypes.c_uint64(600))

    def poke(self, offset: int, value: int) -> None:
        self.library.csc_sim_cs1_write(self.engine, ctypes.c_uint32(offset), ctypes.c_uint32(value))

    def peek(self, offset: int) -> int:
        return self.library.csc_sim_cs1_read(self.engine, ctypes.c_uint32(offset))

    def clock(self) -> int:
        return self.library.csc_sim_cs1_clock(self.engine)


class Watch:
    """A bus of Python functions that counts, notes, forges and fails."""

    def __init__(self, bench: Bench, poll_limit: int = 1024) -> None:
        self.bench = bench
        self.fail_at: int | None = None
        self.log: list[tuple[str, int, int]] = []
        self.forge_write: Callable[[int, int], int] = lambda offset, value: value
        self.forge_read: Callable[[int, int], int] = lambda offset, value: value
        bench.connect(self.read, self.write, poll_limit)

    def fails(self) -> bool:
        return self.fail_at is not None and len(self.log) >= self.fail_at

    def read(self, ctx: int, address: int, value: object) -> int:
        if self.fails():
            self.log.append(("error", address - BASE, 0))
            value[0] = 0  # a careless driver would take this for the end of the run
            return -5
        status = self.bench.native_read(ctx, address, value)
        value[0] = self.forge_read(address - BASE, value[0])
        self.log.append(("read", address - BASE, value[0]))
        return status

    def write(self, ctx: int, address: int, value: int) -> int:
        if self.fails():
            self.log.append(("error", address - BASE, 0))
            return 7
        self.log.append(("write", address - BASE, value))
        return self.bench.native_write(ctx, address, self.forge_write(address - BASE, value))

    def count(self, kind: str, first: int = 0, last: int = 0xFFF) -> int:
        return sum(each[0] == kind and first <= each[1] <= last for each in self.log)


class Job:
    """One product: its operands, its expected result, and a guarded place for the result."""

    GUARD = 0x5A5A5A5A

    def __init__(self, name: str, rows: int, cols: int, depth: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, rows, cols, depth])
        self.name, self.rows, self.cols, self.depth = name, rows, cols, depth
        low, high, kind = {
            "blocks_s8": (-128, 128, np.int8),
            "blocks_s16": (-(2**15), 2**15, np.int16),
            "nt_s8": (-128, 128, np.int8),
            "nn_u8s8": (0, 256, np.uint8),
        }[name]
        extremes = [low, high - 1]
        self.x = rng.integers(low, high, (rows, depth + 3)).astype(kind)
        self.x[rng.random(self.x.shape) < 0.3] = rng.choice(extremes)
        w = rng.integers(-128, 128, (cols, depth)).astype(np.int8)
        w[rng.random(w.shape) < 0.3] = rng.choice([-128, 127])
        operand = self.x[:, :depth].astype(np.int64)
        if kind is np.int16:  # the driver saturates to 13 bits
            operand = np.clip(operand, -4096, 4095)
        self.expected = operand @ w.T.astype(np.int64)
        assert np.abs(self.expected).max(initial=0) < 2**31
        self.acc_stride = cols if name.startswith("blocks") else cols + 5
        self.acc = np.full((rows, self.acc_stride), self.GUARD, np.int32)
        self.w = self.lay_out(w, rng)

    def lay_out(self, w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.name.startswith("blocks"):
            blocks = w.reshape(self.cols // 8, 8, self.depth // 8, 8)
            return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))
        w = w if self.name == "nt_s8" else w.T
        padded = rng.integers(-128, 128, (w.shape[0], w.shape[1] + 2)).astype(np.int8)
        padded[:, : w.shape[1]] = w
        return padded

    def arguments(self) -> list:
        x = [self.x.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(self.x.shape[1])]
        w = self.w.ctypes.data_as(ctypes.c_void_p)
        acc = self.acc.ctypes.data_as(ctypes.c_void_p)
        rows, cols, depth = map(ctypes.c_uint32, (self.rows, self.cols, self.depth))
        if self.name.startswith("blocks"):
            blocks = [ctypes.c_uint32(self.depth // 8), ctypes.c_uint32(self.cols // 8)]
            return [*x, rows, w, *blocks, acc]
        order = [cols, depth] if self.name == "nt_s8" else [depth, cols]
        stride = ctypes.c_size_t(self.w.shape[1])
        return [*x, rows, w, stride, *order, acc, ctypes.c_size_t(self.acc_stride)]

    def run(self, bench: Bench) -> int:
        function = getattr(bench.library, f"csc_cs1_matmul_{self.name}")
        return function(ctypes.byref(bench.driver), *self.arguments())

    def check(self) -> None:
        np.testing.assert_array_equal(self.acc[:, : self.cols], self.expected)
        assert (self.acc[:, self.cols :] == self.GUARD).all()

    @property
    def k_blocks(self) -> int:
        return -(-self.depth // 8)

    @property
    def blocks(self) -> int:
        return self.k_blocks * -(-self.cols // 8)


NAMES = ("blocks_s8", "blocks_s16", "nt_s8", "nn_u8s8")
PACKED_SHAPES = [(8, 8), (24, 16), (8, 40), (64, 64), (16, 8), (8, 0), (0, 8)]
FREE_SHAPES = [*itertools.product([1, 7, 8, 9, 17], repeat=2), (40, 32), (1, 64), (0, 5), (5, 0)]


def shapes(name: str) -> list[tuple[int, int]]:
    return PACKED_SHAPES if name.startswith("blocks") else FREE_SHAPES


# --- products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize(("name", "shape"), [(n, shape) for n in NAMES for shape in shapes(n)])
def test_product_is_exact(library, name: str, shape: tuple[int, int], rows: int) -> None:
    bench = Bench(library)
    bench.dirty()
    job = Job(name, rows, *shape)
    assert job.run(bench) == OK
    job.check()
    assert bench.driver.blocks == job.blocks
    assert bench.driver.engine_clocks == 512 * job.blocks


def test_products_in_a_row_on_one_engine(library) -> None:
    bench = Bench(library)
    rng = np.random.default_rng(4)
    blocks = 0
    for seed in range(120):
        name = rng.choice(NAMES)
        unit = 8 if name.startswith("blocks") else 1
        cols, depth = (unit * int(each) for each in rng.integers(1, 20 // unit + 4, 2))
        job = Job(name, int(rng.integers(1, 9)), cols, depth, seed)
        assert job.run(bench) == OK
        job.check()
        blocks += job.blocks
    assert bench.driver.blocks == blocks


@pytest.mark.parametrize(("depth", "x"), [(65528, 127), (2048, -4096), (2048, -32768)])
def test_largest_sums_stay_exact(library, depth: int, x: int) -> None:
    name = "blocks_s8" if x == 127 else "blocks_s16"
    job = Job(name, 1, 8, depth)
    job.x[:], job.w[:] = x, -128
    job.expected[:] = max(x, -4096) * -128 * depth
    assert 2**29 < abs(int(job.expected[0, 0])) <= 2**30
    assert job.run(Bench(library)) == OK
    job.check()


# --- what goes over the bus -----------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("name", NAMES)
def test_counters_and_transfers(library, name: str, rows: int) -> None:
    bench = Bench(library)
    watch = Watch(bench)
    job = Job(name, rows, 16, 24)
    assert job.run(bench) == OK
    job.check()
    assert bench.driver.reads == watch.count("read") == bench.clock() - bench.driver.writes
    assert bench.driver.writes == watch.count("write")
    assert watch.count("write", SIZE, SIZE) == 1
    assert watch.count("write", CTRL, CTRL) == 6
    assert watch.count("write", A, A + 0xFF) == 64 * 6
    assert watch.count("write", B, B + 0xFF) == 8 * rows * 3  # once for each block of the depth
    assert watch.count("read", C, C + 0xFF) == 8 * rows * 6
    assert watch.count("read", CTRL, CTRL) == 1 + RUN_READS * 6
    assert watch.count("read", STATUS, PERF) == 0
    assert bench.peek(PERF) * 6 == bench.driver.engine_clocks


def test_transfers_are_those_of_the_document(library) -> None:
    text = (ROOT / "CHIP.md").read_text(encoding="utf-8")
    lines = text.split("<!-- table: transfers -->")[1].strip().splitlines()[2:6]
    rows = [[int(cell) for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [1, 2, 4, 8]
    for row in rows:
        bench = Bench(library)
        watch = Watch(bench)
        assert Job("blocks_s8", row[0], 24, 16).run(bench) == OK
        counts = [
            watch.count("write", A, A + 0xFF) / 6,
            watch.count("read", C, C + 0xFF) / 6,
            watch.count("write", B, B + 0xFF) / 2,
        ]
        assert counts == row[1:]


def test_partial_blocks_skip_what_is_not_needed(library) -> None:
    bench = Bench(library)
    watch = Watch(bench)
    job = Job("nt_s8", 2, 3, 5)
    assert job.run(bench) == OK
    job.check()
    assert watch.count("write", A, A + 0xFF) == 3 * 5
    assert watch.count("write", B, B + 0xFF) == 2 * 8  # padded with zeros
    assert watch.count("read", C, C + 0xFF) == 2 * 3


# --- failures -------------------------------------------------------------------------------------


def test_poll_limit_is_exact(library) -> None:
    job = Job("blocks_s8", 1, 8, 8)
    assert job.run(Bench(library, RUN_READS - 1)) == TIMEOUT
    assert job.run(Bench(library, RUN_READS)) == OK
    job.check()
    assert job.run(Bench(library, 0)) == TIMEOUT


@pytest.mark.parametrize("name", NAMES)
def test_stuck_ctrl_times_out(library, name: str) -> None:
    bench = Bench(library)
    watch = Watch(bench, poll_limit=50)
    watch.forge_read = lambda offset, value: 0x80 if offset == CTRL else value
    assert Job(name, 2, 8, 8).run(bench) == TIMEOUT
    assert watch.count("read", CTRL, CTRL) == 50
    assert watch.count("write", CTRL, CTRL) == 0
    assert bench.driver.blocks == 0


@pytest.mark.parametrize("size", [0, 17, 2**32 - 1])
@pytest.mark.parametrize("name", NAMES)
def test_forced_size_times_out_and_the_next_call_recovers(library, name: str, size: int) -> None:
    bench = Bench(library)
    watch = Watch(bench, poll_limit=600)
    watch.forge_write = lambda offset, value: size if offset == SIZE else value
    job = Job(name, 2, 8, 16)
    assert job.run(bench) == TIMEOUT
    assert watch.count("read", CTRL, CTRL) == 1 + 600
    watch.forge_write = lambda offset, value: value
    assert job.run(bench) == OK
    job.check()


@pytest.mark.parametrize("name", NAMES)
def test_bus_error_at_every_access(library, name: str) -> None:
    bench = Bench(library)
    job = Job(name, 1, 8, 8)
    watch = Watch(bench)
    assert job.run(bench) == OK
    accesses = len(watch.log)
    assert accesses > RUN_READS
    for n in range(accesses):
        watch = Watch(bench)
        watch.fail_at = n
        assert job.run(bench) == BUS_ERROR, n
        assert len(watch.log) == n + 1, n  # nothing after the failure
        assert bench.driver.reads <= watch.count("read")
        assert bench.driver.writes <= watch.count("write")
        bench.connect(bench.native_read, bench.native_write)
        job.acc[:] = Job.GUARD
        assert job.run(bench) == OK, n
        job.check()


@pytest.mark.parametrize("address", [0, BASE - 4, BASE + 0x1000, 0x2000_0000, 2**32 - 4])
def test_no_other_address_answers(library, address: int) -> None:
    bench = Bench(library)
    value = ctypes.c_uint32(123)
    assert bench.native_read(bench.ctx, address, ctypes.byref(value)) != 0
    assert bench.native_write(bench.ctx, address, 1) != 0
    assert (bench.clock(), value.value) == (0, 123)


@pytest.mark.parametrize(("address", "expected"), [(BASE + SIZE, 8), (BASE + 0xFFC, 0)])
def test_the_engine_answers(library, address: int, expected: int) -> None:
    bench = Bench(library)
    value = ctypes.c_uint32(123)
    assert bench.native_read(bench.ctx, address, ctypes.byref(value)) == 0
    assert value.value == expected
    assert bench.native_write(bench.ctx, address, 5) == 0
    assert bench.clock() == 2


def test_wrong_base_is_a_bus_error(library) -> None:
    bench = Bench(library)
    bench.driver.base = BASE + 0x1000
    assert Job("nt_s8", 1, 1, 1).run(bench) == BUS_ERROR


def test_an_unchecked_result_does_not_compile(tmp_path: Path) -> None:
    source = tmp_path / "unchecked.c"
    call = "csc_cs1_matmul_blocks_s8(d, x, 8, 1, x, 1, 1, acc)"
    head = '#include "cs1_driver.h"\nvoid f(csc_cs1_t *d, const int8_t *x, int32_t *acc);\n'
    head += "void f(csc_cs1_t *d, const int8_t *x, int32_t *acc)"
    includes = [f"-I{ROOT / 'cruntime' / folder}" for folder in ("gen", "chip")]
    command = ["cc", "-std=c11", "-Werror", *includes, "-c", str(source), "-o", "/dev/null"]
    source.write_text(f"{head} {{ if ({call} != CSC_CS1_OK) acc[0] = 0; }}\n")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    source.write_text(f"{head} {{ {call}; }}\n")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "unused" in result.stderr
