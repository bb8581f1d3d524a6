"""Imports encoders from ONNX files, whatever exporter wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from . import blob_format as fmt
from .errors import BadCheckpoint, ConvertError, UnsupportedModel
from .graph import Graph, Node, check

_LOGITS, _SENTENCE = "logits", "sentence_embedding"
_EMPTY = np.zeros((0, 0), np.float32)


def import_onnx(path: str | Path, pooling: str = "auto") -> Graph:
    """Return the graph of an .onnx file.

    pooling: adds the output sentence_embedding: "cls" the first row, "mean" the mean of the visible
        rows of the first output; "none" and "auto" take the outputs as they are.
    Raises BadCheckpoint and UnsupportedModel.
    """
    path = Path(path)
    if not path.is_file():
        raise BadCheckpoint(f"{path}: there is no such file.")
    try:
        from . import onnx_import
    except ImportError:
        raise ConvertError(
            f"{path}: reading ONNX files needs the package onnx; install it with pip install onnx."
        ) from None
    graph = onnx_import.to_graph(onnx_import.read_net(path))
    _add_labels(graph, path)
    _add_pooling(graph, path, pooling)
    check(graph, after="import")
    _refuse_too_large(graph, path)
    return graph


def _refuse_too_large(graph: Graph, path: Path) -> None:
    """Refuse nodes that no record of a blob can describe."""
    for node in graph.nodes:
        sizes = [
            ("reads", "columns", fmt.MAX_K_S8, node.weights.get("weight", _EMPTY).shape[1]),
            ("makes", "columns", fmt.MAX_N, node.weights.get("weight", _EMPTY).shape[0]),
            ("normalizes", "columns", fmt.MAX_NORM, node.weights.get("gain", _EMPTY).shape[0]),
            ("has", "heads", fmt.MAX_HEADS, node.attributes.get("heads", 0)),
            ("has heads of", "columns", fmt.MAX_HEAD_DIM, node.attributes.get("head_dim", 0)),
        ]
        for verb, what, limit, found in sizes:
            if found > limit:
                raise UnsupportedModel(
                    f"{path}: {node.name!r} {verb} {found} {what}; a blob holds at most {limit}."
                )


def _add_pooling(graph: Graph, path: Path, pooling: str) -> None:
    """Add the output sentence_embedding where it is asked for."""
    if pooling in ("auto", "none"):
        return
    if pooling not in ("cls", "mean"):
        raise UnsupportedModel(f"pooling must be one of auto, none, cls, mean, not {pooling!r}.")
    shapes = check(graph, after="import")
    rows = next((name for name in graph.outputs if shapes[name].tokens), None)
    if rows is None or _SENTENCE in shapes:
        raise UnsupportedModel(
            f"{path}: pooling {pooling!r} needs an output with one row per token and none called "
            f"{_SENTENCE}; give pooling='none'."
        )
    masks = [item.name for item in graph.inputs if item.kind == "mask"]
    inputs, mode = ([rows], "first") if pooling == "cls" else ([rows, *masks], "mean")
    graph.nodes.append(Node("pool", _SENTENCE, inputs, [_SENTENCE], {"mode": mode}))
    graph.outputs.append(_SENTENCE)


def _add_labels(graph: Graph, path: Path) -> None:
    """Name the classes of the logits: as a config.json beside the file does, else by number."""
    if _LOGITS not in graph.outputs:
        return
    width = check(graph, after="import")[_LOGITS].width
    try:
        raw = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        names = {int(key): str(value) for key, value in raw["id2label"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        names = {}
    if set(names) != set(range(width)):
        names = {number: f"LABEL_{number}" for number in range(width)}
    graph.metadata["labels"] = [names[number] for number in range(width)]
