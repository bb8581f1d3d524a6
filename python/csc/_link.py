"""The host's side of the frames: one request, one answer (PROTOCOL.md)."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from csc import _frames as fmt
from csc.errors import DeviceError
from csc.transport import Transport

_RUN_MAX = 254
_AGAIN = "Open the device again; nothing is sent twice by itself."

_SENTENCES = {
    fmt.Status.COBS: "the frame it received was not valid COBS: bytes were lost or changed on the "
    "line. " + _AGAIN,
    fmt.Status.CRC: "the CRC of the frame it received was {have:#010x} instead of {need:#010x}: "
    "bytes were lost or changed on the line. " + _AGAIN,
    fmt.Status.TOO_LONG: "the frame it received was longer than {need} bytes: the zero byte "
    "between two frames was lost. " + _AGAIN,
    fmt.Status.TOO_SHORT: "the frame it received had {have} bytes, less than {need}: bytes were "
    "lost on the line. " + _AGAIN,
    fmt.Status.MESSAGE: "it does not know message {have}; its firmware may be older than this csc.",
    fmt.Status.BODY: "the body of the request has {have} bytes, not {need}; its firmware may be of "
    "another version than this csc.",
    fmt.Status.ORDER: "the request does not fit its state {state}.",
    fmt.Status.RANGE: "{have} is out of range, the limit is {need}.",
    fmt.Status.ROOM: "it has room for {have} bytes, but {need} are needed; take a smaller model.",
    fmt.Status.EMBEDDED: "its image holds no model; put one in with 'csc firmware', or give one.",
    fmt.Status.FAULT: "its processor met a fault and starts again. Open the device again.",
}


class RefusalError(DeviceError):
    """The runtime on the device refused a blob or a run; `error` has the fields of csc_error_t."""

    error: SimpleNamespace


def encode(frame: bytes) -> bytes:
    """Return a frame as COBS, without the zero byte that ends it."""
    out = bytearray()
    parts = frame.split(b"\0")
    for number, part in enumerate(parts):
        while len(part) >= _RUN_MAX:
            out += bytes([_RUN_MAX + 1]) + part[:_RUN_MAX]
            part = part[_RUN_MAX:]
            if not part and number == len(parts) - 1:
                return bytes(out)
        out += bytes([len(part) + 1]) + part
    return bytes(out)


def decode(wire: bytes) -> bytes:
    """Return the frame behind COBS bytes. Raises ValueError."""
    out = bytearray()
    at = 0
    while at < len(wire):
        run = wire[at]
        part = wire[at + 1 : at + run]
        if run == 0 or len(part) < run - 1:
            raise ValueError("not COBS")
        out += part
        at += run
        if run <= _RUN_MAX and at < len(wire):
            out.append(0)
    return bytes(out)


def pack(message: int, sequence: int, body: bytes, status: int = 0) -> bytes:
    """Return the bytes of a frame on the wire."""
    head = np.array((message, status, sequence), fmt.HEAD).tobytes()
    frame = head + body
    return encode(frame + zlib.crc32(frame).to_bytes(4, "little")) + b"\0"


def unpack(wire: bytes) -> tuple[int, int, int, bytes]:
    """Return message, status, sequence and body of a frame. Raises ValueError."""
    frame = decode(wire)
    if len(frame) < fmt.HEAD_BYTES + fmt.CRC_BYTES:
        raise ValueError("too short")
    covered = frame[: -fmt.CRC_BYTES]
    if zlib.crc32(covered).to_bytes(4, "little") != frame[-fmt.CRC_BYTES :]:
        raise ValueError("wrong CRC")
    head = np.frombuffer(covered, fmt.HEAD, 1)[0]
    body = covered[fmt.HEAD_BYTES :]
    return int(head["message"]), int(head["status"]), int(head["sequence"]), body


class Link:
    """One line to a device. Every failure is a DeviceError; no request is repeated."""

    def __init__(self, transport: Transport, timeout: float) -> None:
        """Take a transport; `timeout` is the longest wait for an answer in seconds."""
        self.transport = transport
        self.timeout = timeout
        self._received = bytearray()
        self._sequence = int.from_bytes(os.urandom(2), "little")

    @property
    def where(self) -> str:
        """The name of the device, for messages."""
        return self.transport.where

    def error(self, text: str, status: str | None = None) -> DeviceError:
        """Return a DeviceError about this device."""
        error = DeviceError(f"The device {self.where}: {text}")
        error.status = status
        return error

    def identify(self) -> Any:
        """Get in step with the device and return its `identity` record."""
        self._received.clear()
        self.transport.write(b"\0")
        body = self._ask(fmt.Message.IDENTIFY, b"", self.timeout, skip=True)
        major = int.from_bytes(body[:2], "little")
        if major != fmt.VERSION_MAJOR:
            raise self.error(
                f"it speaks version {major} of the protocol, this csc version "
                f"{fmt.VERSION_MAJOR}; put the firmware of this csc on it."
            )
        return self.record(body, fmt.IDENTITY)

    def ask(
        self,
        message: fmt.Message,
        record: tuple[int, ...] = (),
        data: bytes = b"",
        timeout: float | None = None,
    ) -> bytes:
        """Send a request, its record being plain uint32 numbers, and return the answer's body."""
        body = np.array(record, "<u4").tobytes() + data
        return self._ask(message, body, self.timeout if timeout is None else timeout)

    def ask_many(
        self, message: fmt.Message, record: tuple[int, ...], data: bytes, timeout: float
    ) -> Iterator[bytes]:
        """Send a request and return the bodies of its answers, as they come, without an end."""
        self._send(message, np.array(record, "<u4").tobytes() + data)
        while True:
            yield self._answer(message, timeout, skip=False)

    def record(self, body: bytes, dtype: np.dtype[Any]) -> Any:
        """Return the record a body begins with."""
        if len(body) < dtype.itemsize:
            raise self.error(f"its answer has {len(body)} bytes, less than {dtype.itemsize}.")
        return np.frombuffer(body, dtype, 1)[0]

    def _ask(self, message: fmt.Message, body: bytes, timeout: float, skip: bool = False) -> bytes:
        self._send(message, body)
        return self._answer(message, timeout, skip)

    def _send(self, message: fmt.Message, body: bytes) -> None:
        self._sequence = (self._sequence + 1) & 0xFFFF
        self.transport.write(pack(message, self._sequence, body))

    def _answer(self, message: fmt.Message, timeout: float, skip: bool) -> bytes:
        """`skip`: leave out what does not belong to the request, as while getting in step."""
        deadline = time.monotonic() + timeout
        while True:
            wire = self._next_frame(message, deadline, timeout)
            try:
                got, status, sequence, answer = unpack(wire)
            except ValueError as error:
                if skip:
                    continue
                raise self.error(
                    f"its answer to {message.name} is unreadable ({error}): bytes were lost or "
                    f"changed on the line. {_AGAIN}"
                ) from None
            wanted = (message | fmt.ANSWER, self._sequence)
            if (got, sequence) == wanted:
                break
            if not skip:
                self._check(message, status, answer)
                raise self.error(f"it answered something else than {message.name}. {_AGAIN}")
        self._check(message, status, answer)
        return answer

    def _next_frame(self, message: fmt.Message, deadline: float, timeout: float) -> bytes:
        while True:
            end = self._received.find(0)
            if end > 0:
                wire = bytes(self._received[:end])
                del self._received[: end + 1]
                return wire
            if end == 0:
                del self._received[0]
                continue
            left = deadline - time.monotonic()
            got = self.transport.read(4096, left) if left > 0 else b""
            if not got and time.monotonic() >= deadline:
                part = f" ({len(self._received)} bytes came)" if self._received else ""
                raise self.error(
                    f"no answer to {message.name} within {timeout:g} s{part}; check that it runs "
                    f"the firmware of csc, and the line. {_AGAIN}"
                )
            self._received += got

    def _check(self, message: fmt.Message, status: int, answer: bytes) -> None:
        if status == fmt.Status.OK:
            return
        if status not in set(fmt.Status) or len(answer) < fmt.ERROR.itemsize:
            raise self.error(f"it refused {message.name} with the unknown status {status}.")
        known = fmt.Status(status)
        record = self.record(answer, fmt.ERROR)
        need, have = int(record["need"]), int(record["have"])
        if known == fmt.Status.RUNTIME:
            refusal = RefusalError(f"The device {self.where} refused {message.name}.")
            refusal.status = known.name
            refusal.error = SimpleNamespace(
                status=int(record["code"]),
                index=int(record["index"]),
                item=int(record["item"]),
                need=need,
                have=have,
            )
            raise refusal
        state = fmt.State(have).name if have in set(fmt.State) else str(have)
        sentence = _SENTENCES[known].format(need=need, have=have, state=state)
        raise self.error(f"it refused {message.name}: {sentence}", known.name)
