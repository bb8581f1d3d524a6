"""Checks of arguments that several modules share."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex


def check_int(name: str, value: SupportsIndex, low: int, high: int) -> int:
    """Return `value` as an int within low..high, or say in one sentence what is wrong."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}.") from None
    if not low <= number <= high:
        raise ValueError(f"{name} must be between {low} and {high}, got {number}.")
    return number
