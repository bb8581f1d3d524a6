"""An ONNX graph as plain lists: nodes in order, constants as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx


@dataclass(eq=False)
class Op:
    """One ONNX node; place: its number in the order of execution."""

    proto: onnx.NodeProto
    place: int

    @property
    def type(self) -> str:
        """The op type, with its domain where that is not ONNX's own."""
        domain = self.proto.domain
        return self.proto.op_type if domain in ("", "ai.onnx") else f"{domain}.{self.proto.op_type}"

    @property
    def name(self) -> str:
        """The node's name, or that of its first output."""
        return self.proto.name or self.proto.output[0]

    @cached_property
    def inputs(self) -> list[str]:
        """The names of the inputs; "" stands for one left out."""
        return list(self.proto.input)

    @cached_property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return list(self.proto.output)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes as Python values; text as str."""
        found = {a.name: onnx.helper.get_attribute_value(a) for a in self.proto.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


@dataclass(frozen=True)
class NetInput:
    """An input of the net; dims: None where any size goes; None as a whole if undeclared."""

    name: str
    dtype: np.dtype
    dims: tuple[int | None, ...] | None


@dataclass
class Net:
    """A whole ONNX graph.

    path: the file, for messages; digest: SHA-256 of the file and its external data;
    outputs: the values that are the outputs; output_names: what the file calls them;
    notes: sentences for the report.
    """

    path: str
    digest: str
    opset: int
    inputs: list[NetInput]
    outputs: list[str]
    output_names: list[str]
    ops: list[Op]
    constants: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def producers(self) -> dict[str, Op]:
        """The op that writes each value."""
        return {name: op for op in self.ops for name in op.outputs if name}

    @cached_property
    def readers(self) -> Counter[str]:
        """How many ops read each value."""
        return Counter(name for op in self.ops for name in op.inputs)

    @cached_property
    def fixed(self) -> set[str]:
        """The values that are made of constants alone."""
        found = set(self.constants)
        for op in self.ops:
            if found.issuperset(filter(None, op.inputs)):
                found.update(op.outputs)
        return found
