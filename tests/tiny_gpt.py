"""Makes small random Hugging Face directories of GPT-2 models, and texts for them.

The weights have what makes trained models hard to quantize: a few channels of the residual stream
with large numbers, a few large layernorm gains, and offsets far from 0.
"""

import numpy as np

from tiny_bert import write

VOCABULARY = 60
POSITIONS = 40


def weights(hidden=16, layers=2, inner=None, head=True, tied=True, seed=0):
    """float32 tensors by the names of a GPT2LMHeadModel, or without a head of a GPT2Model."""
    rng = np.random.default_rng(seed)
    inner = inner or 4 * hidden
    prefix = "transformer." if head else ""
    tensors = {}

    def conv1d(name, rows, columns):
        """Hugging Face's Conv1D holds [inputs][outputs]."""
        weight = rng.normal(0, 1 / np.sqrt(columns), (columns, rows))
        tensors[f"{prefix}{name}.weight"] = weight
        tensors[f"{prefix}{name}.bias"] = rng.normal(0, 0.1, rows)

    def layernorm(name):
        gain, offset = rng.normal(1, 0.1, hidden), rng.normal(0, 0.1, hidden)
        outliers = rng.choice(hidden, 2, replace=False)
        gain[outliers] *= 3
        offset[outliers] += 1
        tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"] = gain, offset

    word = rng.normal(0, 0.4, (VOCABULARY, hidden))
    word[:, 3] += 2
    tensors[f"{prefix}wte.weight"] = word
    tensors[f"{prefix}wpe.weight"] = rng.normal(0, 0.2, (POSITIONS, hidden))
    for i in range(layers):
        layernorm(f"h.{i}.ln_1")
        conv1d(f"h.{i}.attn.c_attn", 3 * hidden, hidden)
        conv1d(f"h.{i}.attn.c_proj", hidden, hidden)
        layernorm(f"h.{i}.ln_2")
        conv1d(f"h.{i}.mlp.c_fc", inner, hidden)
        conv1d(f"h.{i}.mlp.c_proj", hidden, inner)
    layernorm("ln_f")
    if head and not tied:
        tensors["lm_head.weight"] = rng.normal(0, 0.5, (VOCABULARY, hidden))
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def config(hidden=16, heads=2, layers=2, head=True, **changes):
    """config.json as a dict."""
    result = {
        "architectures": ["GPT2LMHeadModel" if head else "GPT2Model"],
        "model_type": "gpt2",
        "n_embd": hidden,
        "n_head": heads,
        "n_layer": layers,
        "n_inner": None,
        "vocab_size": VOCABULARY,
        "n_positions": POSITIONS,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "eos_token_id": 7,
    }
    return {**result, **changes}


def model(
    directory, hidden=16, heads=2, layers=2, head=True, tied=True, dtype=np.float32, seed=0,
    **changes,
):  # fmt: skip
    """Write a random model; returns its path."""
    settings = config(hidden, heads, layers, head, tie_word_embeddings=tied, **changes)
    tensors = weights(hidden, layers, settings["n_inner"], head, tied, seed)
    return write(directory, settings, {name: a.astype(dtype) for name, a in tensors.items()})


def texts(count=24, width=20, seed=0):
    """Random texts of 2 to `width` tokens, padded behind: ids and mask [N][T]."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, width + 1, count)
    lengths[0] = width
    mask = (np.arange(width) < lengths[:, None]).astype(np.uint8)
    ids = rng.integers(1, VOCABULARY, (count, width)).astype(np.int32) * mask
    return {"input_ids": ids, "attention_mask": mask}
