"""The chips at register and clock level.

What the registers do, and when, is described in CHIP.md.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

from csc._checks import check_int as _check_int
from csc._cs2 import ChipFaults, ChipTotals, Cs2Part, Event, Parameters, Run
from csc._csc import ffi, lib

__all__ = ["Chip", "ChipFaults", "ChipTotals", "Event", "Parameters", "Run"]

_KNOWN = ("cs1", "cs2")
_OFFSET_MAX = 2**32 - 1
_VALUE_MIN, _VALUE_MAX = -(2**31), 2**32 - 1
_CLOCKS_MAX = 2**63 - 1


class Chip(Cs2Part):
    """One chip, driven one bus access or one clock at a time.

    A read or a write takes exactly one clock; nothing else makes time pass except `step` and
    `reset`. Offsets count from the base address of the engine.

    >>> chip = Chip("cs1")
    >>> chip.write(0x01C, 1)  # MATRIX_SIZE: 1x1 matrices
    >>> chip.write(0x100, 6)  # A(0,0)
    >>> chip.write(0x300, -7)  # B(0,0)
    >>> chip.write(0x000, 1)  # CTRL: start
    >>> while chip.read(0x000):  # CTRL reads 0 at the end of the run
    ...     pass
    >>> chip.read(0x500) - 2**32  # C(0,0)
    -42
    >>> chip.clock
    9
    """

    def __init__(
        self, name: str = "cs1", *, external: Any = 0, **parameters: SupportsIndex
    ) -> None:
        """Power up the chip called `name`.

        Args:
            name: "cs1", or "cs2", which has the registers of CS1 and a queue of commands.
            external: CS2's external memory: a number of bytes, bytes, which are copied, or a
                buffer, such as a bytearray or an array of uint8, which stays the caller's.
            **parameters: of another CS2 than the published one: sram_bytes, array (products a
                clock), lanes, ext_bytes_per_clock, ext_latency, ext_burst.

        Raises:
            ValueError: there is no model of that name, or none with such a parameter.

        """
        if name not in _KNOWN:
            known = ", ".join(repr(each) for each in _KNOWN)
            raise ValueError(f"There is no chip called {name!r}; the known chips are: {known}.")
        self.name = name
        if name == "cs2":
            self._power_up_cs2(external, parameters)
        else:
            if parameters or not (isinstance(external, int) and external == 0):
                raise TypeError("CS1 has no parameters and no external memory.")
            self._memory = ffi.new("uint64_t[]", (lib.csc_sim_cs1_sizeof() + 7) // 8)
            self._sim = ffi.cast("csc_sim_cs1_t *", self._memory)
            lib.csc_sim_cs1_init(self._sim)
        actions = ("read", "write", "step", "reset", "clock", "irq")
        self._call = {each: getattr(lib, f"csc_sim_{name}_{each}") for each in actions}

    def __repr__(self) -> str:
        """Return name and time, for people."""
        return f"<Chip {self.name!r} at clock {self.clock}>"

    def write(self, offset: SupportsIndex, value: SupportsIndex) -> None:
        """Pass one clock in which `value` is written; it takes effect at the end of the clock.

        Args:
            offset: byte offset from the engine's base, 0 to 2**32 - 1; only the low 12 bits count.
            value: 0 to 2**32 - 1, or a negative int32, which is written as two's complement.

        """
        place = _check_int("offset", offset, 0, _OFFSET_MAX)
        word = _check_int("value", value, _VALUE_MIN, _VALUE_MAX) & _VALUE_MAX
        self._call["write"](self._sim, place, word)

    def read(self, offset: SupportsIndex) -> int:
        """Pass one clock and return what a read in that clock sees, 0 to 2**32 - 1.

        Args:
            offset: byte offset from the engine's base, 0 to 2**32 - 1; only the low 12 bits count.

        """
        place = _check_int("offset", offset, 0, _OFFSET_MAX)
        return int(self._call["read"](self._sim, place))

    def step(self, clocks: SupportsIndex = 1) -> None:
        """Pass `clocks` clocks with an idle bus."""
        self._call["step"](self._sim, _check_int("clocks", clocks, 0, _CLOCKS_MAX))

    def reset(self, clocks: SupportsIndex = 1) -> None:
        """Hold reset for `clocks` clocks; the contents of A, B and C survive.

        Clock 0 is the first clock after the first reset: a first reset that comes before anything
        else takes no time, every later one advances `clock`.
        """
        self._call["reset"](self._sim, _check_int("clocks", clocks, 0, _CLOCKS_MAX))

    @property
    def clock(self) -> int:
        """The number of the current clock, 0 at power-up."""
        return int(self._call["clock"](self._sim))

    @property
    def irq(self) -> bool:
        """Whether the interrupt output of CS1's engine is high in the current clock."""
        return bool(self._call["irq"](self._sim) & 1)
