"""Running a model: inputs in, integer bits of the device out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc._backend import BACKENDS, Backend
from csc._csc import ffi, lib
from csc._face import Batch, Face, as_output, live_view
from csc._face import Result as Result
from csc._status import plan_state, run_error
from csc.blob import Blob, EntryInfo, OpInfo, TensorInfo, aligned_bytes
from csc.errors import ArenaError, InputError

if TYPE_CHECKING:
    from csc._profile import Report
    from csc._profile_cs2 import Cs2Report
    from csc._session import HostSession

# Operands an op writes and that mean something after it (not scratch).
_RESULTS = {
    "EMBED": ("out",),
    "LAYERNORM": ("out_a", "out_b"),
    "GEMM": ("out",),
    "ATTENTION": ("out",),
    "ADD": ("out",),
    "POOL": ("out",),
    "APPEND": ("state",),
}


class Model(Face):
    """A loaded blob, ready to run. One model may serve any number of threads at a time.

    Each call of `infer` takes an arena of its own from a pool the model keeps; the C code runs
    without the GIL.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        """Load and check a blob from a path or from bytes; raises BlobError."""
        self._blob: Blob
        super().__init__(Blob(source))
        self._arenas: deque[NDArray[np.uint8]] = deque()

    def __repr__(self) -> str:
        """Return the blob's name, inputs and outputs."""
        inputs = ", ".join(tensor.name for tensor in self._inputs)
        outputs = ", ".join(tensor.name for tensor in self._outputs)
        return f"<csc.Model {self._blob.where}: {inputs} -> {outputs}>"

    def infer(
        self,
        inputs: Mapping[str, ArrayLike] | None = None,
        /,
        *,
        raw: bool = False,
        backend: str = "host",
        arena: NDArray[np.uint8] | None = None,
        **named: ArrayLike,
    ) -> Result:
        """Run the model; see `csc.infer`."""
        if len(self.entries) == 1 and arena is None:
            session = self.session(backend=backend)
            return session.run(self.entries[0].name, {**(inputs or {}), **named}, raw=raw)
        batch = self._check_inputs({**(inputs or {}), **named})
        runner = _make_backend(backend, self._blob.ops)
        runner.use(self._blob)
        own = runner.memory() if arena is None else None
        if own is not None and self._fits(own, batch.length, runner):
            memory = own
        else:
            memory = self._take_arena() if arena is None else _check_arena(arena)
        state = plan_state(lib.csc_plan_state(self._job(batch.length, runner, memory)))
        try:
            outputs = self._collect(
                batch, raw, lambda row: self._run_one(batch, row, runner, memory)
            )
        finally:
            if arena is None and memory is not own:
                self._arenas.append(memory)
        return Result(outputs, runner.report, state)

    def session(self, *, backend: str = "host") -> HostSession:
        """Return a new sequence of a model with entries, at position 0, on a backend.

        Raises InputError where the model has no entries.
        """
        from csc._session import HostSession

        return HostSession(self, _make_backend(backend, self._blob.ops))

    def _fits(self, memory: NDArray[np.uint8], length: int, runner: Backend) -> bool:
        """Whether a run may take a memory as its arena."""
        state = plan_state(lib.csc_plan_state(self._job(length, runner, memory)))
        return state.is_used or self.arena_bytes <= memory.size

    def describe(self) -> dict[str, Any]:
        """Return what the blob holds; see `csc.inspect`."""
        return inspect(self)

    def profile(self, chip: str = "cs1", **options: Any) -> Report | Cs2Report:
        """Run the model with the firmware on a chip and count its clocks; see `csc.profile`."""
        from csc._profile import profile

        return profile(self, chip, **options)

    def trace(
        self, inputs: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike
    ) -> dict[str, NDArray[Any]]:
        """Run one sequence (1-D inputs) on the host and return every tensor an op writes, raw.

        Tensors with a length have T rows. Scale and zero point of each stand in `tensors`.
        """
        batch = self._check_inputs({**(inputs or {}), **named})
        if not batch.single:
            raise InputError("trace takes one sequence: give 1-D inputs.")
        seen: dict[str, NDArray[Any]] = {}
        memory = self._take_arena()

        def on_op(number: int, done: bool) -> None:
            op = self._blob.ops[number]
            for operand in _RESULTS[op.kind] if done else ():
                if operand in op.operands:
                    tensor = self._blob.tensors[op.operands[operand]]
                    seen[tensor.name] = _view(tensor, memory, batch.length).copy()

        try:
            self._run_one(batch, 0, _make_backend("host", self._blob.ops, on_op), memory)
        finally:
            self._arenas.append(memory)
        return seen

    def _take_arena(self) -> NDArray[np.uint8]:
        try:
            return self._arenas.pop()
        except IndexError:
            return aligned_bytes(self.arena_bytes)

    def _job(self, length: int, runner: Backend, memory: NDArray[np.uint8]) -> Any:
        """Return a job; the memory must be kept as long as it is used."""
        job = ffi.new("csc_job_t *")
        job.model, job.arena = self._blob.view, ffi.from_buffer("uint8_t[]", memory)
        job.arena_bytes, job.length = memory.size, length
        job.backend, job.hook = runner.backend, runner.hook
        return job

    def _run_one(
        self, batch: Batch, row: int, runner: Backend, memory: NDArray[np.uint8]
    ) -> list[NDArray[Any]]:
        job = self._job(batch.length, runner, memory)
        error = ffi.new("csc_error_t *")
        if lib.csc_start(job, error):
            raise self._run_error(error)
        for number, array in batch.arrays.items():
            _view(self._blob.tensors[number], memory, batch.length)[:] = array[row]
        if lib.csc_run(job, error):
            raise self._run_error(error)
        return [as_output(t, _view(t, memory, batch.length)) for t in self._outputs]

    def _run_error(self, error: Any) -> Exception:
        return run_error(error, [op.name for op in self._blob.ops], self._blob.where)


