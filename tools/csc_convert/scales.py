"""Chooses how every value of a graph is stored: the integers' type, scale, center, zero point.

A value is stored for what reads it:

* "stream": int16 with one scale, for residual adds, layernorms, means and outputs of the model;
* "gemm": int8, or int16 of 13 bits where the GEMM is wide, with a scale and a center per channel
  where the producer can make them, since the weights behind can undo them;
* "heads": int8 per channel, for attention.

A layernorm can write two of them; every other op writes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import blob_format as fmt
from .activations import FUNCTIONS
from .calibrate import Statistics
from .encoding import INT8_HIGH, INT8_LOW, Encoding, gemm_limits, int16
from .errors import UnsupportedModel
from .graph import Graph, Node, check
from .migrate import search_migration
from .reference import PRE_ACTIVATION
from .tables import Table, make_table, search_table_output

STREAM_HEADROOM = 1.5
OUTPUT_HEADROOM = 2.0
TABLE_HEADROOM = 1.05
STREAM, GEMM, HEADS = "stream", "gemm", "heads"


@dataclass
class Scales:
    """The choices for one graph.

    main: the encoding of each value's tensor.
    gemm: the encoding of the second output of a layernorm that has both forms.
    tables: the tables by the name of their linear node.
    """

    main: dict[str, Encoding] = field(default_factory=dict)
    gemm: dict[str, Encoding] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def of_gemm_input(self, value: str) -> Encoding:
        """Return the encoding a linear node reads."""
        return self.gemm.get(value, self.main[value])


class ScaleChooser:
    """Chooses scales; searches are done once for each value and width."""

    def __init__(self, graph: Graph, statistics: dict[str, Statistics]) -> None:
        """Prepare for one graph and its calibration."""
        self.graph = graph
        self.statistics = statistics
        self.shapes = check(graph, after="calibrate")
        self.roles = find_roles(graph)
        self._streams = _stream_ranges(graph, statistics, self.roles)
        self._memory: dict[tuple, object] = {}

    def choose(self, wide: set[str]) -> Scales:
        """Return the scales when the linear nodes in `wide` read int16."""
        scales = Scales()
        for node in self.graph.nodes:
            getattr(self, f"_{node.op}")(node, scales, wide)
        return scales

    # -- one method per op: sets the encodings of the node's output ------------------------------

    def _embed(self, node: Node, scales: Scales, _wide: set[str]) -> None:
        self._need_roles(node, {STREAM})
        scales.main[node.output] = int16(self._streams[node.output])

    def _add(self, node: Node, scales: Scales, _wide: set[str]) -> None:
        self._need_roles(node, {STREAM})
        scales.main[node.output] = int16(self._streams[node.output])

    def _layernorm(self, node: Node, scales: Scales, wide: set[str]) -> None:
        value, roles = node.output, self.roles[node.output]
        if STREAM in roles:
            least = float(np.abs(node.weights["gain"]).max()) / 2**9
            scales.main[value] = int16(max(self._streams[value], least))
        if GEMM in roles:
            form = scales.gemm if STREAM in roles else scales.main
            form[value] = self._migration(value, wide)

    def _linear(self, node: Node, scales: Scales, wide: set[str]) -> None:
        value, roles = node.output, self.roles[node.output]
        function = node.attributes.get("activation", "identity")
        if roles == {HEADS}:
            scales.main[value] = self._heads(value)
        elif roles == {STREAM}:
            scales.main[value] = int16(self._streams[value])
        elif roles == {GEMM} and function == "identity":
            scales.main[value] = self._migration(value, wide)
        elif roles == {GEMM}:
            is_wide = self._is_wide(value, wide)
            scales.main[value] = self._remember(self._table_output, value, is_wide)
        else:
            self._need_roles(node, set())
        if function != "identity":
            key = (node.name, float(scales.main[value].scale))
            scales.tables[node.name] = self._remember(self._table, *key, scales.main[value])

    def _attention(self, node: Node, scales: Scales, wide: set[str]) -> None:
        self._need_roles(node, {GEMM})
        value = node.output
        v, heads = self._part(node, "v", scales), node.attributes["heads"]
        dtype, low, high = gemm_limits(self._is_wide(value, wide))
        known = self.statistics[value]
        reach = np.maximum(known.high - v.center, v.center - known.low) / v.scale
        reach = np.maximum(reach.reshape(heads, -1).max(axis=1), 1.0)
        scale = v.scale * np.repeat(reach / high, node.attributes["head_dim"])
        scales.main[value] = Encoding(dtype, scale, low, high, 0, v.center)

    def _pool(self, node: Node, scales: Scales, wide: set[str]) -> None:
        source, roles = scales.main[node.inputs[0]], self.roles[node.output]
        if self.roles[node.inputs[0]] == {GEMM}:
            scales.main[node.output] = source
        elif GEMM in roles:
            largest = self.statistics[node.output].largest
            dtype, low, high = gemm_limits(self._is_wide(node.output, wide))
            scales.main[node.output] = Encoding(dtype, np.float64(largest / high), low, high)
        else:
            scales.main[node.output] = int16(self._streams[node.output])

    def _activation(self, node: Node, _scales: Scales, _wide: set[str]) -> None:
        raise UnsupportedModel(
            f"Node {node.name!r}: the activation {node.attributes['function']!r} does not follow a "
            "linear node of its own, which the blob format cannot express."
        )

    # -- searches --------------------------------------------------------------------------------

    def _remember(self, search: Callable, *key: object) -> Any:
        """Return the result of a search, done at most once for the same arguments."""
        place = (search.__name__, *key[:2])
        if place not in self._memory:
            self._memory[place] = search(*key)
        return self._memory[place]

    def _migration(self, value: str, wide: set[str]) -> Encoding:
        return self._remember(self._search_migration, value, self._is_wide(value, wide))

    def _search_migration(self, value: str, wide: bool) -> Encoding:
        known = self.statistics[value]
        weight = np.concatenate([n.weights["weight"] for n in self._readers(value)])
        importance = np.concatenate([self._importance(n) for n in self._readers(value)])
        return search_migration(
            known.sample, known.low, known.high, weight.astype(np.float64), importance, wide
        )

    def _importance(self, node: Node) -> np.ndarray:
        """Return the weight of each output's error: the parts q, k and v count alike."""
        known = self.statistics[
            node.output + PRE_ACTIVATION
            if node.output + PRE_ACTIVATION in self.statistics
            else node.output
        ]
        parts = 3 if self.roles[node.output] == {HEADS} else 1
        spread = np.square(known.high.astype(np.float64) - known.low).reshape(parts, -1)
        mean = np.maximum(spread.mean(axis=1, keepdims=True), 1e-20)
        return np.broadcast_to(1 / mean, spread.shape).reshape(-1)

    def _table_output(self, value: str, wide: bool) -> Encoding:
        known = self.statistics[value]
        weight = np.concatenate([n.weights["weight"] for n in self._readers(value)])
        return search_table_output(
            known.sample,
            float(known.low.min()),
            float(known.high.max()),
            weight.astype(np.float64),
            wide,
        )

    def _table(self, name: str, _scale: float, encoding: Encoding) -> Table:
        node = next(node for node in self.graph.nodes if node.name == name)
        known = self.statistics[node.output + PRE_ACTIVATION]
        low, high = float(known.low.min()), float(known.high.max())
        middle, half = (low + high) / 2, (high - low) / 2 * TABLE_HEADROOM
        return make_table(
            FUNCTIONS[node.attributes["activation"]],
            known.sample,
            middle - half,
            middle + half,
            encoding,
        )

    # -- attention -------------------------------------------------------------------------------

    def _heads(self, value: str) -> Encoding:
        """Per-channel encoding of all columns of a value that attentions read."""
        width = self.shapes[value].width
        scale, center = np.ones(width), np.zeros(width)
        for node in self.graph.consumers(value):
            for part, (columns, s, c) in self._attention_columns(node).items():
                if node.inputs["qkv".index(part)] == value:
                    scale[columns], center[columns] = s, c
        return Encoding(fmt.Dtype.INT8, scale, INT8_LOW, INT8_HIGH, 0, center)

    def _attention_columns(self, node: Node) -> dict[str, tuple[slice, np.ndarray, np.ndarray]]:
        """Columns, scale and center of q, k and v.

        Adding a constant to every key moves all scores of a row alike, which softmax ignores, and
        adding one to every value moves the context by as much: k and v can be centered freely.
        A channel's scale can be moved between q and k: their product must be the same for all
        channels of a head, and the range of both is used alike.
        """
        (qc, q_low, q_high), (kc, k_low, k_high), (vc, v_low, v_high) = (
            self._columns(node, part) for part in "qkv"
        )
        heads = node.attributes["heads"]
        q_reach = _floored(np.maximum(q_high, -q_low), heads)
        k_reach = _floored((k_high - k_low) / 2, heads)
        product = (q_reach * k_reach).reshape(heads, -1).max(axis=1) / INT8_HIGH**2
        product = np.repeat(product, node.attributes["head_dim"])
        v_scale = _floored((v_high - v_low) / 2, heads) / INT8_HIGH
        return {
            "q": (qc, np.sqrt(product * q_reach / k_reach), np.zeros_like(q_reach)),
            "k": (kc, np.sqrt(product * k_reach / q_reach), (k_high + k_low) / 2),
            "v": (vc, v_scale, (v_high + v_low) / 2),
        }

    def _columns(self, node: Node, part: str) -> tuple[slice, np.ndarray, np.ndarray]:
        """Return the columns of one operand and their lowest and highest values, float64."""
        start = node.attributes.get(f"{part}_column", 0)
        columns = slice(start, start + node.attributes["heads"] * node.attributes["head_dim"])
        known = self.statistics[node.inputs["qkv".index(part)]]
        low, high = (ends[columns].astype(np.float64) for ends in (known.low, known.high))
        return columns, low, high

    def _part(self, node: Node, part: str, scales: Scales) -> Encoding:
        """Return the encoding of one operand's columns."""
        columns, _, _ = self._columns(node, part)
        whole = scales.main[node.inputs["qkv".index(part)]]
        return Encoding(
            whole.dtype, whole.scale[columns], whole.low, whole.high, 0, whole.center[columns]
        )

    # -- who reads -------------------------------------------------------------------------------

    def _readers(self, value: str) -> list[Node]:
        """Return the linear nodes that read a value, also behind a pool."""
        readers = []
        for node in self.graph.consumers(value):
            readers += self._readers(node.output) if node.op == "pool" else [node]
        return [node for node in readers if node.op == "linear"]

    def _is_wide(self, value: str, wide: set[str]) -> bool:
        return any(node.name in wide for node in self._readers(value))

    def _need_roles(self, node: Node, allowed: set[str]) -> None:
        roles = self.roles[node.output]
        if not roles <= allowed:
            forms = " and ".join(sorted(roles))
            raise UnsupportedModel(
                f"Node {node.name!r} ({node.op}): its output is read as {forms}, which the "
                "converter cannot store in one tensor."
            )


