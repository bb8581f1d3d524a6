"""Plans: blob -> the same blob with the commands that run it on CS2 (SPEC.md section 1.6)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from csc_convert import blob_format as fmt
from csc_convert import cs2_format as cs2
from csc_convert.blob_writer import align, with_plan
from csc_convert.errors import NoPlan
from csc_convert.oracle import Blob, Op, OracleError, read_blob

from .encode import encode
from .lower import Lowering, Settings
from .memory import Layout, Lifetime, check_layout, layout, lifetimes, peak, settle
from .order import add_waits, check_waits
from .program import LINE, Buffer, Command, external_bytes, macs
from .stream import RingTooSmall, Streamed, check_loads, insert_loads

CHIPS = {"cs2": (0x00325343, 0x00010000)}  # registers ID and VERSION
RING_STEP = 16  # lines
RING_SHARE = 0.9  # of the largest ring, for which engines may stand in each other's way
DISTANCES = ((32, 8), (32, 4), (32, 0), (16, 0))  # commands between uses of a place, see `layout`

# From coarse to fine: less memory, more commands.
SETTINGS = (
    Settings(24576, 32768, 6),
    Settings(8192, 16384, 6),
    Settings(4096, 8192, 4),
    Settings(1, 1, 1),
)


@dataclass(frozen=True)
class Place:
    """A part of SRAM: who is there, from the first to the last of its ops."""

    name: str
    address: int
    bytes: int
    first_op: int
    last_op: int


@dataclass(frozen=True)
class ChipPlan:
    """A blob with a plan, and what is known about the plan.

    commands: by engine; ring_bytes: SRAM that weights stream through; external_bytes: what the DMA
    engine brings for the longest sequence; macs: multiply-accumulates of it.
    """

    blob: bytes = field(repr=False)
    chip: str
    max_length: int
    sram_bytes: int
    commands: dict[str, int]
    ring_bytes: int
    external_bytes: int
    macs: int
    places: tuple[Place, ...] = field(repr=False)

    @property
    def bound_clocks(self) -> int:
        """No run of the longest sequence is shorter than this."""
        per_clock = cs2.EXT_BYTES_PER_CLOCK
        return max(-(-self.external_bytes // per_clock), -(-self.macs // cs2.ARRAY))

    def to_dict(self) -> dict[str, Any]:
        """Build a dict for JSON; the keys are the names of the fields, without the blob."""
        names = [each.name for each in fields(self) if each.name not in ("blob", "places")]
        result = {name: getattr(self, name) for name in names}
        places = [asdict(place) for place in self.places]
        return {**result, "bound_clocks": self.bound_clocks, "places": places}


@dataclass(frozen=True)
class Fitted:
    """A program with a place for everything."""

    streamed: Streamed
    ring: Buffer
    layout: Layout


def plan_chip(
    blob: bytes,
    chip: str = "cs2",
    *,
    sram_bytes: int = cs2.SRAM_SIZE,
    max_length: int | None = None,
) -> bytes:
    """Return the blob with a plan for a chip; one that is there already is replaced.

    sram_bytes: size of the chip's on-chip memory; max_length: the longest sequence the plan
    serves, by default that of the blob.  Raises ConvertError where there is no such plan.
    """
    return make_plan(blob, chip, sram_bytes=sram_bytes, max_length=max_length).blob


def make_plan(
    blob: bytes,
    chip: str = "cs2",
    *,
    sram_bytes: int = cs2.SRAM_SIZE,
    max_length: int | None = None,
) -> ChipPlan:
    """Plan as plan_chip does; returns the figures of the plan too."""
    model = _read(blob, chip)
    length = model.max_length if max_length is None else max_length
    _check_arguments(model, length, sram_bytes)
    fitted = _fit_any(model, length, sram_bytes)
    commands = fitted.streamed.commands
    add_waits(commands, sram_bytes)
    check_waits(commands)
    used = max(align(fitted.layout.end), _arena_end(model))
    record = np.zeros((), fmt.PLAN)
    record["chip"], record["version"] = CHIPS[chip]
    record["command_count"], record["max_length"] = len(commands), length
    record["sram_bytes"] = used
    planned = with_plan(blob, record.tobytes() + encode(commands))
    return _describe(planned, chip, fitted, length, used)


def _read(blob: bytes, chip: str) -> Blob:
    if chip not in CHIPS:
        raise NoPlan(f"There are plans for {', '.join(CHIPS)} only, not for {chip!r}.")
    try:
        model = read_blob(blob)
    except OracleError as error:
        raise NoPlan(f"The blob is not valid: {error}.") from None
    if model.entries:
        raise NoPlan("The blob has entries and states, and there are no plans for those yet.")
    for op in model.ops:
        _check_op(op)
    return model


def _check_op(op: Op) -> None:
    """Refuse what came with version 1.2 of the format."""
    if op.kind == "POOL" and op.params["mode"] == fmt.Pool.LAST:
        raise NoPlan(f"{op.place}: there are no plans with a POOL of the last row yet.")
    if op.kind == "ATTENTION":
        k = op.operands["k"]
        if op.params["causal"] or k is None or not k.dynamic:
            raise NoPlan(f"{op.place}: there are no plans with causal or other keys yet.")


def _check_arguments(model: Blob, length: int, sram_bytes: int) -> None:
    if not 1 <= length <= model.max_length:
        raise NoPlan(f"max_length must be 1 to the blob's {model.max_length}, not {length}.")
    if sram_bytes % 4096 or not 2**16 <= sram_bytes <= 2**24:
        raise NoPlan(
            f"sram_bytes must be a multiple of 4096 from 65536 to 16777216, not {sram_bytes}."
        )
    end = _arena_end(model)
    if end > sram_bytes:
        raise NoPlan(
            f"Inputs and outputs end at byte {end} of the arena, the SRAM has {sram_bytes}; "
            "convert for a smaller max_length or a chip with more SRAM."
        )


def _arena_end(model: Blob) -> int:
    """Return the end of inputs and outputs in the arena, rounded up."""
    return max(align(t.offset + t.bytes) for t in [*model.inputs, *model.outputs])


def _fit_any(model: Blob, length: int, sram_bytes: int) -> Fitted:
    """Take the coarsest settings that fit."""
    for settings in SETTINGS:
        commands = Lowering(model, length, settings).run()
        fitted = _fit(commands, settings.ahead, sram_bytes)
        if fitted is not None:
            settle(fitted.layout, fitted.ring, fitted.streamed.ring_places)
            check_loads(fitted.streamed.commands)
            check_layout(fitted.layout, sram_bytes)
            return fitted
    raise _does_not_fit(model, commands, sram_bytes)


def _fit(commands: list[Command], ahead: int, sram_bytes: int) -> Fitted | None:
    """Keep engines out of each other's way if a good ring is left, else take the largest ring."""
    relaxed = _largest_ring(commands, ahead, sram_bytes, (0, 0))
    if relaxed is None:
        return None
    for distances in DISTANCES:
        strict = _largest_ring(commands, ahead, sram_bytes, distances)
        if strict is not None and strict.ring.bytes >= RING_SHARE * relaxed.ring.bytes:
            return strict
    return relaxed