def _view(tensor: TensorInfo, memory: NDArray[np.uint8], length: int) -> NDArray[Any]:
    return live_view(tensor, memory[tensor.offset :], length)


def _check_arena(arena: NDArray[np.uint8]) -> NDArray[np.uint8]:
    good = isinstance(arena, np.ndarray) and arena.dtype == np.uint8 and arena.ndim == 1
    if not good or not arena.flags.c_contiguous or not arena.flags.writeable:
        raise ArenaError("The arena must be a contiguous, writable 1-D array of uint8.")
    return arena


def _make_backend(name: str, ops: list[OpInfo], on_op: Any = None) -> Backend:
    if name not in BACKENDS:
        known = ", ".join(f"'{known}'" for known in BACKENDS)
        raise InputError(f"There is no backend '{name}'; known backends are {known}.")
    return BACKENDS[name](ops, on_op)


def load(source: str | os.PathLike[str] | bytes) -> Model:
    """Load a blob from a path or from bytes, check all of it, and return a Model.

    Raises BlobError, with what is wrong, where, and what to do.
    """
    return Model(source)


def infer(
    model: Model | str | os.PathLike[str] | bytes,
    inputs: Mapping[str, ArrayLike] | None = None,
    /,
    *,
    raw: bool = False,
    backend: str = "host",
    arena: NDArray[np.uint8] | None = None,
    **named: ArrayLike,
) -> Result:
    """Run a model and return its outputs by name, with exactly the bits of the device.

    Args:
        model: a Model, or what `csc.load` takes.
        inputs: inputs by name; the same may be given as keywords. Each has shape [length] or
            [batch, length], all of one shape, 1 <= length <= model.max_length. Integer and float
            arrays are taken if every value is a whole number of the input's range. Optional
            inputs may be left out.
        raw: return the device's integers instead of float32 values
            (q - zero_point) * scale.
        backend: "host" (the best the CPU has, or what the environment variable CSC_BACKEND
            names), "portable" (portable C), "avx2" (x86-64 CPUs with AVX2), "cs1" (matrix
            products on the register-level model of the CS1 block engine) or "cs2" (the whole plan
            of the blob on the model of CS2, or like "cs1" where `result.plan` says that there is
            none for the run). `result.report` counts the work of a chip per op. All give the same
            bits.
        arena: working memory to use instead of the model's own, for tests of memory plans: a
            64-byte aligned uint8 array of at least model.arena_bytes.
        **named: inputs by keyword.

    Returns:
        A dict of arrays, [batch, ...] where the inputs have a batch axis. Outputs with a length
        have shape [length, width], others [width].

    Raises:
        InputError: a wrong name, dtype, shape, length or id.
        ArenaError: an arena too small (with need and have) or not aligned.
        ChipError: the chip's bus failed, or it did not finish in time.

    """
    runner = model if isinstance(model, Model) else Model(model)
    return runner.infer(inputs, raw=raw, backend=backend, arena=arena, **named)


def inspect(model: Face | str | os.PathLike[str] | bytes) -> dict[str, Any]:
    """Return what a blob holds, ready for JSON.

    Sizes, plan (None without one), metadata, inputs, outputs, ops, tensors.
    """
    loaded = model if isinstance(model, Face) else Model(model)
    header = loaded._blob.header
    return {
        "format": f"{header['version_major']}.{header['version_minor']}",
        "blob_bytes": loaded.blob_bytes,
        "arena_bytes": loaded.arena_bytes,
        "max_length": loaded.max_length,
        "context": loaded.context,
        "plan": None if loaded.plan is None else asdict(loaded.plan),
        "entries": [_entry_dict(entry) for entry in loaded.entries],
        "metadata": loaded.metadata,
        "inputs": [_tensor_dict(tensor) for tensor in loaded.inputs],
        "outputs": [_tensor_dict(tensor) for tensor in loaded.outputs],
        "ops": [asdict(op) for op in loaded.ops],
        "tensors": [_tensor_dict(tensor) for tensor in loaded.tensors],
    }


def _entry_dict(entry: EntryInfo) -> dict[str, Any]:
    names = {side: [t.name for t in getattr(entry, side)] for side in ("inputs", "outputs")}
    return {**vars(entry), **names}


def _tensor_dict(tensor: TensorInfo) -> dict[str, Any]:
    values = asdict(tensor)
    del values["flags"]
    return {**values, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}
