"""The float model: evaluates a Graph for one batch in float32.

Values have the shape [B][T][C] (one row per token) or [B][1][C].  The mask is structure: a key
that is not visible takes no part in softmax or mean.  Activations by erf have an absolute error
below 5e-7.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .activations import FUNCTIONS
from .graph import Graph, Node

Hook = Callable[[Node, np.ndarray], np.ndarray]
Observer = Callable[[str, np.ndarray], None]

PRE_ACTIVATION = ".pre"


def _embed(node: Node, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
    total = node.weights["word"][ids]
    total += node.weights["position"][: ids.shape[1]]
    if types is not None:
        total += node.weights["type"][types]
    return total


def _linear(node: Node, x: np.ndarray) -> np.ndarray:
    weight = node.weights["weight"]
    result = x.reshape(-1, x.shape[-1]) @ weight.T
    if "bias" in node.weights:
        result += node.weights["bias"]
    return result.reshape(*x.shape[:-1], len(weight))


def _layernorm(node: Node, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...c,...c->...", centred, centred)[..., None] / x.shape[-1]
    centred /= np.sqrt(variance + np.float32(node.attributes["epsilon"]))
    centred *= node.weights["gain"]
    centred += node.weights["offset"]
    return centred


def _heads(node: Node, name: str, x: np.ndarray) -> np.ndarray:
    """Return the columns of one operand of an attention: [B][H][T][D]."""
    heads, head_dim = node.attributes["heads"], node.attributes["head_dim"]
    column = node.attributes.get(f"{name}_column", 0)
    part = x[..., column : column + heads * head_dim]
    return part.reshape(*x.shape[:2], heads, head_dim).transpose(0, 2, 1, 3)


def _softmax(scores: np.ndarray, visible: np.ndarray | None, causal: bool) -> np.ndarray:
    """Softmax over visible keys, in place; rows without any visible key become 0."""
    if visible is not None:
        np.copyto(scores, -np.inf, where=~visible[:, None, None, :])
    if causal:
        np.copyto(scores, -np.inf, where=~np.tri(scores.shape[-1], dtype=bool))
    top = scores.max(axis=-1, keepdims=True)
    np.copyto(top, 0, where=np.isneginf(top))
    scores -= top
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(axis=-1, keepdims=True), np.float32(1e-30))
    return scores


def _attention(
    node: Node, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    # A transposed view as right operand is some hundred times slower than a copy of it.
    keys = np.ascontiguousarray(_heads(node, "k", k).transpose(0, 1, 3, 2))
    scores = _heads(node, "q", q) @ keys
    scores *= np.float32(node.attributes["head_dim"] ** -0.5)
    causal = node.attributes.get("causal", False)
    weights = _softmax(scores, None if mask is None else mask != 0, causal)
    context = (weights @ _heads(node, "v", v)).transpose(0, 2, 1, 3)
    return context.reshape(*context.shape[:2], -1)


def _pool(node: Node, x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    if node.attributes["mode"] != "mean":
        return x[:, :1] if node.attributes["mode"] == "first" else x[:, -1:]
    if mask is None:
        return x.mean(axis=1, keepdims=True)
    visible = (mask != 0).astype(x.dtype)
    count = np.maximum(visible.sum(axis=1), 1)[:, None, None]
    return np.einsum("bt,btc->bc", visible, x)[:, None] / count


_OPS = {
    "embed": _embed,
    "linear": _linear,
    "layernorm": _layernorm,
    "attention": _attention,
    "activation": lambda node, x: FUNCTIONS[node.attributes["function"]](x),
    "add": lambda _node, a, b: a + b,
    "pool": _pool,
}


def _evaluate_node(node: Node, operands: list[np.ndarray], observer: Observer | None) -> np.ndarray:
    result = _OPS[node.op](node, *operands)
    function = node.attributes.get("activation", "identity")
    if node.op == "linear" and function != "identity":
        if observer:
            observer(node.output + PRE_ACTIVATION, result)
        result = FUNCTIONS[function](result)
    if observer:
        observer(node.output, result)
    return result


def evaluate(
    graph: Graph,
    batch: dict[str, np.ndarray],
    *,
    observer: Observer | None = None,
    hook: Hook | None = None,
) -> dict[str, np.ndarray]:
    """Run the graph on one batch; returns the graph's outputs by name.

    batch: every input, int or uint8 [B][T].
    observer: called with the name and the array of every value as soon as it is known, and with
        the value before a fused activation under its name + ".pre".
    hook: replaces the operand of every linear node.
    """
    values: dict[str, np.ndarray] = {item.name: batch[item.name] for item in graph.inputs}
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    for index, node in enumerate(graph.nodes):
        operands = [values[name] for name in node.inputs]
        if hook and node.op == "linear":
            operands = [hook(node, operands[0])]
        values[node.output] = _evaluate_node(node, operands, observer)
        for name in node.inputs:
            if last_use[name] == index and name not in graph.outputs:
                values.pop(name, None)
    return {name: values[name] for name in graph.outputs}
