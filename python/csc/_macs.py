"""How much an op asks for, whoever computes it."""

from __future__ import annotations

from csc.blob import OpInfo, TensorInfo


def macs_of(op: OpInfo, tensors: list[TensorInfo], length: int) -> int:
    """Return the multiplications an op's definition asks for in a run of `length`."""

    def shape(operand: str) -> list[int]:
        dims = tensors[op.operands[operand]].shape
        return [length if dim is None else dim for dim in dims]

    if op.kind == "GEMM":
        rows, depth = shape("x")
        return rows * depth * shape("out")[1]
    if op.kind == "ATTENTION":
        return 2 * shape("q")[0] * shape("k")[0] * op.params["heads"] * op.params["head_dim"]
    return 0
