"""What the command line shows: tables and progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from csc._backend import OpReport
from csc._profile import OpProfile, Report
from csc._profile_cs2 import OUTSIDE, Cs2Report
from csc._sweep import Comparison, Point, Sweep
from csc._timeline import STARTING, EngineUse, OpUse
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


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table; a column whose heading ends with '>' is aligned to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        table.add_column(
            column.rstrip(">"), justify=justify, overflow="fold", no_wrap=justify == "right"
        )
    for row in rows:
        table.add_row(*row)
    return table


def count(number: int) -> str:
    """Spell a number in groups of three digits."""
    return f"{number:,}".replace(",", " ")


def percent(share: float | None) -> str:
    """Spell a share as a percentage."""
    return "-" if share is None else f"{100 * share:.2f} %"


def conversion_tables(report: dict[str, Any]) -> list[Table]:
    """Return the tables of a finished conversion (a `csc_convert.Report` as a dict)."""
    return [
        make_table(
            "Layers (SQNR against the float model)",
            ["tensor", "op", "shape>", "dtype", "weight bytes>", "SQNR dB>", "saturated>"],
            [_layer_row(row) for row in report["rows"]],
        ),
        make_table("Blob", ["what", "value"], _conversion_facts(report)),
    ]


def _layer_row(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        row["kind"] + (" wide" if row["wide"] else ""),
        "x".join(str(dim) for dim in row["shape"]),
        row["dtype"].lower(),
        count(row["weight_bytes"]),
        f"{row['sqnr_db']:.1f}",
        percent(row["saturation"]),
    ]


def _conversion_facts(report: dict[str, Any]) -> list[list[str]]:
    least = count(report["arena_lower_bound"])
    return [
        ["blob bytes", count(report["blob_bytes"])],
        ["arena bytes", f"{count(report['arena_bytes'])} (lower bound {least})"],
        ["longest sequence", str(report["max_length"])],
        ["wide GEMMs", ", ".join(report["wide"]) or "none"],
        ["worst output SQNR", f"{report['output_sqnr_db']:.1f} dB"],
        ["agreement of predictions", percent(report["agreement"])],
        *_text_facts(report),
        *[[f"mean cosine of {name}", f"{value:.5f}"] for name, value in report["cosine"].items()],
        ["sequences calibrated", str(report["calibration_sequences"])],
        ["sequences measured", str(report["measured_sequences"])],
    ]


def _text_facts(report: dict[str, Any]) -> list[list[str]]:
    """Return what is known of a model that generates text."""
    found = report["perplexity"]
    if found is None:
        return []
    return [
        ["entries", ", ".join(report["entries"])],
        ["context", str(report["context"])],
        ["float32 perplexity", f"{found['float']:.3f}"],
        ["integer perplexity", f"{found['integer']:.3f}"],
        ["divergence of predictions", f"{found['divergence']:.5f} nats"],
    ]


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
        make_table("Integer model against float model", ["what", "value>"], facts),
        make_table("Worst layers", ["tensor", "SQNR dB>"], layers),
    ]


def chip_table(report: Sequence[OpReport]) -> Table:
    """Return what a chip did, per op, with a total."""
    figures = [
        (e.name, e.blocks, e.engine_clocks, e.bus_reads, e.bus_writes) for e in report if e.blocks
    ]
    totals = [sum(column) for column in list(zip(*figures, strict=True))[1:]]
    rows = [[name, *map(count, numbers)] for name, *numbers in [*figures, ("total", *totals)]]
    columns = ["op", "blocks>", "engine clocks>", "bus reads>", "bus writes>"]
    return make_table("CS1 block engine", columns, rows)


def profile_tables(report: Report | Cs2Report) -> list[Table]:
    """Return the tables of a profile: every op, then the whole."""
    if isinstance(report, Cs2Report):
        return _cs2_tables(report)
    columns = ["op", "kind", "clocks>", "share>", "engine busy>", "CPU>", "bus, waits>", "MACs>"]
    columns += ["MAC/clock>", "bytes moved>"]
    rows = [_profile_row(op, report.clocks) for op in report.ops]
    title = f"{report.source}, {report.tokens} tokens"
    return [
        make_table(title, columns, rows),
        make_table("Whole run", ["what", "value>"], _profile_facts(report)),
    ]


def _profile_row(op: OpProfile, clocks: int) -> list[str]:
    def known(number: int | None) -> str:
        return "-" if number is None else count(number)

    return [
        op.name,
        op.kind,
        count(op.clocks),
        percent(op.clocks / clocks),
        count(op.engine_clocks),
        known(op.cpu_clocks),
        known(op.bus_clocks),
        count(op.macs),
        f"{op.macs / op.clocks:.3f}" if op.clocks else "-",
        count(op.bytes_moved),
    ]


def _profile_facts(report: Report) -> list[list[str]]:
    engine = sum(op.engine_clocks for op in report.ops)
    return [
        ["clocks", count(report.clocks)],
        [f"milliseconds at {report.clock_hz / 1e6:g} MHz", f"{report.milliseconds:.2f}"],
        ["engine busy", percent(engine / report.clocks)],
        ["MACs", count(report.macs)],
        ["MACs per clock", f"{report.macs / report.clocks:.3f}"],
        ["bound in clocks", count(report.bound_clocks)],
        ["ratio to the bound", f"{report.ratio:.2f}"],
        *_energy_facts(report.energy_uj, report.milliseconds),
    ]


def _energy_facts(energy: dict[str, float] | None, milliseconds: float) -> list[list[str]]:
    """Return energy by part and average power; nothing where it is not known."""
    if energy is None:
        return []
    total = sum(energy.values())
    parts = [[f"energy, {part}", f"{value:.4g} uJ"] for part, value in energy.items() if value]
    power = f"{total / milliseconds:.4g} mW"
    return [["energy per inference", f"{total:.4g} uJ"], *parts, ["average power", power]]


def _cs2_tables(report: Cs2Report) -> list[Table]:
    columns = ["op", "kind", "share>", "first start>", "last end>"]
    columns += ["DMA busy>", "BLOCK busy>", "VECTOR busy>", "stalls", "waits"]
    rows = [_cs2_row(op, report.clocks) for op in report.ops]
    rows.append([OUTSIDE, "-", percent(report.outside / report.clocks), *["-"] * 7])
    title = f"{report.source}, {report.tokens} tokens"
    engine_columns = ["engine", "commands>", "busy>", "busy clocks>", "idle>", "stalls", "waits"]
    engines = [_engine_row(engine, report.clocks) for engine in report.engines]
    return [
        make_table(title, columns, rows),
        make_table("Engines", engine_columns, engines),
        make_table("Whole run", ["what", "value>"], _cs2_facts(report)),
    ]


def _reasons(clocks: dict[str, int], pause: str = "") -> str:
    """Spell clocks by reason, the largest first."""
    found = sorted(clocks.items(), key=lambda item: -item[1])
    return ", ".join(f"{name}{pause} {count(value)}" for name, value in found if value) or "-"


def _waits(waits: dict[str, int]) -> dict[str, int]:
    """Leave out what is no wait for anything."""
    return {reason: clocks for reason, clocks in waits.items() if reason != STARTING}


def _cs2_row(op: OpUse, clocks: int) -> list[str]:
    times = [count(op.start), count(op.end), *[count(busy) for busy in op.busy.values()]]
    stalls, waits = _reasons(op.stalls), _reasons(_waits(op.waits))
    return [op.name, op.kind, percent(op.advance / clocks), *times, stalls, waits]


def _engine_row(engine: EngineUse, clocks: int) -> list[str]:
    return [
        engine.name.upper(),
        count(engine.commands),
        percent(engine.busy / clocks),
        count(engine.busy),
        count(engine.idle),
        _reasons(engine.stalls),
        _reasons(_waits(engine.waits)),
    ]


def _cs2_facts(report: Cs2Report) -> list[list[str]]:
    bound, used = report.bound, report.utilization()
    path = "planned" if report.planned else f"portable: {report.why_portable}"
    return [
        ["path", path],
        ["clocks, run command to result", count(report.clocks)],
        [f"milliseconds at {report.clock_hz / 1e6:g} MHz", f"{report.milliseconds:.3f}"],
        ["useful MACs", count(bound.macs)],
        ["external bytes, each once", count(bound.external_bytes)],
        ["bound in clocks", f"{count(bound.clocks)} ({bound.side})"],
        ["ratio to the bound", f"{report.ratio:.2f}"],
        *[[f"utilization, {name}", percent(share)] for name, share in used.items()],
        *_energy_facts(report.energy_uj, report.milliseconds),
    ]


def comparison_tables(found: Comparison) -> list[Table]:
    """Return chips side by side: clocks of every kind of op, then the whole."""
    columns = ["what", *[f"{label}>" for label in found.labels]]
    rows = [[name, *values] for name, values in _comparison_rows(found)]
    return [make_table("Comparison", columns, rows)]


def _comparison_rows(found: Comparison) -> list[tuple[str, list[str]]]:
    def known(name: str, spelled: Callable[[Any], str]) -> list[str]:
        return ["-" if v is None else spelled(v) for v in (e[name] for e in found.entries)]

    kinds = list(dict.fromkeys(kind for e in found.entries for kind in e["clocks_by_kind"]))
    per_kind = [
        (
            f"clocks, {kind}",
            [count(e["clocks_by_kind"].get(kind, 0)) for e in found.entries],
        )
        for kind in kinds
    ]
    return [
        *per_kind,
        ("clocks", known("clocks", count)),
        ("milliseconds", known("milliseconds", "{:.3f}".format)),
        ("times the first", known("relative", "{:.4f}".format)),
        ("ratio to the bound", known("ratio_to_bound", "{:.2f}".format)),
        ("energy, uJ", known("total_uj", "{:.4g}".format)),
        ("average power, mW", known("milliwatts", "{:.4g}".format)),
    ]


def sweep_tables(found: Sweep) -> list[Table]:
    """Return the points of a sweep; a star marks the Pareto fronts."""
    columns = [*found.axes, "clocks>", "ms>", "ratio>", "uJ>", "mW>", "mm2>", "best in"]
    rows = [_point_row(found, point) for point in found.points]
    tables = [make_table(f"Sweep of {found.chip}, {found.tokens} tokens", columns, rows)]
    if found.failures:
        failed = [[_settings(found, p), p.error or ""] for p in found.failures]
        tables.append(make_table("Not possible", ["parameters", "why"], failed))
    return tables


def _settings(found: Sweep, point: Point) -> str:
    return ", ".join(f"{name}={point.parameters[name]:g}" for name in found.axes)


def _point_row(found: Sweep, point: Point) -> list[str]:
    settings = [f"{point.parameters[name]:g}" for name in found.axes]
    if point.error is not None:
        return [*settings, *["-"] * 6, "not possible"]
    fronts = [name for name in ("energy", "area") if point in found.front(name)]
    figures = [f"{point.ratio:.2f}", f"{point.total_uj:.4g}", f"{point.milliwatts:.4g}"]
    time = [count(point.clocks), f"{point.milliseconds:.3f}"]
    return [*settings, *time, *figures, f"{point.area_mm2:.3f}", ", ".join(fronts) or "-"]


def inspection_tables(facts: dict[str, Any], tensors: bool) -> list[Table]:
    """Return the tables of `csc.inspect`'s result."""
    faces = [(side, tensor) for side in ("inputs", "outputs") for tensor in facts[side]]
    found = [
        make_table("Blob", ["what", "value"], _inspection_facts(facts)),
        make_table(
            "Inputs and outputs",
            ["side", "name", "dtype", "shape", "scale>", "zero point>", "default>"],
            [_face_row(side, tensor) for side, tensor in faces],
        ),
        make_table("Ops", ["no.>", "name", "kind", "parameters"], list(map(_op_row, facts["ops"]))),
    ]
    if tensors:
        columns = ["no.>", "name", "dtype", "shape", "storage", "offset>", "bytes>"]
        found.append(make_table("Tensors", columns, list(map(_tensor_row, facts["tensors"]))))
    return found


