"""Working memory of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc._csc import ffi
from csc._face import live_view
from csc.blob import TensorInfo


class Arena:
    """Working memory, and what of it Python looks at; views are kept for runs of one length."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self.memory = memory
        self.pointer = ffi.from_buffer("uint8_t[]", memory)
        self._length = 0
        self._views: dict[int, NDArray[Any]] = {}

    def view(self, tensor: TensorInfo, length: int) -> NDArray[Any]:
        """Return the live part of a tensor in a run of this length."""
        if length != self._length:
            self._length, self._views = length, {}
        if tensor.number not in self._views:
            self._views[tensor.number] = live_view(tensor, self.memory[tensor.offset :], length)
        return self._views[tensor.number]
