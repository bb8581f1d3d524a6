"""What the CS2 model shows in Python: configuration, totals, finished commands, faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, SupportsIndex

from csc import _cs2_format as fmt
from csc._csc import ffi, lib
from csc.chip import _check_int

ENGINES = ("dma", "block", "vector")
FAULTS = {
    "hang_command": 2**63 - 1,
    "change_command": 2**63 - 1,
    "change_word": fmt.COMMAND_BYTES // 4 - 1,
    "change_mask": 2**32 - 1,
    "external_error": 2**63 - 1,
    "lose_doorbell_at": 2**63 - 1,
}
_PARAMETERS = (
    *("sram_bytes", "array", "lanes"),
    *("ext_bytes_per_clock", "ext_latency", "ext_burst"),
)
_NAMES = {code: name for name, (code, _, _) in fmt.COMMANDS.items()}


@dataclass(frozen=True)
class ChipTotals:
    """What a CS2 has done since power-up.

    Clocks where nothing else is said; `macs` counts padding too, `lane_steps` the element steps of
    the vector engine, `line_reads` and `line_writes` accesses of SRAM banks, `conflicts` requests
    that a bank made wait. `ext_read` and `ext_written` are bytes. The last five are by engine:
    "dma", "block" and "vector".
    """

    clocks: int
    macs: int
    drained: int
    lane_steps: int
    line_reads: int
    line_writes: int
    conflicts: int
    ext_read: int
    ext_written: int
    ext_bursts: int
    ext_busy: int
    commands: int
    busy: dict[str, int]
    wait: dict[str, int]
    stall_bank: dict[str, int]
    stall_bus: dict[str, int]
    stall_drain: dict[str, int]


@dataclass(frozen=True)
class CommandEvent:
    """A command of a CS2 from dispatch to completion, in clocks.

    `number` counts from 0 since the last soft reset, `op` is the tag of the command: the number of
    the op it works for. `waited_for` names the engines waited for between ready and started.
    """

    number: int
    name: str
    engine: str
    op: int
    dispatched: int
    ready: int
    started: int
    completed: int
    waited_for: tuple[str, ...]
    stall_bank: int
    stall_bus: int
    stall_drain: int


def chip_config(parameters: Mapping[str, SupportsIndex]) -> Any:
    """Return the configuration of the published chip with some parameters changed.

    Raises:
        ValueError: there is no such parameter, or no such chip.

    """
    config = ffi.new("csc_sim_cs2_config_t *", lib.csc_sim_cs2_published())
    for name, value in parameters.items():
        if name not in _PARAMETERS:
            known = ", ".join(repr(each) for each in _PARAMETERS)
            raise ValueError(f"There is no parameter called {name!r}; the known ones are: {known}.")
        setattr(config, name, _check_int(name, value, 0, 2**32 - 1))
    if not lib.csc_sim_cs2_sizeof(config):
        given = ", ".join(f"{name}={value}" for name, value in parameters.items())
        raise ValueError(f"There is no CS2 with {given}; CHIP.md names the ranges.")
    return config


def read_totals(sim: Any) -> ChipTotals:
    """Return the totals of a model."""
    totals = ffi.new("csc_sim_cs2_totals_t *")
    lib.csc_sim_cs2_totals(sim, totals)
    values: dict[str, Any] = {}
    for each in fields(ChipTotals):
        value = getattr(totals, each.name)
        is_one = isinstance(value, int)
        values[each.name] = value if is_one else dict(zip(ENGINES, map(int, value), strict=True))
    return ChipTotals(**values)


def read_event(event: Any) -> CommandEvent:
    """Return one recorded command."""
    return CommandEvent(
        number=int(event.number),
        name=_NAMES.get(int(event.code), f"{event.code:#x}"),
        engine=fmt.Engine(int(event.engine)).name.lower(),
        op=int(event.tag),
        dispatched=int(event.dispatched),
        ready=int(event.ready),
        started=int(event.started),
        completed=int(event.completed),
        waited_for=tuple(name for n, name in enumerate(ENGINES) if event.waited_for >> n & 1),
        stall_bank=int(event.stall_bank),
        stall_bus=int(event.stall_bus),
        stall_drain=int(event.stall_drain),
    )


class CommandTrace:
    """Collects the finished commands of a model; `room` of them between two looks."""

    def __init__(self, sim: Any, room: int = 1 << 14) -> None:
        """Record from now on."""
        self._room = room
        self._events: Any = ffi.new("csc_sim_cs2_event_t[]", room)
        self._found: list[CommandEvent] = []
        lib.csc_sim_cs2_trace(sim, self._events, room)

    def take(self, sim: Any) -> list[CommandEvent]:
        """Return all commands so far. Raises RuntimeError if some found no room."""
        if lib.csc_sim_cs2_trace_lost(sim):
            raise RuntimeError("More commands finished than the trace has room for.")
        count = lib.csc_sim_cs2_traced(sim)
        self._found += [read_event(self._events[number]) for number in range(count)]
        lib.csc_sim_cs2_trace(sim, self._events, self._room)
        return self._found

    def clear(self) -> None:
        """Forget what was found so far."""
        self._found.clear()


def set_faults(sim: Any, faults: Mapping[str, SupportsIndex]) -> None:
    """Set the faults of a model; those not named are switched off."""
    model = lib.csc_sim_cs2_faults(sim)
    for name, limit in FAULTS.items():
        setattr(model, name, _check_int(name, faults.get(name, 0), 0, limit))
