"""Encodings around an attention: of its queries, keys, values and of its result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import blob_format as fmt
from .calibrate import Statistics
from .encoding import INT8_HIGH, INT8_LOW, Encoding, gemm_headroom, gemm_limits
from .graph import Graph, Node

PARTS = "qkv"
# A channel's reach counts as at least this share of its head's largest.
_LEAST_REACH = 0.01


class _Reach(NamedTuple):
    """The columns of q, k or v in their value, and the lowest and highest number of each."""

    columns: slice
    low: np.ndarray
    high: np.ndarray


def heads_encoding(
    graph: Graph, value: str, width: int, statistics: dict[str, Statistics]
) -> Encoding:
    """Return the int8 encoding, per channel, of a value that attentions read."""
    scale, center = np.ones(width), np.zeros(width)
    for node in graph.consumers(value):
        for name, part, (s, c) in zip(node.inputs, PARTS, _parts(node, statistics), strict=False):
            if name == value:
                columns = _reach(node, part, statistics).columns
                scale[columns], center[columns] = s, c
    return Encoding(fmt.Dtype.INT8, scale, INT8_LOW, INT8_HIGH, 0, center)


def context_encoding(
    node: Node, values: Encoding, statistics: dict[str, Statistics], wide: bool
) -> Encoding:
    """Return the encoding of an attention's output: that of v, scaled by one factor per head.

    values: the encoding of the value that holds v.
    """
    columns = _reach(node, "v", statistics).columns
    v_scale, center = values.scale[columns], values.center[columns]
    dtype, low, high = gemm_limits(wide)
    known = statistics[node.output]
    reach = np.maximum(known.high - center, center - known.low) / v_scale
    reach = np.maximum(_largest_of_head(node, reach), 1.0)
    reach = reach * gemm_headroom(wide)
    return Encoding(dtype, v_scale * reach / high, low, high, 0, center)


def _parts(node: Node, statistics: dict[str, Statistics]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return scale and center of the channels of q, k and v.

    Adding a constant to every key moves all scores of a row alike, which softmax ignores, and
    adding one to every value moves the context by as much: k and v can be centered freely.
    A channel's scale can be moved between q and k: their product must be the same for all channels
    of a head, and the range of both is used alike.
    """
    q, k, v = (_reach(node, part, statistics) for part in PARTS)
    q_reach = _floored(node, np.maximum(q.high, -q.low))
    k_reach = _floored(node, (k.high - k.low) / 2)
    v_reach = _floored(node, (v.high - v.low) / 2)
    product = _largest_of_head(node, q_reach * k_reach) / INT8_HIGH**2
    return [
        (np.sqrt(product * q_reach / k_reach), np.zeros_like(q_reach)),
        (np.sqrt(product * k_reach / q_reach), (k.high + k.low) / 2),
        (v_reach / INT8_HIGH, (v.high + v.low) / 2),
    ]


def _reach(node: Node, part: str, statistics: dict[str, Statistics]) -> _Reach:
    start = node.attributes.get(f"{part}_column", 0)
    columns = slice(start, start + node.attributes["heads"] * node.attributes["head_dim"])
    known = statistics[node.inputs[PARTS.index(part)]]
    return _Reach(columns, known.low[columns].astype(float), known.high[columns].astype(float))


def _largest_of_head(node: Node, channels: np.ndarray) -> np.ndarray:
    """Return, for each channel, the largest number of its head."""
    largest = channels.reshape(node.attributes["heads"], -1).max(axis=1)
    return np.repeat(largest, node.attributes["head_dim"])


def _floored(node: Node, reach: np.ndarray) -> np.ndarray:
    """Keep each channel's reach above a share of its head's largest."""
    return np.maximum(reach, np.maximum(_largest_of_head(node, reach), 1e-6) * _LEAST_REACH)
