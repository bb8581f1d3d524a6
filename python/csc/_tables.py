"""What the command line shows: tables and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from csc._backend import OpReport
from csc._verify import Verification

OnProgress = Callable[[str, int, int], None]


@contextmanager
def progress_bars(console: Console) -> Iterator[OnProgress]:
    """Yield a callback (stage, done, total) that draws one bar per stage."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bars: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)

        yield show


def make_table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table; a column is (heading, "left" or "right")."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def count(number: int) -> str:
    """Spell a number with thin groups of three digits."""
    return f"{number:,}".replace(",", " ")


def percent(share: float | None) -> str:
    """Spell a share as a percentage."""
    return "-" if share is None else f"{100 * share:.2f} %"


def conversion_tables(report: dict[str, Any]) -> list[Table]:
    """Return the tables of a finished conversion (a `csc_convert.Report` as a dict)."""
    rows = [
        [
            row["name"],
            row["kind"] + (" wide" if row["wide"] else ""),
            "x".join(str(dim) for dim in row["shape"]),
            row["dtype"].lower(),
            count(row["weight_bytes"]),
            f"{row['sqnr_db']:.1f}",
            percent(row["saturation"]),
        ]
        for row in report["rows"]
    ]
    layers = make_table(
        "Layers (SQNR against the float model)",
        [("tensor", "left"), ("op", "left"), ("shape", "right"), ("dtype", "left"),
         ("weight bytes", "right"), ("SQNR dB", "right"), ("saturated", "right")],
        rows,
    )  # fmt: skip
    facts = [
        ["blob bytes", count(report["blob_bytes"])],
        ["arena bytes", f"{count(report['arena_bytes'])} (at least {count(report['arena_lower_bound'])})"],
        ["longest sequence", str(report["max_length"])],
        ["wide GEMMs", ", ".join(report["wide"]) or "none"],
        ["worst output SQNR", f"{report['output_sqnr_db']:.1f} dB"],
        ["agreement on calibration data", percent(report["agreement"])],
        *[[f"mean cosine of {name}", f"{value:.5f}"] for name, value in report["cosine"].items()],
        ["sequences calibrated / measured",
         f"{report['calibration_sequences']} / {report['measured_sequences']}"],
    ]  # fmt: skip
    return [layers, make_table("Blob", [("what", "left"), ("value", "left")], facts)]


def verification_tables(found: Verification, worst: int = 8) -> list[Table]:
    """Return the tables of a verification."""
    facts = [
        ["sequences", count(found.sequences)],
        ["agreement of predictions", percent(found.agreement)],
        ["float32 accuracy", percent(found.float_accuracy)],
        ["integer accuracy", percent(found.integer_accuracy)],
    ]
    for name, cosine in found.cosine.items():
        facts.append([f"{name}: mean cosine", f"{cosine:.5f}"])
        facts.append([f"{name}: SQNR", f"{found.sqnr_db[name]:.1f} dB"])
    layers = [[layer.tensor, f"{layer.sqnr_db:.1f}"] for layer in found.layers[:worst]]
    return [
        make_table("Integer model against float model", [("what", "left"), ("value", "right")], facts),
        make_table("Worst layers", [("tensor", "left"), ("SQNR dB", "right")], layers),
    ]


def chip_table(report: Sequence[OpReport]) -> Table:
    """Return what a chip did, per op, with a total."""
    busy = [entry for entry in report if entry.blocks]
    rows = [
        [entry.name, count(entry.blocks), count(entry.engine_clocks), count(entry.bus_reads),
         count(entry.bus_writes)]
        for entry in busy
    ]  # fmt: skip
    totals = [sum(column) for column in zip(*[
        (e.blocks, e.engine_clocks, e.bus_reads, e.bus_writes) for e in busy
    ], strict=True)]  # fmt: skip
    rows.append(["total", *[count(total) for total in totals]])
    columns = [("op", "left"), ("blocks", "right"), ("engine clocks", "right"),
               ("bus reads", "right"), ("bus writes", "right")]  # fmt: skip
    return make_table("CS1 block engine", columns, rows)


def inspection_tables(facts: dict[str, Any], tensors: bool) -> list[Table]:
    """Return the tables of `csc.inspect`'s result."""
    general = [
        ["format", facts["format"]],
        ["blob bytes", count(facts["blob_bytes"])],
        ["arena bytes", count(facts["arena_bytes"])],
        ["longest sequence", str(facts["max_length"])],
        *[[key, str(value)] for key, value in sorted(facts["metadata"].items())],
    ]
    faces = [
        [side, t["name"], t["dtype"], _shape(t["shape"]), f"{t['scale']:.6g}", str(t["zero_point"]),
         str(t["default"]) if t["optional"] else "-"]
        for side in ("inputs", "outputs")
        for t in facts[side]
    ]  # fmt: skip
    ops = [
        [str(op["number"]), op["name"], op["kind"], ", ".join(f"{k}={v}" for k, v in op["params"].items())]
        for op in facts["ops"]
    ]
    tables = [
        make_table("Blob", [("what", "left"), ("value", "left")], general),
        make_table("Inputs and outputs", [("side", "left"), ("name", "left"), ("dtype", "left"),
                   ("shape", "left"), ("scale", "right"), ("zero point", "right"),
                   ("default", "right")], faces),
        make_table("Ops", [("no.", "right"), ("name", "left"), ("kind", "left"),
                   ("parameters", "left")], ops),
    ]  # fmt: skip
    if tensors:
        rows = [
            [str(t["number"]), t["name"], t["dtype"], _shape(t["shape"]), t["storage"],
             count(t["offset"]), count(t["nbytes"])]
            for t in facts["tensors"]
        ]  # fmt: skip
        columns = [("no.", "right"), ("name", "left"), ("dtype", "left"), ("shape", "left"),
                   ("storage", "left"), ("offset", "right"), ("bytes", "right")]  # fmt: skip
        tables.append(make_table("Tensors", columns, rows))
    return tables


def _shape(dims: Sequence[int | None]) -> str:
    return "x".join("T" if dim is None else str(dim) for dim in dims)
