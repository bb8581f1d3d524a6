"""Chooses which GEMMs read int16 (two passes of an 8-bit engine) instead of int8.

The error an int8 input causes at the model's outputs is found by rounding this one input in the
float model; errors of different inputs hardly depend on each other, so their powers add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import blob_format as fmt
from .batches import Arrays, batches, visible_of, visible_rows
from .evaluate import LOGITS, Measurement
from .graph import Graph, Node, check
from .language import divergence
from .reference import Hook, evaluate
from .scales import ScaleChooser, Scales

SENSITIVITY_SEQUENCES = 16
# GEMMs are widened until each output reaches its decibels: 35 keep the largest of twenty logits
# in 99.5 % of the cases, 25 are a cosine of 0.998.
TARGET_DB = 25.0
TARGET_LOGITS_DB = 35.0
# A model that tells the next token: nats per token, a fifth of half a percent of perplexity.  On
# texts the model does not tell well, the loss grows by about twice the divergence.
TARGET_DIVERGENCE = 0.001
# A GEMM that would remove less than this share of the error stays int8.
LEAST_SHARE = 0.02
MODES = ("auto", "none", "all")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Gain:
    """What making one GEMM wide brings.

    error: the error power it removes, as a share of what the target allows the output, of the
    worst output; cost: in multiplications per row.
    """

    name: str
    error: float
    cost: int


def can_be_wide(node: Node) -> bool:
    """Whether the blob format lets this linear node read int16."""
    return node.op == "linear" and node.weights["weight"].shape[1] <= fmt.MAX_K_S16


def free_wide(graph: Graph) -> set[str]:
    """Return the linear nodes of one row per sequence: a second pass costs them next to nothing."""
    shapes = check(graph, after="calibrate")
    return {
        node.name for node in graph.nodes if can_be_wide(node) and not shapes[node.output].tokens
    }


def all_wide(graph: Graph) -> set[str]:
    """Every linear node that can be wide."""
    return {node.name for node in graph.nodes if can_be_wide(node)}


def allowed_error(output: str) -> float:
    """Return the error power over signal power that the target allows an output."""
    return 10 ** (-(TARGET_LOGITS_DB if output == LOGITS else TARGET_DB) / 10)


def overshoot(measured: Measurement) -> float:
    """Return the error of the worst output over what the target allows it."""
    if measured.predictions:
        return measured.predictions.mean_divergence / TARGET_DIVERGENCE
    tallies = {name: measured.tensors[name] for name in measured.outputs}
    return max(t.error / max(t.signal, 1e-30) / allowed_error(name) for name, t in tallies.items())


def rank(
    chooser: ScaleChooser, arrays: Arrays, fixed: set[str], progress: Progress | None = None
) -> list[Gain]:
    """Return the GEMMs outside `fixed` that can be wide, the most gain per cost first."""
    graph = chooser.graph
    candidates = [node for node in graph.nodes if can_be_wide(node) and node.name not in fixed]
    narrow = chooser.choose(fixed)
    meter = _Meter(graph, arrays)
    gains = []
    for done, node in enumerate(candidates):
        error = meter.error(node, narrow) - meter.error(node, chooser.choose({*fixed, node.name}))
        gains.append(Gain(node.name, max(error, 0.0), node.weights["weight"].size))
        if progress:
            progress("sensitivity", done + 1, len(candidates))
    return sorted(gains, key=lambda gain: (-gain.error / gain.cost, gain.name))


class _Meter:
    """Measures the error at the outputs that rounding one GEMM input causes."""

    def __init__(self, graph: Graph, arrays: Arrays) -> None:
        self.graph = graph
        self.shapes = check(graph, after="calibrate")
        self.batches = list(batches(graph, arrays))
        self.visible = [visible_of(graph, batch.inputs) for batch in self.batches]
        self.exact = list(self._outputs(None))

    def error(self, node: Node, scales: Scales) -> float:
        """Return the error of the worst output over what the target allows it."""
        encoding = scales.of_gemm_input(node.inputs[0])

        def rounded(reader: Node, x: np.ndarray) -> np.ndarray:
            if reader is not node:
                return x
            return encoding.decode(encoding.quantize(x)).astype(np.float32)

        if self.graph.generates:
            return self._divergence(rounded) / TARGET_DIVERGENCE
        error = dict.fromkeys(self.graph.outputs, 0.0)
        signal = dict.fromkeys(self.graph.outputs, 1e-30)
        for wanted, found in zip(self.exact, self._outputs(rounded), strict=True):
            for name in self.graph.outputs:
                error[name] += float(np.square(found[name] - wanted[name]).sum())
                signal[name] += float(np.square(wanted[name]).sum())
        return max(error[name] / signal[name] / allowed_error(name) for name in self.graph.outputs)

    def _divergence(self, hook: Hook) -> float:
        """Return the mean divergence of the predictions with a hook from those without."""
        found = [
            divergence(wanted[LOGITS], other[LOGITS])
            for wanted, other in zip(self.exact, self._outputs(hook), strict=True)
        ]
        return float(np.concatenate(found).mean())

    def _outputs(self, hook: Hook | None) -> Iterator[Arrays]:
        """Yield the meaningful rows of the outputs of each batch, float64."""
        for batch, visible in zip(self.batches, self.visible, strict=True):
            outputs = evaluate(self.graph, batch.inputs, hook=hook)
            yield {
                name: visible_rows(array, visible, not self.shapes[name].tokens).astype(np.float64)
                for name, array in outputs.items()
            }
