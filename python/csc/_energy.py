"""Energy and area of a run: counts of the chip model times constants of the literature.

All constants are of one node, 45 nm at 0.9 V, and stand in CHIP.md with the formulas.
What is not counted: clock tree, pipeline registers, pads, the processor's RAM at rest, and the
external memory at rest; the figures compare designs and are no sign-off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csc import _cs2_format as fmt
from csc._parameters import Parameters

HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014"
DALLY = "W. Dally, High-performance hardware for machine learning, NIPS 2015 tutorial"
WANG = "Y. Wang et al., A 1.1 GHz 12 uA/Mb-leakage SRAM design in 65 nm, JSSC 2008"
MISTRY = "K. Mistry et al., A 45nm logic technology, IEDM 2007"
OURS = "our assumption"


@dataclass(frozen=True)
class Constant:
    """A number with its unit and where it comes from."""

    value: float
    unit: str
    source: str


CONSTANTS = {
    "INT8_MULTIPLY": Constant(0.2, "pJ", HOROWITZ),
    "INT32_ADD": Constant(0.1, "pJ", HOROWITZ),
    "INT32_MULTIPLY": Constant(3.1, "pJ", HOROWITZ),
    "SRAM_8_KIB": Constant(10.0, "pJ per 64 bits", HOROWITZ),
    "SRAM_32_KIB": Constant(20.0, "pJ per 64 bits", HOROWITZ),
    "SRAM_1_MIB": Constant(100.0, "pJ per 64 bits", HOROWITZ),
    "EXTERNAL": Constant(1300.0, "pJ per 64 bits", HOROWITZ),
    "INSTRUCTION": Constant(70.0, "pJ", HOROWITZ),
    "SUPPLY": Constant(0.9, "V", HOROWITZ),
    "SRAM_LEAKAGE": Constant(12.0, "uA per Mibit", WANG),
    "INT8_MULTIPLY_AREA": Constant(282.0, "um2", DALLY),
    "INT32_ADD_AREA": Constant(137.0, "um2", DALLY),
    "INT32_MULTIPLY_AREA": Constant(3495.0, "um2", DALLY),
    "SRAM_CELL_AREA": Constant(0.346, "um2 per bit", MISTRY),
    "SRAM_ARRAY_EFFICIENCY": Constant(0.6, "share", OURS),
}


def _value(name: str) -> float:
    return CONSTANTS[name].value


_SRAM_POINTS = ((8 << 10, "SRAM_8_KIB"), (32 << 10, "SRAM_32_KIB"), (1 << 20, "SRAM_1_MIB"))
PARTS = ("MAC", "requantization", "vector", "SRAM", "external", "CPU", "leakage")


def sram_access_pj(bank_bytes: int) -> float:
    """Return the energy of 64 bits from a bank: a power law between the points of the source.

    Outside the points it is that of the nearest one.
    """
    points = [(math.log(size), math.log(_value(name))) for size, name in _SRAM_POINTS]
    at = min(max(math.log(bank_bytes), points[0][0]), points[-1][0])
    (x, low), (y, high) = points[:2] if at <= points[1][0] else points[1:]
    return math.exp(low + (high - low) * (at - x) / (y - x))


def cs2_energy(
    counts: Mapping[str, int], instructions: int, parameters: Parameters, clocks: int
) -> dict[str, float]:
    """Return the microjoules of a run by part.

    Args:
        counts: by the names of csc_sim_cs2_totals_t, over the run.
        instructions: that the processor started in the run.
        parameters: of the chip.
        clocks: length of the run.

    """
    line = fmt.LINE // 8 * sram_access_pj(parameters.sram_bytes // fmt.BANKS)
    lines = counts["line_reads"] + counts["line_writes"]
    words = (counts["ext_read"] + counts["ext_written"]) / 8
    multiply_add = _value("INT32_MULTIPLY") + _value("INT32_ADD")
    amps = 1e-6 * _value("SRAM_LEAKAGE") * parameters.sram_bytes * 8 / 2**20
    seconds = clocks / parameters.clock_hz
    picojoules = {
        "MAC": counts["macs"] * (_value("INT8_MULTIPLY") + _value("INT32_ADD")),
        "requantization": counts["drained"] * (multiply_add + _value("INT32_ADD")),
        "vector": counts["lane_steps"] * multiply_add,
        "SRAM": lines * line,
        "external": words * _value("EXTERNAL"),
        "CPU": instructions * _value("INSTRUCTION"),
        "leakage": 1e12 * amps * _value("SUPPLY") * seconds,
    }
    return {part: 1e-6 * picojoules[part] for part in PARTS}


def cs1_energy(macs: int, bytes_moved: int, instructions: int) -> dict[str, float]:
    """Return the microjoules of a run on CS1 by part; macs with padding.

    A transfer moves 32 bits of a RAM of 1 MiB or more; CS1 has no memory of its own that leaks.
    """
    picojoules = dict.fromkeys(PARTS, 0.0)
    picojoules["MAC"] = macs * (_value("INT8_MULTIPLY") + _value("INT32_ADD"))
    picojoules["SRAM"] = bytes_moved / 8 * sram_access_pj(1 << 20)
    picojoules["CPU"] = instructions * _value("INSTRUCTION")
    return {part: 1e-6 * energy for part, energy in picojoules.items()}


def area_mm2(parameters: Parameters) -> float:
    """Return the area of what the parameters size: multipliers, lanes and SRAM, at 45 nm."""
    mac = _value("INT8_MULTIPLY_AREA") + _value("INT32_ADD_AREA")
    lane = _value("INT32_MULTIPLY_AREA") + _value("INT32_ADD_AREA")
    bit = _value("SRAM_CELL_AREA") / _value("SRAM_ARRAY_EFFICIENCY")
    logic = parameters.array * mac + parameters.lanes * lane
    return 1e-6 * (logic + 8 * parameters.sram_bytes * bit)


def constants_dict() -> dict[str, dict[str, Any]]:
    """Return the constants, ready for JSON."""
    return {name: vars(constant) for name, constant in CONSTANTS.items()}
