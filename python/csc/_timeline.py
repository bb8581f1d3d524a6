"""What the commands of a run say: use of engines and ops, waits, stalls.

A command is ready when it is at the head of its engine and the command before it is complete, so
an engine's time falls into four parts that add up to the run: busy with a command, waiting for
another engine, starting (ready, nothing to wait for), and without a command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from csc._cs2 import ENGINES
from csc._cs2_format import Code

STALLS = ("bank", "bus", "drain")
STARTING = "start"


@dataclass(frozen=True)
class Command:
    """A command from dispatch to completion, in clocks from the start of the run.

    `op` is its tag, `waited_for` names the engines waited for between ready and started.
    """

    number: int
    name: str
    engine: str
    op: int
    dispatched: int
    ready: int
    started: int
    completed: int
    waited_for: tuple[str, ...] = ()
    stall_bank: int = 0
    stall_bus: int = 0
    stall_drain: int = 0

    @property
    def busy(self) -> int:
        """Clocks of execution."""
        return self.completed - self.started

    @property
    def wait(self) -> int:
        """Clocks between ready and started."""
        return self.started - self.ready

    @property
    def reason(self) -> str:
        """What the wait was for: engines joined by "+", or "start"."""
        return "+".join(self.waited_for) or STARTING

    @property
    def stalls(self) -> dict[str, int]:
        """Clocks lost during execution, by reason."""
        return {"bank": self.stall_bank, "bus": self.stall_bus, "drain": self.stall_drain}


def _read_command(event: Any, origin: int) -> Command:
    bits = event.waited_for
    return Command(
        number=event.number,
        name=Code(event.code).name,
        engine=ENGINES[event.engine],
        op=event.tag,
        dispatched=event.dispatched - origin,
        ready=event.ready - origin,
        started=event.started - origin,
        completed=event.completed - origin,
        waited_for=tuple(name for bit, name in enumerate(ENGINES) if bits >> bit & 1),
        stall_bank=event.stall_bank,
        stall_bus=event.stall_bus,
        stall_drain=event.stall_drain,
    )


def read_commands(events: Iterable[Any], origin: int, end: int) -> list[Command]:
    """Read the events of engines completed in the clocks origin to end, which becomes 0 and up."""
    found = [
        _read_command(event, origin)
        for event in events
        if event.engine < len(ENGINES) and origin <= event.completed <= end
    ]
    return sorted(found, key=lambda each: (each.started, each.number))


@dataclass
class EngineUse:
    """An engine's clocks over a run: busy + waits + idle are the whole run.

    Attributes:
        busy: clocks of execution, stalls included.
        stalls: of these, by reason: bank, bus, drain.
        waits: clocks its next command was ready but waited, by the engines waited for; "start" is
            what a command takes without waiting.
        idle: clocks without a command.

    """

    name: str
    commands: int
    busy: int
    stalls: dict[str, int]
    waits: dict[str, int]
    idle: int


def _sum_stalls(commands: Iterable[Command]) -> dict[str, int]:
    total = dict.fromkeys(STALLS, 0)
    for command in commands:
        for reason, clocks in command.stalls.items():
            total[reason] += clocks
    return total


def _sum_waits(commands: Iterable[Command]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for command in commands:
        total[command.reason] += command.wait
    return {reason: clocks for reason, clocks in sorted(total.items()) if clocks}


def engine_use(commands: Sequence[Command], clocks: int) -> list[EngineUse]:
    """Return the use of every engine over a run of `clocks`."""
    made = []
    for name in ENGINES:
        own = [each for each in commands if each.engine == name]
        busy, waits = sum(each.busy for each in own), _sum_waits(own)
        idle = clocks - busy - sum(waits.values())
        made.append(EngineUse(name, len(own), busy, _sum_stalls(own), waits, idle))
    return made


@dataclass
class OpUse:
    """What one op of the model took.

    Attributes:
        busy: clocks of execution by engine; they overlap those of other ops.
        advance: clocks by which its last completion lies behind all completions of ops that end
            before it; ops overlap, but with the clocks outside the commands these add up to the
            run, and shares are of them.
        start: clock of its first start.
        end: clock of its last completion.
        waits: clocks its commands waited at the head of their engine, by engines waited for.
        stalls: clocks of execution lost, by reason.
        macs: multiplications its definition asks for.

    """

    number: int
    name: str
    kind: str
    macs: int
    start: int
    end: int
    advance: int
    commands: int = 0
    busy: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENGINES, 0))
    waits: dict[str, int] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STALLS, 0))


def _op_of(number: int, own: Sequence[Command], known: Sequence[tuple[str, str, int]]) -> OpUse:
    name, kind, macs = known[number] if number < len(known) else (f"op {number}", "-", 0)
    busy = {engine: sum(each.busy for each in own if each.engine == engine) for engine in ENGINES}
    return OpUse(
        number=number,
        name=name,
        kind=kind,
        macs=macs,
        start=min(each.started for each in own),
        end=max(each.completed for each in own),
        advance=0,
        commands=len(own),
        busy=busy,
        waits=_sum_waits(own),
        stalls=_sum_stalls(own),
    )


def op_use(commands: Sequence[Command], known: Sequence[tuple[str, str, int]]) -> list[OpUse]:
    """Return the ops that had commands, by number; `known` has (name, kind, macs) of every op."""
    groups: dict[int, list[Command]] = {}
    for command in commands:
        groups.setdefault(command.op, []).append(command)
    ops = [_op_of(number, groups[number], known) for number in sorted(groups)]
    reached = min((each.dispatched for each in commands), default=0)
    for op in sorted(ops, key=lambda each: (each.end, each.number)):
        op.advance = max(op.end - reached, 0)
        reached = max(reached, op.end)
    return ops
