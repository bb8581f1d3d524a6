"""The numbers in the tables of CHIP.md: the model or the recorded hardware must give them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from csc.chip import Chip

ROOT = Path(__file__).resolve().parents[1]
CTRL, STATUS, SIZE, PERF = 0x000, 0x004, 0x01C, 0x028


def table(name: str) -> list[list[str]]:
    """Return the cells of the table after `<!-- table: name -->`, without its head."""
    text = (ROOT / "CHIP.md").read_text(encoding="utf-8")
    assert text.count(f"<!-- table: {name} -->") == 1
    lines = text.split(f"<!-- table: {name} -->")[1].strip().splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def trace(size: int) -> list[dict[str, int]]:
    """Return what the model shows in clocks 1, 2, 3 ... of a run over matrices of ones."""
    chips = {name: Chip("cs1") for name in ("ctrl", "status", "perf", "first", "last")}
    offsets = {
        "ctrl": CTRL,
        "status": STATUS,
        "perf": PERF,
        "first": 0x500,
        "last": 0x500 + 36 * (size - 1),
    }
    for chip in chips.values():
        for offset in (*range(0x100, 0x200, 4), *range(0x300, 0x400, 4)):
            chip.write(offset, 1)
        chip.write(SIZE, size)
        chip.write(CTRL, 1)
    rows = []
    for _ in range(size**3 + 6):
        irq = chips["ctrl"].irq
        rows.append({name: chip.read(offsets[name]) for name, chip in chips.items()} | {"irq": irq})
    return rows


def first_clock(rows: list[dict[str, int]], name: str, value: int) -> int:
    return next(clock for clock, row in enumerate(rows, 1) if row[name] == value)


@pytest.mark.parametrize("row", table("run"), ids=lambda row: f"N={row[0]}")
def test_run_table(row: list[str]) -> None:
    size, *numbers = map(int, row)
    rows = trace(size)
    measured = [
        rows[-1]["perf"],
        first_clock(rows, "irq", 1),
        first_clock(rows, "ctrl", 0),
        first_clock(rows, "first", size),
        first_clock(rows, "last", size),
    ]
    assert numbers == measured


def test_run_table_is_complete() -> None:
    assert [int(row[0]) for row in table("run")] == list(range(1, 9))


@pytest.mark.parametrize("row", table("workloads"), ids=lambda row: f"{row[0][:24]} {row[1]}")
def test_workload_table(row: list[str]) -> None:
    with (ROOT / "tests" / "vectors" / "cs1" / "soc_workloads.csv").open(newline="") as file:
        columns = ["workload", "compiler_opt", "clocks", "clocks_per_8x8_block", "ms_at_100MHz"]
        recorded = [
            [each[column] for column in columns]
            for each in csv.DictReader(file)
            if each["ram_wait"] == "0" and each["result_correct"] == "yes"
        ]
    as_numbers = [[*each[:2], *map(float, each[2:])] for each in recorded]
    assert [*row[:2], *map(float, row[2:])] in as_numbers


def test_workloads_take_mostly_data_movement() -> None:
    rows = table("workloads")
    assert len(rows) == 6
    assert all(float(row[3]) > 2 * 514 for row in rows)
