"""Lowers a float graph with chosen scales to the ops and tensors of a blob."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import blob_format as fmt
from .blob_writer import (
    EntrySpec,
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

    context: the most tokens of a text, 0 for a model without positions and states.
    encodings: of every arena tensor that stands for a value, by tensor name.
    values: the graph value each of these tensors stands for.
    """

    max_length: int
    context: int = 0
    tensors: list[TensorSpec] = field(default_factory=list)
    ops: list[OpSpec] = field(default_factory=list)
    entries: list[EntrySpec] = field(default_factory=list)
    encodings: dict[str, Encoding] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)


def lower(graph: Graph, scales: Scales, statistics: dict[str, Statistics], max_length: int) -> Plan:
    """Return the plan of a graph; weights are quantized here."""
    plan = Plan(max_length)
    lower_into(plan, graph, scales, statistics)
    return plan


def lower_into(
    plan: Plan,
    graph: Graph,
    scales: Scales,
    statistics: dict[str, Statistics],
    entry: str = "",
) -> int:
    """Add the ops of a graph to a plan, as those of one of its entries; returns their number.

    Tensors that another entry has too are there once; one that differs gets the entry's name before
    its own.
    """
    before = len(plan.ops)
    _Lowering(graph, scales, statistics, plan, entry).run()
    return len(plan.ops) - before


