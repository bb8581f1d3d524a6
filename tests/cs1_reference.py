"""A slow CS1 block engine, one clock at a time, written only from the chip description.

It shares no code with the C model and takes no short cut, so that the two can be compared.
Every clock has two halves: what a read returns in that clock, and what changes at its end.
"""

from __future__ import annotations

WORD = 0xFFFF_FFFF
CTRL, STATUS, MATRIX_SIZE, PERF_CYCLES = 0x000, 0x004, 0x01C, 0x028
WINDOWS = {0x1: "a", 0x3: "b", 0x5: "c"}


class ReferenceEngine:
    """Registers and state of one engine; `tick` passes one clock with at most one write."""

    def __init__(self) -> None:
        self.a, self.b, self.c = [0] * 64, [0] * 64, [0] * 64
        self.clear_state()

    def clear_state(self) -> None:
        """What reset does: everything but the three memories."""
        self.ctrl = self.status = self.perf = 0
        self.size = 8
        self.state = "idle"
        self.i = self.j = self.k = self.sum = 0

    @property
    def irq(self) -> int:
        return int(self.state == "done")

    def peek(self, offset: int) -> int:
        """The value a read of `offset` returns in this clock."""
        offset &= 0xFFF
        registers = {
            CTRL: self.ctrl,
            STATUS: self.status,
            MATRIX_SIZE: self.size,
            PERF_CYCLES: self.perf,
        }
        if offset in registers:
            return registers[offset]
        return self.c[offset >> 2 & 63] if offset >> 8 == 5 else 0

    def tick(self, write: tuple[int, int] | None = None) -> None:
        """Let one clock pass; a write takes effect after everything else in the clock."""
        if self.state == "idle":
            self._wait()
        elif self.state == "compute":
            self._multiply()
        else:
            self.state, self.status, self.ctrl = "idle", 2, 0
        if write is not None:
            self._store(write[0] & 0xFFF, write[1] & WORD)

    def _wait(self) -> None:
        self.status = 0
        if self.ctrl & 1:
            self.state = "compute"
            self.perf = self.i = self.j = self.k = self.sum = 0

    def _multiply(self) -> None:
        a = self.a[(8 * self.i + self.k) % 64]
        b = self.b[(8 * self.k + self.j) % 64]
        total = (self.sum + a * b) & WORD
        limit = (self.size - 1) & WORD
        self.status = 1
        self.perf = (self.perf + 1) & WORD
        if self.k < limit:
            self.k, self.sum = (self.k + 1) % 16, total
            return
        self.c[(8 * self.i + self.j) % 64] = total
        self.k = self.sum = 0
        if self.j < limit:
            self.j += 1
        elif self.i < limit:
            self.i, self.j = self.i + 1, 0
        else:
            self.state = "done"

    def _store(self, offset: int, value: int) -> None:
        if offset == CTRL:
            self.ctrl = value
        elif offset == MATRIX_SIZE:
            self.size = value
        elif WINDOWS.get(offset >> 8) in ("a", "b"):
            getattr(self, WINDOWS[offset >> 8])[offset >> 2 & 63] = value
