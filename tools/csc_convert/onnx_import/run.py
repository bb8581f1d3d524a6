"""Evaluates a net as far as its inputs are known; of the rest, the shapes.

Known values are arrays, computed by ONNX's reference evaluator, so that each op means what its
opset says.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .net import Net, Op

_LARGEST_SHAPE = 64
# What has a body of its own, or gives something else each time, is never evaluated.
_OPAQUE = ("If", "Loop", "Scan", "RandomNormal", "RandomNormalLike", "RandomUniform",
           "RandomUniformLike", "Bernoulli", "Multinomial")  # fmt: skip


@dataclass(frozen=True)
class Unknown:
    """A value of which only the type is known; shape: None where not even that is."""

    shape: tuple[int, ...] | None
    dtype: np.dtype


Value = np.ndarray | Unknown


class Run:
    """The values of a net for given inputs, computed as they are asked for."""

    def __init__(self, net: Net, inputs: Mapping[str, Value]) -> None:
        self.net = net
        self._values: dict[str, Value] = {"": Unknown(None, np.dtype(np.float32))}
        self._values.update(net.constants)
        self._values.update(inputs)

    def get(self, name: str) -> Value:
        """Return a value by name."""
        if name not in self._values:
            for op in self._missing(name):
                self._values.update(evaluate(self.net, op, [self._values[i] for i in op.inputs]))
        return self._values[name]

    def known(self, name: str) -> np.ndarray | None:
        """Return the array of a value; None if it is not known."""
        value = self.get(name)
        return value if isinstance(value, np.ndarray) else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a value; None if it is not known."""
        return self.get(name).shape

    def _missing(self, name: str) -> list[Op]:
        """Return the ops that must run to know a value, in order."""
        found: dict[int, Op] = {}
        names = [name]
        while names:
            op = self.net.producers[names.pop()]
            if op.place not in found:
                found[op.place] = op
                names += [i for i in op.inputs if i not in self._values]
        return [found[place] for place in sorted(found)]

    def replay(self, ops: Iterable[Op], given: Mapping[str, np.ndarray]) -> dict[str, Value]:
        """Run some ops once more with other arrays in place of some values."""
        values: dict[str, Value] = dict(given)
        for op in ops:
            inputs = [values[i] if i in values else self.get(i) for i in op.inputs]
            found = evaluate(self.net, op, inputs)
            values.update({name: value for name, value in found.items() if name not in given})
        return values


def evaluate(net: Net, op: Op, inputs: list[Value]) -> dict[str, Value]:
    """Return the outputs of one op by name."""
    shape = inputs[0].shape if op.type == "Shape" else None
    if shape is not None:
        chosen = shape[op.attributes.get("start", 0) : op.attributes.get("end")]
        return {op.outputs[0]: np.array(chosen, np.int64)}
    given = [value for name, value in zip(op.inputs, inputs, strict=True) if name]
    if op.type == "DequantizeLinear" and _is_simple(given):
        return {op.outputs[0]: _dequantized(op, *given)}
    if op.type not in _OPAQUE and all(isinstance(value, np.ndarray) for value in given):
        known = _compute(net, op, inputs)
        if known is not None:
            return known
    return _infer(net, op, inputs)


def _is_simple(given: list[Value]) -> bool:
    """Whether the inputs of a DequantizeLinear are known, with a scale per tensor or channel."""
    return all(isinstance(value, np.ndarray) for value in given) and given[1].ndim <= 1


def _dequantized(op: Op, x: np.ndarray, scale: np.ndarray, zero: Any = 0) -> np.ndarray:
    """Return DequantizeLinear, which ONNX's reference does not know in its older forms."""
    if scale.size > 1:
        shape = [1] * x.ndim
        shape[op.attributes.get("axis", 1)] = -1
        scale, zero = scale.reshape(shape), np.reshape(zero, shape) if np.ndim(zero) else zero
    return (x.astype(np.int64) - zero).astype(np.float32) * scale.astype(np.float32)


def _compute(net: Net, op: Op, inputs: list[Value]) -> dict[str, Value] | None:
    """Run an op whose inputs are all known; None where it cannot be run."""
    arrays = {name: value for name, value in zip(op.inputs, inputs, strict=True) if name}
    outputs = [name for name in op.outputs if name]
    graph = helper.make_graph(
        [op.proto],
        "op",
        [helper.make_value_info(name, _type_of(array)) for name, array in arrays.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = ReferenceEvaluator(graph, opsets={"": net.opset}).run(None, arrays)
    except Exception:  # whatever a broken node makes the reference stumble over
        return None
    return {name: np.asarray(array) for name, array in zip(outputs, found, strict=True)}


def _infer(net: Net, op: Op, inputs: list[Value]) -> dict[str, Value]:
    """Return the types of the outputs, as far as ONNX's shape inference finds them."""
    pairs = {name: value for name, value in zip(op.inputs, inputs, strict=True) if name}
    graph = helper.make_graph(
        [op.proto],
        "op",
        [helper.make_value_info(name, _type_of(value)) for name, value in pairs.items()],
        [],
        [numpy_helper.from_array(value, name) for name, value in pairs.items() if _is_shape(value)],
    )
    opsets = {"": net.opset, op.proto.domain: net.opset}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports))
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {name: _unknown(None) for name in op.outputs if name}
    found = {item.name: item.type for item in model.graph.value_info}
    return {name: _unknown(found.get(name)) for name in op.outputs if name}


def _is_shape(value: Value) -> bool:
    """Whether a value may say something about shapes: a few known integers."""
    if not isinstance(value, np.ndarray):
        return False
    return value.dtype.kind in "iu" and value.size <= _LARGEST_SHAPE


def _type_of(value: Value) -> onnx.TypeProto:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_type_proto(kind, value.shape)


def _unknown(kind: onnx.TypeProto | None) -> Unknown:
    if kind is None or not kind.tensor_type.elem_type:
        return Unknown(None, np.dtype(np.float32))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))
    if not kind.tensor_type.HasField("shape"):
        return Unknown(None, dtype)
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return Unknown(None, dtype)
    return Unknown(tuple(dim.dim_value for dim in dims), dtype)
