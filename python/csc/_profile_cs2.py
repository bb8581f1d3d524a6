"""The profile of CS2: what every engine did, the bound, energy and power.

The whole firmware runs on the model of the chip. Its own count of the RUN command is the length of
the run; the model gives the commands and the totals.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from csc._cs2 import ENGINES
from csc._energy import area_mm2, constants_dict, cs2_energy
from csc._face import Face
from csc._macs import macs_of
from csc._parameters import Parameters
from csc._timeline import (
    STARTING,
    Command,
    EngineUse,
    OpUse,
    engine_use,
    op_use,
    read_commands,
)
from csc.blob import OpInfo, TensorInfo
from csc.errors import InputError
from csc.model import Model

PLAN_CHIP, PLAN_VERSION = "CS2", "1.0"
OUTSIDE = "outside the ops"
COUNTS = (
    *("macs", "drained", "lane_steps", "line_reads", "line_writes", "conflicts"),
    *("ext_read", "ext_written", "ext_bursts", "ext_busy", "commands"),
)
_PLAN_MARK = 0x7FFFFFFF  # number of the op, as the firmware marks it, of a whole plan
_OPS_ROW, _CPU_ROW, _ENGINE_ROW = 1, 2, 3


@dataclass(frozen=True)
class Bound:
    """What no program on this chip can undercut: the larger of two times.

    Attributes:
        macs: multiplications the ops ask for at this length.
        external_bytes: weights and table rows the ops read, each once.
        mac_clocks: macs over the array's peak.
        external_clocks: external_bytes over the bus's peak.

    """

    macs: int
    external_bytes: int
    mac_clocks: int
    external_clocks: int

    @property
    def clocks(self) -> int:
        """The larger one."""
        return max(self.mac_clocks, self.external_clocks, 1)

    @property
    def side(self) -> str:
        """Which one it is."""
        return "MACs" if self.mac_clocks >= self.external_clocks else "external bytes"


@dataclass
class ChipRun:
    """One run as the model of the chip saw it, before it is put in order.

    Attributes:
        clocks: that the firmware counted for its RUN command.
        origin: clock of the chip at which RUN began.
        events: the commands of `csc.Soc`.
        counts: by the names of csc_sim_cs2_totals_t, over the run.
        instructions: that the processor started in the run.
        planned: whether the firmware followed the plan.
        op_clocks: (start, clocks) of every op by the firmware's marks, where the processor ran it.

    """

    clocks: int
    origin: int
    events: Sequence[Any]
    counts: Mapping[str, int]
    instructions: int
    outputs: dict[str, list[Any]]
    planned: bool = True
    op_clocks: Sequence[tuple[int, int]] = ()


class ChipWatch:
    """Takes the chip's counts at the marks of the firmware: around each op, or around the plan."""

    def __init__(self, progress: Callable[[str, int, int], None], ops: int) -> None:
        self._marks: list[tuple[int, Any, dict[str, int]]] = []
        self._progress = progress
        self._ops = ops
        self.soc: Any = None  # of the device, once it is open

    def __call__(self, word: int, totals: Any) -> None:
        """Note a mark: twice the number of the op, plus 1 behind it."""
        self._marks.append((word, totals, chip_counts(self.soc)))
        number = self._ops if word >> 1 == _PLAN_MARK else (word >> 1) + 1
        if word & 1:
            self._progress("run on the chip", number, self._ops)

    def finish(self, clocks: int, outputs: dict[str, list[Any]]) -> ChipRun:
        """Return the run between the first and the last mark."""
        (word, first, before), (_, last, after) = self._marks[0], self._marks[-1]
        planned = word >> 1 == _PLAN_MARK
        pairs = itertools.pairwise(totals.clocks for _, totals, _ in self._marks)
        spans = [(begin - first.clocks, end - begin) for begin, end in pairs]
        return ChipRun(
            clocks=clocks,
            origin=first.clocks,
            events=self.soc.commands,
            counts={name: count - before[name] for name, count in after.items()},
            instructions=last.instructions - first.instructions,
            outputs=outputs,
            planned=planned,
            op_clocks=[] if planned else spans[::2],
        )


def chip_counts(soc: Any) -> dict[str, int]:
    """Return the counts that energy is computed from, since power-up."""
    return {name: int(getattr(soc.chip_totals, name)) for name in COUNTS}


