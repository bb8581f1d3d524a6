"""Many chips, one model: a grid of parameters, and chips side by side.

The points of a sweep are independent; joblib spreads them over processes, or over a cluster whose
joblib backend (Dask, Ray) the caller has made the current one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from csc import _parameters
from csc._energy import area_mm2
from csc._profile import Progress, Report, check_chip, example_or_given, profile
from csc._profile_cs2 import Cs2Report, planned_for, why_portable
from csc.errors import CscError, InputError
from csc.model import Model, load

MAX_POINTS = 10_000
COSTS = {"energy": "total_uj", "area": "area_mm2"}


@dataclass(frozen=True)
class Point:
    """One chip of a sweep; the figures are 0 where `error` says why it cannot run."""

    parameters: dict[str, float]
    error: str | None = None
    clocks: int = 0
    milliseconds: float = 0.0
    ratio: float = 0.0
    total_uj: float = 0.0
    milliwatts: float = 0.0
    area_mm2: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep, in the order of the grid; `axes` are the varied parameters."""

    chip: str
    tokens: int
    axes: dict[str, list[float]]
    points: list[Point]

    @property
    def failures(self) -> list[Point]:
        """The points that cannot run."""
        return [point for point in self.points if point.error is not None]

    def front(self, cost: str) -> list[Point]:
        """Return the Pareto front of milliseconds against "energy" or "area", fastest first."""
        return pareto([p for p in self.points if p.error is None], COSTS[cost])

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        whole = asdict(self)
        for cost in COSTS:
            front = self.front(cost)
            for entry, point in zip(whole["points"], self.points, strict=True):
                entry[f"in_front_of_{cost}"] = point in front
        return whole


def pareto(points: Iterable[Point], cost: str) -> list[Point]:
    """Return the points that no other is at least as good as in both, and better in one."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.milliseconds, getattr(each, cost))):
        is_cheaper = not best or getattr(point, cost) < getattr(best[-1], cost)
        if is_cheaper or _same(point, best[-1], cost):
            best.append(point)
    return best


def _same(a: Point, b: Point, cost: str) -> bool:
    return a.milliseconds == b.milliseconds and getattr(a, cost) == getattr(b, cost)


def grid(
    axes: Mapping[str, Sequence[float]], fixed: Mapping[str, float]
) -> list[_parameters.Parameters]:
    """Return the chips of a grid, the last axis running fastest. Raises InputError."""
    if not axes:
        raise InputError("Name at least one parameter to vary, such as array=64,512.")
    for name in set(axes) & set(fixed):
        raise InputError(f"The parameter '{name}' is both set and varied; do one of the two.")
    count = 1
    for values in axes.values():
        count *= len(values)
    if not 1 <= count <= MAX_POINTS:
        raise InputError(f"The sweep has {count} points; give 1 to {MAX_POINTS}.")
    return [
        _parameters.make({**fixed, **dict(zip(axes, values, strict=True))})
        for values in itertools.product(*axes.values())
    ]


def run_point(blob: bytes, tokens: int, parameters: _parameters.Parameters) -> Point:
    """Run one chip of a sweep; what csc or the converter refuses is the point's error."""
    from csc_convert import ConvertError

    values = dict(vars(parameters))
    try:
        model = load(blob)
        if why_portable(model, parameters, tokens) is not None:
            model = planned_for(model, parameters)
        report = profile(model, "cs2", tokens=tokens, parameters=values)
    except (CscError, ConvertError) as error:
        return Point(values, error=str(error))
    assert isinstance(report, Cs2Report)
    return Point(
        parameters=values,
        clocks=report.clocks,
        milliseconds=report.milliseconds,
        ratio=report.ratio,
        total_uj=report.total_uj,
        milliwatts=report.milliwatts,
        area_mm2=area_mm2(parameters),
    )


def _results(tasks: Sequence[Any], jobs: int | None) -> Iterator[Point]:
    """Yield results in order, one by one where the current backend of joblib can."""
    from joblib import Parallel

    try:
        yield from Parallel(n_jobs=jobs, return_as="generator")(tasks)
    except ValueError as error:
        if "return_as" not in str(error):
            raise
        yield from Parallel(n_jobs=jobs)(tasks)


