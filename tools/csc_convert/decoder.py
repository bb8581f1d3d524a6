"""Models that generate text: one graph for every row's logits, and one for the last row's.

The first one is calibrated and measured, and is the entry `score`; the second one is what the
entries `prefill` and `step` run.
"""

from __future__ import annotations

from dataclasses import replace

from .blob_writer import EntrySpec
from .calibrate import Statistics
from .errors import UnsupportedModel
from .graph import Graph, Node
from .lower import Plan, lower_into
from .scales import Scales
from .simplify import simplify

PREFILL, STEP, SCORE = "prefill", "step", "score"
ROWS_SUFFIX = ".rows"
LAST = "last"


def last_row(graph: Graph) -> Graph:
    """Return the graph whose outputs are the last rows of those of a graph, by the same names."""
    renamed = {name: name + ROWS_SUFFIX for name in graph.outputs}
    nodes = [
        replace(
            node,
            inputs=[renamed.get(name, name) for name in node.inputs],
            outputs=[renamed.get(name, name) for name in node.outputs],
        )
        for node in graph.nodes
    ]
    for name, rows in renamed.items():
        nodes.append(Node("pool", f"{name}.{LAST}", [rows], [name], {"mode": LAST}))
    return simplify(replace(graph, nodes=nodes))


def with_rows(
    graph: Graph, scales: Scales, statistics: dict[str, Statistics]
) -> tuple[Scales, dict[str, Statistics]]:
    """Return scales and statistics that know the single rows of a graph made by `last_row`."""
    scales, statistics = replace(scales, main=dict(scales.main)), dict(statistics)
    for node in graph.nodes:
        if node.op == "pool" and node.attributes["mode"] == LAST:
            scales.main[node.output] = scales.main[node.inputs[0]]
            statistics[node.output] = statistics[node.inputs[0]]
    return scales, statistics


def lower_decoder(
    rows: Graph,
    last: Graph,
    scales: Scales,
    statistics: dict[str, Statistics],
    lengths: tuple[int, int],
    entries: tuple[str, ...],
) -> Plan:
    """Return the plan with some of the entries, in this order.

    rows, last: the graphs for every row and for the last row; lengths: the most tokens of a run
    and of a text.
    """
    max_length, context = lengths
    plan = Plan(max_length, context)
    for entry in entries:
        graph = rows if entry == SCORE else last
        known = with_rows(graph, scales, statistics)
        count = lower_into(plan, graph, *known, entry)
        plan.entries.append(EntrySpec(entry, count, 1 if entry == STEP else max_length))
    return plan


def check_context(graph: Graph, context: int | None, max_length: int) -> int:
    """Return the number of positions of a text; by default all the model has.

    Raises UnsupportedModel.
    """
    positions = graph.metadata["context"]
    context = positions if context is None else context
    if not max_length <= context <= positions:
        raise UnsupportedModel(
            f"The context must be from {max_length}, the longest run, to {positions}, the "
            f"positions of the model, not {context}."
        )
    return int(context)
