"""Models as they come in: finds the importer, and runs the float model over many sequences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .batches import batches, check_ids, complete, lengths_of, visible_of
from .errors import BadCheckpoint, ConvertError
from .graph import Graph, check
from .import_hf import import_hf
from .import_onnx import import_onnx
from .reference import evaluate
from .simplify import simplify


class FloatModel:
    """A float model.

    graph: its simplified graph; labels: the class names of the output "logits", in their order.
    """

    def __init__(self, graph: Graph) -> None:
        """Wrap a graph that keeps the rules."""
        self.graph = graph
        self.labels: list[str] = list(graph.metadata.get("labels", []))
        self._shapes = check(graph, after="load")

    def run(self, inputs: Mapping[str, np.ndarray], trace: bool = False) -> dict[str, np.ndarray]:
        """Float32 results of many sequences.

        inputs: integers [N][T] (or [T]) by name; optional ones may be missing.
        Returns the outputs by name, with trace every value: [N][T][C], or [N][C] where there is one
        row per sequence.  Rows behind a sequence's last visible token are 0.
        Raises ConvertError.
        """
        try:
            arrays = complete(self.graph, inputs)
            check_ids(self.graph, arrays)
        except ValueError as error:
            raise ConvertError(f"The float model cannot run: {error}.") from None
        count, length = next(iter(arrays.values())).shape
        lengths = lengths_of(visible_of(self.graph, arrays))
        shown = (np.arange(length) < lengths[:, None])[..., None]
        results: dict[str, np.ndarray] = {}
        for batch in batches(self.graph, arrays):
            found: dict[str, np.ndarray] = {}
            outputs = evaluate(
                self.graph, batch.inputs, observer=found.__setitem__ if trace else None
            )
            for name, array in (found if trace else outputs).items():
                if name not in results:
                    rows = 1 if self._is_pooled(name) else length
                    results[name] = np.zeros((count, rows, array.shape[2]), np.float32)
                results[name][batch.numbers, : array.shape[1]] = array
        return {
            name: array[:, 0] if self._is_pooled(name) else array * shown
            for name, array in results.items()
        }

    def _is_pooled(self, name: str) -> bool:
        """Whether a value has one row per sequence."""
        return not self._shapes[name.removesuffix(".pre")].tokens


def load_source(path: str | Path, pooling: str = "auto") -> FloatModel:
    """Load a model: a Hugging Face directory or an .onnx file.

    pooling: see import_hf and import_onnx.
    Raises ConvertError.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        return FloatModel(simplify(import_onnx(path, pooling)))
    if not path.is_dir():
        raise BadCheckpoint(
            f"{path}: is not a directory; give a Hugging Face model directory or an .onnx file."
        )
    if not (path / "config.json").is_file():
        raise BadCheckpoint(
            f"{path}: has no config.json; give a Hugging Face model directory or an .onnx file."
        )
    return FloatModel(simplify(import_hf(path, pooling)))
