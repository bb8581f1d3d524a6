"""The road from a float model to a blob."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import blob_format as fmt
from .batches import Arrays
from .blob_writer import write_blob
from .calibrate import Statistics, collect, load_calibration
from .cs2 import CHIPS, ChipPlan, make_plan
from .errors import AccuracyGate, ConvertError, NoPlan, UnsupportedModel
from .evaluate import LOGITS, Measurement, evenly_chosen, measure
from .files import write_file
from .graph import Graph
from .lower import Plan, lower
from .plan import Arena, plan_arena
from .report import Report, make_report
from .scales import ScaleChooser
from .source import load_source
from .wide import LEAST_SHARE, MODES, SENSITIVITY_SEQUENCES, all_wide, free_wide, overshoot, rank

MEASURED_SEQUENCES = 64
NO_CHIP = "none"
_CONVERTER = "csc_convert 1"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: the blob and what is known about it.

    plan: the commands for the chip that are in the blob; no_plan: why there are none.
    """

    blob: bytes
    report: Report
    plan: ChipPlan | None = None
    no_plan: str = ""


def convert(
    source: str | Path,
    output: str | Path | None = None,
    *,
    calibration: str | Path | Mapping,
    max_length: int | None = None,
    pooling: str = "auto",
    wide: str = "auto",
    chip: str = "cs2",
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a float model to a blob, measure it, and write it to `output` if that is given.

    source: a Hugging Face directory of a BertModel or BertForSequenceClassification, or an .onnx
        file of an encoder like these.
    calibration: an .npz file or a mapping with input_ids [N][T] and, optionally, attention_mask
        and token_type_ids: texts like those the model is made for.
    max_length: the longest sequence the blob takes; by default the width of the calibration data.
    pooling: "cls" or "mean" adds the output sentence_embedding, "auto" looks into the directory
        (an .onnx file is taken as it is).
    wide: "none" makes every GEMM int8, "all" int16 as far as possible, "auto" as many as needed.
    chip: "cs2" adds the commands that run the blob on that chip, where it can be planned for it;
        the blob runs everywhere all the same.  "none" adds nothing.
    min_sqnr, min_agreement: the least accuracy, in decibels of the worst output and as a share of
        the predictions; below it nothing is written.
    progress: called with (stage, done, total).
    The same arguments give the same bytes.  Raises ConvertError.
    """
    _check_options(max_length, wide, chip, min_sqnr, min_agreement)
    progress = progress or (lambda _stage, _done, _total: None)
    progress("load", 0, 1)
    graph = load_source(source, pooling).graph
    if min_agreement is not None and LOGITS not in graph.outputs:
        raise ConvertError(f"{source}: min_agreement is for classifiers; this model has no logits.")
    arrays, length = load_calibration(calibration, graph, max_length)
    progress("load", 1, 1)
    statistics = collect(graph, arrays, progress)
    options = {"max_length": length, "pooling": pooling, "wide": wide}
    maker = _Maker(graph, statistics, arrays, options, progress)
    made = maker.make_auto() if wide == "auto" else maker.make(_fixed_wide(graph, wide))
    notes = tuple(graph.metadata.get("notes", ()))
    report = make_report(made.plan, made.arena, made.blob, made.measured, maker.sequences, notes)
    _gate(report, min_sqnr, min_agreement)
    conversion = _planned(Conversion(made.blob, report), chip)
    if output is not None:
        write_file(Path(output), conversion.blob)
    progress("write", 1, 1)
    return conversion


def _planned(made: Conversion, chip: str) -> Conversion:
    """Add a plan for a chip, or the reason why there is none."""
    if chip == NO_CHIP:
        return replace(made, no_plan="No chip was asked for.")
    try:
        plan = make_plan(made.blob, chip)
    except NoPlan as reason:
        return replace(made, no_plan=str(reason))
    report = replace(made.report, blob_bytes=len(plan.blob))
    return Conversion(plan.blob, report, plan)


def _check_options(
    max_length: int | None,
    wide: str,
    chip: str,
    min_sqnr: float | None,
    min_agreement: float | None,
) -> None:
    if wide not in MODES:
        raise ConvertError(f"wide must be one of {', '.join(MODES)}, not {wide!r}.")
    if chip not in (*CHIPS, NO_CHIP):
        raise ConvertError(f"chip must be one of {', '.join((*CHIPS, NO_CHIP))}, not {chip!r}.")
    if max_length is not None and not 1 <= max_length <= fmt.MAX_LENGTH:
        raise ConvertError(f"max_length must be 1 to {fmt.MAX_LENGTH}, not {max_length}.")
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise ConvertError(f"min_agreement must be a share from 0 to 1, not {min_agreement}.")
    if min_sqnr is not None and not min_sqnr == min_sqnr:
        raise ConvertError("min_sqnr must be a number of decibels.")


def _fixed_wide(graph: Graph, mode: str) -> set[str]:
    return all_wide(graph) if mode == "all" else set()


@dataclass(frozen=True)
class _Made:
    plan: Plan
    arena: Arena
    blob: bytes
    measured: Measurement


class _Maker:
    """Makes and measures blobs of one model for different sets of wide GEMMs."""

    def __init__(
        self,
        graph: Graph,
        statistics: dict[str, Statistics],
        arrays: Arrays,
        options: dict,
        progress: Progress,
    ) -> None:
        self.graph = graph
        self.statistics = statistics
        self.arrays = arrays
        self.options = options
        self.progress = progress
        self.chooser = ScaleChooser(graph, statistics)
        self.sequences = len(next(iter(arrays.values())))

    def make(self, wide: set[str]) -> _Made:
        """Make the blob whose GEMMs in `wide` read int16."""
        self.progress("quantize", 0, 1)
        length = self.options["max_length"]
        plan = lower(self.graph, self.chooser.choose(wide), self.statistics, length)
        arena = plan_arena(plan.tensors, plan.ops)
        _check_limits(plan, arena)
        blob = write_blob(plan.tensors, plan.ops, self._metadata(), length, arena.size)
        self.progress("quantize", 1, 1)
        numbers = evenly_chosen(self.sequences, MEASURED_SEQUENCES)
        measured = measure(blob, plan, self.graph, self.arrays, numbers, self.progress)
        return _Made(plan, arena, blob, measured)

    def make_auto(self) -> _Made:
        """Widen the GEMMs that bring most for their cost until the target is reached."""
        wide = free_wide(self.graph)
        made = self.make(wide)
        if overshoot(made.measured) <= 1:
            return made
        numbers = evenly_chosen(self.sequences, SENSITIVITY_SEQUENCES)
        some = {name: array[numbers] for name, array in self.arrays.items()}
        least = LEAST_SHARE * overshoot(made.measured)
        gains = rank(self.chooser, some, wide, self.progress)
        ranked = [gain for gain in gains if gain.error >= least]
        while ranked and (excess := overshoot(made.measured) - 1) > 0:
            while ranked and excess > 0:
                gain = ranked.pop(0)
                wide = {*wide, gain.name}
                excess -= gain.error
            made = self.make(wide)
        return made

    def _metadata(self) -> dict:
        keep = ("architecture", "labels", "source")
        metadata = {key: self.graph.metadata[key] for key in keep if key in self.graph.metadata}
        return {**metadata, "converter": _CONVERTER, "options": self.options}


def _check_limits(plan: Plan, arena: Arena) -> None:
    """Refuse what the records of a blob cannot hold."""
    for what, found, limit in (
        ("ops", len(plan.ops), fmt.MAX_OPS),
        ("tensors", len(plan.tensors), fmt.MAX_TENSORS),
        ("bytes of arena", arena.size, 2**32 - 1),
    ):
        if found > limit:
            raise UnsupportedModel(f"The model needs {found} {what}; a blob holds at most {limit}.")


def _gate(report: Report, min_sqnr: float | None, min_agreement: float | None) -> None:
    """Refuse a blob that is not as accurate as demanded."""
    worst = ", ".join(f"{row.name} ({row.sqnr_db:.1f} dB)" for row in report.worst())
    advice = f"the worst tensors are {worst}; try wide='all' or more calibration texts."
    if min_sqnr is not None and report.output_sqnr_db < min_sqnr:
        raise AccuracyGate(
            f"The output SQNR is {report.output_sqnr_db:.2f} dB, required are "
            f"{min_sqnr:.2f} dB; {advice}"
        )
    if min_agreement is not None and report.agreement < min_agreement:
        raise AccuracyGate(
            f"The agreement with the float model is {report.agreement:.4f}, "
            f"required is {min_agreement:.4f}; {advice}"
        )
