"""Choosing a token from logits: the host's side of SPEC.md 3.8."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc import _blob_format as fmt
from csc._csc import ffi, lib
from csc.errors import InputError

STEPS = 32  # of the exponential's table, in one natural unit


@dataclass
class Choice:
    """How to choose; `random` is the state of the generator, which moves on with every token."""

    top_k: int
    requant: int
    random: int


def pack_scale(real: float) -> int:
    """Return a positive number as multiplier + 65536 * shift, as near as 15 bits come."""
    _, exponent = math.frexp(real)
    shift = min(15 - exponent, fmt.MAX_SHIFT)
    if shift < 1:
        return fmt.MAX_MULTIPLIER + 65536
    multiplier = min(math.floor(math.ldexp(real, shift) + 0.5), fmt.MAX_MULTIPLIER)
    return multiplier + 65536 * shift


def make_choice(top_k: int, temperature: float, seed: int, scale: float, count: int) -> Choice:
    """Return a choice among `count` logits of a scale. Raises InputError."""
    if not 1 <= top_k <= count:
        raise InputError(f"top_k must be 1 to {count}, the number of logits, not {top_k}.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature must be above 0, not {temperature}.")
    if not 1 <= seed < 2**32:
        raise InputError(f"seed must be 1 to {2**32 - 1}, not {seed}.")
    if top_k > 1 and scale == 0:
        raise InputError("The logits of the model have no scale, so only top_k 1 is possible.")
    return Choice(top_k, pack_scale(STEPS * (scale or 1.0) / temperature), seed)


def choose(logits: NDArray[Any], choice: Choice) -> int:
    """Return the token chosen from logits int16 [1][N] or [N]."""
    values = np.ascontiguousarray(logits.reshape(-1), np.int16)
    pointer = ffi.from_buffer("int16_t[]", values)
    if choice.top_k == 1:
        return int(lib.csc_argmax(pointer, len(values)))
    record = ffi.new("csc_choice_t *", (choice.top_k, choice.requant, choice.random))
    token = int(lib.csc_sample(pointer, len(values), record))
    choice.random = int(record.random)
    return token
