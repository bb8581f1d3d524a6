"""Rules for what works on each row alone: linear, layernorm, activations, sums."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..activations import FUNCTIONS
from .net import Op
from .probes import Probes
from .rules import Match, float_weight, parameter_name
from .trace import Region, regions

POINTWISE = (
    *("Abs", "Add", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal"),
    *("Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh"),
)
OF_LAYERNORM = (
    *("Add", "Cast", "Div", "LayerNormalization", "Mul", "Pow", "Reciprocal", "ReduceMean"),
    *("Sqrt", "Sub"),
)
_TESTED = np.linspace(-12, 12, 4001, dtype=np.float32)
# Our error function and an exporter's differ by less than this, two functions by far more.
_SAME_FUNCTION = 5e-5
_SAME_NORM = 2e-3


def linear(probes: Probes, _wanted: str, op: Op) -> Match | None:
    """MatMul with a constant, with or without an Add after it, or Gemm."""
    if op.type == "Gemm":
        return _gemm(probes, op)
    if op.type == "MatMul":
        return _matmul(probes, op, None)
    if op.type != "Add":
        return None
    for bias, value in (op.inputs, op.inputs[::-1]):
        before = probes.net.producers.get(value)
        if before is not None and before.type == "MatMul" and probes.constant(bias) is not None:
            return _matmul(probes, before, bias)
    return None


def _matmul(probes: Probes, op: Op, bias: str | None) -> Match | None:
    weight = probes.constant(op.inputs[1])
    if weight is None or weight.ndim != 2:
        return None
    return _linear(probes, op, weight.T, bias, 1.0)


def _gemm(probes: Probes, op: Op) -> Match | None:
    weight = probes.constant(op.inputs[1])
    if weight is None or op.attributes.get("transA", 0):
        return None
    weight = weight if op.attributes.get("transB", 0) else weight.T
    alpha = np.float32(op.attributes.get("alpha", 1.0))
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    beta = op.attributes.get("beta", 1.0)
    return _linear(probes, op, weight if alpha == 1 else weight * alpha, bias or None, beta)


def _linear(
    probes: Probes, op: Op, weight: np.ndarray, bias: str | None, beta: float
) -> Match | None:
    weights = {"weight": float_weight(weight)}
    if bias is not None:
        array = probes.constant(bias)
        if array is None or array.size not in (1, len(weight)) or array.shape[-1:] != (array.size,):
            return None
        array = np.broadcast_to(array.reshape(-1), len(weight))
        weights["bias"] = float_weight(array if beta == 1 else array * np.float32(beta))
    name = parameter_name(probes, op, [bias or "", op.inputs[1]])
    return Match("linear", name, [op.inputs[0]], {}, weights)


def add(probes: Probes, _wanted: str, op: Op) -> Match | None:
    """Add of two values of one shape."""
    if op.type not in ("Add", "Sum") or len(op.inputs) != 2:
        return None
    if not all(probes.is_main(name) for name in op.inputs):
        return None
    left, right = (probes.shapes(name) for name in op.inputs)
    if left is None or left != right:
        return None
    return Match("add", parameter_name(probes, op, []) + ".sum", list(op.inputs))


def activation(probes: Probes, wanted: str, op: Op) -> Match | None:
    """Any ops on single numbers that together give the values of a function we know."""
    for region in regions(probes, wanted, lambda op: op.type in POINTWISE):
        if any(array.size != 1 for array in region.constants(probes)):
            return None
        function = _function_of(probes, region)
        if function is not None:
            name = parameter_name(probes, op, []) + ".activation"
            return Match("activation", name, [region.leaf], {"function": function})
    return None


def _function_of(probes: Probes, region: Region) -> str | None:
    """Return the name of the function a region computes."""
    found = region.value(probes.sizes[0], _TESTED)
    if found is None or found.shape != _TESTED.shape or not np.isfinite(found).all():
        return None
    for name, function in FUNCTIONS.items():
        if np.abs(function(_TESTED) - found).max() < _SAME_FUNCTION:
            return name
    return None


def layernorm(probes: Probes, wanted: str, op: Op) -> Match | None:
    """Layer normalization, whole or in parts, by any ops that compute it."""
    width = probes.width(wanted)
    if width is None:
        return None
    for region in regions(probes, wanted, lambda op: op.type in OF_LAYERNORM):
        if probes.width(region.leaf) != width:
            return None
        found = _layernorm_of(probes, region, width)
        if found is not None:
            epsilon, weights = found
            names = [name for op in region.ops for name in op.inputs]
            name = parameter_name(probes, op, names)
            return Match("layernorm", name, [region.leaf], {"epsilon": epsilon}, weights)
    return None


def _layernorm_of(
    probes: Probes, region: Region, width: int
) -> tuple[float, dict[str, np.ndarray]] | None:
    """Return epsilon, gain and offset of a region that normalizes rows; else None.

    All three are constants in it; which is which, the values tell.
    """
    constants = region.constants(probes)
    vectors = [a.reshape(-1) for a in constants if a.shape[-1:] == (a.size,) and a.size == width]
    gains = [*vectors, np.ones(width, np.float32)]
    offsets = [*vectors[::-1], np.zeros(width, np.float32)]
    for epsilon, gain, offset in product(_epsilons(region, constants), gains, offsets):
        rows = _rows_for(width, epsilon, len(probes.sizes[0].shape(region.leaf) or ()))
        found = region.value(probes.sizes[0], rows)
        if found is None:
            return None
        wanted = _normalized(rows, epsilon) * gain + offset
        if found.shape == wanted.shape and _is_near(found, wanted):
            return epsilon, {"gain": float_weight(gain), "offset": float_weight(offset)}
    return None


def _epsilons(region: Region, constants: list[np.ndarray]) -> list[float]:
    """Return what may be the epsilon, as the shortest decimal that means the same float32."""
    found = [op.attributes.get("epsilon", 1e-5) for op in region.ops if "Norm" in op.type]
    found += [a.item() for a in constants if a.size == 1 and a.dtype.kind == "f"]
    return [float(str(np.float32(number))) for number in found if 0 < number < 0.1]


def _rows_for(width: int, epsilon: float, rank: int) -> np.ndarray:
    """Return rows with a large variance, and some whose variance is like epsilon."""
    rows = np.random.default_rng(0).normal(0, 1, (6, width))
    rows[:3] += rows[:3, :1]
    rows[3:] *= np.sqrt(epsilon)
    return rows.astype(np.float32).reshape(*[1] * (rank - 2), 6, width)


def _normalized(rows: np.ndarray, epsilon: float) -> np.ndarray:
    centred = rows.astype(np.float64) - rows.mean(axis=-1, keepdims=True, dtype=np.float64)
    return centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + epsilon)


def _is_near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - wanted).max() <= _SAME_NORM * np.abs(wanted).max())
