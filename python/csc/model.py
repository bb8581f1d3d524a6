"""Running a model: inputs in, integer bits of the device out."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc._arena import Arena
from csc._backend import BACKENDS, Backend, OpReport, find_backend
from csc._csc import ffi, lib
from csc._face import Batch, Face, as_output
from csc._face import Result as Result
from csc._status import PlanState, plan_state, run_error
from csc.blob import Blob, EntryInfo, TensorInfo, aligned_bytes
from csc.errors import ArenaError, InputError

if TYPE_CHECKING:
    from csc._profile import Report
    from csc._profile_cs2 import Cs2Report
    from csc._session import HostSession

MAX_THREADS = 64
_RunnerKey = tuple[str, int, int]  # backend, threads, process

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


class _Ran(NamedTuple):
    """What running some sequences gave: the outputs of each, the report, what the plan did."""

    rows: list[list[NDArray[Any]]]
    report: list[OpReport]
    plan: PlanState


class Model(Face):
    """A loaded blob, ready to run. One model may serve any number of threads at a time.

    Each call of `infer` takes an arena of its own from a pool the model keeps; the C code runs
    without the GIL.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, threads: int = 1) -> None:
        """Load and check a blob from a path or from bytes; see `csc.load`."""
        self._blob: Blob
        super().__init__(Blob(source))
        self._threads = _check_threads(threads)
        self._arenas: deque[Arena] = deque()
        self._runners: defaultdict[_RunnerKey, deque[Backend]] = defaultdict(deque)

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
        threads: int | None = None,
        **named: ArrayLike,
    ) -> Result:
        """Run the model; see `csc.infer`."""
        if len(self.entries) == 1 and arena is None:
            session = self.session(backend=backend, threads=threads)
            return session.run(self.entries[0].name, {**(inputs or {}), **named}, raw=raw)
        batch = self._check_inputs({**(inputs or {}), **named})
        name = find_backend(backend)
        count = self._threads if threads is None else _check_threads(threads)
        given = None if arena is None else Arena(_check_arena(arena))
        if count > 1 and batch.size > 1 and given is None and BACKENDS[name].reusable:
            ran = self._run_batch(batch, name, count)
        else:
            ran = self._run_rows(batch, range(batch.size), name, count, given)
        return Result(self._collect(batch, raw, ran.rows), ran.report, ran.plan)

    def session(self, *, backend: str = "host", threads: int | None = None) -> HostSession:
        """Return a new sequence of a model with entries, at position 0, on a backend.

        `threads` is how many share the work of an op; see `csc.infer`.

        Raises InputError where the model has no entries.
        """
        from csc._session import HostSession

        count = self._threads if threads is None else _check_threads(threads)
        runner = BACKENDS[find_backend(backend)](self._blob, threads=count)
        return HostSession(self, runner)

    def _run_batch(self, batch: Batch, name: str, threads: int) -> _Ran:
        """Run the rows of a batch on threads, each row on one: they need not wait for another."""

        def run(row: int) -> _Ran:
            return self._run_rows(batch, [row], name, 1, None)

        with ThreadPoolExecutor(min(threads, batch.size)) as pool:
            ran = list(pool.map(run, range(batch.size)))
        return _Ran([part.rows[0] for part in ran], [], ran[0].plan)

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
                    seen[tensor.name] = memory.view(tensor, batch.length).copy()

        runner = BACKENDS[find_backend("host")](self._blob, on_op)
        try:
            self._run_one(batch, 0, self._job(batch.length, runner, memory), memory)
        finally:
            self._arenas.append(memory)
        return seen

    def _take_arena(self) -> Arena:
        try:
            return self._arenas.pop()
        except IndexError:
            return Arena(aligned_bytes(self.arena_bytes))

    def _take_runner(self, name: str, threads: int) -> Backend:
        """Return an idle backend or a new one. A fork has none of its parent's threads."""
        kind = BACKENDS[name]
        try:
            return self._runners[_runner_key(name, threads)].pop()
        except IndexError:
            return kind(self._blob, threads=threads)

    def _keep_runner(self, runner: Backend, name: str, threads: int) -> None:
        if runner.reusable:
            self._runners[_runner_key(name, threads)].append(runner)

    def _run_rows(
        self, batch: Batch, rows: Iterable[int], name: str, threads: int, given: Arena | None
    ) -> _Ran:
        """Run some sequences of a batch one after the other."""
        runner = self._take_runner(name, threads)
        arena = given or self._arena_of(runner, batch.length)
        memory = arena or self._take_arena()
        job = self._job(batch.length, runner, memory)
        state = plan_state(lib.csc_plan_state(job))
        try:
            outputs = [self._run_one(batch, row, job, memory) for row in rows]
        finally:
            self._keep_runner(runner, name, threads)
            if arena is None:
                self._arenas.append(memory)
        return _Ran(outputs, runner.report, state)

    def _arena_of(self, runner: Backend, length: int) -> Arena | None:
        """Return the backend's own memory, if it has some and a run may take it as its arena."""
        own = runner.memory()
        if own is None:
            return None
        arena = Arena(own)
        state = plan_state(lib.csc_plan_state(self._job(length, runner, arena)))
        return arena if state.is_used or self.arena_bytes <= own.size else None

    def _job(self, length: int, runner: Backend, memory: Arena) -> Any:
        """Return a job; backend and memory must be kept as long as it is used."""
        job = ffi.new("csc_job_t *")
        job.model = self._blob.view
        job.arena, job.arena_bytes = memory.pointer, memory.memory.size
        job.length, job.backend, job.hook = length, runner.backend, runner.hook
        return job

    def _run_one(self, batch: Batch, row: int, job: Any, memory: Arena) -> list[NDArray[Any]]:
        error = ffi.new("csc_error_t *")
        if lib.csc_start(job, error):
            raise self._run_error(error)
        for number, array in batch.arrays.items():
            memory.view(self._blob.tensors[number], batch.length)[:] = array[row]
        if lib.csc_run(job, error):
            raise self._run_error(error)
        return [as_output(t, memory.view(t, batch.length)) for t in self._outputs]

    def _run_error(self, error: Any) -> Exception:
        return run_error(error, [op.name for op in self._blob.ops], self._blob.where)


