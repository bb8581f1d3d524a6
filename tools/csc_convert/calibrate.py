"""Calibration: what the values of the float model look like on real inputs.

Only visible tokens count; what stands in padded rows never reaches a result.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .batches import Arrays, batches, check_ids, complete, lengths_of, visible_of, visible_rows
from .errors import BadCalibration, ConvertError
from .graph import Graph, check
from .reference import PRE_ACTIVATION, evaluate

SAMPLE_ROWS = 1024

Progress = Callable[[str, int, int], None]


@dataclass
class Statistics:
    """One value over all visible rows.

    low, high: per channel, float32 [C]; sample: evenly chosen rows, float32 [n][C], None where no
    search needs them.
    """

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray | None = None

    @property
    def largest(self) -> float:
        """The largest magnitude of all channels."""
        return float(max(-self.low.min(), self.high.max()))

    @property
    def channel_largest(self) -> np.ndarray:
        """The largest magnitude of each channel [C]."""
        return np.maximum(-self.low, self.high)


def load_calibration(
    source: str | Path | Mapping, graph: Graph, max_length: int | None
) -> tuple[Arrays, int]:
    """Return the calibration inputs [N][T] and the planned maximum length.

    source: an .npz file or a mapping with input_ids [N][T] and, optionally, the other inputs.
    max_length: None takes the width of the data, as far as the model has positions.
    Raises BadCalibration.
    """
    where = "calibration data" if isinstance(source, Mapping) else str(source)
    raw = source if isinstance(source, Mapping) else _load_npz(Path(source))
    wanted = {item.name for item in graph.inputs}
    try:
        arrays = complete(graph, {k: raw[k] for k in sorted(raw) if k in wanted})
        width = next(iter(arrays.values())).shape[1]
        positions = graph.metadata.get("max_positions", width)
        limit = max_length or min(width, positions)
        if limit > positions:
            raise ValueError(
                f"the maximum length {limit} exceeds the {positions} positions of the model"
            )
        arrays = _trim(graph, arrays, limit)
        check_ids(graph, arrays)
    except ValueError as error:
        raise BadCalibration(f"{where}: {error}.") from None
    return arrays, limit


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        data = np.load(path, allow_pickle=False)
        if not isinstance(data, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array")
        with data:
            return {name: data[name] for name in data.files}
    except OSError as error:
        raise BadCalibration(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BadCalibration(f"{path}: is not an .npz file of plain arrays: {error}.") from None


def _trim(graph: Graph, arrays: Arrays, limit: int) -> Arrays:
    """Drop the columns behind the longest visible sequence, which must not exceed the limit."""
    visible = visible_of(graph, arrays)
    hidden = np.flatnonzero(~visible.any(axis=1))
    if len(hidden):
        raise ValueError(f"sequence {hidden[0]} has no visible token")
    lengths = lengths_of(visible)
    if lengths.max() > limit:
        raise ValueError(
            f"sequence {lengths.argmax()} has {lengths.max()} tokens, more than the "
            f"maximum length {limit}"
        )
    return {name: array[:, : lengths.max()] for name, array in arrays.items()}


class _Collector:
    """Gathers statistics batch by batch."""

    def __init__(self, graph: Graph, total_tokens: int, total_sequences: int) -> None:
        self._pooled = {
            name for name, shape in check(graph, "calibrate").items() if not shape.tokens
        }
        linear = [node for node in graph.nodes if node.op == "linear"]
        self._sampled = {node.inputs[0] for node in linear}
        self._sampled |= {node.output + PRE_ACTIVATION for node in linear}
        self._chosen = {False: _evenly(total_tokens), True: _evenly(total_sequences)}
        self._position = {False: 0, True: 0}
        self._parts: dict[str, list[np.ndarray]] = {}
        self._visible = np.ones((1, 1), bool)
        self.statistics: dict[str, Statistics] = {}

    def start(self, visible: np.ndarray) -> None:
        """Begin a batch with these visible tokens, bool [B][T]."""
        self._visible = visible

    def finish(self) -> None:
        """End a batch."""
        self._position[False] += int(self._visible.sum())
        self._position[True] += len(self._visible)

    def see(self, name: str, array: np.ndarray) -> None:
        """Take in one value of the batch."""
        pooled = name.removesuffix(PRE_ACTIVATION) in self._pooled
        rows = visible_rows(array, self._visible, pooled)
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConvertError(
                f"The float model overflows at {name!r} on the calibration data; its weights are "
                "too large to convert."
            )
        if name in self.statistics:
            known = self.statistics[name]
            low, high = np.minimum(low, known.low), np.maximum(high, known.high)
        self.statistics[name] = Statistics(low, high)
        if name in self._sampled:
            chosen = self._chosen[pooled] - self._position[pooled]
            here = chosen[(chosen >= 0) & (chosen < len(rows))]
            self._parts.setdefault(name, []).append(rows[here])

    def result(self) -> dict[str, Statistics]:
        """Return the statistics of every value by name."""
        for name, parts in self._parts.items():
            self.statistics[name].sample = np.concatenate(parts)
        return self.statistics


def _evenly(total: int) -> np.ndarray:
    """Up to SAMPLE_ROWS row numbers, evenly spread over 0..total - 1."""
    count = min(total, SAMPLE_ROWS)
    return np.arange(count) * total // count


def collect(
    graph: Graph, arrays: Arrays, progress: Progress | None = None
) -> dict[str, Statistics]:
    """Run the float model over the calibration inputs; statistics of every value by name."""
    visible = visible_of(graph, arrays)
    collector = _Collector(graph, int(visible.sum()), len(visible))
    done = 0
    for batch in batches(graph, arrays):
        collector.start(visible_of(graph, batch.inputs))
        with np.errstate(over="ignore", invalid="ignore"):
            evaluate(graph, batch.inputs, observer=collector.see)
        collector.finish()
        done += len(batch.numbers)
        if progress:
            progress("calibrate", done, len(visible))
    return collector.result()
