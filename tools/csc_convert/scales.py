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

from .activations import FUNCTIONS
from .calibrate import Statistics
from .encoding import Encoding, gemm_headroom, gemm_limits, int16
from .errors import UnsupportedModel
from .graph import Graph, Node, check
from .heads import context_encoding, heads_encoding
from .migrate import search_migration
from .reference import PRE_ACTIVATION
from .tables import Table, make_table, search_table_output

STREAM_HEADROOM = 1.5
OUTPUT_HEADROOM = 2.0
TABLE_MARGIN = 0.025
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
            # Below this range the gain would exceed its limit at the smallest shift.
            least = float(np.abs(node.weights["gain"]).max()) / 2**9
            scales.main[value] = int16(max(self._streams[value], least))
        if GEMM in roles:
            form = scales.gemm if STREAM in roles else scales.main
            form[value] = self._migration(value, wide)

    def _linear(self, node: Node, scales: Scales, wide: set[str]) -> None:
        value, roles = node.output, self.roles[node.output]
        function = node.attributes.get("activation", "identity")
        if roles == {HEADS}:
            width = self.shapes[value].width
            scales.main[value] = heads_encoding(self.graph, value, width, self.statistics)
        elif roles == {STREAM}:
            scales.main[value] = int16(self._streams[value])
        elif roles == {GEMM} and function == "identity":
            scales.main[value] = self._migration(value, wide)
        elif roles == {GEMM}:
            scales.main[value] = self._table_output(value, wide)
        else:
            self._need_roles(node, set())
        if function != "identity":
            scales.tables[node.name] = self._table(node, scales.main[value])

    def _attention(self, node: Node, scales: Scales, wide: set[str]) -> None:
        self._need_roles(node, {GEMM})
        is_wide = self._is_wide(node.output, wide)
        scales.main[node.output] = context_encoding(
            node, scales.main[node.inputs[2]], self.statistics, is_wide
        )

    def _pool(self, node: Node, scales: Scales, wide: set[str]) -> None:
        source, roles = scales.main[node.inputs[0]], self.roles[node.output]
        if _keeps_form(self.graph.producer(node.inputs[0]), node):
            scales.main[node.output] = source
        elif GEMM in roles:
            is_wide = self._is_wide(node.output, wide)
            largest = max(self.statistics[node.output].largest, 1e-6) * gemm_headroom(is_wide)
            dtype, low, high = gemm_limits(is_wide)
            scales.main[node.output] = Encoding(dtype, np.float64(largest / high), low, high)
        else:
            scales.main[node.output] = int16(self._streams[node.output])

    def _activation(self, node: Node, _scales: Scales, _wide: set[str]) -> None:
        raise UnsupportedModel(
            f"Node {node.name!r}: the activation {node.attributes['function']!r} does not follow a "
            "linear node of its own, which the blob format cannot express."
        )

    # -- searches --------------------------------------------------------------------------------

    def _remember(self, key: tuple, search: Callable[[], Any]) -> Any:
        """Return the result of a search, done at most once for each key."""
        if key not in self._memory:
            self._memory[key] = search()
        return self._memory[key]

    def _migration(self, value: str, wide: set[str]) -> Encoding:
        is_wide, known = self._is_wide(value, wide), self.statistics[value]

        def search() -> Encoding:
            importance = np.concatenate([self._importance(node) for node in self._readers(value)])
            weight = self._weight_behind(value)
            return search_migration(
                known.sample, known.low, known.high, weight, importance, is_wide
            )

        return self._remember((value, is_wide), search)

    def _table_output(self, value: str, wide: set[str]) -> Encoding:
        is_wide, known = self._is_wide(value, wide), self.statistics[value]

        def search() -> Encoding:
            low, high = float(known.low.min()), float(known.high.max())
            return search_table_output(known.sample, low, high, self._weight_behind(value), is_wide)

        return self._remember((value, is_wide), search)

    def _table(self, node: Node, encoding: Encoding) -> Table:
        known = self.statistics[node.output + PRE_ACTIVATION]

        def search() -> Table:
            low, high = float(known.low.min()), float(known.high.max())
            margin = (high - low) * TABLE_MARGIN
            function = FUNCTIONS[node.attributes["activation"]]
            return make_table(function, known.sample, low - margin, high + margin, encoding)

        return self._remember((node.name, "table", encoding.dtype), search)

    def _weight_behind(self, value: str) -> np.ndarray:
        """Return the weights of all linear nodes that read a value, float64 [N][K]."""
        weights = [node.weights["weight"] for node in self._readers(value)]
        return np.concatenate(weights).astype(np.float64)

    def _importance(self, node: Node) -> np.ndarray:
        """Return the weight of each output's error; the parts q, k and v count alike."""
        value = node.output
        parts = (
            sum(
                reader.inputs.count(value)
                for reader in self.graph.consumers(value)
                if reader.op == "attention"
            )
            or 1
        )
        if len(node.weights["weight"]) % parts:
            parts = 1
        known = self.statistics[value]
        spread = np.square(known.high.astype(np.float64) - known.low).reshape(parts, -1)
        mean = np.maximum(spread.mean(axis=1, keepdims=True), 1e-20)
        return np.broadcast_to(1 / mean, spread.shape).reshape(-1)

    # -- who reads -------------------------------------------------------------------------------

    def _readers(self, value: str) -> list[Node]:
        """Return the linear nodes that read a value, or its form behind a pool."""
        readers = []
        for node in self.graph.consumers(value):
            if node.op == "linear":
                readers.append(node)
            elif _keeps_form(self.graph.producer(value), node):
                readers += self._readers(node.output)
        return readers

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
            elif _keeps_form(node, reader):
                found |= roles[reader.output]
            else:
                found.add(STREAM)
        roles[value] = found
    return roles


def _keeps_form(producer: Node | None, reader: Node) -> bool:
    """Whether a reader passes on the form it reads: a pool behind an attention."""
    return reader.op == "pool" and producer is not None and producer.op == "attention"


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