def _check_arena(arena: NDArray[np.uint8]) -> NDArray[np.uint8]:
    good = isinstance(arena, np.ndarray) and arena.dtype == np.uint8 and arena.ndim == 1
    if not good or not arena.flags.c_contiguous or not arena.flags.writeable:
        raise ArenaError("The arena must be a contiguous, writable 1-D array of uint8.")
    return arena


def _runner_key(name: str, threads: int) -> _RunnerKey:
    return name, threads if BACKENDS[name].shares_ops else 1, os.getpid()


def _check_threads(threads: int) -> int:
    if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads is {threads!r}; give a whole number from 1 to {MAX_THREADS}.")
    return threads


def load(source: str | os.PathLike[str] | bytes, *, threads: int = 1) -> Model:
    """Load a blob from a path or from bytes, check all of it, and return a Model.

    `threads` is how many threads `infer` uses where it is not told. Raises BlobError, with what
    is wrong, where, and what to do.
    """
    return Model(source, threads=threads)


def infer(
    model: Model | str | os.PathLike[str] | bytes,
    inputs: Mapping[str, ArrayLike] | None = None,
    /,
    *,
    raw: bool = False,
    backend: str = "host",
    arena: NDArray[np.uint8] | None = None,
    threads: int | None = None,
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
            names), "portable" (portable C), "avx2", "avx512vnni" or "amx" (x86-64 CPUs that have
            these), "cs1" (matrix products on the register-level model of the CS1 block engine) or
            "cs2" (the whole plan of the blob on the model of CS2, or like "cs1" where
            `result.plan` says that there is none for the run). `result.report` counts the work of
            a chip per op. All give the same bits, and `csc.backends()` lists those that run here.
        arena: working memory to use instead of the model's own, for tests of memory plans: a
            64-byte aligned uint8 array of at least model.arena_bytes.
        threads: how many threads share the work, 1 if neither this nor `csc.load` says more: the
            sequences of a batch on every backend but the chips, the ops of one sequence on
            "avx512vnni" and "amx". The bits do not depend on it.
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
    return runner.infer(inputs, raw=raw, backend=backend, arena=arena, threads=threads, **named)


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
