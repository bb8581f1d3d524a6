"""Activation functions by name, on NumPy arrays of any shape.

Every function keeps the dtype of its argument (float32 or float64) and is a pure function of one
number, so that the quantizer can write it as a table.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]

# erf(x) = x * P(x^2) / Q(x^2) on |x| <= 4, fitted with the largest relative error 2.5e-8.
_ERF_P = (
    1.1283791065216064,
    0.19354499876499176,
    0.05310174077749252,
    0.0038833424914628267,
    0.0002845660492312163,
    1.9867850369337248e-06,
)
_ERF_Q = (
    1.0,
    0.5048573613166809,
    0.11534997820854187,
    0.01520724780857563,
    0.0011855711927637458,
    3.742020999197848e-05,
)


def _polynomial(coefficients: tuple[float, ...], z: np.ndarray) -> np.ndarray:
    """Sum of coefficients[i] * z^i, without a temporary array per term."""
    total = np.full_like(z, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total *= z
        total += z.dtype.type(coefficient)
    return total


def erf(x: np.ndarray) -> np.ndarray:
    """Error function with an absolute error below 5e-7 (1e-7 in float64)."""
    x = np.clip(x, -4, 4)
    z = x * x
    result = _polynomial(_ERF_P, z)
    result *= x
    result /= _polynomial(_ERF_Q, z)
    return result


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), by tanh, which cannot overflow."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x times the normal distribution function, in its exact form."""
    result = erf(x * x.dtype.type(sqrt(0.5)))
    result += 1
    result *= x
    result *= 0.5
    return result


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """GELU in its tanh form."""
    return 0.5 * x * (1 + np.tanh(x.dtype.type(sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x)."""
    return np.logaddexp(x, x.dtype.type(0))


def _selu(x: np.ndarray) -> np.ndarray:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


FUNCTIONS: dict[str, Function] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.where(x > 0, x, x.dtype.type(0.01) * x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "quick_gelu": lambda x: x * sigmoid(x.dtype.type(1.702) * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.square(np.maximum(x, 0)),
    "relu6": lambda x: np.clip(x, 0, 6),
    "selu": _selu,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
}
