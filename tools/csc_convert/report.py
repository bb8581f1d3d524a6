"""What a conversion made, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from . import blob_format as fmt
from .evaluate import Measurement
from .lower import Plan
from .plan import Arena

_RESULTS = ("out", "out_a", "out_b")


@dataclass(frozen=True)
class Row:
    """One output of one op.

    op: the op's name; name: the tensor's; shape: its dims for the maximum length;
    weight_bytes: of all constant operands of the op, counted at its first output;
    wide: whether a GEMM reads int16; sqnr_db: of the integers against the float model over visible
    tokens; saturation: share of numbers at a limit whose float value lies beyond it.
    """

    op: str
    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    weight_bytes: int
    wide: bool
    sqnr_db: float
    saturation: float


@dataclass(frozen=True)
class Report:
    """A whole conversion.

    output_sqnr_db: of the worst output; agreement: share of sequences with the same largest logit,
    None for a model without logits; cosine: mean cosine of integer and float rows by output name;
    arena_lower_bound: the most bytes alive at once, which no placement can undercut;
    calibration_sequences, measured_sequences: how many were calibrated on and measured;
    notes: what the importer understood otherwise than the file says.
    context, entries: of a model that generates text, else 0 and none;
    perplexity: of such a model, "float" and "integer", and "divergence", the mean distance of their
    predictions in nats.
    """

    rows: tuple[Row, ...]
    wide: tuple[str, ...]
    blob_bytes: int
    weight_bytes: int
    arena_bytes: int
    arena_lower_bound: int
    max_length: int
    output_sqnr_db: float
    agreement: float | None
    cosine: dict[str, float]
    calibration_sequences: int
    measured_sequences: int
    notes: tuple[str, ...] = ()
    context: int = 0
    entries: tuple[str, ...] = ()
    perplexity: dict[str, float] | None = None

    def to_dict(self) -> dict:
        """Build a dict for JSON; the keys are the names of the fields."""
        result = asdict(self)
        result["wide"], result["entries"] = list(self.wide), list(self.entries)
        result["notes"] = list(self.notes)
        result["rows"] = [{**row, "shape": list(row["shape"])} for row in result["rows"]]
        return result

    def worst(self, count: int = 3) -> tuple[Row, ...]:
        """Return the rows with the least SQNR, the worst first."""
        return tuple(sorted(self.rows, key=lambda row: row.sqnr_db)[:count])


def make_report(
    plan: Plan,
    arena: Arena,
    blob: bytes,
    measured: Measurement,
    calibration_sequences: int,
    notes: tuple[str, ...] = (),
) -> Report:
    """Gather the numbers of one conversion."""
    weights = {t.name: t.bytes for t in plan.tensors if t.storage == fmt.Storage.WEIGHTS}
    rows = _rows(plan, measured, weights)
    return Report(
        rows=rows,
        wide=tuple(row.op for row in rows if row.wide),
        blob_bytes=len(blob),
        weight_bytes=sum(weights.values()),
        arena_bytes=arena.size,
        arena_lower_bound=arena.lower_bound,
        max_length=plan.max_length,
        output_sqnr_db=round(measured.sqnr_db, 3),
        agreement=measured.agreement,
        cosine={name: float(np.mean(values)) for name, values in measured.cosines.items()},
        calibration_sequences=calibration_sequences,
        measured_sequences=measured.sequences,
        notes=notes,
        context=plan.context,
        entries=tuple(entry.name for entry in plan.entries),
        perplexity=_perplexity(measured),
    )


def _perplexity(measured: Measurement) -> dict[str, float] | None:
    if measured.predictions is None:
        return None
    exact, found = measured.predictions.perplexities
    return {
        "float": exact,
        "integer": found,
        "divergence": measured.predictions.mean_divergence,
    }


def _rows(plan: Plan, measured: Measurement, weights: dict[str, int]) -> tuple[Row, ...]:
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    rows = []
    for op in plan.ops[: plan.entries[0].op_count] if plan.entries else plan.ops:
        own = sum(weights.get(name, 0) for name in op.operands.values())
        wide = op.kind == fmt.Op.GEMM and tensors[op.operands["x"]].dtype == fmt.Dtype.INT16
        for name in [op.operands[key] for key in _RESULTS if key in op.operands]:
            # A row that POOL took is as far from the float model as the rows it was taken from.
            tally = measured.tensors.get(name) or measured.tensors[name.removesuffix(".last")]
            rows.append(
                Row(
                    op.name,
                    op.kind.name,
                    name,
                    tuple(tensors[name].dims),
                    tensors[name].dtype.name,
                    own,
                    wide,
                    round(tally.sqnr_db, 3),
                    tally.saturated / max(tally.count, 1),
                )
            )
            own = 0
    return tuple(rows)
