"""Exports tiny random encoders to ONNX; run in an environment with torch, transformers, onnx.

python tests/vectors/onnx/make_fixtures.py

Writes the .onnx files of this folder, their common weights (weights.bin), inputs (inputs.npz) and
what PyTorch computes of them (expected.npz).  The tests need none of the packages above but onnx.
"""

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import (
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
import tiny_bert  # noqa: E402

EXPORTERS = [("legacy", 13), ("legacy", 14), ("legacy", 17), ("dynamo", 18), ("dynamo", 20)]
NAMES = ["input_ids", "attention_mask", "token_type_ids"]
WEIGHTS = "weights.bin"
# Constants of fewer bytes stay inside the file.
SMALL = 64


class Encoder(torch.nn.Module):
    """A BertModel with its outputs as a tuple."""

    def __init__(self, model):
        super().__init__()
        self.bert = model

    def forward(self, ids, mask=None, types=None):
        found = self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types)
        return tuple(found.values())


class Sentence(Encoder):
    """A BertModel with the normalized mean of the visible rows behind it."""

    def forward(self, ids, mask, types):
        rows = super().forward(ids, mask, types)[0]
        shown = mask.unsqueeze(-1).expand(rows.size()).float()
        mean = (rows * shown).sum(1) / torch.clamp(shown.sum(1), min=1e-9)
        return torch.nn.functional.normalize(mean, p=2, dim=1)


class Classifier(torch.nn.Module):
    """A classifier with its logits as only output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(**dict(zip(NAMES, inputs, strict=False))).logits


def models(folder, attention):
    """Build the models by kind, with the names of their outputs."""
    options = {"attn_implementation": attention}
    sizes = {"hidden": 16, "heads": 2, "layers": 1}
    tiny_bert.encoder(folder / "encoder", **sizes)
    tiny_bert.encoder(folder / "tanh", pooler=False, hidden_act="gelu_new", **sizes)
    tiny_bert.classifier(folder / "classifier", **sizes)
    torch.manual_seed(0)
    distil = DistilBertConfig(
        vocab_size=50, max_position_embeddings=40, n_layers=1, n_heads=2, dim=16, hidden_dim=32
    )
    encoder = BertModel.from_pretrained(folder / "encoder", **options)
    tanh = BertModel.from_pretrained(folder / "tanh", add_pooling_layer=False, **options)
    classifier = BertForSequenceClassification.from_pretrained(folder / "classifier", **options)
    distilled = DistilBertForSequenceClassification._from_config(distil, **options)
    return {
        "encoder": (Encoder(encoder), ["last_hidden_state", "pooler_output"]),
        "classifier": (Classifier(classifier), ["logits"]),
        "sentence": (Sentence(tanh), ["sentence_embedding"]),
        "distilbert": (Classifier(distilled), ["logits"]),
    }


def export(model, outputs, exporter, opset, inputs, path, static=False):
    """Export one model."""
    names = NAMES[: len(inputs)]
    options = {"input_names": names, "output_names": outputs, "opset_version": opset}
    sample = torch.ones(1 if static else 2, 8, dtype=torch.int64)
    arguments = tuple(sample * (0 if name == "token_type_ids" else 1) for name in names)
    if exporter == "legacy":
        axes = None if static else {name: {0: "batch", 1: "tokens"} for name in names}
        options |= {"dynamo": False, "dynamic_axes": axes}
    else:
        dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        shapes = {"ids": dynamic, "mask": dynamic, "types": dynamic}
        if isinstance(model, Classifier):
            shapes = {"inputs": (dynamic,) * len(names)}
        chosen = dict(list(shapes.items())[: len(names)])
        options |= {"dynamo": True, "dynamic_shapes": None if static else chosen}
        options |= {"verbose": False, "external_data": False}
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(model.eval(), arguments, path, **options)


def short_names(graph):
    """Shorten the names of values within; names of nodes and parameters stay."""
    kept = {item.name for item in graph.output}
    short = {}
    for node in graph.node:
        node.doc_string = ""
        if node.op_type == "Constant":
            node.name = ""
        del node.metadata_props[:]
        for name in node.output:
            if name not in kept:
                short[name] = f"v{len(short)}"
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]


def strip(path, pool):
    """Write a file again: without texts for people, and with its weights in the common file."""
    model = onnx.load(path)
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    short_names(model.graph)
    for tensor in model.graph.initializer:
        data = np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()
        tensor.doc_string = ""
        if len(data) >= SMALL:
            tensor.raw_data = data
            offset = pool.find(data)
            if offset < 0:
                offset = len(pool)
                pool.extend(data)
            onnx.external_data_helper.set_external_data(tensor, WEIGHTS, offset, len(data))
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.ClearField("int64_data")
    (HERE / path.name).write_bytes(model.SerializeToString(deterministic=True))


def expected(model, outputs, names):
    """Compute the outputs of the original model for the inputs."""
    data = tiny_bert.inputs(6, 12)
    arrays = [torch.from_numpy(data[name].astype(np.int64)) for name in names]
    with torch.no_grad():
        found = model.eval()(*arrays)
    found = found if isinstance(found, tuple) else (found,)
    return {name: array.numpy() for name, array in zip(outputs, found, strict=True)}


def plan(attention):
    """Return what to export: kind, exporter, opset, number of inputs, remark."""
    rows = []
    for exporter, opset in EXPORTERS:
        if attention == "sdpa" and opset == 13:
            continue  # torch has no such export
        rows += [("encoder", exporter, opset, 3, ""), ("encoder", exporter, opset, 1, "-nomask")]
    some = (
        [("legacy", 14), ("dynamo", 20)]
        if attention == "sdpa"
        else [("legacy", 17), ("dynamo", 18)]
    )
    for kind, count in (("classifier", 3), ("sentence", 3), ("distilbert", 2)):
        rows += [(kind, *pair, count, "") for pair in some]
    rows += [("encoder", *some[0], 3, "-static")]
    return rows


def main():
    """Make all files."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    pool, results = bytearray(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for attention in ("eager", "sdpa"):
            built = models(folder, attention)
            for kind, exporter, opset, count, remark in plan(attention):
                model, outputs = built[kind]
                path = folder / f"{kind}-{attention}-{exporter}{opset}{remark}.onnx"
                inputs = NAMES[:count]
                export(model, outputs, exporter, opset, inputs, path, remark == "-static")
                strip(path, pool)
                print(path.name)
            for kind, (model, outputs) in built.items():
                inputs = NAMES[:2] if kind == "distilbert" else NAMES
                for output, array in expected(model, outputs, inputs).items():
                    results[f"{kind}/{output}"] = array
    (HERE / WEIGHTS).write_bytes(pool)
    np.savez_compressed(HERE / "expected.npz", **results)
    np.savez_compressed(HERE / "inputs.npz", **tiny_bert.inputs(6, 12))


if __name__ == "__main__":
    main()