def _inspection_facts(facts: dict[str, Any]) -> list[list[str]]:
    return [
        ["format", facts["format"]],
        ["blob bytes", count(facts["blob_bytes"])],
        ["arena bytes", count(facts["arena_bytes"])],
        ["longest sequence", str(facts["max_length"])],
        *_plan_facts(facts["plan"]),
        *[[key, str(value)] for key, value in sorted(facts["metadata"].items())],
    ]


def _plan_facts(plan: dict[str, Any] | None) -> list[list[str]]:
    if plan is None:
        return [["plan", "none"]]
    return [
        ["plan", f"{count(plan['commands'])} commands for {plan['chip']} {plan['version']}"],
        ["plan's longest sequence", str(plan["max_length"])],
        ["plan's SRAM bytes", count(plan["sram_bytes"])],
        ["plan's external bytes for results", count(plan["store_bytes"])],
    ]


def _face_row(side: str, tensor: dict[str, Any]) -> list[str]:
    return [
        side,
        tensor["name"],
        tensor["dtype"],
        _shape(tensor["shape"]),
        f"{tensor['scale']:.6g}",
        str(tensor["zero_point"]),
        str(tensor["default"]) if tensor["optional"] else "-",
    ]


def _op_row(op: dict[str, Any]) -> list[str]:
    params = ", ".join(f"{name}={value}" for name, value in op["params"].items())
    return [str(op["number"]), op["name"], op["kind"], params]


def _tensor_row(tensor: dict[str, Any]) -> list[str]:
    return [
        str(tensor["number"]),
        tensor["name"],
        tensor["dtype"],
        _shape(tensor["shape"]),
        tensor["storage"],
        count(tensor["offset"]),
        count(tensor["nbytes"]),
    ]


def _shape(dims: Sequence[int | None]) -> str:
    return "x".join("T" if dim is None else str(dim) for dim in dims)
