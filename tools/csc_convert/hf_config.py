"""Reads config.json of a Hugging Face BERT, and what sentence-transformers adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import blob_format as fmt
from .checkpoint import read_json
from .errors import BadCheckpoint, UnsupportedModel

ARCHITECTURES = ("BertModel", "BertForSequenceClassification")

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