@dataclass
class Cs2Report:
    """A profile of one run on CS2.

    Attributes:
        planned: whether the blob's commands ran; else the processor computed every op.
        why_portable: the reason if not planned.
        clocks: of the firmware's RUN command, which ends with the result in memory.
        energy_uj: microjoules by part.

    """

    chip: str
    source: str
    tokens: int
    parameters: Parameters
    planned: bool
    why_portable: str | None
    clocks: int
    bound: Bound
    ops: list[OpUse]
    engines: list[EngineUse]
    counts: dict[str, int]
    instructions: int
    energy_uj: dict[str, float]
    commands: list[Command] = field(repr=False)
    outputs: dict[str, list[Any]] = field(repr=False)

    @property
    def clock_hz(self) -> float:
        """Clock rate in Hz."""
        return self.parameters.clock_hz

    @property
    def milliseconds(self) -> float:
        """The whole run at the clock rate."""
        return 1e3 * self.clocks / self.clock_hz

    @property
    def bound_clocks(self) -> int:
        """What no program on this chip can undercut."""
        return self.bound.clocks

    @property
    def ratio(self) -> float:
        """Clocks over the bound."""
        return self.clocks / self.bound.clocks

    @property
    def total_uj(self) -> float:
        """Energy of the run in microjoules."""
        return sum(self.energy_uj.values())

    @property
    def milliwatts(self) -> float:
        """Average power of the run."""
        return self.total_uj / self.milliseconds

    @property
    def outside(self) -> int:
        """Clocks before the first command is dispatched and after the last is complete."""
        return self.clocks - sum(op.advance for op in self.ops)

    def utilization(self) -> dict[str, float]:
        """Return busy clocks over the run by engine, and block products over the run."""
        shares = {engine.name: engine.busy / self.clocks for engine in self.engines}
        shares["block products"] = self.counts["macs"] / self.parameters.array / self.clocks
        shares["useful MACs"] = self.bound.macs / self.parameters.array / self.clocks
        return shares

    def clocks_by_kind(self) -> dict[str, int]:
        """Return the clocks of the run by kind of op; they add up to the run."""
        kinds: dict[str, int] = {}
        for op in self.ops:
            kinds[op.kind] = kinds.get(op.kind, 0) + op.advance
        return {**kinds, OUTSIDE: self.outside}

    def to_dict(self) -> dict[str, Any]:
        """Return all figures but the single commands, ready for JSON."""
        whole = asdict(self)
        del whole["commands"]
        whole["bound"].update(clocks=self.bound.clocks, side=self.bound.side)
        whole.update(
            milliseconds=self.milliseconds,
            ratio_to_bound=self.ratio,
            utilization=self.utilization(),
            clocks_by_kind=self.clocks_by_kind(),
            total_uj=self.total_uj,
            milliwatts=self.milliwatts,
            area_mm2=area_mm2(self.parameters),
            energy_constants=constants_dict(),
        )
        for entry, op in zip(whole["ops"], self.ops, strict=True):
            entry["share"] = op.advance / self.clocks
        return whole

    def to_trace(self) -> dict[str, Any]:
        """Return the run as Chrome trace events, which Perfetto opens; times are microseconds."""
        rows = {_OPS_ROW: "ops", _CPU_ROW: "CPU"}
        rows.update({_ENGINE_ROW + n: name.upper() for n, name in enumerate(ENGINES)})
        events: list[dict[str, Any]] = [_row_name("process_name", 0, f"{self.chip} {self.source}")]
        for row, name in rows.items():
            events.append(_row_name("thread_name", row, name))
            order = {"ph": "M", "pid": 1, "tid": row, "name": "thread_sort_index"}
            events.append({**order, "args": {"sort_index": row}})
        events += self._op_slices() + self._cpu_slices()
        for command in self.commands:
            events += self._command_slices(command)
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def _slice(
        self, name: str, row: int, start: int, end: int, figures: dict[str, Any]
    ) -> dict[str, Any]:
        scale = 1e6 / self.clock_hz
        place = {"ph": "X", "pid": 1, "tid": row, "ts": start * scale, "dur": (end - start) * scale}
        return {"name": name, **place, "args": {**figures, "clocks": end - start}}

    def _op_slices(self) -> list[dict[str, Any]]:
        """Return one slice per op, of the clocks by which it moved the run on: these never overlap.

        The args tell when the op's first command started.
        """
        made = []
        for op in self.ops:
            figures = {"kind": op.kind, "macs": op.macs, "busy": op.busy, "first_start": op.start}
            made.append(self._slice(op.name, _OPS_ROW, op.end - op.advance, op.end, figures))
        return made

    def _cpu_slices(self) -> list[dict[str, Any]]:
        if not self.commands:
            return [
                self._slice(op.name, _CPU_ROW, op.start, op.end, {"kind": op.kind})
                for op in self.ops
            ]
        first = min(each.dispatched for each in self.commands)
        last = max(each.completed for each in self.commands)
        middle = ("wait for the queue", first, last)
        parts = (("start", 0, first), middle, ("end", last, self.clocks))
        return [self._slice(name, _CPU_ROW, a, b, {}) for name, a, b in parts if b > a]

    def _command_slices(self, command: Command) -> list[dict[str, Any]]:
        row = _ENGINE_ROW + ENGINES.index(command.engine)
        owner = {"op": self._op_name(command.op), "number": command.number}
        made = []
        if command.wait:
            reason = {"reason": command.reason, **owner}
            name = "start" if command.reason == STARTING else f"wait for {command.reason}"
            made.append(self._slice(name, row, command.ready, command.started, reason))
        stalls = {f"stall_{reason}": clocks for reason, clocks in command.stalls.items()}
        figures = {**owner, **stalls}
        made.append(self._slice(command.name, row, command.started, command.completed, figures))
        return made

    def _op_name(self, number: int) -> str:
        return next((op.name for op in self.ops if op.number == number), f"op {number}")


