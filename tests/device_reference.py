"""The CS1 UART and LCD, one clock at a time, for comparison with the lazy models.

Written from the description of the hardware: registers change at the end of a clock, and everything
in a clock sees the state from its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DATA, STATUS, CONTROL, BAUD = 0, 4, 8, 12
DEPTH = 16


@dataclass
class Queue:
    """A ring of 16 places; reading an empty one shows whatever stands at its place."""

    places: list[int] = field(default_factory=lambda: [0] * DEPTH)
    read: int = 0
    write: int = 0
    count: int = 0

    def end_of_clock(self, put: int | None, take: bool) -> None:
        full, empty = self.count == DEPTH, self.count == 0
        if put is not None and not full:
            self.places[self.write % DEPTH] = put
            self.write += 1
            self.count += 1
        if take and not empty:
            self.read += 1
            self.count -= 1

    @property
    def shown(self) -> int:
        return self.places[self.read % DEPTH]


class Uart:
    """Call `clock_with` for every clock from 0 on."""

    def __init__(self, sent: bytes = b"", first: int = 0, bit_clocks: int | None = None) -> None:
        self.control, self.baud = 0, 868
        self.tx, self.rx = Queue(), Queue()
        self.divider, self.bits_left, self.shift_out = 0, 0, 0
        self.state, self.rx_divider, self.rx_bits, self.rx_shift = "idle", 0, 0, 0
        self.late = [1, 1]
        self.output = b""
        self.sent, self.next_edge, self.bit_clocks = list(sent), first, bit_clocks
        self.frame: list[int] = []
        self.clock = 0

    def line(self) -> int:
        """Return the receive pin; the sender starts each bit when the one before has ended."""
        while self.clock >= self.next_edge and (self.frame or self.sent):
            if not self.frame:
                byte = self.sent.pop(0)
                self.speed = self.bit_clocks or self.baud
                self.frame = [0, *(byte >> bit & 1 for bit in range(8)), 1]
            else:
                self.frame.pop(0)
                if not self.frame:
                    continue
            self.next_edge += self.speed
        return self.frame[0] if self.frame else 1

    def clock_with(self, offset: int | None, value: int | None) -> int:
        """Pass one clock with a read, a write or no transfer; return what is read."""
        tick = self.divider >= (self.baud - 1) % 2**32
        shown = self.show(offset) if value is None and offset is not None else 0
        take_rx = offset == DATA and value is None
        put_tx = value & 255 if offset == DATA and value is not None else None
        take_tx = self.transmit(tick)
        put_rx = self.receive()
        self.tx.end_of_clock(put_tx, take_tx)
        self.rx.end_of_clock(put_rx, take_rx)
        self.divider = 0 if tick else self.divider + 1
        if value is not None and offset == CONTROL:
            self.control = value
        if value is not None and offset == BAUD:
            self.baud = value
        self.clock += 1
        return shown

    def show(self, offset: int) -> int:
        status = int(self.bits_left > 0) | (4 if self.tx.count == DEPTH else 0)
        status |= 2 if self.rx.count else 8
        shown = {DATA: self.rx.shown, STATUS: status, CONTROL: self.control, BAUD: self.baud}
        return shown.get(offset, 0)

    def transmit(self, tick: bool) -> bool:
        if not tick:
            return False
        if self.bits_left:
            self.bits_left -= 1
            if not self.bits_left:
                self.output += bytes([self.shift_out])
            return False
        if not self.control & 1 or not self.tx.count:
            return False
        self.shift_out, self.bits_left = self.tx.shown, 10
        return True

    def receive(self) -> int | None:
        level, pin = self.late[1], self.line()
        self.late = [pin, self.late[0]]
        last = (self.baud - 1) % 2**32
        end = self.rx_divider >= last
        half = not end and self.rx_divider == self.baud >> 1
        self.rx_divider = 0 if end else self.rx_divider + 1
        if self.state == "idle" and self.control & 2 and not level:
            self.state, self.rx_divider = "start", 0
        elif self.state == "start" and half:
            self.state, self.rx_bits, self.rx_shift = "idle" if level else "data", 0, 0
        elif self.state == "data" and end:
            self.rx_shift = self.rx_shift >> 1 | level << 7
            self.rx_bits += 1
            if self.rx_bits == 8:
                self.state = "stop"
        elif self.state == "stop" and end:
            self.state = "idle"
            return self.rx_shift if level else None
        return None


class Lcd:
    """Call `clock_with` for every clock from 0 on; None back means that the bus has to wait."""

    def __init__(self) -> None:
        self.counter, self.high = 0, False
        self.busy, self.shifting, self.waiting, self.bits = False, False, False, 0
        self.control = 0

    def clock_with(self, offset: int | None, value: int | None) -> int | None:
        answer = None if self.busy else {8: 2, 12: self.control}.get(offset, 0)
        accept = offset is not None and not self.busy
        edge = self.counter == 0 and self.high
        if self.shifting:
            self.bits += edge
            if self.bits == 8:
                self.shifting = self.busy = False
        elif self.waiting:
            self.waiting, self.shifting, self.busy, self.bits = False, True, True, 0
        if accept and value is not None and offset in (0, 4):
            self.waiting = True
        if accept and value is not None and offset == 12:
            self.control = value
        self.high ^= self.counter == 4
        self.counter = (self.counter + 1) % 5
        return answer
