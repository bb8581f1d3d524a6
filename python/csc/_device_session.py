"""A sequence on a device: the host keeps the position, the device the states."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from csc import _frames as fmt
from csc._backend import OpReport
from csc._choose import Choice
from csc._link import RefusalError
from csc._session import Loop, Session, Step
from csc._status import run_error
from csc.blob import EntryInfo, TensorInfo

if TYPE_CHECKING:
    from csc.device import Device

CHUNK = 4  # tokens a request asks for: whoever stops early waits for the rest of them


class DeviceSession(Session):
    """The sequence of a device. A second session of the device ends the first."""

    def __init__(self, device: Device) -> None:
        """Begin at position 0, states reset."""
        super().__init__(device)
        self._device, self._link = device, device._link
        self.reset()

    def __repr__(self) -> str:
        """Return the name of the device and the position."""
        return f"<csc.Session {self._link.where}: position {self._position}>"

    def stream(self, loop: Loop, choice: Choice, count: int, stop_ids: set[int]) -> Iterator[int]:
        """Let the device choose and run, a few tokens at a time; see `Session.stream`."""
        token = fmt.NO_TOKEN
        while count > 0:
            asked = min(count, CHUNK)
            with closing(self._ask(loop, choice, asked, token, stop_ids)) as answers:
                for made in answers:
                    token, count = int(made["token"]), count - 1
                    yield token
            if token in stop_ids or self._position >= self._face.context:
                return

    def _ask(
        self, loop: Loop, choice: Choice, count: int, token: int, stop_ids: set[int]
    ) -> Generator[Any, None, None]:
        """Return the records of one request; whoever leaves early waits for the last one."""
        record = (
            *(count, loop.entry.number, self._position, token, loop.ids.number),
            *(loop.logits.number, choice.top_k, choice.requant, choice.random),
        )
        stops = np.array(sorted(stop_ids), "<u4").tobytes()
        timeout = self._device._run_timeout
        answers = self._link.ask_many(fmt.Message.GENERATE, record, stops, timeout)
        left = count
        try:
            while left:
                made = self._take(answers)
                left = int(made["left"])
                self._position, choice.random = int(made["position"]), int(made["random"])
                yield made
        except GeneratorExit:
            while left:
                made = self._take(answers)
                left, self._position = int(made["left"]), int(made["position"])
            raise

    def _take(self, answers: Iterator[bytes]) -> Any:
        try:
            return self._link.record(next(answers), fmt.GENERATED)
        except RefusalError as refusal:
            raise self._error(refusal) from None

    def _error(self, refusal: RefusalError) -> Exception:
        names = [op.name for op in self._face.ops]
        return run_error(refusal.error, names, self._face._blob.where)

    def _reset(self) -> None:
        self._link.ask(fmt.Message.RESET_STATES)

    def _run(self, step: Step, fetch: bool) -> dict[str, NDArray[Any]]:
        device = self._device
        device.clocks = None
        try:
            start = (step.length, step.entry.number, step.position)
            self._link.ask(fmt.Message.START, start)
            for number, array in step.arrays.items():
                device._set_input(number, _arena_bytes(self._face.tensors[number], array))
            device._run_started()
        except RefusalError as refusal:
            raise self._error(refusal) from None
        if not fetch:
            return {}
        return {t.name: device._get_output(t, step.length) for t in step.entry.outputs}

    def _report(self, entry: EntryInfo) -> list[OpReport]:
        report = [OpReport(op.number, op.name, op.kind) for op in self._face.ops]
        self._device._add_clocks(report)
        return report[entry.first_op : entry.first_op + entry.op_count]


def _arena_bytes(tensor: TensorInfo, array: NDArray[Any]) -> bytes:
    """Return an input as it lies in the arena, rows filled up with zeros."""
    if array.ndim == 2:
        array = np.pad(array, ((0, 0), (0, tensor.row_stride - array.shape[1])))
    return array.tobytes()
