"""Builds small ONNX models op by op: embeddings, then whatever a test puts behind them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

WIDTH, VOCABULARY, POSITIONS = 8, 20, 12


class Builder:
    """A model in the making; every method that adds an op returns the name of its output."""

    def __init__(self, opset=17, mask=True, dims=("batch", "tokens")):
        self.rng = np.random.default_rng(0)
        self.opset = opset
        self.dims = dims
        self.nodes, self.constants = [], []
        self.inputs = {"input_ids": TensorProto.INT64}
        if mask:
            self.inputs["attention_mask"] = TensorProto.INT64

    def constant(self, value, dtype=np.float32, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def normal(self, *shape):
        return self.constant(self.rng.normal(0, 0.5, shape))

    def op(self, kind, *inputs, outputs=1, domain="", **attributes):
        inputs = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        node = helper.make_node(
            kind, inputs, names, name=f"n{len(self.nodes)}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def integers(self, *values):
        return self.constant(values, np.int64)

    def embeddings(self):
        """Rows by ids plus rows by position."""
        words = self.op("Gather", self.normal(VOCABULARY, WIDTH), "input_ids")
        tokens = self.op("Gather", self.op("Shape", "input_ids"), self.constant(1, np.int64))
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        places = self.op("Range", zero, tokens, one)
        return self.op("Add", words, self.op("Gather", self.normal(POSITIONS, WIDTH), places))

    def linear(self, x, width=WIDTH):
        product = self.op("MatMul", x, self.normal(WIDTH, width))
        return self.op("Add", product, self.normal(width))

    def moved_heads(self, x, order, heads=2):
        """Columns cut into heads, the axes (batch, token, head, column) in another order."""
        cut = self.op("Reshape", x, self.integers(0, 0, heads, -1))
        return self.op("Transpose", cut, perm=order)

    def joined_heads(self, x):
        moved = self.op("Transpose", x, perm=[0, 2, 1, 3])
        return self.op("Reshape", moved, self.integers(0, 0, -1))

    def model(self, *outputs):
        """Build the whole model."""
        inputs = [
            helper.make_tensor_value_info(name, kind, self.dims)
            for name, kind in self.inputs.items()
        ]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, "?") for name in outputs]
        graph = helper.make_graph(self.nodes, "tiny", inputs, results, self.constants)
        domains = {node.domain for node in self.nodes} | {""}
        opsets = [helper.make_opsetid(d, 1 if d else self.opset) for d in sorted(domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def data(batch=3, tokens=6):
    """Ids and a mask with hidden tokens at the end."""
    rng = np.random.default_rng(1)
    lengths = np.array([tokens, 2, 4])[:batch, None]
    mask = (np.arange(tokens) < lengths).astype(np.int64)
    return {"input_ids": rng.integers(1, VOCABULARY, (batch, tokens)), "attention_mask": mask}


def reference(model, inputs):
    """What ONNX's own reference computes, by output."""
    names = {item.name for item in model.graph.input}
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(model).run(None, {k: v for k, v in inputs.items() if k in names})
    return dict(zip([item.name for item in model.graph.output], found, strict=True))


def save(model, path):
    onnx.save(model, path)
    return path
