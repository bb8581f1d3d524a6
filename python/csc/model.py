"""Running a model: inputs in, integer bits of the device out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc import _blob_format as fmt
from csc._backend import BACKENDS, Backend, OpReport
from csc._csc import ffi, lib
from csc._status import run_error
from csc.blob import Blob, OpInfo, TensorInfo, aligned_bytes
from csc.errors import ArenaError, InputError

# Operands an op writes and that mean something after it (not scratch).
_RESULTS = {
    "EMBED": ("out",),
    "LAYERNORM": ("out_a", "out_b"),
    "GEMM": ("out",),
    "ATTENTION": ("out",),
    "ADD": ("out",),
    "POOL": ("out",),
}


class Result(dict[str, NDArray[Any]]):
    """The outputs of `infer` by name; `report` counts what a chip did, one entry per op.

    `report` is empty where the host's CPU did all the work.
    """

    report: list[OpReport]

    def __init__(self, outputs: Mapping[str, NDArray[Any]], report: list[OpReport]) -> None:
        super().__init__(outputs)
        self.report = report


@dataclass(frozen=True)
class _Batch:
    """Checked inputs: one array [batch][length] per given input."""

    arrays: dict[int, NDArray[Any]]
    size: int
    length: int
    single: bool


class Model:
    """A loaded blob, ready to run. One model may serve any number of threads at a time.

    Each call of `infer` takes an arena of its own from a pool the model keeps; the C code runs
    without the GIL.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        """Load and check a blob from a path or from bytes; raises BlobError."""
        self._blob = Blob(source)
        self._inputs = [t for t in self._blob.tensors if t.flags & fmt.Flag.INPUT]
        self._outputs = [t for t in self._blob.tensors if t.flags & fmt.Flag.OUTPUT]
        self._arenas: deque[NDArray[np.uint8]] = deque()

    def __repr__(self) -> str:
        """Return the blob's name, inputs and outputs."""
        inputs = ", ".join(tensor.name for tensor in self._inputs)
        outputs = ", ".join(tensor.name for tensor in self._outputs)
        return f"<csc.Model {self._blob.where}: {inputs} -> {outputs}>"

    @property
    def inputs(self) -> list[TensorInfo]:
        """The inputs, in the order of the blob."""
        return list(self._inputs)

    @property
    def outputs(self) -> list[TensorInfo]:
        """The outputs, in the order of the blob."""
        return list(self._outputs)

    @property
    def tensors(self) -> list[TensorInfo]:
        """Every tensor, in the order of the blob."""
        return list(self._blob.tensors)

    @property
    def ops(self) -> list[OpInfo]:
        """Every op, in the order of execution."""
        return list(self._blob.ops)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the blob (SPEC.md 1.5)."""
        return dict(self._blob.metadata)

    @property
    def labels(self) -> list[str]:
        """Class names of the output `logits`; empty where the model has none."""
        return list(self._blob.metadata.get("labels", []))

    @property
    def max_length(self) -> int:
        """The largest sequence length."""
        return int(self._blob.header["max_length"])

    @property
    def arena_bytes(self) -> int:
        """Bytes of working memory one run needs, on the device as here."""
        return int(self._blob.header["arena_bytes"])

    @property
    def blob_bytes(self) -> int:
        """Size of the blob."""
        return int(self._blob.data.size)

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
        batch = self._check_inputs({**(inputs or {}), **named})
        runner = _make_backend(backend, self._blob.ops)
        memory = self._take_arena() if arena is None else _check_arena(arena)
        try:
            rows = [self._run_one(batch, row, runner, memory) for row in range(batch.size)]
        finally:
            if arena is None:
                self._arenas.append(memory)
        outputs = {}
        for tensor, arrays in zip(self._outputs, zip(*rows, strict=True), strict=True):
            values = arrays[0] if batch.single else np.stack(arrays)
            outputs[tensor.name] = values if raw else _dequantize(tensor, values)
        return Result(outputs, runner.report)

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
                    seen[tensor.name] = self._view(tensor, memory, batch.length).copy()

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

    def _check_inputs(self, given: Mapping[str, ArrayLike]) -> _Batch:
        known = {tensor.name: tensor for tensor in self._inputs}
        names = ", ".join(f"'{name}'" for name in known)
        for name in given:
            if name not in known:
                raise InputError(f"There is no input '{name}'; the model's inputs are {names}.")
        for name, tensor in known.items():
            if name not in given and not tensor.optional:
                raise InputError(f"The input '{name}' is missing; the model's inputs are {names}.")
        if not given:
            raise InputError(f"Give at least one input; the model's inputs are {names}.")
        arrays = {known[name].number: _check_array(known[name], v) for name, v in given.items()}
        return self._check_shapes(arrays)

    def _check_shapes(self, arrays: dict[int, NDArray[Any]]) -> _Batch:
        first, *others = arrays.items()
        shape = first[1].shape
        for number, array in others:
            if array.shape != shape:
                raise InputError(
                    f"The input '{self._blob.tensors[number].name}' has shape {array.shape}, but "
                    f"'{self._blob.tensors[first[0]].name}' has {shape}; give all one shape."
                )
        if not 1 <= shape[-1] <= self.max_length:
            raise InputError(
                f"The inputs have {shape[-1]} positions, but {self._blob.where} takes 1 to "
                f"{self.max_length}; shorten them, or convert with a larger --max-length."
            )
        if shape[0] == 0:
            raise InputError("The batch is empty; give at least one sequence.")
        batch = {number: np.atleast_2d(array) for number, array in arrays.items()}
        rows = 1 if len(shape) == 1 else shape[0]
        return _Batch(batch, rows, shape[-1], len(shape) == 1)

    def _run_one(
        self, batch: _Batch, row: int, runner: Backend, memory: NDArray[np.uint8]
    ) -> list[NDArray[Any]]:
        job = ffi.new("csc_job_t *")
        error = ffi.new("csc_error_t *")
        arena = ffi.from_buffer("uint8_t[]", memory)
        job.model, job.arena, job.arena_bytes = self._blob.view, arena, memory.size
        job.length, job.backend, job.hook = batch.length, runner.backend, runner.hook
        if lib.csc_start(job, error):
            raise self._run_error(error)
        for number, array in batch.arrays.items():
            self._view(self._blob.tensors[number], memory, batch.length)[:] = array[row]
        if lib.csc_run(job, error):
            raise self._run_error(error)
        return [_as_output(t, self._view(t, memory, batch.length)) for t in self._outputs]

    def _run_error(self, error: Any) -> Exception:
        return run_error(error, [op.name for op in self._blob.ops], self._blob.where)

    def _view(self, tensor: TensorInfo, memory: NDArray[np.uint8], length: int) -> NDArray[Any]:
        """Return the live part of an arena tensor: T rows where it has a length, no padding."""
        shape = tuple(length if dim is None else dim for dim in tensor.shape)
        rows = shape[0]
        size = rows * tensor.row_stride * tensor.dtype.itemsize
        flat = memory[tensor.offset : tensor.offset + size].view(tensor.dtype)
        if len(shape) == 1:
            return flat
        return flat.reshape(rows, tensor.row_stride)[:, : shape[1]]


def _as_output(tensor: TensorInfo, view: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that outlives the arena; a tensor of one row by design loses its row axis."""
    return np.array(view[0] if len(tensor.shape) == 2 and tensor.shape[0] == 1 else view)


