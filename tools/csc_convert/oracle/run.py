"""Executes a blob on one sequence with the oracle's ops.

Tensors live in a dict by tensor number, not in an arena, so that an arena planning
mistake cannot be mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import ops
from .blob import KEYS_CONTEXT, OPTIONAL, Blob, Entry, Op, OracleError, Tensor, read_blob

Array = npt.NDArray[np.integer]
Values = dict[int, Array]


@dataclass
class Step:
    """One run: the position of its first token, its length, and its tensors by number."""

    position: int
    length: int
    values: Values


class Session:
    """A blob with its states and the position of the next token (section 1.7)."""

    def __init__(self, blob: bytes | Blob) -> None:
        """Start at position 0, states reset."""
        self.blob = blob if isinstance(blob, Blob) else read_blob(blob)
        self.position = 0
        self.states: Values = {}
        self.reset()

    def reset(self) -> None:
        """Go back to position 0, all states to their default."""
        self.position = 0
        self.states = fresh_states(self.blob)

    def run(
        self, entry: str | None, inputs: Mapping[str, npt.ArrayLike], trace: bool = False
    ) -> dict[str, Array]:
        """Run an entry at the position, which goes on by the length of the run; see `run`."""
        step = take_step(self.blob, self.blob.entry(entry), inputs, self.position, self.states)
        outputs = execute(self.blob, self.blob.entry(entry), step, trace)
        self.states = {t.index: step.values[t.index] for t in self.blob.states}
        self.position += step.length
        return outputs


def run(
    blob: bytes | Blob,
    inputs: Mapping[str, npt.ArrayLike],
    trace: bool = False,
    entry: str | None = None,
    position: int = 0,
) -> dict[str, Array]:
    """Run the ops of a blob for one sequence of length T, or those of one of its entries.

    ``inputs``: integer arrays by input name, [T] or as their records say; optional inputs
    may be missing.  Returns the outputs by name: the raw integers in the dtype of the
    record, true columns only, T rows where the tensor is dynamic, rank as in the record.
    With ``trace`` every tensor any op gives a value to (the last one where there are
    several); scratch is no such tensor.  States are fresh; `Session` keeps them.
    """
    if not isinstance(blob, Blob):
        blob = read_blob(blob)
    chosen = blob.entry(entry)
    return execute(
        blob, chosen, take_step(blob, chosen, inputs, position, fresh_states(blob)), trace
    )


def fresh_states(blob: Blob) -> Values:
    """Return every state filled with its default."""
    return {t.index: np.full(t.shape, t.default_value, t.dtype) for t in blob.states}


def take_step(
    blob: Blob,
    entry: Entry | None,
    inputs: Mapping[str, npt.ArrayLike],
    position: int,
    states: Values,
) -> Step:
    """Return a run with its inputs and states, its length and position being checked."""
    if entry is None:
        values = take_inputs(blob.inputs, inputs, blob.max_length)
    else:
        values = take_inputs(entry.inputs, inputs, entry.max_length)
    length = next((len(v) for i, v in values.items() if blob.tensors[i].dynamic), 1)
    if not 0 <= position <= max(blob.context - length, 0):
        raise OracleError(f"position {position} and {length} tokens exceed {blob.context}")
    return Step(position, length, {**values, **states})


def execute(blob: Blob, entry: Entry | None, step: Step, trace: bool) -> dict[str, Array]:
    """Run ops, return the outputs by name (see `run`)."""
    written: dict[str, Array] = {}
    for op in blob.ops if entry is None else entry.ops:
        results = run_op(op, step)
        for tensor, result in zip(op.outputs, results, strict=True):
            step.values[tensor.index] = result
            written[tensor.name] = result
    if trace:
        return written
    outputs = blob.outputs if entry is None else entry.outputs
    return {tensor.name: step.values[tensor.index] for tensor in outputs}


def take_inputs(
    tensors: list[Tensor], inputs: Mapping[str, npt.ArrayLike], max_length: int
) -> Values:
    """Return the inputs by tensor number, in the dtype and shape of their records."""
    names = {tensor.name for tensor in tensors}
    unknown = set(inputs) - names
    if unknown:
        raise OracleError(f"unknown input '{min(unknown)}'; inputs are {sorted(names)}")
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    dynamic = {t.name for t in tensors if t.dynamic}
    length = 1
    if dynamic:
        length = common_length({n: a for n, a in arrays.items() if n in dynamic}, max_length)
    return {t.index: take_input(t, arrays.get(t.name), length) for t in tensors}


def common_length(arrays: dict[str, Array], max_length: int) -> int:
    """T, the one length all given dynamic inputs have."""
    lengths = {array.shape[0] if array.ndim else None for array in arrays.values()}
    if len(lengths) != 1 or None in lengths:
        raise OracleError(f"inputs must have one length, not {lengths}")
    length = lengths.pop()
    assert length is not None
    if not 1 <= length <= max_length:
        raise OracleError(f"length {length} is not in 1..{max_length}")
    return length


def take_input(tensor: Tensor, array: Array | None, length: int) -> Array:
    """One input in the shape of its record, its default where it is left out."""
    shape = (length, *tensor.shape[1:]) if tensor.dynamic else tensor.shape
    if array is None:
        if not tensor.flags & OPTIONAL:
            raise OracleError(f"input '{tensor.name}' is missing")
        return np.full(shape, tensor.default_value, tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    if array.dtype.kind not in "iu" or array.min() < limits.min or array.max() > limits.max:
        raise OracleError(f"input '{tensor.name}' does not hold {tensor.dtype}")
    if array.shape != shape:
        raise OracleError(f"input '{tensor.name}' has shape {array.shape}, not {shape}")
    return array.astype(tensor.dtype)


def run_op(op: Op, step: Step) -> list[Array]:
    """Return the outputs of one op, in the order of its operands."""
    operands = {name: operand_value(tensor, step.values) for name, tensor in op.operands.items()}
    return RUNNERS[op.kind](op, operands, step)


def operand_value(tensor: Tensor | None, values: Values) -> Array | None:
    """Return the elements of an operand; None where it is absent or has none (outputs)."""
    if tensor is None:
        return None
    return values.get(tensor.index) if tensor.in_arena else tensor.data


def run_embed(op: Op, x: dict[str, Array], step: Step) -> list[Array]:
    """3.1, with the check of ids and types."""
    for t in range(len(x["ids"])):
        for ids, table in (("ids", "word"), ("types", "type")):
            if x[ids] is not None and not 0 <= x[ids][t] < len(x[table]):
                raise OracleError(f"{op.place}: {ids}[{t}] = {x[ids][t]} is no row of {table}")
    names = ("ids", "types", "word", "word_multiplier", "position", "type")
    first = step.position if op.params["positions"] else 0
    return [ops.embed(*(x[name] for name in names), op.params["shift"], first)]


def run_layernorm(op: Op, x: dict[str, Array], _: Step) -> list[Array]:
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


def run_gemm(op: Op, x: dict[str, Array], _: Step) -> list[Array]:
    """3.3."""
    p, out = op.params, op.operands["out"]
    limits = (p["zero_point"], p["clamp_low"], p["clamp_high"])
    tensors = (x["x"], x["weights"], x["requant"], x["table"])
    return [ops.gemm(*tensors, out.dims[1], *limits, out.dtype)]


def run_attention(op: Op, x: dict[str, Array], step: Step) -> list[Array]:
    """3.4."""
    in_context = op.params["keys"] == KEYS_CONTEXT
    keys = step.position + step.length if in_context else len(x["k"])
    tensors = (x["q"], x["k"][:keys], x["v"][:keys], x["mask"], x["head_requant"])
    names = ("heads", "head_dim", "q_column", "k_column", "v_column", "zero_point")
    params = (op.params[name] for name in names)
    own = step.position if in_context else 0
    first = own if op.params["causal"] else None
    return [ops.attention(*tensors, *params, op.operands["out"].dtype, first)]


def run_add(op: Op, x: dict[str, Array], _: Step) -> list[Array]:
    """3.5."""
    p = op.params
    return [ops.add(x["a"], x["b"], p["multiplier_a"], p["multiplier_b"], p["shift"])]


def run_pool(op: Op, x: dict[str, Array], _: Step) -> list[Array]:
    """3.6."""
    p = op.params
    names = ("multiplier", "shift", "zero_point_in", "zero_point")
    params = (p[name] for name in names)
    return [ops.pool(x["x"], x["mask"], p["mode"], *params, op.operands["out"].dtype)]


def run_append(op: Op, x: dict[str, Array], step: Step) -> list[Array]:
    """3.7."""
    return [ops.append(x["x"], x["state"], op.params["column"], step.position)]


RUNNERS = {
    "EMBED": run_embed,
    "LAYERNORM": run_layernorm,
    "GEMM": run_gemm,
    "ATTENTION": run_attention,
    "ADD": run_add,
    "POOL": run_pool,
    "APPEND": run_append,
}