def sweep(
    model: Model | str | os.PathLike[str] | bytes,
    vary: Mapping[str, Sequence[float]],
    *,
    chip: str = "cs2",
    parameters: Mapping[str, float] | None = None,
    tokens: int | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Profile a model on every chip of a grid of parameters.

    The blob is planned anew for every size of the SRAM. Inside
    ``with joblib.parallel_config("dask"):`` or ``"ray"`` the points go to that cluster, whose
    workers need csc.

    Args:
        model: a Model, or what `csc.load` takes.
        vary: values by the names of CHIP.md's parameters, such as {"array": [64, 512]}.
        chip: "cs2".
        parameters: what else differs from the chip of CHIP.md.
        tokens: length of the run; default 8.
        jobs: processes; None is 1, or what the current joblib backend says.
        progress: called with (stage, done, total).

    Raises:
        InputError: unknown chip or parameter, impossible value, a length the model does not take.

    """
    if chip != "cs2":
        raise InputError(f"Only cs2 has parameters to vary, not '{chip}'.")
    from joblib import delayed

    axes = {name: list(values) for name, values in vary.items()}
    chips = grid(axes, parameters or {})
    loaded = model if isinstance(model, Model) else load(model)
    given = example_or_given(loaded, None, tokens)
    length = len(next(iter(given.values())))
    blob = loaded._blob.data.tobytes()
    report = progress or (lambda stage, done, total: None)
    report("sweep", 0, len(chips))
    points = []
    for point in _results([delayed(run_point)(blob, length, each) for each in chips], jobs):
        points.append(point)
        report("sweep", len(points), len(chips))
    return Sweep(chip, length, axes, points)


# --- chips side by side ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Profiles of one run on several chips, in the order asked for."""

    tokens: int
    labels: list[str]
    reports: list[Report | Cs2Report]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The figures of each chip; energy is None where it is not known."""
        first = self.reports[0].milliseconds
        return [
            _entry(label, report, first)
            for label, report in zip(self.labels, self.reports, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        return {"tokens": self.tokens, "chips": self.entries}


def _entry(label: str, report: Report | Cs2Report, first: float) -> dict[str, Any]:
    energy = report.energy_uj
    total = None if energy is None else sum(energy.values())
    return {
        "label": label,
        "clocks": report.clocks,
        "milliseconds": report.milliseconds,
        "relative": report.milliseconds / first,
        "ratio_to_bound": report.ratio,
        "clocks_by_kind": report.clocks_by_kind(),
        "energy_uj": energy,
        "total_uj": total,
        "milliwatts": None if total is None else total / report.milliseconds,
    }


def compare(
    model: Model | str | os.PathLike[str] | bytes,
    chips: Sequence[str],
    *,
    parameters: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Profile one run on several chips.

    Args:
        model: a Model, or what `csc.load` takes.
        chips: at least two of "cs1", "cs2" and "cs2:name=value:name=value".
        parameters: of every cs2 among them; those behind its own name count more.
        progress: called with (stage, done, total).
        options: those of `csc.profile`.

    Raises:
        InputError: as `csc.profile`, and fewer than two chips.

    """
    variants = [_parameters.parse_variant(text) for text in chips]
    if len(variants) < 2:
        raise InputError("A comparison takes at least two chips, such as cs1,cs2.")
    for chip, own in variants:
        check_chip(chip, own)
    loaded = model if isinstance(model, Model) else load(model)
    reports: list[Report | Cs2Report] = []
    for number, (chip, own) in enumerate(variants):
        shared = parameters or {} if chip == "cs2" else {}
        made = profile(loaded, chip, parameters={**shared, **own}, **options)
        if reports and made.outputs != reports[0].outputs:
            raise CscError(f"The outputs of {chips[number]} are not those of {chips[0]}.")
        reports.append(made)
        if progress:
            progress("compare", number + 1, len(variants))
    return Comparison(reports[0].tokens, [text.strip() for text in chips], reports)
