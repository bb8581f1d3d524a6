"""Where the clocks go: the firmware runs a model, every op is counted.

On the SoC model the firmware marks the borders of ops with stores to the exit word, and the totals
of the model are read there; a board over a line gives its own counters of each op.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc._energy import cs1_energy
from csc._face import Face
from csc._macs import macs_of
from csc._parameters import Parameters
from csc._parameters import make as make_parameters
from csc._profile_cs2 import (
    OUTSIDE,
    ChipWatch,
    Cs2Report,
    check_planned,
    make_report,
    planned_for,
    why_portable,
)
from csc.blob import OpInfo
from csc.device import Device
from csc.errors import InputError
from csc.model import Model, load

Progress = Callable[[str, int, int], None]

CHIPS = ("cs1", "cs2")
PEAK_MACS_PER_CLOCK = {"cs1": 1, "cs2": 512}
BUS_BYTES_PER_CLOCK = {"cs1": 4, "cs2": 4}


@dataclass
class OpProfile:
    """What one op cost.

    Attributes:
        clocks: from its first to its last instruction.
        engine_clocks: clocks in which the block engine multiplied, side by side with the rest.
        bus_clocks: clocks of data transfers, waits of the RAM and stalls; None on a board.
        cpu_clocks: clocks - bus_clocks; None on a board.
        instructions: started by the CPU; None on a board.
        bytes_moved: by data transfers of the CPU; on a board those of the engine's bus alone.
        macs: multiplications the op's definition asks for.
        start: clocks from the start of the run.

    """

    number: int
    name: str
    kind: str
    start: int
    clocks: int
    engine_clocks: int
    bus_clocks: int | None
    cpu_clocks: int | None
    instructions: int | None
    bytes_moved: int
    macs: int
    blocks: int


@dataclass
class Report:
    """A profile of one run.

    `clocks` is the whole run, `bound_clocks` what no program on this chip can undercut: the larger
    of MACs over the engine's peak and of the weights' and activations' bytes over the bus.
    """

    chip: str
    source: str
    tokens: int
    clock_hz: float
    clocks: int
    bound_clocks: int
    ops: list[OpProfile]
    outputs: dict[str, list[Any]] = field(repr=False)

    @property
    def milliseconds(self) -> float:
        """The whole run at `clock_hz`."""
        return 1e3 * self.clocks / self.clock_hz

    @property
    def macs(self) -> int:
        """MACs of all ops."""
        return sum(op.macs for op in self.ops)

    @property
    def ratio(self) -> float:
        """Clocks over the bound."""
        return self.clocks / self.bound_clocks

    @property
    def energy_uj(self) -> dict[str, float] | None:
        """Microjoules by part (CHIP.md, Energy); None where nobody counts instructions."""
        instructions = [op.instructions for op in self.ops]
        if None in instructions:
            return None
        multiplies = sum(op.engine_clocks for op in self.ops)
        moved = sum(op.bytes_moved for op in self.ops)
        return cs1_energy(multiplies, moved, sum(count or 0 for count in instructions))

    def clocks_by_kind(self) -> dict[str, int]:
        """Return the clocks of the run by kind of op; they add up to the run."""
        kinds: dict[str, int] = {}
        for op in self.ops:
            kinds[op.kind] = kinds.get(op.kind, 0) + op.clocks
        return {**kinds, OUTSIDE: self.clocks - sum(kinds.values())}

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, ready for JSON."""
        whole = asdict(self)
        whole["energy_uj"] = self.energy_uj
        whole["milliseconds"] = self.milliseconds
        whole["macs"] = self.macs
        whole["ratio_to_bound"] = self.ratio
        for entry, op in zip(whole["ops"], self.ops, strict=True):
            entry["share"] = op.clocks / self.clocks
            entry["macs_per_clock"] = op.macs / op.clocks if op.clocks else 0.0
        return whole

    def to_trace(self) -> dict[str, Any]:
        """Return the run as Chrome trace events, which Perfetto opens; times are microseconds."""
        names = {1: "ops", 2: "block engine"}
        events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": row, "name": "thread_name", "args": {"name": name}}
            for row, name in names.items()
        ]
        events.append(
            {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": self.chip}}
        )
        for op in self.ops:
            figures = {"kind": op.kind, "clocks": op.clocks, "macs": op.macs, "blocks": op.blocks}
            events.append(self._event(op.name, 1, op.start, op.clocks, figures))
            if op.engine_clocks:
                busy = {"engine_clocks": op.engine_clocks, "busy": op.engine_clocks / op.clocks}
                events.append(self._event(op.name, 2, op.start, op.clocks, busy))
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def _event(
        self, name: str, row: int, start: int, clocks: int, figures: dict[str, Any]
    ) -> dict[str, Any]:
        scale = 1e6 / self.clock_hz
        place = {"ph": "X", "pid": 1, "tid": row, "ts": start * scale, "dur": clocks * scale}
        return {"name": name, **place, "args": figures}


def _bound(model: Face, chip: str, length: int) -> int:
    """Return the clocks no program can undercut (see Report)."""
    macs = sum(macs_of(op, model.tensors, length) for op in model.ops)
    used = {number for op in model.ops if op.kind == "GEMM" for number in op.operands.values()}
    weights = [t for t in model.tensors if t.storage == "weights" and t.number in used]
    moved = sum(tensor.nbytes for tensor in weights)
    return max(macs // PEAK_MACS_PER_CLOCK[chip], moved // BUS_BYTES_PER_CLOCK[chip], 1)


def example_inputs(model: Face, tokens: int) -> dict[str, NDArray[np.int32]]:
    """Return ids for `tokens` positions: the rows of the word table in turn, from the middle."""
    embed = next(op for op in model.ops if op.kind == "EMBED")
    rows = model.tensors[embed.operands["word"]].shape[0] or 1
    ids = (rows // 2 + np.arange(tokens)) % rows
    return {model.tensors[embed.operands["ids"]].name: ids.astype(np.int32)}


class _Marks:
    """Collects the totals of the SoC model at the borders of ops."""

    def __init__(self, ops: int, progress: Progress) -> None:
        self.before: dict[int, Any] = {}
        self.after: dict[int, Any] = {}
        self._ops = ops
        self._progress = progress

    def __call__(self, word: int, totals: Any) -> None:
        number, done = word >> 1, word & 1
        (self.after if done else self.before)[number] = totals
        if done:
            self._progress("run on the chip", number + 1, self._ops)


def _data_transfers(totals: Any) -> int:
    return int(sum(totals.reads.values()) + sum(totals.writes.values()))


def _profile_op(op: OpInfo, macs: int, entry: Any, start: int, marks: _Marks | None) -> OpProfile:
    """Return the figures of one op: the firmware's counters, and the model's where there is one."""
    accesses = entry.bus_reads + entry.bus_writes
    made = OpProfile(
        number=op.number,
        name=op.name,
        kind=op.kind,
        start=start,
        clocks=entry.clocks,
        engine_clocks=entry.engine_clocks,
        bus_clocks=None,
        cpu_clocks=None,
        instructions=None,
        bytes_moved=4 * accesses,
        macs=macs,
        blocks=entry.blocks,
    )
    if marks is None:
        return made
    before, after = marks.before[op.number], marks.after[op.number]
    transfers = _data_transfers(after) - _data_transfers(before)
    waits = after.ram_wait_clocks - before.ram_wait_clocks
    made.bus_clocks = transfers + waits + after.bus_stall_clocks - before.bus_stall_clocks
    made.cpu_clocks = made.clocks - made.bus_clocks
    made.instructions = after.instructions - before.instructions
    made.engine_clocks = after.engine_busy_clocks - before.engine_busy_clocks
    made.bytes_moved = 4 * transfers
    return made


def profile(
    model: Model | str | os.PathLike[str] | bytes,
    chip: str = "cs1",
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    tokens: int | None = None,
    ram_wait: int = 0,
    clock_hz: float = 100e6,
    device: str | None = None,
    parameters: Mapping[str, float] | None = None,
    portable: bool = False,
    progress: Progress | None = None,
) -> Report | Cs2Report:
    """Run a model with the real firmware on a chip and count the clocks of every op.

    Args:
        model: a Model, or what `csc.load` takes.
        chip: "cs1" or "cs2".
        inputs: one sequence, 1-D arrays by name; without it `tokens` ids of the vocabulary.
        tokens: length of the run without `inputs`; default 8.
        ram_wait: wait states of the RAM of the SoC model, 0 or 1.
        clock_hz: clock rate that milliseconds are given for.
        device: profile a board instead of the SoC model, as `csc.Device` names it; it must have a
            cycle counter.
        parameters: changes of cs2, by the names of CHIP.md's parameters; cs1 has clock_mhz alone.
        portable: on cs2, let the processor compute every op where the blob's plan cannot run;
            without it that is an error.
        progress: called with (stage, done, total).

    Raises:
        InputError: unknown chip or parameter, bad inputs, no plan, a device without a cycle
            counter.
        DeviceError: the device does not answer.

    """
    loaded = model if isinstance(model, Model) else load(model)
    changes = {"clock_mhz": clock_hz / 1e6, **(parameters or {})}
    check_chip(chip, changes)
    report = progress or (lambda stage, done, total: None)
    given = example_or_given(loaded, inputs, tokens)
    if chip == "cs2" and device is None:
        made = make_parameters(changes)
        return _profile_cs2(loaded, given, made, ram_wait, portable, report)
    marks = None if device else _Marks(len(loaded.ops), report)
    report("start the firmware", 0, 1)
    with _open(loaded, chip, device, ram_wait, marks) as opened:
        report("start the firmware", 1, 1)
        source = device or f"soc:{chip}, RAM wait {ram_wait}"
        return profile_opened(opened, given, chip, source, 1e6 * changes["clock_mhz"], marks)


def check_chip(chip: str, changes: Mapping[str, float]) -> None:
    """Refuse a chip that is not known, or that has not these parameters. Raises InputError."""
    if chip not in CHIPS:
        known = ", ".join(CHIPS)
        raise InputError(f"There is no chip '{chip}' to profile; known chips are: {known}.")
    make_parameters(changes)
    for name in changes:
        if chip != "cs2" and name != "clock_mhz":
            raise InputError(f"Only the model of cs2 has the parameter '{name}'.")


def profile_opened(
    opened: Device,
    inputs: Mapping[str, ArrayLike],
    chip: str,
    source: str,
    clock_hz: float,
    marks: _Marks | None = None,
) -> Report:
    """Run one sequence on an open device and report on it; see `profile`."""
    if not clock_hz > 0:
        raise InputError(f"The clock rate must be above 0, not {clock_hz}.")
    if not opened.identity.has_clocks:
        raise InputError(f"{source} has no cycle counter; profile a board that has, or the SoC.")
    length = len(np.asarray(next(iter(inputs.values()))))
    result = opened.infer(inputs, raw=True)
    if result.plan.is_used:
        raise InputError(
            f"{source} ran the plan, of which it counts the whole alone, {opened.clocks} clocks; "
            f"profile the model of the chip, with csc profile --chip cs2, for its ops."
        )
    ops, start = [], 0
    for op, entry in zip(opened.ops, result.report, strict=True):
        macs = macs_of(op, opened.tensors, length)
        ops.append(_profile_op(op, macs, entry, start, marks))
        start += ops[-1].clocks
    return Report(
        chip=chip,
        source=source,
        tokens=length,
        clock_hz=clock_hz,
        clocks=opened.clocks or 0,
        bound_clocks=_bound(opened, chip, length),
        ops=ops,
        outputs={name: values.tolist() for name, values in result.items()},
    )


def _profile_cs2(
    model: Model,
    inputs: Mapping[str, NDArray[Any]],
    parameters: Parameters,
    ram_wait: int,
    portable: bool,
    progress: Progress,
) -> Cs2Report:
    """Run one sequence on the model of CS2; a plan is renewed for an SRAM of another size."""
    length = len(next(iter(inputs.values())))
    if model.plan is not None and parameters.sram_bytes != Parameters().sram_bytes:
        model = planned_for(model, parameters, model.plan.max_length)
    reason = why_portable(model, parameters, length)
    if not portable:
        check_planned(reason)
    progress("start the firmware", 0, 1)
    watch = ChipWatch(progress, len(model.ops))
    options: dict[str, Any] = {**parameters.chip(), "ram_wait": ram_wait, "command_trace": True}
    with Device("soc:cs2", model, run_timeout=3600, on_mark=watch, **options) as opened:
        progress("start the firmware", 1, 1)
        transport: Any = opened._transport
        watch.soc = transport.soc
        result = opened.infer(inputs, raw=True)
        outputs = {name: values.tolist() for name, values in result.items()}
        run = watch.finish(opened.clocks or 0, outputs)
    return make_report(model, parameters, length, run, reason)


def example_or_given(
    model: Face, inputs: Mapping[str, ArrayLike] | None, tokens: int | None
) -> dict[str, NDArray[Any]]:
    """Return the inputs of one sequence, or example ids where there are none."""
    if inputs is not None and tokens is not None:
        raise InputError("Give inputs or a number of tokens, not both.")
    if inputs is None:
        count = 8 if tokens is None else tokens
        if not 1 <= count <= model.max_length:
            raise InputError(
                f"The model takes 1 to {model.max_length} tokens, not {count}; "
                f"convert it with a larger max_length for more."
            )
        return dict(example_inputs(model, count))
    arrays = {name: np.asarray(values) for name, values in inputs.items()}
    for name, array in arrays.items():
        if array.ndim != 1:
            raise InputError(f"The input '{name}' has shape {array.shape}; profile one sequence.")
    return arrays


def _open(
    model: Model, chip: str, device: str | None, ram_wait: int, marks: _Marks | None
) -> Device:
    if device is not None:
        return Device(device, model, run_timeout=3600)
    return Device(f"soc:{chip}", model, run_timeout=3600, ram_wait=ram_wait, on_mark=marks)
