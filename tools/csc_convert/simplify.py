"""Passes that make a graph cheaper to run without changing what it computes.

Each pass takes a graph and returns a new one; nodes it changes are copies.  The rules of the graph
are checked after each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .graph import Graph, Node, check

_ROW_WISE = ("linear", "layernorm", "activation", "add")


def simplify(graph: Graph) -> Graph:
    """Run all passes in their order.  Raises GraphError if one of them breaks a rule."""
    for run in PASSES:
        graph = run(graph)
        check(graph, after=run.__name__)
    return graph


def _rewired(graph: Graph, nodes: list[Node], renamed: dict[str, str]) -> Graph:
    """Return the graph with other nodes that read the values in `renamed` by their new names."""
    nodes = [
        replace(node, inputs=[renamed.get(name, name) for name in node.inputs]) for node in nodes
    ]
    return replace(graph, nodes=nodes)


def drop_identities(graph: Graph) -> Graph:
    """Remove activations that change nothing, unless their output is one of the graph's."""
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        no_op = node.op == "activation" and node.attributes["function"] == "identity"
        if no_op and node.output not in graph.outputs:
            renamed[node.output] = renamed.get(node.inputs[0], node.inputs[0])
        else:
            kept.append(node)
    return _rewired(graph, kept, renamed)


def fuse_activations(graph: Graph) -> Graph:
    """Join each activation with the linear node before it, where nobody else reads between."""
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op != "activation":
            continue
        linear = graph.producer(node.inputs[0])
        if linear is None or linear.op != "linear" or not _read_only_by(graph, linear, node):
            continue
        attributes = {**linear.attributes, "activation": node.attributes["function"]}
        nodes[nodes.index(linear)] = replace(linear, outputs=node.outputs, attributes=attributes)
        nodes.remove(node)
    return replace(graph, nodes=nodes)


def _read_only_by(graph: Graph, producer: Node, reader: Node) -> bool:
    value = producer.output
    return value not in graph.outputs and graph.consumers(value) == [reader]


def fuse_qkv(graph: Graph) -> Graph:
    """Join the three linear nodes before an attention into one with the three outputs side by side.

    One long product instead of three short ones reads its input once.
    """
    for attention in [node for node in graph.nodes if node.op == "attention"]:
        parts = [graph.producer(name) for name in attention.inputs[:3]]
        if _can_fuse(graph, attention, parts):
            graph = _fuse_three(graph, attention, parts)
    return graph


def _can_fuse(graph: Graph, attention: Node, parts: list[Node | None]) -> bool:
    """Three different plain linear nodes of one input, read by this attention alone."""
    if any(part is None or part.op != "linear" or part.attributes for part in parts):
        return False
    plain = not any(key.endswith("_column") for key in attention.attributes)
    apart = len({part.name for part in parts}) == 3
    one_input = len({part.inputs[0] for part in parts}) == 1
    return (
        plain
        and apart
        and one_input
        and all(_read_only_by(graph, part, attention) for part in parts)
    )


def _fuse_three(graph: Graph, attention: Node, parts: list[Node]) -> Graph:
    name = attention.name.rsplit(".", 1)[0] + ".qkv"
    weights = {
        "weight": np.concatenate([part.weights["weight"] for part in parts]),
        "bias": np.concatenate([_bias(part) for part in parts]),
    }
    fused = Node("linear", name, parts[0].inputs, [name], {}, weights)
    widths = [len(part.weights["weight"]) for part in parts]
    columns = {"q_column": 0, "k_column": widths[0], "v_column": widths[0] + widths[1]}
    reader = replace(
        attention,
        inputs=[name] * 3 + attention.inputs[3:],
        attributes={**attention.attributes, **columns},
    )
    nodes = []
    for node in graph.nodes:
        if node is attention:
            nodes += [fused, reader]
        elif not any(node is part for part in parts):
            nodes.append(node)
    return replace(graph, nodes=nodes)


def _bias(linear: Node) -> np.ndarray:
    zeros = np.zeros(len(linear.weights["weight"]), np.float32)
    return linear.weights.get("bias", zeros)


def hoist_one_row(graph: Graph) -> Graph:
    """Take the first or the last row as early as possible.

    A classifier reads only the first row of the last layer, a model that generates text only the
    last; nodes that work on each row alone then need to compute only that row: the whole
    feed-forward part of the last layer.
    """
    while True:
        moved = next((new for node in graph.nodes if (new := _hoist(graph, node))), None)
        if moved is None:
            return graph
        graph = moved


def _hoist(graph: Graph, producer: Node) -> Graph | None:
    """Move the pooling of a node's output before the node; None where that is not possible."""
    value = producer.output
    pools = graph.consumers(value)
    hoistable = producer.op in _ROW_WISE and value not in graph.outputs and pools
    if not hoistable or any(node.op != "pool" for node in pools):
        return None
    modes = {pool.attributes["mode"] for pool in pools}
    if modes not in ({"first"}, {"last"}):
        return None
    if sum(pool.output in graph.outputs for pool in pools) > 1:
        return None
    result = next((pool.output for pool in pools if pool.output in graph.outputs), value)
    renamed = {pool.output: result for pool in pools}
    nodes = [node for node in graph.nodes if not any(node is pool for pool in pools)]
    nodes, rows = _with_pools_before(nodes, producer, modes.pop())
    moved = replace(producer, inputs=rows, outputs=[result])
    nodes = [moved if node is producer else node for node in nodes]
    return _rewired(graph, nodes, renamed)


def _with_pools_before(nodes: list[Node], reader: Node, mode: str) -> tuple[list[Node], list[str]]:
    """Put pools of the reader's inputs before it; returns the nodes and the pooled names.

    A pool that an earlier move made further down moves up.
    """
    rows = [f"{value}.{mode}" for value in reader.inputs]
    place = next(i for i, node in enumerate(nodes) if node is reader)
    before, after = nodes[:place], nodes[place:]
    after = [node for node in after if node.output not in rows]
    for value, name in zip(reader.inputs, rows, strict=True):
        if all(node.output != name for node in before):
            before.append(Node("pool", name, [value], [name], {"mode": mode}))
    return before + after, rows


def drop_unused(graph: Graph) -> Graph:
    """Remove nodes whose output nobody reads."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return replace(graph, nodes=kept[::-1])


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    drop_identities,
    fuse_activations,
    fuse_qkv,
    hoist_one_row,
    drop_unused,
)