def _floored(reach: np.ndarray, heads: int) -> np.ndarray:
    """Keep each channel's reach above a hundredth of its head's largest."""
    largest = reach.reshape(heads, -1).max(axis=1)
    floor = np.repeat(np.maximum(largest, 1e-6) / 100, len(reach) // heads)
    return np.maximum(reach, floor)


def find_roles(graph: Graph) -> dict[str, set[str]]:
    """For each value, the forms in which it is read."""
    roles: dict[str, set[str]] = {}
    for node in reversed(graph.nodes):
        value = node.output
        found = {STREAM} if value in graph.outputs else set()
        for reader in graph.consumers(value):
            if reader.op == "linear":
                found.add(GEMM)
            elif reader.op == "attention":
                found.add(HEADS)
            elif reader.op == "pool" and node.op == "attention":
                found |= roles[reader.output]
            else:
                found.add(STREAM)
        roles[value] = found
    return roles


def _stream_ranges(
    graph: Graph, statistics: dict[str, Statistics], roles: dict[str, set[str]]
) -> dict[str, float]:
    """Return the largest magnitude of each stream value, headroom included.

    Operands that only one add reads take the range of its sum, so that the add is a plain one.
    """
    ranges = {}
    for node in graph.nodes:
        headroom = OUTPUT_HEADROOM if node.output in graph.outputs else STREAM_HEADROOM
        ranges[node.output] = max(statistics[node.output].largest * headroom, 1e-6)
        if node.op == "embed":
            ranges[node.output] = _embed_bound(node)
    for node in graph.nodes:
        if node.op == "add":
            private = [name for name in node.inputs if _is_private(graph, name, node, roles)]
            largest = max(ranges[name] for name in [node.output, *private])
            ranges.update(dict.fromkeys([node.output, *private], largest))
    return ranges


def _is_private(graph: Graph, value: str, add: Node, roles: dict[str, set[str]]) -> bool:
    """Whether this add alone reads the stream form of a value that can be written at any scale."""
    producer = graph.producer(value)
    readers = [node for node in graph.consumers(value) if node.op != "linear"]
    return (
        producer is not None
        and producer.op in ("linear", "layernorm", "pool")
        and value not in graph.outputs
        and readers == [add]
        and STREAM in roles[value]
    )


def _embed_bound(node: Node) -> float:
    """Return the largest sum any ids can make."""
    return float(sum(np.abs(table).max(axis=0) for table in node.weights.values()).max()) or 1e-6
