"""The converter's one form of a float model, and the rules every graph keeps.

A graph is a list of nodes in the order of execution.  Values are named; each is written by one
node, or is an input.  Batches are no part of the form: a value has the shape of one sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .activations import FUNCTIONS
from .errors import GraphError


@dataclass(frozen=True)
class Input:
    """An input of the model: one number per token.

    kind: "ids" (int32 row numbers) or "mask" (uint8, a token is visible where it is not 0).  A mask
    that no node reads is no input of the blob; it tells which tokens of calibration data count.
    default: the value of an input that is left out; None where it must be given.
    """

    name: str
    kind: str
    default: int | None = None


@dataclass
class Node:
    """One operation; `name` is unique, weights are float32 arrays."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The name of the first output."""
        return self.outputs[0]


@dataclass
class Graph:
    """A model: its inputs, its nodes in order, the names of its outputs, and facts about it."""

    inputs: list[Input]
    nodes: list[Node]
    outputs: list[str]
    metadata: dict = field(default_factory=dict)

    @property
    def generates(self) -> bool:
        """Whether the model tells the next token: its blob has entries, positions and states."""
        return "context" in self.metadata

    def consumers(self, value: str) -> list[Node]:
        """Return the nodes that read a value, in order."""
        return [node for node in self.nodes if value in node.inputs]

    def producer(self, value: str) -> Node | None:
        """Return the node that writes a value; None for an input."""
        return next((node for node in self.nodes if value in node.outputs), None)


class Shape(NamedTuple):
    """What a value is: kind "ids", "mask" or "rows"; tokens: one row per token, else one row."""

    kind: str
    tokens: bool
    width: int


@dataclass(frozen=True)
class _Rule:
    """What a node of one op looks like.

    inputs: the kinds of the inputs; those from `optional_from` on may be left out.
    weights: the rank of each weight; names with "?" may be left out.
    attributes: the type of each attribute; names with "?" may be left out.
    shape: the shape of the output; raises _Broken.
    """

    inputs: tuple[str, ...]
    optional_from: int
    weights: dict[str, int]
    attributes: dict[str, type]
    shape: Callable[[Node, list[Shape]], Shape]


class _Broken(Exception):  # noqa: N818
    """A rule is broken; the text is the rule and what stands against it."""


def _need(condition: bool, text: str) -> None:
    if not condition:
        raise _Broken(text)


def _embed_shape(node: Node, inputs: list[Shape]) -> Shape:
    width = node.weights["word"].shape[1]
    for name, table in node.weights.items():
        _need(table.shape[1] == width, f"table {name} is {table.shape[1]} wide, word is {width}")
    _need(("type" in node.weights) == (len(inputs) == 2), "table type and input types go together")
    return Shape("rows", True, width)


def _linear_shape(node: Node, inputs: list[Shape]) -> Shape:
    rows, width = node.weights["weight"].shape
    _need(inputs[0].width == width, f"weight takes {width} inputs, the value has {inputs[0].width}")
    bias = node.weights.get("bias")
    _need(bias is None or len(bias) == rows, f"bias must have {rows} elements")
    function = node.attributes.get("activation", "identity")
    _need(function in FUNCTIONS, f"activation {function!r} is unknown")
    return Shape("rows", inputs[0].tokens, rows)


def _layernorm_shape(node: Node, inputs: list[Shape]) -> Shape:
    for name in ("gain", "offset"):
        found = len(node.weights[name])
        _need(found == inputs[0].width, f"{name} has {found} elements, the value {inputs[0].width}")
    _need(node.attributes["epsilon"] > 0, "epsilon must be positive")
    return inputs[0]


def _attention_shape(node: Node, inputs: list[Shape]) -> Shape:
    heads, head_dim = node.attributes["heads"], node.attributes["head_dim"]
    _need(heads >= 1 and head_dim >= 1, "heads and head_dim must be positive")
    for name, value in zip("qkv", inputs, strict=False):
        column = node.attributes.get(f"{name}_column", 0)
        _need(value.tokens, f"{name} must have one row per token")
        _need(
            0 <= column <= value.width - heads * head_dim,
            f"columns {column} to {column + heads * head_dim} of {name} leave its "
            f"{value.width} columns",
        )
    return Shape("rows", True, heads * head_dim)


def _activation_shape(node: Node, inputs: list[Shape]) -> Shape:
    function = node.attributes["function"]
    _need(function in FUNCTIONS, f"activation {function!r} is unknown")
    return inputs[0]


def _add_shape(_node: Node, inputs: list[Shape]) -> Shape:
    _need(inputs[0] == inputs[1], f"operands differ: {inputs[0]} and {inputs[1]}")
    return inputs[0]


