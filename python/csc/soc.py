"""The systems on chip: processor, bus, RAM, CS1 or CS2, UART, display interface, GPIO.

What the hardware does, and in which clock, is described in CHIP.md.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from operator import index
from pathlib import Path
from typing import Any, Literal, SupportsIndex

from csc._checks import check_int as _check_int
from csc._cs2 import ChipFaults, ChipTotals, Cs2Part, Event, Parameters, make_parameters
from csc._csc import ffi, lib
from csc.errors import ChipError, InputError

_CHIPS = {"cs1": lib.CSC_SIM_CHIP_CS1, "cs2": lib.CSC_SIM_CHIP_CS2}
_CPU_OF = {"cs1": "rv32i", "cs2": "rv32imc"}
_CPUS = {"rv32i": lib.CSC_SIM_CPU_RV32I, "rv32imc": lib.CSC_SIM_CPU_RV32IMC}
_REGIONS = (
    *("ram", "no_ram", "engine", "uart", "lcd", "gpio"),
    *("sram", "external", "other"),
)
_KINDS: dict[int, Literal["limit", "exit", "trap"]] = {
    lib.CSC_SIM_STOP_LIMIT: "limit",
    lib.CSC_SIM_STOP_EXIT: "exit",
    lib.CSC_SIM_STOP_TRAP: "trap",
}
_CAUSES = {
    lib.CSC_SIM_CAUSE_ILLEGAL: "illegal instruction",
    lib.CSC_SIM_CAUSE_ECALL: "ecall",
    lib.CSC_SIM_CAUSE_EBREAK: "ebreak",
    lib.CSC_SIM_CAUSE_MISALIGNED_LOAD: "misaligned load",
    lib.CSC_SIM_CAUSE_MISALIGNED_STORE: "misaligned store",
    lib.CSC_SIM_CAUSE_MISALIGNED_JUMP: "misaligned jump",
}
_FAULTS = {
    "never_done": 1,
    "done_after": 2**32 - 1,
    "change_read_at": 2**63 - 1,
    "change_read": 2**32 - 1,
    "change_byte_at": 2**63 - 1,
    "change_byte": 255,
    "lose_byte_at": 2**63 - 1,
    "interrupts": 2**32 - 1,
}
_CHIP_FAULTS = tuple(each.name for each in fields(ChipFaults))
_CLOCKS_MAX = 2**63 - 1
_TRACE_ROOM = 1 << 14
_COMMAND_ROOM = 1 << 16
_ELF_MACHINE, _ELF_CLASS = "EM_RISCV", 32


@dataclass(frozen=True)
class StopReason:
    """Why a run ended.

    `kind` is "exit" (a store to 0x0F000004), "trap" (the processor stopped until reset) or "limit"
    (the clocks were used up). `clock` is the clock of the exit store, the first clock in which the
    trap output is high, or the clock in which the next instruction will start. `value` is what the
    exit store wrote, else None. `cause` names the cause of a trap, else None: "illegal
    instruction", "ecall", "ebreak", "misaligned load", "misaligned store" or "misaligned jump".
    `pc` is the address of the instruction that trapped, else of the next instruction.
    """

    kind: Literal["limit", "exit", "trap"]
    clock: int
    pc: int
    value: int | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Totals:
    """What has happened since power-up.

    All numbers count clocks, except `instructions` (started), `engine_runs` (started) and the data
    transfers in `reads` and `writes`, by region: "ram", "no_ram", "engine", "uart", "lcd", "gpio",
    "sram", "external" and "other". Instruction fetches are not transfers of data.
    The engine of `engine_runs` and `engine_busy_clocks` is the block engine of CS1, also in CS2.
    """

    clocks: int
    instructions: int
    ram_wait_clocks: int
    bus_stall_clocks: int
    engine_runs: int
    engine_busy_clocks: int
    reads: dict[str, int]
    writes: dict[str, int]


def _one_of(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        names = ", ".join(repr(each) for each in known)
        raise ValueError(f"There is no {name} called {value!r}; the known ones are: {names}.")


def _power_up(config: Any) -> tuple[Any, Any]:
    """Return a model in memory that the system hands out page by page, and that memory."""
    memory = ffi.from_buffer("uint8_t[]", mmap.mmap(-1, int(lib.csc_sim_soc_sizeof(config))))
    soc = ffi.cast("csc_sim_soc_t *", memory)
    lib.csc_sim_soc_init(soc, config)
    return soc, memory


class _Inside(Cs2Part):
    """The CS2 in a system on chip: looked at, but not driven, from outside."""

    def __init__(self, soc: Any, parameters: Parameters, trace_room: int) -> None:
        self.name, self.parameters = "cs2", parameters
        self._soc = soc
        self._room = trace_room
        self._seen: list[Event] = []
        self.look().trace(trace_room)

    def look(self) -> _Inside:
        """Bring it to the current clock."""
        self._sim = lib.csc_sim_soc_cs2(self._soc)
        return self

    def take_events(self) -> list[Event]:
        """Return all commands completed so far, if they are recorded."""
        if self._room:
            if self.look().events_lost:
                raise RuntimeError(f"More than {self._room} commands completed between two looks.")
            events = self.events
            self._seen += events
            if events:
                self.trace(self._room)
        return self._seen


class Soc:
    """One chip with RAM, at clock 0 of its reset: the processor fetches from address 0.

    Registers and memories, undefined in the hardware, start with zeros.
    A CS2 has two memories more, which `load`, `load_elf` and `read` reach too: its SRAM at
    `Soc.SRAM` and the external memory at `Soc.EXTERNAL`.

    >>> soc = Soc("cs1")
    >>> soc.load(0, [0x0F000537, 0x02A00593, 0x00B52223])  # lui a0; li a1, 42; sw a1, 4(a0)
    >>> soc.run(1000)
    StopReason(kind='exit', clock=13, pc=12, value=42, cause=None)
    >>> soc.instret
    3
    """

    SRAM = 0x30000000
    EXTERNAL = 0x40000000

    def __init__(
        self,
        chip: str = "cs1",
        ram_wait: SupportsIndex = 0,
        ram_bytes: SupportsIndex = 4 << 20,
        cpu: str | None = None,
        trace: bool = False,
        external_bytes: SupportsIndex | None = None,
        command_trace: bool = False,
        **parameters: SupportsIndex,
    ) -> None:
        """Power up.

        Args:
            chip: "cs1" or "cs2".
            ram_wait: 0 if RAM answers in the clock of the request, 1 if one clock later.
            ram_bytes: RAM from address 0, a multiple of 4, up to 240 MiB.
            cpu: "rv32i", as built into CS1, or "rv32imc", as built into CS2; None is the chip's.
            trace: record every data transfer in `trace_data`; makes loads and stores slower.
            external_bytes: external memory of a CS2, a multiple of 64, up to 64 MiB; None is
                16 MiB.
            command_trace: record every finished command of a CS2 in `commands`.
            **parameters: of a CS2, where it is not the published one: `sram_bytes`, `array`,
                `lanes`, `ext_bytes_per_clock`, `ext_latency`, `ext_burst`; CHIP.md explains them.

        Raises:
            ValueError: there is no such chip, processor or memory.

        """
        _one_of("chip", chip, tuple(_CHIPS))
        self.chip, self.cpu = chip, _CPU_OF[chip] if cpu is None else cpu
        _one_of("cpu", self.cpu, tuple(_CPUS))
        self.ram_wait = _check_int("ram_wait", ram_wait, 0, 1)
        self.ram_bytes = _check_int("ram_bytes", ram_bytes, 4, int(lib.CSC_SIM_RAM_MAX))
        if self.ram_bytes % 4:
            raise ValueError(f"ram_bytes must be a multiple of 4, got {self.ram_bytes}.")
        self.external_bytes = self._check_external(external_bytes)
        self.parameters = self._check_parameters(parameters)
        self._soc, self._memory = _power_up(self._config())
        room = _COMMAND_ROOM if command_trace else 0
        self._inside = _Inside(self._soc, self.parameters, room) if self.parameters else None
        self._output = bytearray()
        self._input = b""
        self._trace_data: list[tuple[int, int, int, int]] = []
        self._trace: Any = ffi.new("csc_sim_transfer_t[]", _TRACE_ROOM) if trace else None
        if trace:
            lib.csc_sim_soc_trace(self._soc, self._trace, _TRACE_ROOM)

    def _check_external(self, count: SupportsIndex | None) -> int:
        if self.chip != "cs2":
            if count:
                raise ValueError("Only a chip 'cs2' has external memory.")
            return 0
        limit = int(lib.CSC_SIM_EXTERNAL_MAX)
        checked = _check_int("external_bytes", 16 << 20 if count is None else count, 0, limit)
        if checked % 64:
            raise ValueError(f"external_bytes must be a multiple of 64, got {checked}.")
        return checked

    def _check_parameters(self, given: dict[str, SupportsIndex]) -> Parameters | None:
        if self.chip == "cs2":
            return make_parameters(given)
        if given:
            raise TypeError(f"A chip {self.chip!r} has no parameters, got {sorted(given)}.")
        return None

    def _config(self) -> Any:
        config = ffi.new("csc_sim_soc_config_t *")
        config.cpu, config.chip = _CPUS[self.cpu], _CHIPS[self.chip]
        config.ram_bytes, config.ram_wait = self.ram_bytes, self.ram_wait
        config.external_bytes = self.external_bytes
        if self.parameters:
            for name, value in asdict(self.parameters).items():
                setattr(config.cs2, name, value)
        return config

    def _cs2(self) -> _Inside:
        """Return the CS2 inside, brought to the current clock."""
        if self._inside is None:
            raise ChipError(f"A chip {self.chip!r} has no command queue; take 'cs2'.")
        return self._inside.look()

    @property
    def sram_bytes(self) -> int:
        """The size of the SRAM of a CS2."""
        return self.parameters.sram_bytes if self.parameters else 0

    def __repr__(self) -> str:
        """Return what it is and where it stands, for people."""
        return f"<Soc {self.chip!r} {self.cpu} at clock {self.clock}, pc {self.pc:#010x}>"

    # --- memory -----------------------------------------------------------------------------------

    def load(self, address: SupportsIndex, data: bytes | Sequence[int]) -> None:
        """Put bytes, or 32-bit words, into a memory; no clock passes.

        Args:
            address: of the first byte; a multiple of 4 for words.
            data: bytes, or a sequence of integers from 0 to 2**32 - 1.

        Raises:
            ValueError: the data do not fit into a memory, or the address of words is not aligned.

        """
        place = _check_int("address", address, 0, 2**32 - 1)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            if place % 4:
                raise ValueError(f"Words need an address that is a multiple of 4, got {place:#x}.")
            data = b"".join(
                _check_int("word", word, 0, 2**32 - 1).to_bytes(4, "little") for word in data
            )
        content = bytes(data)
        if lib.csc_sim_soc_load(self._soc, place, content, len(content)):
            raise ValueError(self._not_ram("data", place, len(content)))

    def load_elf(self, path: str | Path) -> None:
        """Put the segments of a 32-bit RISC-V ELF file into memory, at their physical addresses.

        The processor starts at address 0, whatever the entry point of the file.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: it is not a 32-bit little-endian RISC-V ELF file, or lies outside the
                memories.

        """
        for address, content, count in _elf_segments(Path(path)):
            if lib.csc_sim_soc_load(self._soc, address, content.ljust(count, b"\0"), count):
                raise InputError(f"{path}: {self._not_ram('segment', address, count)}")

    def _not_ram(self, what: str, address: int, count: int) -> str:
        text = (
            f"The {what} at {address:#x}, {count} bytes, is not inside RAM, which has "
            f"{self.ram_bytes} bytes from address 0"
        )
        if self.chip == "cs2":
            text += f", nor inside SRAM ({self.sram_bytes} bytes from {self.SRAM:#x}) or external "
            text += f"memory ({self.external_bytes} bytes from {self.EXTERNAL:#x})"
        return f"{text}."

    def read(self, address: SupportsIndex, count: SupportsIndex) -> bytes:
        """Return `count` bytes of a memory; no clock passes and no device is read.

        Raises:
            ValueError: not all of it is one memory.

        """
        place = _check_int("address", address, 0, 2**32 - 1)
        length = _check_int("count", count, 0, 2**32 - 1)
        sizes = (self.ram_bytes, self.sram_bytes, self.external_bytes)
        content = ffi.new("uint8_t[]", min(length, max(sizes)))
        if length > max(sizes) or lib.csc_sim_soc_read(self._soc, place, content, length):
            raise ValueError(self._not_ram("range", place, length))
        return bytes(ffi.buffer(content, length))

    # --- running ----------------------------------------------------------------------------------

    def run(self, max_clocks: SupportsIndex) -> StopReason:
        """Run until an exit, a trap, or the first instruction start `max_clocks` clocks from now.

        After an exit or the limit a further run goes on; after a trap it stops again at once.
        """
        clocks = _check_int("max_clocks", max_clocks, 0, _CLOCKS_MAX)
        end = min(self.clock + clocks, _CLOCKS_MAX)
        while True:
            stop = lib.csc_sim_soc_run(self._soc, end)
            self._drain()
            if stop.kind != lib.CSC_SIM_STOP_DRAIN:
                break
        kind = _KINDS[stop.kind]
        value = int(stop.value) if kind == "exit" else None
        return StopReason(kind, int(stop.clock), int(stop.pc), value, _CAUSES.get(stop.cause))

    def _drain(self) -> None:
        """Take over what the model has recorded since the last time."""
        room = 1024
        buffer = ffi.new("uint8_t[]", room)
        count = lib.csc_sim_soc_uart_output(self._soc, buffer, room)
        self._output += ffi.buffer(buffer, count)
        if self._inside is not None:
            self._inside.take_events()
        if self._trace is None:
            return
        count = lib.csc_sim_soc_traced(self._soc)
        self._trace_data += [
            (each.clock, each.address, each.strobes, each.data) for each in self._trace[0:count]
        ]
        lib.csc_sim_soc_trace(self._soc, self._trace, _TRACE_ROOM)

    @property
    def clock(self) -> int:
        """The current clock; 0 at power-up, which is the first clock after reset.

        After a run it is that of the reason why the run stopped.
        """
        return int(lib.csc_sim_soc_clock(self._soc))

    @property
    def instret(self) -> int:
        """The number of instructions started."""
        return self.totals.instructions

    @property
    def pc(self) -> int:
        """The address of the next instruction, or of the one that trapped."""
        return int(lib.csc_sim_soc_pc(self._soc))

    @property
    def registers(self) -> list[int]:
        """The registers x0 to x31, each 0 to 2**32 - 1."""
        return [int(lib.csc_sim_soc_register(self._soc, number)) for number in range(32)]

    @property
    def totals(self) -> Totals:
        """What has happened since power-up: clocks, waits, engine time, transfers by region."""
        totals = ffi.new("csc_sim_totals_t *")
        lib.csc_sim_soc_totals(self._soc, totals)
        return Totals(
            clocks=int(totals.clocks),
            instructions=int(totals.instructions),
            ram_wait_clocks=int(totals.ram_wait_clocks),
            bus_stall_clocks=int(totals.bus_stall_clocks),
            engine_runs=int(totals.engine_runs),
            engine_busy_clocks=int(totals.engine_busy_clocks),
            reads=dict(zip(_REGIONS, map(int, totals.reads), strict=True)),
            writes=dict(zip(_REGIONS, map(int, totals.writes), strict=True)),
        )

    @property
    def trace_data(self) -> list[tuple[int, int, int, int]]:
        """Every data transfer so far as (clock, address, strobes, data), if `trace` is on.

        The clock is the one in which the transfer completes and the address that of the word.
        Strobes are 0 for a read, else one bit for each byte written; data are the 32 bits on the
        bus.
        """
        return self._trace_data

    @property
    def chip_totals(self) -> ChipTotals:
        """What the engines, the SRAM and the external bus of a CS2 have done since power-up."""
        return self._cs2().totals

    @property
    def commands(self) -> list[Event]:
        """Every completed command of a CS2 so far, if `command_trace` is on."""
        return list(self._cs2().take_events())

    # --- pins -------------------------------------------------------------------------------------

    @property
    def uart_output(self) -> bytes:
        """Bytes that have left by the UART's transmit pin, stop bit included."""
        self._drain()
        return bytes(self._output)

    @property
    def uart_pending(self) -> bytes:
        """Bytes the UART still has to send: the one on the line and those in its queue."""
        buffer = ffi.new("uint8_t[]", 32)
        return bytes(ffi.buffer(buffer, lib.csc_sim_soc_uart_pending(self._soc, buffer, 32)))

    def uart_input(self, data: bytes, clocks_per_bit: float | None = None) -> None:
        """Send bytes to the UART's receive pin, from now on or after those sent before.

        Args:
            data: one byte after the other, each a start bit, 8 data bits and a stop bit.
            clocks_per_bit: speed of the sender from the next byte on; None is the UART's own.

        """
        if clocks_per_bit is not None and not 1 <= clocks_per_bit < 2**31:
            raise ValueError(f"clocks_per_bit must be between 1 and 2**31, got {clocks_per_bit}.")
        unsent = int(lib.csc_sim_soc_uart_unsent(self._soc))
        self._input = self._input[len(self._input) - unsent :] + bytes(data)
        rate = 0 if clocks_per_bit is None else round(clocks_per_bit * 65536)
        pointer = ffi.from_buffer("uint8_t[]", self._input)
        lib.csc_sim_soc_uart_input(self._soc, pointer, len(self._input), rate)

    @property
    def gpio_out(self) -> int:
        """The 32 output pins."""
        return int(lib.csc_sim_soc_gpio_out(self._soc))

    def set_gpio_in(self, pins: SupportsIndex) -> None:
        """Set the 32 input pins, 0 to 2**32 - 1."""
        lib.csc_sim_soc_gpio_in(self._soc, _check_int("pins", pins, 0, 2**32 - 1))

    @property
    def interrupts(self) -> int:
        """The interrupt lines: bit 16 block engine, 17 queue, 18 UART transmit, 19 UART receive.

        The processors are built without interrupts; nothing happens on a line.
        """
        return int(lib.csc_sim_soc_interrupts(self._soc))

    # --- faults -----------------------------------------------------------------------------------

    def set_faults(self, **faults: SupportsIndex) -> None:
        """Make the hardware go wrong; a fault that is not named is switched off.

        Args:
            **faults: never_done=1: a started engine never seems to end. done_after: it seems to
                have ended after so many multiplies. change_read_at, change_read: which of the reads
                of the engine, from 1, is changed by exclusive or with what. change_byte_at,
                change_byte: the same for a byte the UART sends. lose_byte_at: which one is lost.
                interrupts: lines that are always high. Of a CS2 also, counted from 1 since
                power-up: hang_command: this command is never completed. change_command,
                change_word, change_mask: this descriptor arrives with a word changed by exclusive
                or. external_error: this burst of DMA engine or descriptor fetch fails.
                lose_doorbell_at: this write of QUEUE_TAIL has no effect.

        """
        of_chip = _CHIP_FAULTS if self._inside else ()
        for name in faults:
            _one_of("fault", name, (*_FAULTS, *of_chip))
        if self._inside:
            chosen = {name: index(faults[name]) for name in of_chip if name in faults}
            self._cs2().faults = ChipFaults(**chosen)
        model = lib.csc_sim_soc_faults(self._soc)
        for name, limit in _FAULTS.items():
            setattr(model, name, _check_int(name, faults.get(name, 0), 0, limit))


def _elf_segments(path: Path) -> list[tuple[int, bytes, int]]:
    """Return address, content and size in memory of the segments to load."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            machine, bits, is_little = elf["e_machine"], elf.elfclass, elf.little_endian
            segments = [
                (int(each["p_paddr"]), bytes(each.data()), int(each["p_memsz"]))
                for each in elf.iter_segments()
                if each["p_type"] == "PT_LOAD" and each["p_memsz"]
            ]
        except ELFError as error:
            raise InputError(f"{path} is not an ELF file that can be read: {error}.") from None
    if machine != _ELF_MACHINE:
        raise InputError(f"{path} is for the machine {machine}, but this chip needs RISC-V.")
    if bits != _ELF_CLASS or not is_little:
        order = "little" if is_little else "big"
        raise InputError(f"{path} is a {bits}-bit {order}-endian file, but this chip needs RV32.")
    return segments