class _Lowering:
    def __init__(
        self,
        graph: Graph,
        scales: Scales,
        statistics: dict[str, Statistics],
        plan: Plan,
        entry: str,
    ) -> None:
        self.graph = graph
        self.scales = scales
        self.statistics = statistics
        self.shapes = check(graph, after="scales")
        self.plan = plan
        self.entry = entry
        self.known = {tensor.name: tensor for tensor in plan.tensors}
        self.names: dict[str, str] = {}

    def run(self) -> None:
        """Lower inputs and nodes in order; what no node reads is no input of the blob."""
        for item in self.graph.inputs:
            if not self.graph.consumers(item.name):
                continue
            flags = fmt.Flag.DYNAMIC | fmt.Flag.INPUT
            flags |= fmt.Flag.OPTIONAL if item.default is not None else 0
            self._tensor(
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

    # -- tensors ---------------------------------------------------------------------------------

    def _tensor(self, spec: TensorSpec) -> str:
        """Add a tensor, unless another entry has the same; returns its name."""
        wanted = spec.name
        if wanted in self.known and not _alike(self.known[wanted], spec):
            spec.name = f"{self.entry}/{wanted}"
        if spec.name not in self.known:
            self.known[spec.name] = spec
            self.plan.tensors.append(spec)
        self.names[wanted] = spec.name
        return spec.name

    def _input(self, value: str) -> str:
        """Return the name of the tensor that holds a value or a form of it."""
        return self.names[value]

    def _weights(self, node: Node, name: str, dtype: fmt.Dtype, data: np.ndarray) -> str:
        """Add a constant tensor; returns its name."""
        return self._tensor(weights_tensor(f"{node.name}/{name}", dtype, data.astype(np.int64)))

    def _value(self, name: str, shape: Shape, encoding: Encoding, value: str) -> str:
        """Add the arena tensor of a value; returns its name."""
        rows = self.plan.max_length if shape.tokens else 1
        flags = fmt.Flag.DYNAMIC if shape.tokens else 0
        if name in self.graph.outputs:
            flags |= fmt.Flag.OUTPUT
        zero_point = encoding.zero_point if encoding.record_scale else 0
        name = self._tensor(
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
        return self._tensor(TensorSpec(f"{node.name}/scratch", dtype, dims))

    def _append(self, node: Node, name: str, value: str, column: int, width: int) -> str:
        """Add a state and the op that appends columns of a value to it; returns its name."""
        dims = (self.plan.context, width)
        state = self._tensor(
            TensorSpec(f"{node.name}/{name}", fmt.Dtype.INT8, dims, flags=int(fmt.Flag.STATE))
        )
        operands = {"x": self._input(value), "state": state}
        self.plan.ops.append(OpSpec(fmt.Op.APPEND, state, operands, {"column": column}))
        return state

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
        position = node.weights["position"][: self.plan.context or self.plan.max_length] / step
        operands = {
            "ids": self._input(node.inputs[0]),
            "word": self._weights(node, "word", fmt.Dtype.INT8, rows.q),
            "word_multiplier": self._weights(node, "multiplier", fmt.Dtype.INT16, row_multiplier),
            "position": self._weights(node, "position", fmt.Dtype.INT16, np.rint(position)),
        }
        if "type" in node.weights:
            types = np.rint(node.weights["type"] / step)
            operands["types"] = self._input(node.inputs[1])
            operands["type"] = self._weights(node, "type", fmt.Dtype.INT16, types)
        operands["out"] = self._output(node)
        params = {"shift": shift, "positions": int(self.plan.context > 0)}
        self._op(fmt.Op.EMBED, node, operands, params)

    def _layernorm(self, node: Node) -> None:
        x, value = node.inputs[0], node.output
        width = self.shapes[x].width
        epsilon = norm_epsilon(node.attributes["epsilon"], width, float(self.scales.main[x].scale))
        operands, params = {"x": self._input(x)}, epsilon_params(epsilon)
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
            "x": self._input(x + GEMM_SUFFIX if x in self.scales.gemm else x),
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
        params = {
            "heads": heads,
            "head_dim": head_dim,
            "zero_point": encoding.zero_point,
            "causal": int(node.attributes.get("causal", False)),
            **{f"{part}_column": column for part, column in columns.items()},
        }
        operands = {
            part: self._input(name)
            for part, name in zip(("q", "k", "v", "mask"), node.inputs, strict=False)
        }
        if self.plan.context:
            operands |= self._states(node, columns, heads * head_dim)
            params |= {"k_column": 0, "v_column": 0, "keys": int(fmt.Keys.CONTEXT)}
        operands["head_requant"] = self._weights(node, "requant", fmt.Dtype.INT32, requant)
        operands["out"] = self._output(node)
        keys = self.plan.context or self.plan.max_length
        scratch = 40 * up8(keys) + 32 * up8(head_dim)
        operands["scratch"] = self._scratch(node, fmt.Dtype.UINT8, scratch)
        self._op(fmt.Op.ATTENTION, node, operands, params)

    def _states(self, node: Node, columns: dict[str, int], width: int) -> dict[str, str]:
        """Append the keys and values of this run to states; returns the operands k and v."""
        return {
            part: self._append(node, name, node.inputs["qkv".index(part)], columns[part], width)
            for part, name in (("k", "keys"), ("v", "values"))
        }

    def _add(self, node: Node) -> None:
        a, b = node.inputs
        main = self.scales.main
        step = float(main[node.output].scale)
        pair = add_multipliers(float(main[a].scale) / step, float(main[b].scale) / step)
        params = dict(zip(("multiplier_a", "multiplier_b", "shift"), pair, strict=True))
        operands = {"a": self._input(a), "b": self._input(b), "out": self._output(node)}
        self._op(fmt.Op.ADD, node, operands, params)

    def _pool(self, node: Node) -> None:
        source, result = self.scales.main[node.inputs[0]], self.scales.main[node.output]
        factor = 1.0 if source is result else float(source.scale) / float(result.scale)
        multiplier, shift = multipliers(factor / 2**MEAN_FRACTION_BITS)
        mode = fmt.Pool[node.attributes["mode"].upper()]
        operands = {"x": self._input(node.inputs[0]), "out": self._output(node)}
        if len(node.inputs) == 2:
            operands["mask"] = self._input(node.inputs[1])
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


def _alike(known: TensorSpec, spec: TensorSpec) -> bool:
    """Whether two tensors of one name are the same; constants must be."""
    fields = ("dtype", "dims", "storage", "flags", "scale", "zero_point")
    alike = all(getattr(known, name) == getattr(spec, name) for name in fields)
    if spec.data is not None and not (alike and np.array_equal(known.data, spec.data)):
        raise AssertionError(f"the constant {spec.name!r} differs from entry to entry")
    return alike