def _pool_shape(node: Node, inputs: list[Shape]) -> Shape:
    mode = node.attributes["mode"]
    _need(mode in ("first", "mean", "last"), f"mode {mode!r} is unknown")
    _need(inputs[0].tokens, "the operand must have one row per token")
    _need(mode == "mean" or len(inputs) == 1, f"mode {mode} takes no mask")
    return Shape("rows", False, inputs[0].width)


RULES: dict[str, _Rule] = {
    "embed": _Rule(("ids", "ids"), 1, {"word": 2, "position": 2, "type?": 2}, {}, _embed_shape),
    "linear": _Rule(("rows",), 1, {"weight": 2, "bias?": 1}, {"activation?": str}, _linear_shape),
    "layernorm": _Rule(
        ("rows",), 1, {"gain": 1, "offset": 1}, {"epsilon": float}, _layernorm_shape
    ),
    "attention": _Rule(
        ("rows", "rows", "rows", "mask"),
        3,
        {},
        {
            **{"heads": int, "head_dim": int, "causal?": bool},
            **{"q_column?": int, "k_column?": int, "v_column?": int},
        },
        _attention_shape,
    ),
    "activation": _Rule(("rows",), 1, {}, {"function": str}, _activation_shape),
    "add": _Rule(("rows", "rows"), 2, {}, {}, _add_shape),
    "pool": _Rule(("rows", "mask"), 1, {}, {"mode": str}, _pool_shape),
}


def _check_names(kind: str, found: dict, allowed: dict) -> None:
    """Every name found is allowed, every name without "?" is found."""
    for name in found:
        _need(name in allowed or f"{name}?" in allowed, f"{kind} {name!r} does not belong here")
    for name in allowed:
        _need(name.endswith("?") or name in found, f"{kind} {name!r} is missing")


def _check_weights(node: Node, rule: _Rule) -> None:
    _check_names("weight", node.weights, rule.weights)
    for name, array in node.weights.items():
        rank = rule.weights.get(name) or rule.weights[f"{name}?"]
        _need(array.ndim == rank, f"weight {name!r} must have rank {rank}, not {array.ndim}")
        _need(array.dtype == np.float32, f"weight {name!r} must be float32, not {array.dtype}")
        _need(array.size > 0, f"weight {name!r} is empty")
        _need(bool(np.isfinite(array).all()), f"weight {name!r} must be finite")


def _check_attributes(node: Node, rule: _Rule) -> None:
    _check_names("attribute", node.attributes, rule.attributes)
    for name, value in node.attributes.items():
        kind = rule.attributes.get(name) or rule.attributes[f"{name}?"]
        _need(isinstance(value, kind), f"attribute {name!r} must be {kind.__name__}")


def _check_inputs(node: Node, rule: _Rule, values: dict[str, Shape]) -> list[Shape]:
    least, most = rule.optional_from, len(rule.inputs)
    _need(least <= len(node.inputs) <= most, f"takes {least} to {most} inputs")
    for name, kind in zip(node.inputs, rule.inputs, strict=False):
        _need(name in values, f"input {name!r} is not defined before")
        _need(values[name].kind == kind, f"input {name!r} must be {kind}, not {values[name].kind}")
    return [values[name] for name in node.inputs]


def _check_node(node: Node, values: dict[str, Shape]) -> None:
    """Check one node and add its output to `values`."""
    rule = RULES.get(node.op)
    if rule is None:
        raise _Broken(f"op {node.op!r} is unknown")
    _need(len(node.outputs) == 1, "has exactly one output")
    _need(node.output not in values, f"output {node.output!r} is defined twice")
    inputs = _check_inputs(node, rule, values)
    _check_weights(node, rule)
    _check_attributes(node, rule)
    values[node.output] = rule.shape(node, inputs)


def check(graph: Graph, after: str) -> dict[str, Shape]:
    """Check all rules; `after` is the pass that made the graph.  Returns the shape of each value.

    Raises GraphError naming the pass, the node and the rule.
    """
    values = {item.name: Shape(item.kind, True, 1) for item in graph.inputs}
    if len(values) != len(graph.inputs):
        raise GraphError(f"After {after}: two inputs of the graph have the same name.")
    names: set[str] = set()
    for node in graph.nodes:
        try:
            _need(node.name not in names, "its name is taken by another node")
            names.add(node.name)
            _check_node(node, values)
        except _Broken as broken:
            raise GraphError(f"After {after}: node {node.name!r} ({node.op}): {broken}.") from None
    for name in graph.outputs:
        if values.get(name, Shape("", False, 0)).kind != "rows":
            raise GraphError(f"After {after}: graph output {name!r} is written by no node.")
    return values
