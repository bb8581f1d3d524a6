"""The driver's speed on the CS1 chip, to the clock: what programs for it are planned with.

The best loop tuned by hand takes 1,905,215 clocks for 256x256 by 256x8 (CHIP.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import csc
from boards import need_compiler
from building import build

JOB, X, W, ACC = 0x10_0000, 0x11_0000, 0x12_0000, 0x14_0000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_compiler("cs1")
    folder = build("cs1", "cs1-matmul", tmp_path_factory.mktemp("speed"))
    return folder / "firmware/cs1-matmul.elf"


def clocks(program: Path, ram_wait: int, k: int, n: int, rows: int) -> int:
    """Multiply random numbers on the chip, compare with NumPy, and return the clocks."""
    rng = np.random.default_rng([k, n, rows])
    x = rng.integers(-128, 128, (rows, k), dtype=np.int8)
    w = rng.integers(-128, 128, (n, k), dtype=np.int8)
    x[0], w[0] = -128, -128
    soc = csc.Soc("cs1", ram_wait=ram_wait)
    soc.load_elf(program)
    soc.load(X, x.tobytes())
    soc.load(W, w.reshape(n // 8, 8, k // 8, 8).transpose(0, 2, 1, 3).tobytes())
    soc.load(ACC, b"\xa5" * (4 * n * rows))
    soc.load(JOB, [X, W, ACC, rows, k // 8, n // 8])
    stop = soc.run(20_000_000)
    assert (stop.kind, stop.value) == ("exit", 0)
    acc = np.frombuffer(soc.read(ACC, 4 * n * rows), np.int32).reshape(rows, n)
    assert (acc == x.astype(np.int32) @ w.T.astype(np.int32)).all()
    taken, reads = np.frombuffer(soc.read(JOB + 24, 8), np.uint32)
    assert reads == soc.totals.reads["engine"], (reads, taken)
    return int(taken)


@pytest.mark.parametrize(("rows", "ceiling"), [(8, 1_950_000), (4, 1_400_000), (1, 1_000_000)])
def test_a_256_by_256_layer(program: Path, rows: int, ceiling: int) -> None:
    assert clocks(program, 0, 256, 256, rows) < ceiling


@pytest.mark.parametrize("ram_wait", [0, 1])
@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize(("k", "n"), [(8, 8), (24, 16), (16, 40)])
def test_exact_with_every_number_of_rows(
    program: Path, ram_wait: int, rows: int, k: int, n: int
) -> None:
    assert clocks(program, ram_wait, k, n, rows) > 0