def _row_name(what: str, row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": 1, "tid": row, "name": what, "args": {"name": name}}


# --- the bound ------------------------------------------------------------------------------------


def _read_once(op: OpInfo, tensor: TensorInfo, length: int) -> int:
    """Return the bytes of a weights tensor that an op reads; of EMBED's tables a row per token."""
    names = [name for name, number in op.operands.items() if number == tensor.number]
    rows = tensor.shape[0] or 1
    if op.kind == "EMBED" and set(names) & {"word", "word_multiplier", "position"}:
        return tensor.nbytes * min(length, rows) // rows
    return tensor.nbytes


def bound_of(model: Face, parameters: Parameters, length: int) -> Bound:
    """Return the bound of a run of `length`."""
    macs = sum(macs_of(op, model.tensors, length) for op in model.ops)
    read: dict[int, int] = {}
    for op in model.ops:
        for number in set(op.operands.values()):
            tensor = model.tensors[number]
            if tensor.storage == "weights":
                read[number] = max(read.get(number, 0), _read_once(op, tensor, length))
    external = sum(read.values())
    return Bound(
        macs=macs,
        external_bytes=external,
        mac_clocks=-(-macs // parameters.array),
        external_clocks=-(-external // parameters.ext_bytes_per_clock),
    )


# --- from the run to the report -------------------------------------------------------------------


def why_portable(model: Model, parameters: Parameters, length: int) -> str | None:
    """Return why the processor has to compute every op, or None if the blob's plan serves."""
    plan = model.plan
    if plan is None:
        return "the blob has no plan; convert the model again with a plan for cs2"
    if (plan.chip, plan.version) != (PLAN_CHIP, PLAN_VERSION):
        return (
            f"the plan of the blob is for {plan.chip} {plan.version}, not for "
            f"{PLAN_CHIP} {PLAN_VERSION}; convert the model again for cs2"
        )
    if length > plan.max_length:
        return (
            f"the plan serves 1 to {plan.max_length} tokens, not {length}; convert the model "
            f"with a larger max_length"
        )
    if plan.sram_bytes > parameters.sram_bytes:
        return (
            f"the plan needs {plan.sram_bytes} bytes of SRAM, the chip has "
            f"{parameters.sram_bytes}; plan the blob for this chip"
        )
    return None


def planned_for(model: Model, parameters: Parameters, max_length: int | None = None) -> Model:
    """Return the model with a plan for the chip's SRAM, of sequences up to `max_length`.

    Raises:
        ConvertError: there is no such plan.

    """
    from csc_convert import plan_chip

    blob = model._blob.data.tobytes()
    return Model(plan_chip(blob, sram_bytes=parameters.sram_bytes, max_length=max_length))


def check_planned(reason: str | None) -> None:
    """Refuse a run without plan. Raises InputError."""
    if reason is not None:
        raise InputError(
            f"The commands of cs2 cannot run: {reason}, or profile the processor alone with "
            f"--portable."
        )


def _portable_ops(known: Sequence[tuple[str, str, int]], run: ChipRun) -> list[OpUse]:
    return [
        OpUse(number, *names, start=start, end=start + clocks, advance=clocks)
        for number, (names, (start, clocks)) in enumerate(zip(known, run.op_clocks, strict=True))
    ]


def make_report(
    model: Face, parameters: Parameters, length: int, run: ChipRun, reason: str | None
) -> Cs2Report:
    """Put a run in order."""
    known = [(op.name, op.kind, macs_of(op, model.tensors, length)) for op in model.ops]
    commands = read_commands(run.events, run.origin, run.origin + run.clocks)
    if not run.planned:
        reason = reason or "the firmware did not follow the plan"
    return Cs2Report(
        chip="cs2",
        source=f"soc:cs2 {parameters.label()}".rstrip(),
        tokens=length,
        parameters=parameters,
        planned=run.planned,
        why_portable=reason,
        clocks=run.clocks,
        bound=bound_of(model, parameters, length),
        ops=op_use(commands, known) if run.planned else _portable_ops(known, run),
        engines=engine_use(commands, run.clocks),
        counts=dict(run.counts),
        instructions=run.instructions,
        energy_uj=cs2_energy(run.counts, run.instructions, parameters, run.clocks),
        commands=commands,
        outputs=run.outputs,
    )
