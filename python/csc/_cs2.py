"""What CS2 has beyond CS1: memory, a queue of commands, counts, a trace, and faults for tests."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, SupportsIndex

from csc._checks import check_int
from csc._cs2_format import COMMAND_BYTES, PARAMS, Cause, Code, Engine, Space
from csc._csc import ffi, lib
from csc.errors import ChipError

ENGINES = ("dma", "block", "vector")
WORD_MAX = 2**32 - 1
COUNT_MAX = 2**63 - 1
POLL_CLOCKS = 64
RUN_CLOCKS = 100_000_000
ENABLE, SOFT_RESET = 1, 2  # QUEUE_CONTROL
IDLE, FAILED = 1, 2  # QUEUE_STATUS

_MEANINGS = {
    Cause.CODE: "its code {info} is unknown or a reserved bit is not 0",
    Cause.SHAPE: "a shape in word {info} is zero or too large",
    Cause.ALIGNMENT: "the address in word {info} is not aligned",
    Cause.RANGE: "the operand of word {info} is outside its memory or may not be written",
    Cause.BOUND: "the sum of products with the shape in word {info} could leave int32",
    Cause.VALUE: "a parameter in word {info} is outside its range",
    Cause.INDEX: "the index of row {info} is outside its table",
    Cause.EXTERNAL: "the external memory answered with an error at {info:#x}",
    Cause.WATCHDOG: "it was not done after {info} clocks",
    Cause.OVERRUN: "QUEUE_TAIL {info} is more than QUEUE_SIZE ahead",
    Cause.QUEUE: "QUEUE_BASE {info:#x} or QUEUE_SIZE is unusable",
}


@dataclass(frozen=True)
class Event:
    """A command from dispatch to completion, in clocks; CHIP.md tells what they mean.

    `waited_for` has bit n set where engine n (0 DMA, 1 block, 2 vector) was waited for.
    """

    dispatched: int
    ready: int
    started: int
    completed: int
    number: int
    tag: int
    code: int
    engine: int
    waited_for: int
    stall_bank: int
    stall_bus: int
    stall_drain: int


@dataclass(frozen=True)
class ChipTotals:
    """What has happened since power-up; the last five count clocks by engine."""

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
class ChipFaults:
    """Faults of the hardware to test software with; all zeros is a sound chip.

    Commands and bursts are counted from 1 since power-up. The engine that executes `hang_command`
    never completes it. The descriptor of `change_command` arrives with word `change_word` changed
    by exclusive or with `change_mask`. The burst `external_error` of DMA engine or descriptor fetch
    ends with an error. The write `lose_doorbell_at` of QUEUE_TAIL has no effect.
    """

    hang_command: int = 0
    change_command: int = 0
    change_word: int = 0
    change_mask: int = 0
    external_error: int = 0
    lose_doorbell_at: int = 0


@dataclass(frozen=True)
class Run:
    """A program that ran to its end: first and last clock, and its commands as completed."""

    start: int
    end: int
    events: tuple[Event, ...]

    @property
    def clocks(self) -> int:
        """Clocks from the write of QUEUE_TAIL until the last command is complete."""
        return self.end - self.start


@dataclass(frozen=True)
class Parameters:
    """The published CS2, or another one of the same kind."""

    sram_bytes: int
    array: int
    lanes: int
    ext_bytes_per_clock: int
    ext_latency: int
    ext_burst: int


def _powers(low: int, high: int) -> list[int]:
    return [1 << n for n in range(high.bit_length()) if low <= 1 << n <= high]


_CHOICES: dict[str, Sequence[int]] = {
    "sram_bytes": range(1 << 16, (1 << 24) + 1, 4096),
    "array": (1, 8, 64, 512),
    "lanes": _powers(1, 64),
    "ext_bytes_per_clock": _powers(1, 64),
    "ext_latency": range(10001),
    "ext_burst": _powers(64, 65536),
}


def _parameter(name: str, value: SupportsIndex) -> int:
    """Return the value of a parameter, or say which there are."""
    choices = _CHOICES[name]
    number = check_int(name, value, 0, WORD_MAX)
    if number not in choices:
        if isinstance(choices, range):
            step = f"a multiple of {choices.step} " if choices.step > 1 else ""
            allowed = f"{step}from {choices[0]} to {choices[-1]}"
        else:
            allowed = "one of " + ", ".join(map(str, choices))
        raise ValueError(f"{name} must be {allowed}, got {number}.")
    return number


def make_parameters(given: dict[str, SupportsIndex]) -> Parameters:
    """Return the published parameters with those given in their place."""
    for name in given:
        if name not in _CHOICES:
            known = ", ".join(_CHOICES)
            raise TypeError(f"CS2 has no parameter {name!r}; its parameters are: {known}.")
    published = lib.csc_sim_cs2_published()
    values = {name: int(getattr(published, name)) for name in _CHOICES}
    return Parameters(**values | {name: _parameter(name, each) for name, each in given.items()})


def _external(memory: Any) -> Any:
    """Return the external memory as a buffer: so many zeros, a copy of bytes, or the caller's."""
    if isinstance(memory, (int, bytes)):
        count = memory if isinstance(memory, bytes) else check_int("external", memory, 0, 2**31)
        memory = bytearray(count)
    try:
        return ffi.from_buffer("uint8_t[]", memory, require_writable=True)
    except (TypeError, BufferError, ValueError) as error:
        raise TypeError(
            "external must be a number of bytes, bytes, or a buffer that is contiguous and can be "
            f"written: {error}."
        ) from None


