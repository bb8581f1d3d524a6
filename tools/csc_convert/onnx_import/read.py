"""Reads an ONNX file with its external data, and brings it to a plain form.

Floats of every width become float32; dropouts, copies and pairs of QuantizeLinear and
DequantizeLinear vanish.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.external_data_helper
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from ..errors import BadCheckpoint, UnsupportedModel
from .net import Net, NetInput, Op

OPSETS = range(13, 22)
_LARGEST_CHECKED = 2**31 - 1
_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE)
_COPIES = ("Identity", "Dropout")


def read_net(path: Path) -> Net:
    """Read a file.  Raises BadCheckpoint and UnsupportedModel."""
    data = _bytes_of(path)
    model = _parse(path, data)
    digest = hashlib.sha256(data)
    for file in _load_external(path, model):
        digest.update(_bytes_of(file))
    opset = _opset(path, model)
    _check(path, model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    return _Reader(model.graph).net(path, digest.hexdigest(), opset)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{path}: cannot be read: {error.strerror}.") from None


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError):
        raise BadCheckpoint(f"{path}: is no ONNX file, or is cut off or damaged.") from None
    if not model.graph.output:
        raise BadCheckpoint(f"{path}: is no ONNX file, or has no graph with outputs.")
    return model


def _load_external(path: Path, model: onnx.ModelProto) -> list[Path]:
    """Load the weights kept in other files; returns these files, sorted."""
    helper = onnx.external_data_helper
    outside = [t for t in model.graph.initializer if helper.uses_external_data(t)]
    names = sorted({helper.ExternalDataInfo(tensor).location for tensor in outside})
    for name in names:
        if not (path.parent / name).is_file():
            raise BadCheckpoint(
                f"{path}: its weights are in the file {name!r}, which is not beside it; put both "
                "files into one directory."
            )
    try:
        for tensor in outside:
            helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = TensorProto.DEFAULT
            numpy_helper.to_array(tensor)
    except (ValueError, OSError, onnx.checker.ValidationError):
        raise BadCheckpoint(
            f"{path}: the weights of {tensor.name!r} cannot be read from "
            f"{helper.ExternalDataInfo(tensor).location!r}; the file is cut off, or does not "
            "belong to this model."
        ) from None
    return [path.parent / name for name in names]


def _opset(path: Path, model: onnx.ModelProto) -> int:
    versions = {item.domain: item.version for item in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise UnsupportedModel(
            f"{path}: is written for ONNX opset {opset}; supported are {OPSETS[0]} to "
            f"{OPSETS[-1]}: export it again with opset_version=17."
        )
    return opset


def _check(path: Path, model: onnx.ModelProto) -> None:
    """Let ONNX's own checker look at the model, unless it is too large for that."""
    if model.ByteSize() > _LARGEST_CHECKED:
        return
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise BadCheckpoint(f"{path}: is no valid ONNX model: {first}.") from None


class _Reader:
    """Builds the Net of one graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.renamed: dict[str, str] = {}
        self.quantized: dict[str, str] = {}
        self.dropped = 0

    def net(self, path: Path, digest: str, opset: int) -> Net:
        """Return the whole net."""
        constants = {t.name: _array(t) for t in self.graph.initializer}
        inputs = [_input(path, i) for i in self.graph.input if i.name not in constants]
        ops: list[Op] = []
        for node in self.graph.node:
            node.input[:] = [self.renamed.get(name, name) for name in node.input]
            if not self._is_copy(node, constants):
                _widen_attributes(node)
                ops.append(Op(node, len(ops)))
        names = [item.name for item in self.graph.output]
        outputs = [self.renamed.get(name, name) for name in names]
        notes = self._notes()
        return Net(str(path), digest, opset, inputs, outputs, names, ops, constants, notes)

    def _is_copy(self, node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
        """Whether the node only hands on a value; notes which."""
        if node.op_type in _COPIES and not any(node.output[1:]):
            self.renamed[node.output[0]] = node.input[0]
            return True
        if node.op_type == "QuantizeLinear":
            self.quantized[node.output[0]] = node.input[0]
        if node.op_type == "DequantizeLinear" and node.input[0] in self.quantized:
            source = self.quantized[node.input[0]]
            self.renamed[node.output[0]] = source
            self.dropped += source not in constants
            return True
        return False

    def _notes(self) -> list[str]:
        if not self.dropped:
            return []
        return [
            f"The model was quantized before: {self.dropped} pairs of QuantizeLinear and "
            "DequantizeLinear around activations were dropped, and their ranges are calibrated "
            "anew; its weights are taken as quantized."
        ]


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    array = numpy_helper.to_array(tensor)
    if tensor.data_type in _FLOATS and array.dtype != np.float32:
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array


def _widen_attributes(node: onnx.NodeProto) -> None:
    """Make casts to floats, and constants of floats, casts to and constants of float32."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _FLOATS:
            attribute.i = TensorProto.FLOAT
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
            array = _array(attribute.t)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))


def _input(path: Path, item: onnx.ValueInfoProto) -> NetInput:
    if not item.type.HasField("tensor_type"):
        raise UnsupportedModel(f"{path}: input {item.name!r} is no tensor.")
    kind = item.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    dims = None
    if kind.HasField("shape"):
        dims = tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)
    return NetInput(item.name, np.dtype(dtype), dims)
