"""Pictures of profiles and sweeps. Needs matplotlib (csc[plot])."""

from __future__ import annotations

import io
from typing import Any

from csc._cs2 import ENGINES
from csc._profile import BUS_BYTES_PER_CLOCK, PEAK_MACS_PER_CLOCK, OpProfile, Report
from csc._profile_cs2 import Cs2Report
from csc._sweep import COSTS, Sweep
from csc._timeline import STALLS
from csc.errors import CscError

_COLOURS = {"engine": "#1b7837", "bus": "#d6604d", "cpu": "#4393c3"}


def draw(report: Report | Cs2Report, file_format: str) -> bytes:
    """Return a picture of a profile as "png" or "svg".

    Of CS1: stacked clocks of each op, and the roofline. Of CS2: the engines over time, and clocks
    of each op.

    Raises:
        CscError: matplotlib is not installed, or the format is another one.

    """
    figure = _figure(file_format, (14, 3 + 0.22 * len(report.ops)))
    if isinstance(report, Cs2Report):
        above, below = figure.subplots(2, 1, height_ratios=[1.5, 1 + 0.22 * len(report.ops)])
        _draw_engines(above, report)
        _draw_ops(below, report)
    else:
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        _draw_time(left, report)
        _draw_roofline(right, report)
    figure.suptitle(
        f"{report.source}, {report.tokens} tokens: {report.clocks:,} clocks, "
        f"{report.milliseconds:.2f} ms at {report.clock_hz / 1e6:g} MHz"
    )
    return _picture(figure, file_format)


def draw_sweep(found: Sweep, file_format: str) -> bytes:
    """Return a picture of a sweep: latency against energy and against area, with Pareto fronts.

    Raises:
        CscError: as `draw`, or no point of the sweep could run.

    """
    if len(found.failures) == len(found.points):
        raise CscError("There is nothing to draw: no point of the sweep can run.")
    figure = _figure(file_format, (14, 6))
    units = {"energy": "energy per inference, uJ", "area": "area of array, lanes and SRAM, mm2"}
    for axes, cost in zip(figure.subplots(1, 2), COSTS, strict=True):
        _draw_front(axes, found, cost)
        axes.set_ylabel(units[cost])
    figure.suptitle(f"{found.chip}, {found.tokens} tokens")
    return _picture(figure, file_format)


def _figure(file_format: str, size: tuple[float, float]) -> Any:
    if file_format not in ("png", "svg"):
        raise CscError(f"A picture is .png or .svg, not '.{file_format}'; name the file so.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CscError(
            "Pictures need matplotlib; install it with: pip install 'csc[plot]'."
        ) from None
    return Figure(figsize=size, layout="constrained")


def _picture(figure: Any, file_format: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=110, metadata=_undated(file_format))
    return buffer.getvalue()


def _undated(file_format: str) -> dict[str, Any]:
    """Leave the date out: the same profile gives the same bytes."""
    return {"Date": None} if file_format == "svg" else {}


def _parts(op: OpProfile) -> dict[str, float]:
    """Split the clocks of an op by what the CPU does meanwhile; None counts as CPU."""
    bus = op.bus_clocks or 0
    return {"CPU": op.clocks - bus, "bus and waits": bus}


def _draw_time(axes: Any, report: Report) -> None:
    names = [op.name for op in report.ops]
    scale = 1e3 / report.clock_hz
    left = [0.0] * len(names)
    for part, colour in (("CPU", _COLOURS["cpu"]), ("bus and waits", _COLOURS["bus"])):
        width = [scale * _parts(op)[part] for op in report.ops]
        axes.barh(names, width, left=left, color=colour, label=part)
        left = [a + b for a, b in zip(left, width, strict=True)]
    busy = [scale * op.engine_clocks for op in report.ops]
    axes.barh(
        names, busy, height=0.25, color=_COLOURS["engine"], label="engine busy (side by side)"
    )
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend()


def _draw_roofline(axes: Any, report: Report) -> None:
    peak, width = PEAK_MACS_PER_CLOCK[report.chip], BUS_BYTES_PER_CLOCK[report.chip]
    found = [op for op in report.ops if op.macs and op.bytes_moved]
    for kind in sorted({op.kind for op in found}):
        points = [(o.macs / o.bytes_moved, o.macs / o.clocks) for o in found if o.kind == kind]
        axes.scatter(*zip(*points, strict=True), label=kind)
    intensity = [2.0**power for power in range(-8, 7)]
    axes.plot(intensity, [min(peak, width * x) for x in intensity], color="black", label="roof")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("MACs per byte moved by the CPU")
    axes.set_ylabel("MACs per clock")
    axes.legend()


def _draw_engines(axes: Any, report: Cs2Report) -> None:
    """Draw a bar per command, one row per engine, coloured by kind of op; waits thin and grey."""
    scale = 1e3 / report.clock_hz
    kinds = {op.number: op.kind for op in report.ops}
    colours = {kind: f"C{n % 10}" for n, kind in enumerate(sorted(set(kinds.values())))}
    for row, engine in enumerate(ENGINES):
        own = [each for each in report.commands if each.engine == engine]
        waits = [(each.ready * scale, each.wait * scale) for each in own]
        axes.broken_barh(waits, (row - 0.1, 0.2), color="0.6")
        spans = [(each.started * scale, each.busy * scale) for each in own]
        paint = [colours[kinds[each.op]] for each in own]
        axes.broken_barh(spans, (row - 0.4, 0.8), facecolors=paint)
    for kind, colour in colours.items():
        axes.scatter([], [], marker="s", color=colour, label=kind)
    axes.scatter([], [], marker="s", color="0.6", label="waiting")
    axes.set_yticks(range(len(ENGINES)), [name.upper() for name in ENGINES])
    axes.invert_yaxis()
    axes.set_xlim(0, report.milliseconds)
    axes.set_xlabel("ms")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


def _draw_ops(axes: Any, report: Cs2Report) -> None:
    """Draw the busy clocks of each op by engine, and below what it lost to stalls."""
    names, scale = [f"{op.number} {op.name}" for op in report.ops], 1e3 / report.clock_hz
    left = [0.0] * len(names)
    for engine, colour in zip(ENGINES, _COLOURS.values(), strict=True):
        width = [scale * op.busy[engine] for op in report.ops]
        axes.barh(names, width, left=left, color=colour, label=f"{engine.upper()} busy")
        left = [a + b for a, b in zip(left, width, strict=True)]
    stalls = [scale * sum(op.stalls[reason] for reason in STALLS) for op in report.ops]
    axes.barh(names, stalls, height=0.25, color="black", label="of these, stalled")
    advance = [scale * op.advance for op in report.ops]
    axes.scatter(advance, names, marker="|", color="red", label="moves the run on by")
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


def _draw_front(axes: Any, found: Sweep, cost: str) -> None:
    ran = [point for point in found.points if point.error is None]
    front = found.front(cost)
    axes.scatter([p.milliseconds for p in ran], [getattr(p, COSTS[cost]) for p in ran])
    times, costs = [p.milliseconds for p in front], [getattr(p, COSTS[cost]) for p in front]
    axes.plot(times, costs, color="C3", marker="o", label="Pareto front")
    for point in front:
        text = ", ".join(f"{name}={point.parameters[name]:g}" for name in found.axes)
        place = (point.milliseconds, getattr(point, COSTS[cost]))
        axes.annotate(text, place, fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set_xlabel("ms per inference")
    axes.legend()
