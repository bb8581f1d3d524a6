"""Pictures of a profile: time per op, and the roofline. Needs matplotlib (csc[plot])."""

from __future__ import annotations

import io
from typing import Any

from csc._profile import BUS_BYTES_PER_CLOCK, PEAK_MACS_PER_CLOCK, OpProfile, Report
from csc.errors import CscError

_COLOURS = {"engine": "#1b7837", "bus": "#d6604d", "cpu": "#4393c3"}


def draw(report: Report, file_format: str) -> bytes:
    """Return a picture as "png" or "svg": stacked clocks of each op, and the roofline.

    Raises:
        CscError: matplotlib is not installed, or the format is another one.

    """
    if file_format not in ("png", "svg"):
        raise CscError(f"A picture is .png or .svg, not '.{file_format}'; name the file so.")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CscError(
            "Pictures need matplotlib; install it with: pip install 'csc[plot]'."
        ) from None
    figure = Figure(figsize=(14, 3 + 0.22 * len(report.ops)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_time(left, report)
    _draw_roofline(right, report)
    figure.suptitle(
        f"{report.source}, {report.tokens} tokens: {report.clocks:,} clocks, "
        f"{report.milliseconds:.2f} ms at {report.clock_hz / 1e6:g} MHz"
    )
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
