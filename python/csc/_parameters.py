"""The numbers of CS2 that can be explored: names, limits, and how a command line spells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from csc import _cs2_format as fmt
from csc._cs2 import make_parameters as make_chip
from csc.errors import InputError


@dataclass(frozen=True)
class Parameters:
    """One CS2; the defaults are the chip that CHIP.md describes.

    Attributes:
        clock_mhz: clock rate; changes milliseconds, power and leakage, not clocks.
        sram_bytes: on-chip memory, a multiple of 4096 from 64 KiB to 16 MiB.
        array: multiply-accumulates a clock: 1, 8, 64 or 512.
        lanes: of the vector engine: 1, 2, 4 ... 64.
        ext_bytes_per_clock: of the external bus: 1, 2, 4 ... 64.
        ext_latency: clocks before the first byte of a burst, 0 to 10000.
        ext_burst: longest burst in bytes, a power of two from 64 to 65536.

    """

    clock_mhz: float = 100.0
    sram_bytes: int = fmt.SRAM_SIZE
    array: int = fmt.ARRAY
    lanes: int = fmt.LANES
    ext_bytes_per_clock: int = fmt.EXT_BYTES_PER_CLOCK
    ext_latency: int = fmt.EXT_LATENCY
    ext_burst: int = fmt.EXT_BURST

    def __post_init__(self) -> None:
        """Refuse what is no chip. Raises InputError."""
        for field in fields(self):
            _check(field.name, getattr(self, field.name))

    @property
    def clock_hz(self) -> float:
        """Clock rate in Hz."""
        return 1e6 * self.clock_mhz

    def chip(self) -> dict[str, int]:
        """Return what the model of the chip is made with: all but the clock rate."""
        return {name: value for name, value in vars(self).items() if name != "clock_mhz"}

    def changes(self) -> dict[str, float]:
        """Return what differs from the chip of CHIP.md."""
        usual = Parameters()
        return {name: v for name, v in vars(self).items() if v != getattr(usual, name)}

    def label(self) -> str:
        """Return the changes in one line, "" without any."""
        return ", ".join(f"{name}={value:g}" for name, value in self.changes().items())


NAMES = tuple(field.name for field in fields(Parameters))


def _check(name: str, value: Any) -> None:
    if name == "clock_mhz":
        if not isinstance(value, (int, float)) or not 0 < value <= 1e6:
            raise InputError(f"clock_mhz must be above 0 and at most 1e6, got {value}.")
        return
    try:
        make_chip({name: value})
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None


def make(changes: Mapping[str, Any]) -> Parameters:
    """Return the chip of CHIP.md with changes. Raises InputError for a name it does not have."""
    for name in changes:
        if name not in NAMES:
            raise InputError(f"There is no parameter '{name}'; known are: {', '.join(NAMES)}.")
    return replace(Parameters(), **changes)


def _number(name: str, text: str) -> float:
    try:
        return float(text) if name == "clock_mhz" else int(text)
    except ValueError:
        raise InputError(f"The value of {name} must be a number, not '{text}'.") from None


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise InputError(f"A parameter is given as name=value, not '{text}'.")
    if name not in NAMES:
        raise InputError(f"There is no parameter '{name}'; known are: {', '.join(NAMES)}.")
    return name, value


def parse_changes(texts: Iterable[str]) -> dict[str, float]:
    """Read `name=value` texts. Raises InputError."""
    pairs = [_split(text) for text in texts]
    return {name: _number(name, value) for name, value in pairs}


def parse_axes(texts: Iterable[str]) -> dict[str, list[float]]:
    """Read `name=value,value` texts. Raises InputError."""
    axes: dict[str, list[float]] = {}
    for text in texts:
        name, values = _split(text)
        if name in axes:
            raise InputError(f"The parameter '{name}' is varied twice; give all values at once.")
        axes[name] = [_number(name, value) for value in values.split(",")]
    return axes


def parse_variant(text: str) -> tuple[str, dict[str, float]]:
    """Read `chip` or `chip:name=value:name=value`. Raises InputError."""
    chip, *changes = text.strip().split(":")
    return chip, parse_changes(changes)
