"""Reads config.json of a Hugging Face BERT or GPT-2, and what sentence-transformers adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import blob_format as fmt
from .checkpoint import read_json
from .errors import BadCheckpoint, UnsupportedModel

ARCHITECTURES = (
    "BertModel",
    "BertForSequenceClassification",
    "GPT2Model",
    "GPT2LMHeadModel",
)

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


@dataclass(frozen=True)
class Config:
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


def read_config(path: Path) -> Config:
    """Read a config.json.  Raises BadCheckpoint and UnsupportedModel."""
    raw = read_json(path)
    architecture = _architecture(raw, path)
    _refuse_variants(raw, path)
    config = Config(
        architecture=architecture,
        hidden=_size(raw, path, "hidden_size", fmt.MAX_NORM),
        heads=_size(raw, path, "num_attention_heads", fmt.MAX_HEADS),
        layers=_size(raw, path, "num_hidden_layers", fmt.MAX_OPS // 16),
        intermediate=_size(raw, path, "intermediate_size", fmt.MAX_K_S8),
        vocabulary=_size(raw, path, "vocab_size", 2**24),
        types=_size(raw, path, "type_vocab_size", 2**24, default=2),
        positions=_size(raw, path, "max_position_embeddings", 2**24, default=512),
        epsilon=_epsilon(raw, path, "layer_norm_eps", 1e-12),
        activation=_activation(raw, path, "hidden_act", "gelu"),
        labels=_labels(raw, path),
    )
    _check_heads(path, "num_attention_heads", config.heads, "hidden_size", config.hidden)
    return config


@dataclass(frozen=True)
class Gpt2Config:
    """The facts of a GPT-2's config.json that shape the graph.

    head: whether there is a layer that tells the next token; tied: its weights are the embeddings;
    end: the number of the token that ends a text, None where there is none.
    """

    head: bool
    tied: bool
    hidden: int
    heads: int
    layers: int
    intermediate: int
    vocabulary: int
    positions: int
    epsilon: float
    activation: str
    end: int | None

    @property
    def architecture(self) -> str:
        """The name of the model's class."""
        return "GPT2LMHeadModel" if self.head else "GPT2Model"


def is_gpt2(raw: dict) -> bool:
    """Whether a config.json describes a GPT-2."""
    return raw.get("model_type") == "gpt2" or "GPT2" in str(raw.get("architectures"))


def read_gpt2_config(path: Path) -> Gpt2Config:
    """Read the config.json of a GPT-2.  Raises BadCheckpoint and UnsupportedModel."""
    raw = read_json(path)
    architecture = _architecture(raw, path)
    _refuse_gpt2_variants(raw, path)
    hidden = _size(raw, path, "n_embd", fmt.MAX_NORM, default=768)
    inner = 4 * hidden if raw.get("n_inner") is None else raw["n_inner"]
    head = architecture == "GPT2LMHeadModel"
    config = Gpt2Config(
        head=head,
        tied=bool(raw.get("tie_word_embeddings", True)),
        hidden=hidden,
        heads=_size(raw, path, "n_head", fmt.MAX_HEADS, default=12),
        layers=_size(raw, path, "n_layer", fmt.MAX_OPS // 32, default=12),
        intermediate=_size({"n_inner": inner}, path, "n_inner", fmt.MAX_K_S8),
        vocabulary=_size(raw, path, "vocab_size", fmt.MAX_N if head else 2**24, default=50257),
        positions=_size(raw, path, "n_positions", 2**24, default=1024),
        epsilon=_epsilon(raw, path, "layer_norm_epsilon", 1e-5),
        activation=_activation(raw, path, "activation_function", "gelu_new"),
        end=raw["eos_token_id"] if type(raw.get("eos_token_id")) is int else None,
    )
    _check_heads(path, "n_head", config.heads, "n_embd", config.hidden)
    return config


def _check_heads(path: Path, heads_key: str, heads: int, hidden_key: str, hidden: int) -> None:
    """Refuse heads that do not divide the width, or are too wide."""
    if hidden % heads:
        raise UnsupportedModel(
            f"{path}: {heads_key} {heads} does not divide {hidden_key} {hidden}."
        )
    if hidden // heads > fmt.MAX_HEAD_DIM:
        raise UnsupportedModel(
            f"{path}: heads of {hidden // heads} columns are wider than {fmt.MAX_HEAD_DIM}, the "
            "limit of the blob format."
        )


def _refuse_gpt2_variants(raw: dict, path: Path) -> None:
    """Refuse settings that change the meaning of the model."""
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if raw.get(key):
            raise UnsupportedModel(f"{path}: {key} is set, which is not supported.")
    if not raw.get("scale_attn_weights", True):
        raise UnsupportedModel(f"{path}: scale_attn_weights is off, which is not supported.")


def _architecture(raw: dict, path: Path) -> str:
    names = raw.get("architectures") or []
    kind = "gpt2" if is_gpt2(raw) else "bert"
    if not isinstance(names, list) or len(names) != 1:
        raise UnsupportedModel(
            f"{path}: 'architectures' must name one of {', '.join(ARCHITECTURES)}, not {names!r}."
        )
    if names[0] not in ARCHITECTURES or raw.get("model_type", kind) != kind:
        raise UnsupportedModel(
            f"{path}: architecture {names[0]!r} of model type {raw.get('model_type')!r} is "
            f"not supported; supported are {', '.join(ARCHITECTURES)}."
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


def _epsilon(raw: dict, path: Path, key: str, default: float) -> float:
    value = raw.get(key, default)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise BadCheckpoint(f"{path}: {key} must lie between 0 and 1, not {value!r}.")
    return float(value)


def _activation(raw: dict, path: Path, key: str, default: str) -> str:
    name = raw.get(key, default)
    function = name if name in _SAME_NAME else _ACTIVATIONS.get(name)
    if function is None:
        known = ", ".join(sorted({*_SAME_NAME, *(k for k, v in _ACTIVATIONS.items() if v)}))
        raise UnsupportedModel(f"{path}: {key} {name!r} is not supported; supported are {known}.")
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


def resolve_pooling(directory: Path, pooling: str) -> str:
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
