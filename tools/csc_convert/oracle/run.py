"""Executes a blob on one sequence with the oracle's ops.

Tensors live in a dict by tensor number, not in an arena, so that an arena planning
mistake cannot be mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from . import ops
from .blob import OPTIONAL, Blob, Op, OracleError, Tensor, read_blob

Array = npt.NDArray[np.integer]
Values = dict[int, Array]


def run(
    blob: bytes | Blob, inputs: Mapping[str, npt.ArrayLike], trace: bool = False
) -> dict[str, Array]:
    """Run all ops of a blob for one sequence of length T.

    ``inputs``: one-dimensional integer arrays of length T by input name; optional inputs
    may be missing.  Returns the outputs by name: the raw integers in the dtype of the
    record, true columns only, T rows where the tensor is dynamic, rank as in the record.
    With ``trace`` every tensor any op gives a value to (the last one where there are
    several); scratch is no such tensor.
    """
    if not isinstance(blob, Blob):
        blob = read_blob(blob)
    values = take_inputs(blob, inputs)
    written: dict[str, Array] = {}
    for op in blob.ops:
        results = run_op(op, values)
        for tensor, result in zip(op.outputs, results, strict=True):
            values[tensor.index] = result
            written[tensor.name] = result
    if trace:
        return written
    return {tensor.name: values[tensor.index] for tensor in blob.outputs}


def take_inputs(blob: Blob, inputs: Mapping[str, npt.ArrayLike]) -> Values:
    """Return the inputs by tensor number: each [T] in the dtype of its record."""
    names = {tensor.name for tensor in blob.inputs}
    unknown = set(inputs) - names
    if unknown:
        raise OracleError(f"unknown input '{min(unknown)}'; inputs are {sorted(names)}")
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    length = common_length(arrays, blob.max_length)
    return {t.index: take_input(t, arrays.get(t.name), length) for t in blob.inputs}


def common_length(arrays: dict[str, Array], max_length: int) -> int:
    """T, the one length all given inputs have."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise OracleError(f"inputs must be one-dimensional and of one length, not {shapes}")
    length = next(iter(shapes))[0]
    if not 1 <= length <= max_length:
        raise OracleError(f"length {length} is not in 1..{max_length}")
    return length


def take_input(tensor: Tensor, array: Array | None, length: int) -> Array:
    """One input [T], its default where it is left out."""
    if array is None:
        if not tensor.flags & OPTIONAL:
            raise OracleError(f"input '{tensor.name}' is missing")
        return np.full(length, tensor.default_value, tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    if array.dtype.kind not in "iu" or array.min() < limits.min or array.max() > limits.max:
        raise OracleError(f"input '{tensor.name}' does not hold {tensor.dtype}")
    return array.astype(tensor.dtype)


def run_op(op: Op, values: Values) -> list[Array]:
    """Return the outputs of one op, in the order of its operands."""
    operands = {name: operand_value(tensor, values) for name, tensor in op.operands.items()}
    return RUNNERS[op.kind](op, operands)


def operand_value(tensor: Tensor | None, values: Values) -> Array | None:
    """Return the elements of an operand; None where it is absent or has none (outputs)."""
    if tensor is None:
        return None
    return values.get(tensor.index) if tensor.in_arena else tensor.data


def run_embed(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.1, with the check of ids and types."""
    for t in range(len(x["ids"])):
        for ids, table in (("ids", "word"), ("types", "type")):
            if x[ids] is not None and not 0 <= x[ids][t] < len(x[table]):
                raise OracleError(f"{op.place}: {ids}[{t}] = {x[ids][t]} is no row of {table}")
    names = ("ids", "types", "word", "word_multiplier", "position", "type")
    return [ops.embed(*(x[name] for name in names), op.params["shift"])]


def run_layernorm(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.2, one or two outputs."""
    p = op.params
    epsilon = (p["epsilon_low"] & 0xFFFFFFFF) + 2**32 * p["epsilon_high"]
    results = []
    for letter in "ab":
        out = op.operands[f"out_{letter}"]
        if out is not None:
            shift, zero_point = p[f"shift_{letter}"], p[f"zero_point_{letter}"]
            affine = x[f"affine_{letter}"]
            results.append(ops.layernorm(x["x"], affine, epsilon, shift, zero_point, out.dtype))
    return results


def run_gemm(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.3."""
    p, out = op.params, op.operands["out"]
    limits = (p["zero_point"], p["clamp_low"], p["clamp_high"])
    tensors = (x["x"], x["weights"], x["requant"], x["table"])
    return [ops.gemm(*tensors, out.dims[1], *limits, out.dtype)]


def run_attention(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.4."""
    tensors = (x["q"], x["k"], x["v"], x["mask"], x["head_requant"])
    names = ("heads", "head_dim", "q_column", "k_column", "v_column", "zero_point")
    params = (op.params[name] for name in names)
    return [ops.attention(*tensors, *params, op.operands["out"].dtype)]


def run_add(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.5."""
    p = op.params
    return [ops.add(x["a"], x["b"], p["multiplier_a"], p["multiplier_b"], p["shift"])]


def run_pool(op: Op, x: dict[str, Array]) -> list[Array]:
    """3.6."""
    p = op.params
    names = ("multiplier", "shift", "zero_point_in", "zero_point")
    params = (p[name] for name in names)
    return [ops.pool(x["x"], x["mask"], p["mode"] == 1, *params, op.operands["out"].dtype)]


RUNNERS = {
    "EMBED": run_embed,
    "LAYERNORM": run_layernorm,
    "GEMM": run_gemm,
    "ATTENTION": run_attention,
    "ADD": run_add,
    "POOL": run_pool,
}
