"""Lowers a float graph with chosen scales to the ops and tensors of a blob."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import blob_format as fmt
from .blob_writer import (
    OpSpec,
    TensorSpec,
    epsilon_params,
    pack_gemm_weights,
    pack_requant,
    up8,
    weights_tensor,
)
from .calibrate import Statistics
from .encoding import Encoding
from .fixed import (
    EXP_STEPS_PER_UNIT,
    LARGEST_FACTOR,
    MEAN_FRACTION_BITS,
    add_multipliers,
    multipliers,
    norm_affine,
    norm_epsilon,
    packed,
)
from .graph import Graph, Node, Shape, check
from .scales import Scales
from .tables import Table
from .weights import QuantizedWeights, quantize_weights, scale_limits

GEMM_SUFFIX = ".gemm"
_INPUT_DTYPES = {"ids": fmt.Dtype.INT32, "mask": fmt.Dtype.UINT8}
_EMBED_SHIFT_HIGH = 31


@dataclass
class Plan:
    """The ops and tensors of a blob, without places in the arena.

    encodings: of every arena tensor that stands for a value, by tensor name.
    values: the graph value each of these tensors stands for.
    """

    max_length: int
    tensors: list[TensorSpec] = field(default_factory=list)
    ops: list[OpSpec] = field(default_factory=list)
    encodings: dict[str, Encoding] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def lower(graph: Graph, scales: Scales, statistics: dict[str, Statistics], max_length: int) -> Plan:
    """Return the plan of a graph; weights are quantized here."""
    return _Lowering(graph, scales, statistics, max_length).run()


class _Lowering:
    def __init__(
        self, graph: Graph, scales: Scales, statistics: dict[str, Statistics], max_length: int
    ) -> None:
        self.graph = graph
        self.scales = scales
        self.statistics = statistics
        self.shapes = check(graph, after="scales")
        self.plan = Plan(max_length)

    def run(self) -> Plan:
        """Lower inputs and nodes in order."""
        for item in self.graph.inputs:
            flags = fmt.Flag.DYNAMIC | fmt.Flag.INPUT
            flags |= fmt.Flag.OPTIONAL if item.default is not None else 0
            self.plan.tensors.append(
                TensorSpec(
                    item.name,
                    _INPUT_DTYPES[item.kind],
                    (self.plan.max_length,),
                    flags=int(flags),
                    default_value=item.default or 0,
                )
            )
        for node in self.graph.nodes:
            getattr(self, f"_{node.op}")(node)
        return self.plan

    # -- tensors ---------------------------------------------------------------------------------

    def _weights(self, node: Node, name: str, dtype: fmt.Dtype, data: np.ndarray) -> str:
        """Add a constant tensor; returns its name."""
        tensor = weights_tensor(f"{node.name}/{name}", dtype, data.astype(np.int64))
        self.plan.tensors.append(tensor)
        return tensor.name

    def _value(self, name: str, shape: Shape, encoding: Encoding, value: str) -> str:
        """Add the arena tensor of a value; returns its name."""
        rows = self.plan.max_length if shape.tokens else 1
        flags = fmt.Flag.DYNAMIC if shape.tokens else 0
        if name in self.graph.outputs:
            flags |= fmt.Flag.OUTPUT
        zero_point = encoding.zero_point if encoding.record_scale else 0
        self.plan.tensors.append(
            TensorSpec(
                name,
                encoding.dtype,
                (rows, shape.width),
                flags=int(flags),
                scale=encoding.record_scale,
                zero_point=zero_point,
            )
        )
        self.plan.encodings[name] = encoding
        self.plan.values[name] = value
        return name

    def _output(self, node: Node) -> str:
        """Add the tensor of a node's output; returns its name."""
        value = node.output
        return self._value(value, self.shapes[value], self.scales.main[value], value)

    def _scratch(self, node: Node, dtype: fmt.Dtype, *dims: int) -> str:
        name = f"{node.name}/scratch"
        self.plan.tensors.append(TensorSpec(name, dtype, dims))
        return name

    def _op(
        self,
        kind: fmt.Op,
        node: Node,
        operands: dict[str, str],
        params: dict[str, int] | None = None,
    ) -> None:
        self.plan.ops.append(OpSpec(kind, node.name, operands, params or {}))

    # -- ops -------------------------------------------------------------------------------------

    def _embed(self, node: Node) -> None:
        step = float(self.scales.main[node.output].scale)
        word = node.weights["word"].astype(np.float64)
        rows = quantize_weights(word)
        rows_scale = np.where(np.any(rows.q, axis=1), rows.scale, 0.0)
        shift = np.floor(np.log2(fmt.MAX_MULTIPLIER * step / max(rows_scale.max(), 1e-30)))
        shift = int(np.clip(shift, 1, _EMBED_SHIFT_HIGH))
        row_multiplier = np.floor(rows_scale / step * 2.0**shift + 0.5)
        position = node.weights["position"][: self.plan.max_length] / step
        operands = {
            "ids": node.inputs[0],
            "word": self._weights(node, "word", fmt.Dtype.INT8, rows.q),
            "word_multiplier": self._weights(node, "multiplier", fmt.Dtype.INT16, row_multiplier),
            "position": self._weights(node, "position", fmt.Dtype.INT16, np.rint(position)),
        }
        if "type" in node.weights:
            types = np.rint(node.weights["type"] / step)
            operands["types"] = node.inputs[1]
            operands["type"] = self._weights(node, "type", fmt.Dtype.INT16, types)
        operands["out"] = self._output(node)
        self._op(fmt.Op.EMBED, node, operands, {"shift": shift})

    def _layernorm(self, node: Node) -> None:
        x, value = node.inputs[0], node.output
        width = self.shapes[x].width
        epsilon = norm_epsilon(node.attributes["epsilon"], width, float(self.scales.main[x].scale))
        operands, params = {"x": x}, epsilon_params(epsilon)
        forms = [("a", value, self.scales.main[value])]
        if value in self.scales.gemm:
            forms.append(("b", value + GEMM_SUFFIX, self.scales.gemm[value]))
        for letter, name, encoding in forms:
            scale, center = encoding.channels(width)
            affine, shift = norm_affine(
                node.weights["gain"] / scale, (node.weights["offset"] - center) / scale
            )
            operands[f"affine_{letter}"] = self._weights(
                node, f"affine_{letter}", fmt.Dtype.INT32, affine
            )
            operands[f"out_{letter}"] = self._value(name, self.shapes[value], encoding, value)
            params[f"shift_{letter}"] = shift
            params[f"zero_point_{letter}"] = encoding.zero_point
        self._op(fmt.Op.LAYERNORM, node, operands, params)

    def _linear(self, node: Node) -> None:
        x, encoding = node.inputs[0], self.scales.main[node.output]
        count = len(node.weights["weight"])
        table = self.scales.tables.get(node.name)
        out_scale, out_center = encoding.channels(count)
        zero_point, low, high = encoding.zero_point, encoding.low, encoding.high
        if table is not None:
            out_scale, out_center = np.full(count, table.scale), np.zeros(count)
            zero_point, low, high = table.zero_point, 0, fmt.TABLE_ENTRIES - 1
        weights, bias = self._gemm_weights(node, out_scale, out_center)
        requant = pack_requant(bias, *multipliers(weights.scale / out_scale))
        operands = {
            "x": x + GEMM_SUFFIX if x in self.scales.gemm else x,
            "weights": self._weights(
                node, "weights", fmt.Dtype.INT8, pack_gemm_weights(weights.q.T.astype(np.int8))
            ),
            "requant": self._weights(node, "requant", fmt.Dtype.INT32, requant),
        }
        if table is not None:
            operands["table"] = self._table(node, table, encoding)
        operands["out"] = self._output(node)
        operands["scratch"] = self._scratch(node, fmt.Dtype.INT32, fmt.BLOCK, up8(count))
        self._op(
            fmt.Op.GEMM,
            node,
            operands,
            {"zero_point": zero_point, "clamp_low": low, "clamp_high": high},
        )

    def _table(self, node: Node, table: Table, encoding: Encoding) -> str:
        return self._weights(node, "table", encoding.dtype, table.entries)

    def _gemm_weights(
        self, node: Node, out_scale: np.ndarray, out_center: np.ndarray
    ) -> tuple[QuantizedWeights, np.ndarray]:
        """Return the quantized weights and the integer bias.

        The bias makes the mean of each output over the calibration sample exact: it takes the
        input's center and zero point and the mean of the weights' and the input's rounding errors.
        """
        x = node.inputs[0]
        encoding, sample = self.scales.of_gemm_input(x), self.statistics[x].sample
        weight = node.weights["weight"].astype(np.float64)
        scale, _ = encoding.channels(weight.shape[1])
        q = encoding.quantize(sample)
        exact = weight @ sample.mean(axis=0, dtype=np.float64) + node.weights.get("bias", 0.0)
        exact = exact - out_center
        folded = weight * scale
        estimate = exact - folded @ q.mean(axis=0)
        weights = quantize_weights(folded, scale_limits(estimate, out_scale))
        bias = exact / weights.scale - weights.q @ q.mean(axis=0)
        return weights, np.clip(np.rint(bias), -fmt.MAX_BIAS, fmt.MAX_BIAS)

    def _attention(self, node: Node) -> None:
        heads, head_dim = node.attributes["heads"], node.attributes["head_dim"]
        columns = {part: node.attributes.get(f"{part}_column", 0) for part in "qkv"}
        scale = {
            part: self.scales.main[name].scale[columns[part] :][: heads * head_dim]
            for part, name in zip("qkv", node.inputs, strict=False)
        }
        score = (scale["q"] * scale["k"])[::head_dim] * head_dim**-0.5 * EXP_STEPS_PER_UNIT
        score = np.minimum(score, LARGEST_FACTOR)
        encoding = self.scales.main[node.output]
        context = (scale["v"] / encoding.scale)[::head_dim] / 2**MEAN_FRACTION_BITS
        requant = np.stack([packed(score), packed(context)], axis=1)
        operands = dict(zip(("q", "k", "v", "mask"), node.inputs, strict=False))
        operands["head_requant"] = self._weights(node, "requant", fmt.Dtype.INT32, requant)
        operands["out"] = self._output(node)
        scratch = 40 * up8(self.plan.max_length) + 32 * up8(head_dim)
        operands["scratch"] = self._scratch(node, fmt.Dtype.UINT8, scratch)
        self._op(
            fmt.Op.ATTENTION,
            node,
            operands,
            {
                "heads": heads,
                "head_dim": head_dim,
                "zero_point": encoding.zero_point,
                **{f"{part}_column": column for part, column in columns.items()},
            },
        )

    def _add(self, node: Node) -> None:
        a, b = node.inputs
        main = self.scales.main
        step = float(main[node.output].scale)
        pair = add_multipliers(float(main[a].scale) / step, float(main[b].scale) / step)
        params = dict(zip(("multiplier_a", "multiplier_b", "shift"), pair, strict=True))
        self._op(fmt.Op.ADD, node, {"a": a, "b": b, "out": self._output(node)}, params)

    def _pool(self, node: Node) -> None:
        source, result = self.scales.main[node.inputs[0]], self.scales.main[node.output]
        factor = 1.0 if source is result else float(source.scale) / float(result.scale)
        multiplier, shift = multipliers(factor / 2**MEAN_FRACTION_BITS)
        mode = fmt.Pool.FIRST if node.attributes["mode"] == "first" else fmt.Pool.MEAN
        operands = {"x": node.inputs[0], "out": self._output(node)}
        if len(node.inputs) == 2:
            operands["mask"] = node.inputs[1]
        self._op(
            fmt.Op.POOL,
            node,
            operands,
            {
                "mode": int(mode),
                "multiplier": int(multiplier),
                "shift": int(shift),
                "zero_point_in": source.zero_point,
                "zero_point": result.zero_point,
            },
        )
