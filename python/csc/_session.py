"""Sessions: a model with entries, its states and the position of the next token (SPEC.md 1.7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc._backend import Backend, OpReport
from csc._choose import Choice, choose
from csc._csc import ffi, lib
from csc._face import Face, Result, as_output, dequantize, entry_names, live_view, whole_numbers
from csc._status import plan_state, run_error
from csc.blob import EntryInfo, TensorInfo, aligned_bytes
from csc.errors import InputError

if TYPE_CHECKING:
    from csc.model import Model


@dataclass(frozen=True)
class Step:
    """One run, checked: arrays by the number of their input."""

    entry: EntryInfo
    arrays: dict[int, NDArray[Any]]
    length: int
    position: int


@dataclass(frozen=True)
class Loop:
    """What a step of generation runs: the entry, where its token goes, where its logits are."""

    entry: EntryInfo
    ids: TensorInfo
    logits: TensorInfo


class Session(ABC):
    """One sequence of a model with entries: what it has seen stays in the states.

    A session belongs to one thread at a time. Runs of several sessions of one model on the host do
    not touch each other; a device has one sequence only.
    """

    def __init__(self, face: Face) -> None:
        """Take the model; the classes below reset its states."""
        self._face = face
        self._position = 0
        if not face.entries:
            raise InputError(
                f"{face._blob.where} has no entries, so there is no session; use infer."
            )

    @property
    def position(self) -> int:
        """The number of tokens the sequence has had: the position of the next one."""
        return self._position

    def reset(self) -> None:
        """Begin a new sequence: position 0, all states at their default."""
        self._reset()
        self._position = 0

    def run(
        self,
        entry: str,
        inputs: Mapping[str, ArrayLike] | None = None,
        /,
        *,
        raw: bool = False,
        **named: ArrayLike,
    ) -> Result:
        """Run an entry at the position, which goes on by the length of the run.

        Args:
            entry: name of an entry of the model.
            inputs: inputs of the entry by name; the same may be given as keywords. Each has the
                shape of its record, the length of the run in place of None. Optional ones may be
                left out.
            raw: return the device's integers instead of real values.
            **named: inputs by keyword.

        Returns:
            The outputs of the entry by name; see `csc.infer`.

        Raises:
            InputError: a wrong name, dtype, shape, length or id, or the sequence gets too long.

        """
        step = self._check({**(inputs or {}), **named}, self._entry(entry))
        outputs = self._run(step, fetch=True)
        self._position += step.length
        for tensor in step.entry.outputs:
            if not raw:
                outputs[tensor.name] = dequantize(tensor, outputs[tensor.name])
        return Result(outputs, self._report(step.entry), plan_state(lib.CSC_PLAN_NONE))

    def feed(self, entry: str, inputs: Mapping[str, ArrayLike]) -> None:
        """Run an entry like `run`, and leave its outputs where they are."""
        step = self._check(inputs, self._entry(entry))
        self._run(step, fetch=False)
        self._position += step.length

    @abstractmethod
    def stream(self, loop: Loop, choice: Choice, count: int, stop_ids: set[int]) -> Iterator[int]:
        """Choose a token from the logits of the last run, and run the step on each but the last.

        Ends after `count` tokens, behind one of `stop_ids`, and when the context is full.
        """

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _run(self, step: Step, fetch: bool) -> dict[str, NDArray[Any]]:
        """Run, and return the raw outputs where they are to be fetched."""

    def _report(self, entry: EntryInfo) -> list[OpReport]:
        """Return what a chip did for each op of the last run."""
        return []

    def _entry(self, name: str) -> EntryInfo:
        for entry in self._face.entries:
            if entry.name == name:
                return entry
        raise InputError(f"There is no entry '{name}'; the model has {entry_names(self._face)}.")

    def _check(self, given: Mapping[str, ArrayLike], entry: EntryInfo) -> Step:
        known = {tensor.name: tensor for tensor in entry.inputs}
        names = ", ".join(f"'{name}'" for name in known)
        for name in given:
            if name not in known:
                raise InputError(
                    f"There is no input '{name}'; those of '{entry.name}' are {names}."
                )
        for name, tensor in known.items():
            if name not in given and not tensor.optional:
                raise InputError(
                    f"The input '{name}' is missing; those of '{entry.name}' are {names}."
                )
        arrays = {known[name].number: whole_numbers(known[name], v) for name, v in given.items()}
        length = self._length(arrays, entry)
        for number, array in arrays.items():
            _check_shape(self._face.tensors[number], array, length)
        return Step(entry, arrays, length, self._position)

    def _length(self, arrays: Mapping[int, NDArray[Any]], entry: EntryInfo) -> int:
        """Return T, which the inputs with a length have; 1 where none of them has one."""
        tensors = self._face.tensors
        dynamic = [a for number, a in arrays.items() if tensors[number].shape[0] is None]
        length = len(dynamic[0]) if dynamic and dynamic[0].ndim else 1
        where = self._face._blob.where
        if not 1 <= length <= entry.max_length:
            raise InputError(
                f"The inputs have {length} positions, but '{entry.name}' of {where} takes 1 to "
                f"{entry.max_length}; give it less of them at a time."
            )
        if self._position + length > self._face.context:
            raise InputError(
                f"The sequence has {self._position} tokens and {length} more do not fit into the "
                f"context of {self._face.context}; reset the session."
            )
        return length


def _check_shape(tensor: TensorInfo, array: NDArray[Any], length: int) -> None:
    wanted = tuple(length if dim is None else dim for dim in tensor.shape)
    if array.shape != wanted:
        raise InputError(f"The input '{tensor.name}' has shape {array.shape}; give {wanted}.")


class HostSession(Session):
    """A sequence on a backend of the host. It keeps an arena of its own."""

    def __init__(self, model: Model, runner: Backend) -> None:
        """Take the backend to run on, which serves this session alone."""
        super().__init__(model)
        self._model, self._runner = model, runner
        runner.use(model._blob)
        own = runner.memory()
        if own is None or own.size < model.arena_bytes:
            own = aligned_bytes(model.arena_bytes)
        self._memory = own
        self._error = ffi.new("csc_error_t *")
        self.reset()

    def __repr__(self) -> str:
        """Return the blob's name and the position."""
        return f"<csc.Session {self._face._blob.where}: position {self._position}>"

    def stream(self, loop: Loop, choice: Choice, count: int, stop_ids: set[int]) -> Iterator[int]:
        """Choose and run step by step; see `Session.stream`."""
        for left in range(count, 0, -1):
            token = choose(_view(loop.logits, self._memory, 1), choice)
            yield token
            if left == 1 or token in stop_ids or self._position >= self._face.context:
                return
            self.feed(loop.entry.name, {loop.ids.name: [token]})

    def _reset(self) -> None:
        self._done(lib.csc_reset(self._model._job(1, self._runner, self._memory), self._error))

    def _run(self, step: Step, fetch: bool) -> dict[str, NDArray[Any]]:
        for op in self._runner.report:
            op.blocks = op.engine_clocks = op.bus_reads = op.bus_writes = 0
        job = self._model._job(step.length, self._runner, self._memory)
        job.entry, job.position = step.entry.number, step.position
        self._done(lib.csc_start(job, self._error))
        for number, array in step.arrays.items():
            _view(self._face.tensors[number], self._memory, step.length)[:] = array
        self._done(lib.csc_run(job, self._error))
        if not fetch:
            return {}
        outputs = step.entry.outputs
        return {t.name: as_output(t, _view(t, self._memory, step.length)) for t in outputs}

    def _done(self, status: int) -> None:
        if status:
            names = [op.name for op in self._face.ops]
            raise run_error(self._error, names, self._face._blob.where)

    def _report(self, entry: EntryInfo) -> list[OpReport]:
        report = self._runner.report[entry.first_op : entry.first_op + entry.op_count]
        return [OpReport(**vars(op)) for op in report]


def _view(tensor: TensorInfo, memory: NDArray[np.uint8], length: int) -> NDArray[Any]:
    return live_view(tensor, memory[tensor.offset :], length)
