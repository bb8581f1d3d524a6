"""Imports BERT encoders from Hugging Face directories; GPT-2 has its own module.

Names of values: "embeddings.sum" and "embeddings", then per layer i "layer.i." with
"attention.query", ".key", ".value", ".context", ".output", ".sum", ".norm", "ffn.hidden",
"ffn.output", "ffn.sum", "norm".
"""

from __future__ import annotations

from pathlib import Path

from .checkpoint import Checkpoint, read_json, refuse_surplus
from .errors import UnsupportedModel
from .graph import Graph, Input, Node, check
from .hf_config import Config, is_gpt2, read_config, resolve_pooling
from .hf_gpt2 import import_gpt2

POOLINGS = ("auto", "none", "cls", "mean")
IDS, TYPES, MASK = "input_ids", "token_type_ids", "attention_mask"

# Tensors that say nothing about the encoder: buffers, and the heads of pre-training.
_IGNORED = ("embeddings.position_ids", "embeddings.token_type_ids", "cls.")


def import_hf(directory: str | Path, pooling: str = "auto") -> Graph:
    """Return the graph of a Hugging Face directory (config.json and safetensors).

    pooling: adds the output sentence_embedding: "cls" the first row, "mean" the mean of the visible
        rows, "none" no such output, "auto" what the sentence-transformers files of the directory
        say, else none.
    Raises BadCheckpoint and UnsupportedModel.
    """
    directory = Path(directory)
    if pooling not in POOLINGS:
        raise UnsupportedModel(f"pooling must be one of {', '.join(POOLINGS)}, not {pooling!r}.")
    path = directory / "config.json"
    if is_gpt2(read_json(path)):
        graph = import_gpt2(directory, pooling)
    else:
        graph = _import_bert(directory, read_config(path), pooling)
    check(graph, after="import")
    return graph


def _import_bert(directory: Path, config: Config, pooling: str) -> Graph:
    checkpoint = Checkpoint(directory)
    _normalise_names(checkpoint)
    graph = _Builder(config, checkpoint).build(resolve_pooling(directory, pooling))
    refuse_surplus(checkpoint, _IGNORED)
    return graph


def _normalise_names(checkpoint: Checkpoint) -> None:
    """Bring all names to one form: without "bert.", layernorms with weight and bias."""
    for name in checkpoint.names():
        new = name.removeprefix("bert.")
        if "LayerNorm." in new:
            new = new.replace(".gamma", ".weight").replace(".beta", ".bias")
        if new != name:
            checkpoint.rename(name, new)


class _Builder:
    """Builds the graph of one model."""

    def __init__(self, config: Config, checkpoint: Checkpoint) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.nodes: list[Node] = []

    def build(self, pooling: str) -> Graph:
        """Return the whole graph."""
        x = self._embeddings()
        for index in range(self.config.layers):
            x = self._layer(index, x)
        outputs = self._head(x, pooling)
        metadata = {
            "architecture": self.config.architecture,
            "source": f"safetensors sha256 {self.checkpoint.digest}",
            "max_positions": self.config.positions,
        }
        if "logits" in outputs:
            metadata["labels"] = list(self.config.labels)
        inputs = [Input(IDS, "ids"), Input(TYPES, "ids", 0), Input(MASK, "mask", 1)]
        return Graph(inputs, self.nodes, outputs, metadata)

    def _add(
        self,
        op: str,
        name: str,
        inputs: list[str],
        weights: dict | None = None,
        **attributes: object,
    ) -> str:
        """Append a node whose output has its name; returns the name."""
        self.nodes.append(Node(op, name, inputs, [name], attributes, weights or {}))
        return name

    def _linear(self, name: str, x: str, tensor: str, rows: int, columns: int) -> str:
        weights = {
            "weight": self.checkpoint.take(f"{tensor}.weight", (rows, columns)),
            "bias": self.checkpoint.take(f"{tensor}.bias", (rows,)),
        }
        return self._add("linear", name, [x], weights)

    def _layernorm(self, name: str, x: str, tensor: str) -> str:
        weights = {
            "gain": self.checkpoint.take(f"{tensor}.weight", (self.config.hidden,)),
            "offset": self.checkpoint.take(f"{tensor}.bias", (self.config.hidden,)),
        }
        return self._add("layernorm", name, [x], weights, epsilon=self.config.epsilon)

    def _embeddings(self) -> str:
        config = self.config
        rows = {"word": config.vocabulary, "position": config.positions, "type": config.types}
        weights = {
            name: self.checkpoint.take(
                f"embeddings.{name.replace('type', 'token_type')}_embeddings.weight",
                (count, config.hidden),
            )
            for name, count in rows.items()
        }
        total = self._add("embed", "embeddings.sum", [IDS, TYPES], weights)
        return self._layernorm("embeddings", total, "embeddings.LayerNorm")

    def _layer(self, index: int, x: str) -> str:
        """One encoder layer; returns the name of its output."""
        name, tensor, hidden = f"layer.{index}", f"encoder.layer.{index}", self.config.hidden
        heads = [
            self._linear(
                f"{name}.attention.{part}", x, f"{tensor}.attention.self.{part}", hidden, hidden
            )
            for part in ("query", "key", "value")
        ]
        context = self._add(
            "attention",
            f"{name}.attention.context",
            [*heads, MASK],
            heads=self.config.heads,
            head_dim=hidden // self.config.heads,
        )
        attended = self._linear(
            f"{name}.attention.output", context, f"{tensor}.attention.output.dense", hidden, hidden
        )
        total = self._add("add", f"{name}.attention.sum", [attended, x])
        middle = self._layernorm(
            f"{name}.attention.norm", total, f"{tensor}.attention.output.LayerNorm"
        )
        wide = self.config.intermediate
        up = self._linear(f"{name}.ffn.up", middle, f"{tensor}.intermediate.dense", wide, hidden)
        active = self._add(
            "activation", f"{name}.ffn.hidden", [up], function=self.config.activation
        )
        down = self._linear(f"{name}.ffn.output", active, f"{tensor}.output.dense", hidden, wide)
        total = self._add("add", f"{name}.ffn.sum", [down, middle])
        return self._layernorm(self._layer_output(index), total, f"{tensor}.output.LayerNorm")

    def _layer_output(self, index: int) -> str:
        last = index == self.config.layers - 1 and self.config.architecture == "BertModel"
        return "last_hidden_state" if last else f"layer.{index}.norm"

    def _head(self, x: str, pooling: str) -> list[str]:
        """Return what follows the encoder; returns the names of the model's outputs."""
        outputs = []
        if self.config.architecture == "BertForSequenceClassification":
            pooled = self._pooler(x)
            tensor = "classifier"
            outputs.append(
                self._linear("logits", pooled, tensor, len(self.config.labels), self.config.hidden)
            )
        else:
            outputs.append(x)
            if "pooler.dense.weight" in self.checkpoint:
                outputs.append(self._pooler(x))
        if pooling != "none":
            mode, mask = ("first", []) if pooling == "cls" else ("mean", [MASK])
            outputs.append(self._add("pool", "sentence_embedding", [x, *mask], mode=mode))
        return outputs

    def _pooler(self, x: str) -> str:
        hidden = self.config.hidden
        first = self._add("pool", "pooler.first", [x], mode="first")
        dense = self._linear("pooler.dense", first, "pooler.dense", hidden, hidden)
        return self._add("activation", "pooler_output", [dense], function="tanh")
