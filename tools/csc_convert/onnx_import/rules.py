"""What a rule is: it looks at the op that writes a value and says which graph node computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .net import Op
from .probes import Probes


@dataclass
class Match:
    """A node to be: its inputs are values of the net, its names are made later.

    name: how it should be called; mask: whether it reads the mask as last input.
    """

    op: str
    name: str
    inputs: list[str]
    attributes: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    mask: bool = False


# Called with the probes, the value that is wanted, and the op that writes it.
Rule = Callable[[Probes, str, Op], Match | None]


def parameter_name(probes: Probes, op: Op, constants: list[str]) -> str:
    """Return the name of a layer: that of parameters it alone has, else that of its op."""
    for name in constants:
        stem, _, kind = name.rpartition(".")
        own = name in probes.net.constants and probes.net.readers[name] == 1
        if own and kind in ("weight", "bias"):
            return stem
    parts = op.name.strip("/").split("/")
    return ".".join(parts[:-1] if len(parts) > 1 else parts)


def float_weight(array: np.ndarray) -> np.ndarray:
    """Return a constant as contiguous float32."""
    return np.ascontiguousarray(array, np.float32)
