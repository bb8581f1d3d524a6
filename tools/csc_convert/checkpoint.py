"""Reads the weights of a Hugging Face directory: one safetensors file or several shards."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors

from .errors import BadCheckpoint

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FLOATS = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


class Checkpoint:
    """The tensors of a checkpoint by name, as float32; `take` also notes which were wanted."""

    def __init__(self, directory: Path) -> None:
        """Read every file of the checkpoint.  Raises BadCheckpoint."""
        self.directory = directory
        self._tensors: dict[str, tuple[dict, str]] = {}
        self._taken: set[str] = set()
        digest = hashlib.sha256()
        for path in _files(directory):
            data = _read(path)
            digest.update(data)
            for name, tensor in _deserialize(path, data):
                if name in self._tensors:
                    raise BadCheckpoint(f"{path}: tensor {name!r} is in two files of the model.")
                self._tensors[name] = (tensor, path.name)
        self.digest = digest.hexdigest()

    def names(self) -> list[str]:
        """Return the names of all tensors, sorted."""
        return sorted(self._tensors)

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name."""
        if new in self._tensors:
            raise BadCheckpoint(
                f"{self.directory}: tensors {old!r} and {new!r} mean the same; remove one of them."
            )
        self._tensors[new] = self._tensors.pop(old)

    def not_taken(self) -> list[str]:
        """Return the names of the tensors nobody has taken, sorted."""
        return [name for name in self.names() if name not in self._taken]

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of this name."""
        return name in self._tensors

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the tensor as float32, which must have this shape and hold finite numbers only."""
        if name not in self._tensors:
            raise BadCheckpoint(
                f"{self.directory}: tensor {name!r} is missing; the file does not hold the model "
                "that config.json describes."
            )
        tensor, file = self._tensors[name]
        where = f"{self.directory / file}: tensor {name!r}"
        if tuple(tensor["shape"]) != shape:
            raise BadCheckpoint(
                f"{where} has the shape {list(tensor['shape'])}, but config.json asks for "
                f"{list(shape)}."
            )
        array = _widen(tensor, where).reshape(shape)
        if not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise BadCheckpoint(
                f"{where} holds {array[index]} at index {index}; weights must be finite numbers."
            )
        self._taken.add(name)
        return array


def refuse_surplus(checkpoint: Checkpoint, ignored: tuple[str, ...]) -> None:
    """Refuse a checkpoint with tensors nobody has taken, but for names with these beginnings."""
    surplus = [name for name in checkpoint.not_taken() if not name.startswith(ignored)]
    if surplus:
        raise BadCheckpoint(
            f"{checkpoint.directory}: tensor {surplus[0]!r} has no place in the model that "
            f"config.json describes ({len(surplus)} such tensors); config.json and weights do not "
            "belong together."
        )


def _files(directory: Path) -> list[Path]:
    """Return the safetensors files of a directory, in the order of their names."""
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    index = directory / INDEX
    if not index.is_file():
        raise BadCheckpoint(
            f"{directory}: there is neither {SINGLE} nor {INDEX}; save the model "
            "in the safetensors form."
        )
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadCheckpoint(f"{index}: 'weight_map' is missing or empty.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise BadCheckpoint(f"{index}: shard {name!r} is outside the directory of the model.")
    return [directory / name for name in names]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{path}: cannot be read: {error.strerror}.") from None


def read_json(path: Path) -> dict:
    """Return the JSON object in a file.  Raises BadCheckpoint."""
    try:
        value = json.loads(_read(path).decode("utf-8"))
    except ValueError as error:
        raise BadCheckpoint(f"{path}: is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{path}: must hold a JSON object.")
    return value


def _deserialize(path: Path, data: bytes) -> list[tuple[str, dict]]:
    try:
        return safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise BadCheckpoint(f"{path}: is damaged or no safetensors file: {error}.") from None


def _widen(tensor: dict, where: str) -> np.ndarray:
    """Return the elements of a tensor as a flat float32 array.

    NumPy has no bfloat16; its 16 bits are the upper half of a float32.
    """
    kind = tensor["dtype"]
    if kind == "BF16":
        return (np.frombuffer(tensor["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
    if kind not in _FLOATS:
        raise BadCheckpoint(
            f"{where} has the type {kind}; weights must be float16, bfloat16, float32 or float64."
        )
    with np.errstate(over="ignore"):
        return np.frombuffer(tensor["data"], _FLOATS[kind]).astype(np.float32)
