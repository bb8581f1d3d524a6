"""What a model on the host and one on a device have in common: names, shapes, checked inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc import _blob_format as fmt
from csc._backend import OpReport
from csc._status import PlanState
from csc.blob import EntryInfo, Head, OpInfo, PlanInfo, TensorInfo
from csc.errors import InputError


class Result(dict[str, NDArray[Any]]):
    """The outputs of `infer` by name; `report` counts what a chip did, one entry per op.

    `report` is empty where the host's CPU did all the work.
    `plan` says whether a chip ran the model's plan, and if not, why.
    """

    report: list[OpReport]
    plan: PlanState

    def __init__(
        self, outputs: Mapping[str, NDArray[Any]], report: list[OpReport], plan: PlanState
    ) -> None:
        super().__init__(outputs)
        self.report = report
        self.plan = plan


@dataclass(frozen=True)
class Batch:
    """Checked inputs: one array [batch][length] per given input."""

    arrays: dict[int, NDArray[Any]]
    size: int
    length: int
    single: bool


class Face:
    """A model as its blob describes it. What runs it is left to the classes below."""

    def __init__(self, blob: Head) -> None:
        """Take inputs and outputs from a checked blob, or the head of one."""
        self._blob = blob
        self._inputs = [t for t in blob.tensors if t.flags & fmt.Flag.INPUT]
        self._outputs = [t for t in blob.tensors if t.flags & fmt.Flag.OUTPUT]

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
        return int(self._blob.header["file_bytes"])

    @property
    def plan(self) -> PlanInfo | None:
        """The commands for a chip that the blob holds, or None."""
        return self._blob.plan

    @property
    def entries(self) -> list[EntryInfo]:
        """The entries of the model, by number; empty where it has none (SPEC.md 1.7)."""
        return list(self._blob.entries)

    @property
    def context(self) -> int:
        """The largest number of positions of a sequence; 0 without entries."""
        return int(self._blob.header["context"])

    def _check_inputs(self, given: Mapping[str, ArrayLike]) -> Batch:
        if self.entries:
            raise InputError(
                f"{self._blob.where} has the entries {entry_names(self)}; run them with a session: "
                f"model.session().run('{self.entries[0].name}', ...)."
            )
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

    def _check_shapes(self, arrays: dict[int, NDArray[Any]]) -> Batch:
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
        return Batch(batch, rows, shape[-1], len(shape) == 1)

    def _collect(
        self, batch: Batch, raw: bool, run_row: Callable[[int], list[NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """Run every row and return the outputs by name."""
        rows = [run_row(row) for row in range(batch.size)]
        outputs = {}
        for tensor, arrays in zip(self._outputs, zip(*rows, strict=True), strict=True):
            values = arrays[0] if batch.single else np.stack(arrays)
            outputs[tensor.name] = values if raw else dequantize(tensor, values)
        return outputs


def entry_names(face: Face) -> str:
    """Return the names of a model's entries for messages."""
    return ", ".join(f"'{entry.name}'" for entry in face.entries)


def live_view(tensor: TensorInfo, memory: NDArray[np.uint8], length: int) -> NDArray[Any]:
    """Return the live part of the arena tensor that starts `memory`: T rows, no padding."""
    shape = tuple(length if dim is None else dim for dim in tensor.shape)
    rows = shape[0]
    size = rows * tensor.row_stride * tensor.dtype.itemsize
    flat = memory[:size].view(tensor.dtype)
    if len(shape) == 1:
        return flat
    return flat.reshape(rows, tensor.row_stride)[:, : shape[1]]


def as_output(tensor: TensorInfo, view: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that outlives the arena; a tensor of one row by design loses its row axis."""
    return np.array(view[0] if len(tensor.shape) == 2 and tensor.shape[0] == 1 else view)


def _check_array(tensor: TensorInfo, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an array of the input's dtype, [length] or [batch][length]."""
    array = whole_numbers(tensor, value)
    if array.ndim not in (1, 2):
        raise InputError(
            f"The input '{tensor.name}' has shape {array.shape}; give [length] or [batch, length]."
        )
    return array


def whole_numbers(tensor: TensorInfo, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an array of the input's dtype, of any shape."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"The input '{tensor.name}' must hold numbers (dtype {tensor.dtype}), not "
            f"{array.dtype}; give an array with rows of one length."
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


def dequantize(tensor: TensorInfo, values: NDArray[Any]) -> NDArray[Any]:
    """Return real values as float32; raw integers where the tensor has no scale."""
    if tensor.scale == 0:
        return values
    real = (values.astype(np.float64) - tensor.zero_point) * tensor.scale
    return real.astype(np.float32)
