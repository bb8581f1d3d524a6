"""Makes small random Hugging Face directories of BERT encoders, and inputs for them.

The weights have what makes trained encoders hard to quantize: a few channels with large layernorm
gains, offsets far from 0, and some embeddings larger than the rest.
"""

import json

import numpy as np
from safetensors.numpy import save_file

VOCABULARY = 50
POSITIONS = 40
CLASSES = ["apples", "bread", "cheese", "dates", "eggs"]


def weights(hidden=16, layers=2, intermediate=None, classes=0, pooler=True, seed=0):
    """float32 tensors by the names of a BertModel, and "classifier" where there are classes."""
    rng = np.random.default_rng(seed)
    intermediate = intermediate or 4 * hidden
    tensors = {}

    def linear(name, rows, columns, size=1.0):
        tensors[f"{name}.weight"] = rng.normal(0, size / np.sqrt(columns), (rows, columns))
        tensors[f"{name}.bias"] = rng.normal(0, 0.1, rows)

    def layernorm(name):
        gain = rng.normal(1, 0.1, hidden)
        offset = rng.normal(0, 0.1, hidden)
        outliers = rng.choice(hidden, 2, replace=False)
        gain[outliers] *= 4
        offset[outliers] += 2
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = gain, offset

    for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        table = rng.normal(0, 0.05 if name == "word" else 0.01, (rows, hidden))
        table[::7] *= 3
        tensors[f"embeddings.{name}_embeddings.weight"] = table
    layernorm("embeddings.LayerNorm")
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        layernorm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", intermediate, hidden)
        linear(f"{layer}.output.dense", hidden, intermediate)
        layernorm(f"{layer}.output.LayerNorm")
    if pooler:
        linear("pooler.dense", hidden, hidden)
    if classes:
        linear("classifier", classes, hidden, size=3.0)
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def config(architecture="BertModel", hidden=16, heads=2, layers=2, intermediate=None, **changes):
    """config.json as a dict."""
    result = {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate or 4 * hidden,
        "vocab_size": VOCABULARY,
        "type_vocab_size": 2,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    if architecture == "BertForSequenceClassification":
        result["id2label"] = {str(i): label for i, label in enumerate(CLASSES)}
    return {**result, **changes}


def in_classifier(tensors):
    """The names a BertForSequenceClassification gives its tensors."""
    return {
        name if name.startswith("classifier") else f"bert.{name}": array
        for name, array in tensors.items()
    }


def write(directory, settings, tensors):
    """Write a directory; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(settings))
    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        directory / "model.safetensors",
    )
    return directory


def classifier(directory, hidden=16, heads=2, layers=2, dtype=np.float32, seed=0, **changes):
    """Write a random BertForSequenceClassification; returns its path."""
    tensors = in_classifier(weights(hidden, layers, classes=len(CLASSES), seed=seed))
    settings = config("BertForSequenceClassification", hidden, heads, layers, **changes)
    return write(directory, settings, {k: v.astype(dtype) for k, v in tensors.items()})


def encoder(
    directory, hidden=24, heads=3, layers=2, pooler=True, dtype=np.float32, seed=0, **changes
):
    """Write a random BertModel; returns its path."""
    tensors = weights(hidden, layers, pooler=pooler, seed=seed)
    return write(
        directory,
        config("BertModel", hidden, heads, layers, **changes),
        {k: v.astype(dtype) for k, v in tensors.items()},
    )


def inputs(count=24, width=20, seed=0):
    """Random sequences of 2 to `width` tokens, padded: ids, types and mask [N][T]."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, width + 1, count)
    lengths[0] = width
    mask = (np.arange(width) < lengths[:, None]).astype(np.uint8)
    ids = rng.integers(1, VOCABULARY, (count, width)).astype(np.int32) * mask
    types = (np.arange(width) > lengths[:, None] // 2).astype(np.int32) * mask
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