def _as_words(descriptors: Any) -> bytes:
    """Return a program as bytes: from bytes, an array of integers, or rows of 16 words."""
    if isinstance(descriptors, (bytes, bytearray, memoryview)):
        program = bytes(descriptors)
    else:
        rows = descriptors.tolist() if hasattr(descriptors, "tolist") else list(descriptors)
        words = [each for row in rows for each in (row if hasattr(row, "__iter__") else [row])]
        checked = (check_int("word", each, 0, WORD_MAX) for each in words)
        program = b"".join(each.to_bytes(4, "little") for each in checked)
    if not program or len(program) % COMMAND_BYTES:
        raise ValueError(
            f"A program is at least one descriptor of {COMMAND_BYTES} bytes, "
            f"but {len(program)} bytes were given."
        )
    return program


class Cs2Part:
    """The part of a chip that only CS2 has; a CS1 refuses all of it."""

    name: str
    read: Callable[[SupportsIndex], int]
    write: Callable[[SupportsIndex, SupportsIndex], None]
    step: Callable[..., None]
    parameters: Parameters | None = None
    _sim: Any
    _memory: Any
    _events: Any = None
    _external: Any = None

    def _power_up_cs2(self, external: Any, given: dict[str, SupportsIndex]) -> None:
        self.parameters = make_parameters(given)
        config = ffi.new("csc_sim_cs2_config_t *", [getattr(self.parameters, n) for n in _CHOICES])
        size = int(lib.csc_sim_cs2_sizeof(config))
        self._memory = ffi.from_buffer("uint8_t[]", mmap.mmap(-1, size))
        self._sim = ffi.cast("csc_sim_cs2_t *", self._memory)
        self._external = _external(external)
        lib.csc_sim_cs2_init(self._sim, config, self._external, len(self._external))

    def _now(self) -> int:
        return int(lib.csc_sim_cs2_clock(self._sim))

    def _need_cs2(self, what: str) -> Parameters:
        if self.parameters is None:
            raise ChipError(f'{self.name.upper()} has no {what}; Chip("cs2") has.')
        return self.parameters

    # --- memory -----------------------------------------------------------------------------------

    def _place(self, what: str, size: int, offset: SupportsIndex, count: int) -> int:
        place = check_int("offset", offset, 0, WORD_MAX)
        if place + count > size:
            raise ValueError(
                f"{count} bytes at offset {place} are not inside the {what}, which has {size}."
            )
        return place

    def read_sram(self, offset: SupportsIndex, count: SupportsIndex) -> bytes:
        """Return bytes of the SRAM behind the chip's back; no clock passes."""
        size = self._need_cs2("SRAM").sram_bytes
        length = check_int("count", count, 0, WORD_MAX)
        place = self._place("SRAM", size, offset, length)
        return bytes(ffi.buffer(lib.csc_sim_cs2_sram(self._sim) + place, length))

    def write_sram(self, offset: SupportsIndex, content: bytes) -> None:
        """Put bytes, or the bytes of an array, into the SRAM behind the chip's back."""
        size = self._need_cs2("SRAM").sram_bytes
        data = memoryview(content).tobytes()
        place = self._place("SRAM", size, offset, len(data))
        ffi.memmove(lib.csc_sim_cs2_sram(self._sim) + place, data, len(data))

    @property
    def external(self) -> memoryview:
        """The external memory, to read and to write behind the chip's back."""
        self._need_cs2("external memory")
        return memoryview(ffi.buffer(self._external)).cast("B")

    def access_sram(
        self, offset: SupportsIndex, strobes: SupportsIndex = 0, data: SupportsIndex = 0
    ) -> int:
        """Pass one clock in which the processor reads a word of the SRAM, or writes bytes of it.

        Args:
            offset: of the word, in bytes.
            strobes: 0 for a read, else one bit for each byte that is written.
            data: the 32 bits that are written.

        """
        self._need_cs2("SRAM")
        return int(lib.csc_sim_cs2_sram_access(self._sim, *_access(offset, strobes, data)))

    def access_external(
        self, offset: SupportsIndex, strobes: SupportsIndex = 0, data: SupportsIndex = 0
    ) -> int:
        """Do the same in the external memory; it takes as many clocks as CHIP.md says."""
        self._need_cs2("external memory")
        return int(lib.csc_sim_cs2_external_access(self._sim, *_access(offset, strobes, data)))

    # --- commands ---------------------------------------------------------------------------------

    @property
    def queue_irq(self) -> bool:
        """Whether the interrupt output of the command queue is high in the current clock."""
        self._need_cs2("command queue")
        return bool(lib.csc_sim_cs2_irq(self._sim) & 2)

    def run(
        self,
        descriptors: Any,
        params: Sequence[SupportsIndex] = (),
        *,
        at: SupportsIndex | None = None,
        weights: tuple[int, int] | None = None,
        store: tuple[int, int] | None = None,
        watchdog: SupportsIndex = 0,
        max_clocks: SupportsIndex = RUN_CLOCKS,
    ) -> Run:
        """Soft reset, place a program, ring the doorbell, and wait until the queue is idle.

        A trace that was on ends with this.

        Args:
            descriptors: bytes, or words as an array of [n][16].
            params: values of the parameter registers from 0 on; the others become 0.
            at: chip address of the program, a multiple of 64; its place is overwritten. Without it
                the program lies at the end of space STORE, or of the SRAM where STORE is smaller.
            weights: offset in the external memory and bytes of space WEIGHTS; without it the
                registers stay as they are.
            store: the same of space STORE.
            watchdog: value of WATCHDOG.
            max_clocks: clocks after which the wait ends with an error.

        Raises:
            ChipError: a command was refused or failed, or the queue was not idle in time.

        """
        self._need_cs2("command queue")
        program = _as_words(descriptors)
        count = len(program) // COMMAND_BYTES
        self.write(lib.CSC_CS2_QUEUE_CONTROL, SOFT_RESET)
        self._set_spaces(weights, store)
        self._set_params(params, watchdog)
        self._place_program(program, at)
        self.write(lib.CSC_CS2_QUEUE_SIZE, count)
        self.write(lib.CSC_CS2_QUEUE_CONTROL, ENABLE)
        self.trace(count)
        start = self._now()
        self.write(lib.CSC_CS2_QUEUE_TAIL, count)
        self._await(start, check_int("max_clocks", max_clocks, 1, COUNT_MAX))
        self._check_fetched(count)
        events = tuple(self.events)
        self.trace(0)
        end = max((each.completed for each in events), default=self._now())
        return Run(start, end, events)

    def _set_spaces(self, weights: tuple[int, int] | None, store: tuple[int, int] | None) -> None:
        for pair, name in ((weights, "WEIGHTS"), (store, "STORE")):
            if pair is not None:
                for part, value in zip(("BASE", "BYTES"), pair, strict=True):
                    number = check_int(name.lower(), value, 0, WORD_MAX)
                    self.write(getattr(lib, f"CSC_CS2_{name}_{part}"), number)

    def _set_params(self, params: Sequence[SupportsIndex], watchdog: SupportsIndex) -> None:
        if len(params) > PARAMS:
            raise ValueError(f"CS2 has {PARAMS} parameters, but {len(params)} were given.")
        for number in range(PARAMS):
            value = params[number] if number < len(params) else 0
            self.write(lib.CSC_CS2_PARAM + 4 * number, value)
        self.write(lib.CSC_CS2_WATCHDOG, watchdog)

    def _place_program(self, program: bytes, at: SupportsIndex | None) -> None:
        parameters = self._need_cs2("command queue")
        store = self.read(lib.CSC_CS2_STORE_BYTES)
        if at is None:
            is_stored = store >= len(program)
            space, size = (Space.STORE, store) if is_stored else (Space.SRAM, parameters.sram_bytes)
            address = (space << 30) + (size - len(program)) // 64 * 64
        else:
            address = check_int("at", at, 0, WORD_MAX)
        offset, space_number = address & ((1 << 30) - 1), address >> 30
        if space_number == Space.SRAM:
            self.write_sram(offset, program)
        else:
            name = "WEIGHTS" if space_number == Space.WEIGHTS else "STORE"
            base = self.read(getattr(lib, f"CSC_CS2_{name}_BASE")) + offset
            place = self._place("external memory", len(self._external), base, len(program))
            ffi.memmove(self._external + place, program, len(program))
        self.write(lib.CSC_CS2_QUEUE_BASE, address)

    def _await(self, start: int, max_clocks: int) -> None:
        while True:
            status = self.read(lib.CSC_CS2_QUEUE_STATUS)
            if status & FAILED:
                raise self._error()
            if status & IDLE:
                return
            left = start + max_clocks - self._now()
            if left <= 0:
                raise ChipError(f"The command queue of CS2 was not idle after {max_clocks} clocks.")
            self.step(min(left, POLL_CLOCKS))

    def _check_fetched(self, count: int) -> None:
        """Tell a queue that is idle because its doorbell was lost."""
        fetched = self.read(lib.CSC_CS2_QUEUE_HEAD)
        if fetched != count:
            raise ChipError(
                f"The command queue of CS2 is idle, but it has fetched {fetched} of {count} "
                "commands; the write of QUEUE_TAIL was lost."
            )

    def _error(self) -> ChipError:
        """Return the error registers as an exception."""
        word = self.read(lib.CSC_CS2_ERROR)
        number, info, tag = (
            self.read(each)
            for each in (lib.CSC_CS2_ERROR_COMMAND, lib.CSC_CS2_ERROR_INFO, lib.CSC_CS2_ERROR_TAG)
        )
        cause, engine, code = Cause(word & 0xFF), Engine(word >> 8 & 0xFF), word >> 16 & 0xFF
        known = {each.value: each.name for each in Code}
        error = ChipError(
            f"CS2 stopped with {cause.name} at command {number} "
            f"({known.get(code, f'code {code:#x}')}, engine {engine.name}, tag {tag}): "
            f"{_MEANINGS.get(cause, 'no error is told').format(info=info)}."
        )
        error.cause, error.engine = cause.name, engine.name
        error.command, error.tag, error.info = number, tag, info
        return error

    # --- what happened ----------------------------------------------------------------------------

    @property
    def totals(self) -> ChipTotals:
        """What has happened since power-up."""
        self._need_cs2("totals")
        raw = ffi.new("csc_sim_cs2_totals_t *")
        lib.csc_sim_cs2_totals(self._sim, raw)
        values: dict[str, Any] = {}
        for each in fields(ChipTotals):
            value = getattr(raw, each.name)
            is_number = isinstance(value, int)
            values[each.name] = (
                value if is_number else dict(zip(ENGINES, map(int, value), strict=True))
            )
        return ChipTotals(**values)

    def trace(self, room: SupportsIndex = 65536) -> None:
        """Record up to `room` commands in `events` from now on; 0 stops recording."""
        self._need_cs2("trace of commands")
        count = check_int("room", room, 0, 2**24)
        self._events = ffi.new("csc_sim_cs2_event_t[]", max(count, 1))
        lib.csc_sim_cs2_trace(self._sim, self._events, count)

    @property
    def events(self) -> list[Event]:
        """The commands completed since `trace`, in the order of completion."""
        self._need_cs2("trace of commands")
        names = [each.name for each in fields(Event)]
        count = lib.csc_sim_cs2_traced(self._sim) if self._events is not None else 0
        return [
            Event(*(int(getattr(self._events[n], name)) for name in names)) for n in range(count)
        ]

    @property
    def events_lost(self) -> int:
        """How many commands completed since `trace` that found no room."""
        self._need_cs2("trace of commands")
        return int(lib.csc_sim_cs2_trace_lost(self._sim))

    @property
    def faults(self) -> ChipFaults:
        """The faults of this chip; assign others to make it go wrong."""
        self._need_cs2("faults")
        model = lib.csc_sim_cs2_faults(self._sim)
        return ChipFaults(*(int(getattr(model, each.name)) for each in fields(ChipFaults)))

    @faults.setter
    def faults(self, faults: ChipFaults) -> None:
        self._need_cs2("faults")
        model = lib.csc_sim_cs2_faults(self._sim)
        for each in fields(ChipFaults):
            limit = WORD_MAX if each.name in ("change_word", "change_mask") else COUNT_MAX
            setattr(model, each.name, check_int(each.name, getattr(faults, each.name), 0, limit))


def _access(
    offset: SupportsIndex, strobes: SupportsIndex, data: SupportsIndex
) -> tuple[int, int, int]:
    """Check the arguments of an access of the processor."""
    return (
        check_int("offset", offset, 0, WORD_MAX),
        check_int("strobes", strobes, 0, 15),
        check_int("data", data, 0, WORD_MAX),
    )
