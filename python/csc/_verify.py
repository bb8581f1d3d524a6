"""Comparing a blob, run by the device's code, with the float model it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc.errors import InputError
from csc.model import Model, load

Arrays = dict[str, NDArray[Any]]
Progress = Callable[[str, int, int], None]

LOGITS = "logits"
_TRACED_SEQUENCES = 16


@dataclass(frozen=True)
class LayerError:
    """How far one tensor is from the float model: SQNR in decibels over the traced sequences."""

    tensor: str
    sqnr_db: float


@dataclass(frozen=True)
class Verification:
    """Integer model against float model.

    `agreement` is the share of sequences with the same largest logit (None without logits);
    accuracies need labels in the data; `cosine` is the mean over rows by output; `layers` holds
    every tensor both models have, the worst first.
    """

    sequences: int
    agreement: float | None
    float_accuracy: float | None
    integer_accuracy: float | None
    cosine: dict[str, float]
    sqnr_db: dict[str, float]
    layers: list[LayerError]

    def to_dict(self) -> dict[str, Any]:
        """Return a dict ready for JSON; the keys are the names of the fields."""
        return asdict(self)


def read_data(
    data: str | os.PathLike[str] | Mapping[str, NDArray[Any]], limit: int | None = None
) -> Arrays:
    """Return the arrays of an .npz file (or a mapping), the first `limit` rows of each.

    Raises InputError.
    """
    if isinstance(data, Mapping):
        arrays = {name: np.asarray(array) for name, array in data.items()}
    else:
        arrays = _read_npz(Path(data))
    if limit is not None and limit < 1:
        raise InputError(f"The limit must be at least 1, not {limit}.")
    return {name: array[:limit] for name, array in arrays.items()}


def _read_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise ValueError("it holds one array without a name")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"The data file {path} cannot be read: {reason}; give an .npz file with one array "
            f"[sequences, length] per input."
        ) from None
    except Exception as error:  # zipfile and zlib raise classes of their own
        raise InputError(f"The data file {path} is damaged: {error}; make it again.") from None


def split_labels(arrays: Arrays) -> tuple[Arrays, NDArray[Any] | None]:
    """Return the inputs and, if there is an array `labels`, the right classes."""
    inputs = {name: array for name, array in arrays.items() if name != "labels"}
    for name, array in inputs.items():
        if array.ndim != 2 or array.shape[0] == 0:
            raise InputError(
                f"The array '{name}' has shape {array.shape}; give [sequences, length]."
            )
    labels = arrays.get("labels")
    rows = {array.shape[0] for array in arrays.values()}
    if not inputs or len(rows) > 1:
        raise InputError(f"The data need arrays with one number of rows, but have {sorted(rows)}.")
    return inputs, labels


def visible_lengths(inputs: Arrays) -> NDArray[np.int64]:
    """Return how many positions of each sequence matter: up to the last visible one."""
    first = next(iter(inputs.values()))
    mask = inputs.get("attention_mask", np.ones(first.shape)) != 0
    last = mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)
    return np.where(mask.any(axis=1), last, 1)


def infer_trimmed(model: Model, inputs: Arrays, progress: Progress) -> list[Arrays]:
    """Run each sequence without the padding behind it, on all cores; outputs in order.

    Leaving the padding away changes no bit of the rest, since masked keys weigh exactly 0.
    """
    lengths = visible_lengths(inputs)

    def run(row: int) -> Arrays:
        one = {name: array[row, : lengths[row]] for name, array in inputs.items()}
        return dict(model.infer(one))

    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, outputs in enumerate(pool.map(run, range(len(lengths))), start=1):
            results.append(outputs)
            progress("integer model", done, len(lengths))
    return results


def _sqnr(signal: float, error: float) -> float:
    return 200.0 if error <= signal * 1e-20 else 10 * float(np.log10(max(signal, 1e-30) / error))


class _Tally:
    """Sums for SQNR and mean cosine of one tensor."""

    def __init__(self) -> None:
        self.signal = self.error = self.cosines = 0.0
        self.rows = 0

    def add(self, wanted: NDArray[Any], found: NDArray[Any]) -> None:
        wanted, found = np.atleast_2d(wanted).astype(float), np.atleast_2d(found).astype(float)
        norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
        self.signal += float((wanted**2).sum())
        self.error += float(((wanted - found) ** 2).sum())
        self.cosines += float(((wanted * found).sum(axis=1) / np.maximum(norms, 1e-30)).sum())
        self.rows += len(wanted)

    @property
    def sqnr_db(self) -> float:
        return _sqnr(self.signal, self.error)


def _outputs_tallied(inputs: Arrays, wanted: Arrays, found: list[Arrays]) -> dict[str, _Tally]:
    visible = inputs.get("attention_mask")
    lengths = visible_lengths(inputs)
    tallies = {name: _Tally() for name in found[0]}
    for row, outputs in enumerate(found):
        for name, values in outputs.items():
            if values.ndim == 1:
                tallies[name].add(wanted[name][row], values)
                continue
            shown = slice(None) if visible is None else visible[row, : lengths[row]] != 0
            tallies[name].add(wanted[name][row, : lengths[row]][shown], values[shown])
    return tallies


def _layer_errors(
    model: Model, source: Any, inputs: Arrays, progress: Progress
) -> list[LayerError]:
    """Trace some sequences through both models; compare what has one scale and one name in both."""
    lengths = visible_lengths(inputs)
    scaled = {t.name: t for t in model.tensors if t.storage == "arena" and t.scale > 0}
    tallies: dict[str, _Tally] = {}
    rows = np.unique(np.linspace(0, len(lengths) - 1, _TRACED_SEQUENCES).astype(int))
    for done, row in enumerate(rows, start=1):
        one = {name: array[row, : lengths[row]] for name, array in inputs.items()}
        wanted = source.run({name: array[None] for name, array in one.items()}, trace=True)
        shown = one.get("attention_mask", np.ones(lengths[row])) != 0
        for name, raw in model.trace(one).items():
            if name in wanted and name in scaled:
                real = (raw.astype(float) - scaled[name].zero_point) * scaled[name].scale
                pooled = wanted[name].ndim == 2
                pair = (wanted[name], real) if pooled else (wanted[name][0][shown], real[shown])
                tallies.setdefault(name, _Tally()).add(*pair)
        progress("layers", done, len(rows))
    errors = [LayerError(name, tally.sqnr_db) for name, tally in tallies.items()]
    return sorted(errors, key=lambda error: error.sqnr_db)


def _accuracy(predictions: NDArray[Any], labels: NDArray[Any] | None) -> float | None:
    return None if labels is None else float((predictions == labels).mean())


def verify(
    model: Model | str | os.PathLike[str] | bytes,
    source: str | os.PathLike[str],
    data: str | os.PathLike[str] | Mapping[str, NDArray[Any]],
    *,
    limit: int | None = None,
    pooling: str = "auto",
    progress: Progress | None = None,
) -> Verification:
    """Compare a blob with the float model it was made from.

    Args:
        model: a Model, or what `csc.load` takes.
        source: the Hugging Face directory or .onnx file the blob was made from.
        data: an .npz file or a mapping: inputs [sequences, length] by name and, optionally,
            `labels` [sequences], the right classes.
        limit: use the first so many sequences.
        pooling: as in `csc.convert`.
        progress: called with (stage, done, total).

    Raises:
        InputError, ConvertError: the data or the source cannot be used.

    """
    from csc_convert import load_source

    report = progress or (lambda stage, done, total: None)
    runner = model if isinstance(model, Model) else load(model)
    inputs, labels = split_labels(read_data(data, limit))
    report("float model", 0, 1)
    floats = load_source(Path(source), pooling)
    wanted = floats.run(inputs)
    report("float model", 1, 1)
    found = infer_trimmed(runner, inputs, report)
    missing = [name for name in found[0] if name not in wanted]
    if missing:
        raise InputError(
            f"The blob's output '{missing[0]}' is no output of {source}, whose outputs are "
            f"{', '.join(wanted)}; give the directory and the pooling the blob was made with."
        )
    tallies = _outputs_tallied(inputs, wanted, found)
    layers = _layer_errors(runner, floats, inputs, report)
    agreement = float_accuracy = integer_accuracy = None
    if LOGITS in wanted:
        expected = wanted[LOGITS].argmax(axis=1)
        predicted = np.stack([outputs[LOGITS] for outputs in found]).argmax(axis=1)
        agreement = float((expected == predicted).mean())
        float_accuracy = _accuracy(expected, labels)
        integer_accuracy = _accuracy(predicted, labels)
    return Verification(
        sequences=len(found),
        agreement=agreement,
        float_accuracy=float_accuracy,
        integer_accuracy=integer_accuracy,
        cosine={name: tally.cosines / tally.rows for name, tally in tallies.items()},
        sqnr_db={name: tally.sqnr_db for name, tally in tallies.items()},
        layers=layers,
    )