def _check_array(tensor: TensorInfo, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an array of the input's dtype, [length] or [batch][length]."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"The input '{tensor.name}' must hold numbers (dtype {tensor.dtype}), not "
            f"{array.dtype}; give an array with rows of one length."
        )
    if array.ndim not in (1, 2):
        raise InputError(
            f"The input '{tensor.name}' has shape {array.shape}; give [length] or [batch, length]."
        )
    limits = np.iinfo(tensor.dtype)
    with np.errstate(invalid="ignore"):
        good = (array >= limits.min) & (array <= limits.max) & (array == np.floor(array))
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise InputError(
            f"The input '{tensor.name}' has the value {array[at]} at {list(at)}, which is no "
            f"{tensor.dtype}; give whole numbers from {limits.min} to {limits.max}."
        )
    return array.astype(tensor.dtype)


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


def _dequantize(tensor: TensorInfo, values: NDArray[Any]) -> NDArray[Any]:
    """Return real values as float32; raw integers where the tensor has no scale."""
    if tensor.scale == 0:
        return values
    real = (values.astype(np.float64) - tensor.zero_point) * tensor.scale
    return real.astype(np.float32)


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
            names), "portable" (portable C), "avx2" (x86-64 CPUs with AVX2) or "cs1" (matrix
            products on the register-level model of the CS1 block engine; `result.report` then
            counts its work per op). All give the same bits.
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


def inspect(model: Model | str | os.PathLike[str] | bytes) -> dict[str, Any]:
    """Return what a blob holds, ready for JSON: sizes, metadata, inputs, outputs, ops, tensors."""
    loaded = model if isinstance(model, Model) else Model(model)
    header = loaded._blob.header
    return {
        "format": f"{header['version_major']}.{header['version_minor']}",
        "blob_bytes": loaded.blob_bytes,
        "arena_bytes": loaded.arena_bytes,
        "max_length": loaded.max_length,
        "metadata": loaded.metadata,
        "inputs": [_tensor_dict(tensor) for tensor in loaded.inputs],
        "outputs": [_tensor_dict(tensor) for tensor in loaded.outputs],
        "ops": [asdict(op) for op in loaded.ops],
        "tensors": [_tensor_dict(tensor) for tensor in loaded.tensors],
    }


def _tensor_dict(tensor: TensorInfo) -> dict[str, Any]:
    values = asdict(tensor)
    del values["flags"]
    return {**values, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}
