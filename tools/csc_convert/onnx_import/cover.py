"""Covers a net with nodes of the float graph, from the outputs to the inputs."""

from __future__ import annotations

import numpy as np

from ..errors import BadCheckpoint, UnsupportedModel
from ..graph import Graph, Input, Node
from .attention import BETWEEN, attention
from .embedding import embed
from .net import Net, Op
from .pooling import OF_MEAN, first, mean, unnormalized
from .probes import Probes
from .rows import OF_LAYERNORM, POINTWISE, activation, add, layernorm, linear
from .rules import Match, Rule
from .trace import MOVES, rows_of

IDS, TYPES, MASK = "input_ids", "token_type_ids", "attention_mask"

RULES: tuple[Rule, ...] = (embed, linear, attention, first, mean, layernorm, activation, add)
# Ops that rules know how to read; others are never part of the model itself.
KNOWN = {*MOVES, *POINTWISE, *OF_LAYERNORM, *BETWEEN, *OF_MEAN, "Gemm", "MatMul"}


def to_graph(net: Net) -> Graph:
    """Return the float graph of a net.  Raises UnsupportedModel."""
    return _Cover(net).graph()


class _Cover:
    """Builds the graph of one net."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.probes = Probes(net)
        self.names: dict[str, str] = {}
        self.nodes: list[Node] = []
        self.notes = list(net.notes)
        self.refused: dict[str, Op] = {}
        self.mask_needed = False

    def graph(self) -> Graph:
        """Return the whole graph."""
        outputs = self._outputs()
        for value in outputs:
            self._cover(value)
        if self.refused:
            raise UnsupportedModel(self._refusal())
        metadata = {"architecture": "ONNX", "source": f"onnx sha256 {self.net.digest}"}
        positions = [len(node.weights["position"]) for node in self.nodes if node.op == "embed"]
        tokens = self.probes.fixed(1)
        if positions:
            metadata["max_positions"] = min([*positions, *([tokens] if tokens else [])])
        if self.notes:
            metadata["notes"] = self.notes
        return Graph(self._inputs(), self.nodes, list(outputs.values()), metadata)

    def _outputs(self) -> dict[str, str]:
        """Return the values that are the graph's outputs, with the names of the outputs."""
        found: dict[str, str] = {}
        for value, name in zip(self.net.outputs, self.net.output_names, strict=True):
            value = rows_of(self.probes, value)
            if not self.probes.is_main(value):
                raise UnsupportedModel(
                    f"{self.net.path}: output {name!r} does not depend on the ids."
                )
            before = unnormalized(self.probes, value)
            if before is not None:
                value = rows_of(self.probes, before)
                self.notes.append(
                    f"The model divides each row of {name!r} by its length; the blob does not: "
                    "divide its output, or compare by cosine."
                )
            if value in found:
                raise UnsupportedModel(
                    f"{self.net.path}: outputs {found[value]!r} and {name!r} are the same value; "
                    "export the model with one of them."
                )
            found[value] = name
        self.names = dict(found)
        return found

    def _cover(self, value: str) -> str:
        """Make the nodes that compute a value; returns its name in the graph."""
        value = rows_of(self.probes, value)
        done = {node.output for node in self.nodes}
        if self.names.get(value) in done:
            return self.names[value]
        op = self.net.producers.get(value)
        match = op and next((m for rule in RULES if (m := rule(self.probes, value, op))), None)
        if match:
            return self._add(value, match)
        if op is not None and op.outputs[0] not in self.refused:
            self.refused[op.outputs[0]] = op
            for name in op.inputs:
                if name and self.probes.is_main(name):
                    self._cover(name)
        return value

    def _add(self, value: str, match: Match) -> str:
        """Make the node of a match; returns the name of its output."""
        for array in match.weights.values():
            if not np.isfinite(array).all():
                raise BadCheckpoint(
                    f"{self.net.path}: the weights of {match.name!r} hold infinite numbers or NaN; "
                    "they must be finite."
                )
        inputs = self._inputs_of(match)
        if value not in self.names:
            self.names[value] = self._free_name(match.name)
        name = self.names[value]
        self.nodes.append(Node(match.op, name, inputs, [name], match.attributes, match.weights))
        return name

    def _inputs_of(self, match: Match) -> list[str]:
        """Return the names of a node's inputs, whose nodes are made first."""
        if match.op == "embed":
            return [
                self.probes.inputs.ids or IDS,
                *([self._types()] if "type" in match.weights else []),
            ]
        inputs = [self._cover(value) for value in match.inputs]
        self.mask_needed |= match.mask
        return [*inputs, self._mask()] if match.mask else inputs

    def _types(self) -> str:
        return self.probes.inputs.types or TYPES

    def _mask(self) -> str:
        return self.probes.inputs.mask or MASK

    def _free_name(self, name: str) -> str:
        """Return a name that no other value has: this one, or with a number behind."""
        taken = {*self.names.values(), *(item.name for item in self.net.inputs), TYPES, MASK}
        number, free = 2, name
        while free in taken:
            number, free = number + 1, f"{name}.{number}"
        return free

    def _inputs(self) -> list[Input]:
        """Return the graph's inputs; types and mask are there even if the file leaves them out."""
        read = {name for node in self.nodes for name in node.inputs}
        inputs = [Input(self.probes.inputs.ids or IDS, "ids")]
        if self._types() in read:
            inputs.append(Input(self._types(), "ids", 0))
        if self.probes.inputs.mask or self.mask_needed:
            inputs.append(Input(self._mask(), "mask", 1))
        return inputs

    def _refusal(self) -> str:
        """Return the sentence that names all nodes that cannot be taken."""
        ops = sorted(self.refused.values(), key=lambda op: op.place)
        unknown = [op for op in ops if op.type not in KNOWN]
        what = "of types that are not supported" if unknown else "that fit no pattern"
        named = ", ".join(f"{op.name} ({op.type})" for op in unknown or ops)
        return f"{self.net.path}: there are nodes {what}: {named}."
