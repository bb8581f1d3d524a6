"""Imports GPT-2 models from Hugging Face directories.

Names of values: "embeddings", then per layer i "layer.i." with "attention.norm", ".qkv",
".context", ".output", ".sum", "ffn.norm", ".hidden", ".output", ".sum", then "norm" and "logits";
without a head that tells the next token, the last layernorm is "last_hidden_state".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .checkpoint import Checkpoint, refuse_surplus
from .errors import BadCheckpoint, UnsupportedModel
from .graph import Graph, Input, Node
from .hf_config import Gpt2Config, read_gpt2_config

IDS, MASK = "input_ids", "attention_mask"


def import_gpt2(directory: Path, pooling: str = "none") -> Graph:
    """Return the graph of a GPT2LMHeadModel or a GPT2Model; its output has a row per token.

    No node reads the mask: a token sees those before it, and padding stands behind.
    Raises BadCheckpoint and UnsupportedModel.
    """
    if pooling not in ("auto", "none"):
        raise UnsupportedModel(f"{directory}: pooling {pooling!r} is for encoders, not for GPT-2.")
    config = read_gpt2_config(directory / "config.json")
    checkpoint = Checkpoint(directory)
    for name in checkpoint.names():
        if name.startswith("transformer."):
            checkpoint.rename(name, name.removeprefix("transformer."))
    graph = _Builder(config, checkpoint).build()
    buffers = [f"h.{i}.attn.{name}" for i in range(config.layers) for name in ("bias", "masked_")]
    refuse_surplus(checkpoint, tuple(buffers))
    return graph


class _Builder:
    """Builds the graph of one model."""

    def __init__(self, config: Gpt2Config, checkpoint: Checkpoint) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.nodes: list[Node] = []

    def build(self) -> Graph:
        """Return the whole graph."""
        config = self.config
        tables = {
            "word": self.checkpoint.take("wte.weight", (config.vocabulary, config.hidden)),
            "position": self.checkpoint.take("wpe.weight", (config.positions, config.hidden)),
        }
        x = self._add("embed", "embeddings", [IDS], tables)
        for index in range(config.layers):
            x = self._layer(index, x)
        output = self._layernorm("norm" if config.head else "last_hidden_state", x, "ln_f")
        metadata = {
            "architecture": config.architecture,
            "source": f"safetensors sha256 {self.checkpoint.digest}",
            "max_positions": config.positions,
        }
        if config.head:
            weight = self._head_weight(tables["word"])
            output = self._add("linear", "logits", [output], {"weight": weight})
            metadata["context"] = config.positions
            if config.end is not None:
                metadata["end_token"] = config.end
        inputs = [Input(IDS, "ids"), Input(MASK, "mask", 1)]
        return Graph(inputs, self.nodes, [output], metadata)

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
        """Add a linear layer; the file holds the transpose of its weights."""
        weight = self.checkpoint.take(f"{tensor}.weight", (columns, rows))
        bias = self.checkpoint.take(f"{tensor}.bias", (rows,))
        return self._add(
            "linear", name, [x], {"weight": np.ascontiguousarray(weight.T), "bias": bias}
        )

    def _layernorm(self, name: str, x: str, tensor: str) -> str:
        weights = {
            "gain": self.checkpoint.take(f"{tensor}.weight", (self.config.hidden,)),
            "offset": self.checkpoint.take(f"{tensor}.bias", (self.config.hidden,)),
        }
        return self._add("layernorm", name, [x], weights, epsilon=self.config.epsilon)

    def _layer(self, index: int, x: str) -> str:
        """One layer; returns the name of its output."""
        name, tensor, hidden = f"layer.{index}", f"h.{index}", self.config.hidden
        normal = self._layernorm(f"{name}.attention.norm", x, f"{tensor}.ln_1")
        qkv = f"{name}.attention.qkv"
        self._linear(qkv, normal, f"{tensor}.attn.c_attn", 3 * hidden, hidden)
        context = self._add(
            "attention",
            f"{name}.attention.context",
            [qkv] * 3,
            heads=self.config.heads,
            head_dim=hidden // self.config.heads,
            causal=True,
            **{f"{part}_column": column * hidden for column, part in enumerate("qkv")},
        )
        out = f"{name}.attention.output"
        self._linear(out, context, f"{tensor}.attn.c_proj", hidden, hidden)
        x = self._add("add", f"{name}.attention.sum", [out, x])
        return self._add("add", f"{name}.ffn.sum", [self._feed_forward(name, tensor, x), x])

    def _feed_forward(self, name: str, tensor: str, x: str) -> str:
        hidden, inner = self.config.hidden, self.config.intermediate
        normal = self._layernorm(f"{name}.ffn.norm", x, f"{tensor}.ln_2")
        up = self._linear(f"{name}.ffn.up", normal, f"{tensor}.mlp.c_fc", inner, hidden)
        active = self._add(
            "activation", f"{name}.ffn.hidden", [up], function=self.config.activation
        )
        return self._linear(f"{name}.ffn.output", active, f"{tensor}.mlp.c_proj", hidden, inner)

    def _head_weight(self, word: np.ndarray) -> np.ndarray:
        """Return the weights of the layer that tells the next token."""
        if self.config.tied and "lm_head.weight" not in self.checkpoint:
            return word
        weight = self.checkpoint.take("lm_head.weight", word.shape)
        if self.config.tied and not np.array_equal(weight, word):
            raise BadCheckpoint(
                f"{self.checkpoint.directory}: lm_head.weight differs from wte.weight, though "
                "config.json says tie_word_embeddings."
            )
        return weight
