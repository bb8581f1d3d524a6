"""Imports BERT encoders from Hugging Face directories.

Names of values: "embeddings.sum" and "embeddings", then per layer i "layer.i." with
"attention.query", ".key", ".value", ".context", ".output", ".sum", ".norm", "ffn.hidden",
"ffn.output", "ffn.sum", "norm".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import blob_format as fmt
from .checkpoint import Checkpoint, read_json
from .errors import BadCheckpoint, UnsupportedModel
from .graph import Graph, Input, Node, check

ARCHITECTURES = ("BertModel", "BertForSequenceClassification")
POOLINGS = ("auto", "none", "cls", "mean")
IDS, TYPES, MASK = "input_ids", "token_type_ids", "attention_mask"

# Hugging Face's names of the activation functions, where they are not ours.
_ACTIVATIONS = {
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_python": "gelu",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "hardswish": "hard_swish",
    "linear": "identity",
    "swish": "silu",
}
_SAME_NAME = (
    "gelu",
    "leaky_relu",
    "mish",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "sigmoid",
    "silu",
    "tanh",
)
# Tensors that say nothing about the encoder: buffers, and the heads of pre-training.
_IGNORED = ("embeddings.position_ids", "embeddings.token_type_ids", "cls.")


@dataclass(frozen=True)
class _Config:
    """The facts of config.json that shape the graph."""

    architecture: str
    hidden: int
    heads: int
    layers: int
    intermediate: int
    vocabulary: int
    types: int
    positions: int
    epsilon: float
    activation: str
    labels: tuple[str, ...]


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
    config = _read_config(directory / "config.json")
    checkpoint = Checkpoint(directory)
    _normalise_names(checkpoint)
    graph = _Builder(config, checkpoint).build(_resolve_pooling(directory, pooling))
    _refuse_surplus(checkpoint)
    check(graph, after="import")
    return graph


# -- config.json ---------------------------------------------------------------------------------


def _read_config(path: Path) -> _Config:
    raw = read_json(path)
    architecture = _architecture(raw, path)
    _refuse_variants(raw, path)
    config = _Config(
        architecture=architecture,
        hidden=_size(raw, path, "hidden_size", fmt.MAX_NORM),
        heads=_size(raw, path, "num_attention_heads", fmt.MAX_HEADS),
        layers=_size(raw, path, "num_hidden_layers", fmt.MAX_OPS // 16),
        intermediate=_size(raw, path, "intermediate_size", fmt.MAX_K_S8),
        vocabulary=_size(raw, path, "vocab_size", 2**24),
        types=_size(raw, path, "type_vocab_size", 2**24, default=2),
        positions=_size(raw, path, "max_position_embeddings", 2**24, default=512),
        epsilon=_epsilon(raw, path),
        activation=_activation(raw, path),
        labels=_labels(raw, path),
    )
    if config.hidden % config.heads:
        raise UnsupportedModel(
            f"{path}: num_attention_heads {config.heads} does not divide hidden_size "
            f"{config.hidden}."
        )
    if config.hidden // config.heads > fmt.MAX_HEAD_DIM:
        raise UnsupportedModel(
            f"{path}: heads of {config.hidden // config.heads} columns are wider than "
            f"{fmt.MAX_HEAD_DIM}, the limit of the blob format."
        )
    return config


def _architecture(raw: dict, path: Path) -> str:
    names = raw.get("architectures") or []
    if not isinstance(names, list) or len(names) != 1:
        raise UnsupportedModel(
            f"{path}: 'architectures' must name one of {', '.join(ARCHITECTURES)}, not {names!r}."
        )
    if names[0] not in ARCHITECTURES or raw.get("model_type", "bert") != "bert":
        raise UnsupportedModel(
            f"{path}: architecture {names[0]!r} of model type {raw.get('model_type', 'bert')!r} is "
            f"not supported; supported are {', '.join(ARCHITECTURES)} of model type 'bert'."
        )
    return names[0]


def _refuse_variants(raw: dict, path: Path) -> None:
    """Refuse settings that change the meaning of the model."""
    positions = raw.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UnsupportedModel(
            f"{path}: position_embedding_type {positions!r} is not supported; only 'absolute' is."
        )
    for key in ("is_decoder", "add_cross_attention"):
        if raw.get(key):
            raise UnsupportedModel(f"{path}: {key} is set; only encoders are supported.")


def _size(raw: dict, path: Path, key: str, limit: int, default: int | None = None) -> int:
    value = raw.get(key, default)
    if type(value) is not int or value < 1:
        raise BadCheckpoint(f"{path}: {key} must be a positive integer, not {value!r}.")
    if value > limit:
        raise UnsupportedModel(f"{path}: {key} {value} is larger than the supported {limit}.")
    return value


def _epsilon(raw: dict, path: Path) -> float:
    value = raw.get("layer_norm_eps", 1e-12)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise BadCheckpoint(f"{path}: layer_norm_eps must lie between 0 and 1, not {value!r}.")
    return float(value)


def _activation(raw: dict, path: Path) -> str:
    name = raw.get("hidden_act", "gelu")
    function = name if name in _SAME_NAME else _ACTIVATIONS.get(name)
    if function is None:
        known = ", ".join(sorted({*_SAME_NAME, *(k for k, v in _ACTIVATIONS.items() if v)}))
        raise UnsupportedModel(
            f"{path}: hidden_act {name!r} is not supported; supported are {known}."
        )
    return function


def _labels(raw: dict, path: Path) -> tuple[str, ...]:
    """Class names in the order of the logits; without id2label transformers' default of two."""
    mapping = raw.get("id2label")
    if mapping is None:
        count = raw.get("num_labels", 2)
        return tuple(f"LABEL_{i}" for i in range(count if type(count) is int else 0))
    try:
        by_number = {int(key): str(value) for key, value in mapping.items()}
        return tuple(by_number[i] for i in range(len(by_number)))
    except (AttributeError, KeyError, ValueError):
        raise BadCheckpoint(
            f"{path}: id2label must map the numbers 0, 1, 2, ... to names."
        ) from None