def _largest_ring(
    commands: list[Command], ahead: int, sram_bytes: int, distances: tuple[int, int]
) -> Fitted | None:
    """Find the largest ring that leaves room for the rest, to within RING_STEP lines."""
    chunks = {buffer for command in commands for buffer in command.buffers if buffer.in_ring}
    low, high = 0, min(sum(buffer.size for buffer in chunks), sram_bytes) // LINE
    best, middle = None, high
    while high - low >= (RING_STEP if best else 0):
        try:
            fitted = _try_ring(commands, middle * LINE, ahead, sram_bytes, distances)
        except RingTooSmall:
            low = middle + 1
        else:
            best = fitted or best
            low, high = (middle + 1, high) if fitted else (low, middle - 1)
        middle = (low + high) // 2
    return best


def _try_ring(
    commands: list[Command],
    ring_bytes: int,
    ahead: int,
    sram_bytes: int,
    distances: tuple[int, int],
) -> Fitted | None:
    ring = Buffer("ring of weights", ring_bytes)
    streamed = insert_loads(commands, ring_bytes, ahead)
    items = lifetimes(streamed.commands, ring)
    if peak(items)[0] > sram_bytes:
        return None
    found = layout(items, ring, sram_bytes, distances)
    return None if found is None else Fitted(streamed, ring, found)


def _does_not_fit(model: Blob, commands: list[Command], sram_bytes: int) -> NoPlan:
    """Name the op that needs most, with as little ahead of it as possible."""
    ring = Buffer("ring of weights", 0)
    commands = insert_loads(commands, 2**32, 1).commands
    items = lifetimes(commands, ring)
    need, at = peak([life for life in items if life.buffer is not ring])
    need += max((b.size for c in commands for b in c.buffers if b.in_ring), default=0)
    return NoPlan(
        f"{model.ops[commands[at].tag].place}: {need} bytes have to lie side by side in "
        f"{sram_bytes}, the SRAM of the chip, and do not fit; plan for a smaller max_length or a "
        "chip with more SRAM."
    )


def _describe(blob: bytes, chip: str, fitted: Fitted, length: int, used: int) -> ChipPlan:
    commands = fitted.streamed.commands
    return ChipPlan(
        blob=blob,
        chip=chip,
        max_length=length,
        sram_bytes=used,
        commands=dict(Counter(command.engine.name for command in commands)),
        ring_bytes=fitted.ring.bytes,
        external_bytes=sum(external_bytes(command) for command in commands),
        macs=sum(macs(command) for command in commands),
        places=tuple(_place(at, life, commands) for at, life in sorted_places(fitted.layout)),
    )


def sorted_places(found: Layout) -> list[tuple[int, Lifetime]]:
    """Places by the time they are taken."""
    return sorted(found.places, key=lambda pair: (pair[1].first, pair[0]))


def _place(address: int, life: Lifetime, commands: list[Command]) -> Place:
    first = commands[max(life.first, 0)].tag
    last = commands[min(life.last, len(commands) - 1)].tag
    return Place(life.buffer.name, address, life.buffer.bytes, first, last)