def _resolve_pooling(directory: Path, pooling: str) -> str:
    """Return the pooling asked for; "auto" is looked up in the files of sentence-transformers."""
    path = directory / "1_Pooling" / "config.json"
    if pooling != "auto":
        return pooling
    if not (directory / "modules.json").is_file() or not path.is_file():
        return "none"
    raw = read_json(path)
    modes = [
        key
        for key, value in sorted(raw.items())
        if key.startswith("pooling_mode") and value and value != "none"
    ]
    known = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    found = [known.get(mode, raw[mode] if mode == "pooling_mode" else None) for mode in modes]
    if len(found) != 1 or found[0] not in ("cls", "mean"):
        raise UnsupportedModel(
            f"{path}: pooling {', '.join(modes) or 'without a mode'} is not supported; supported "
            "are one of the modes cls and mean, or pooling='none' without sentence embeddings."
        )
    return found[0]


# -- tensors -------------------------------------------------------------------------------------


def _normalise_names(checkpoint: Checkpoint) -> None:
    """Bring all names to one form: without "bert.", layernorms with weight and bias."""
    for name in checkpoint.names():
        new = name.removeprefix("bert.")
        if "LayerNorm." in new:
            new = new.replace(".gamma", ".weight").replace(".beta", ".bias")
        if new != name:
            checkpoint.rename(name, new)


def _refuse_surplus(checkpoint: Checkpoint) -> None:
    surplus = [name for name in checkpoint.not_taken() if not name.startswith(_IGNORED)]
    if surplus:
        raise BadCheckpoint(
            f"{checkpoint.directory}: tensor {surplus[0]!r} has no place in the model that "
            f"config.json describes ({len(surplus)} such tensors); config.json and weights do not "
            "belong together."
        )


class _Builder:
    """Builds the graph of one model."""

    def __init__(self, config: _Config, checkpoint: Checkpoint) -> None:
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
