"""The float reference against formulas written down a second time, and against Hugging Face."""

import math

import numpy as np
import pytest

import tiny_bert
from csc_convert import ConvertError, load_source
from csc_convert.activations import FUNCTIONS, erf

ERF = np.vectorize(math.erf)


def naive_layernorm(x, tensors, name, epsilon):
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    normal = (x - mean) / np.sqrt(variance + epsilon)
    return normal * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def naive_linear(x, tensors, name):
    return np.einsum("tk,nk->tn", x, tensors[f"{name}.weight"]) + tensors[f"{name}.bias"]


def naive_encoder(tensors, heads, layers, ids, types, mask):
    """last_hidden_state of one sequence, in float64, row by row and head by head."""
    tensors = {name: array.astype(np.float64) for name, array in tensors.items()}
    x = (
        tensors["embeddings.word_embeddings.weight"][ids]
        + tensors["embeddings.position_embeddings.weight"][: len(ids)]
        + tensors["embeddings.token_type_embeddings.weight"][types]
    )
    x = naive_layernorm(x, tensors, "embeddings.LayerNorm", 1e-12)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        q, k, v = (
            naive_linear(x, tensors, f"{layer}.attention.self.{part}")
            for part in ("query", "key", "value")
        )
        width = x.shape[1] // heads
        context = np.zeros_like(x)
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            for row in range(len(x)):
                keys = np.flatnonzero(mask)
                scores = k[keys, columns] @ q[row, columns] / math.sqrt(width)
                share = np.exp(scores) / np.exp(scores).sum()
                context[row, columns] = share @ v[keys, columns]
        y = naive_linear(context, tensors, f"{layer}.attention.output.dense")
        x = naive_layernorm(x + y, tensors, f"{layer}.attention.output.LayerNorm", 1e-12)
        y = naive_linear(x, tensors, f"{layer}.intermediate.dense")
        y = naive_linear(y * 0.5 * (1 + ERF(y / math.sqrt(2))), tensors, f"{layer}.output.dense")
        x = naive_layernorm(x + y, tensors, f"{layer}.output.LayerNorm", 1e-12)
    return x


@pytest.fixture
def model(tmp_path):
    return load_source(tiny_bert.encoder(tmp_path / "m"), pooling="mean")


def test_against_naive_formula(model):
    data = tiny_bert.inputs(6)
    found = model.run(data)
    for i in range(6):
        mask = data["attention_mask"][i].astype(bool)
        wanted = naive_encoder(
            tiny_bert.weights(24), 3, 2, data["input_ids"][i], data["token_type_ids"][i], mask
        )
        np.testing.assert_allclose(found["last_hidden_state"][i][mask], wanted[mask], atol=2e-5)
        np.testing.assert_allclose(
            found["sentence_embedding"][i], wanted[mask].mean(axis=0), atol=2e-5
        )
        assert not found["last_hidden_state"][i][~mask].any()


def test_classifier_head(tmp_path):
    model = load_source(tiny_bert.classifier(tmp_path / "m", hidden=24, heads=3))
    data = tiny_bert.inputs(4)
    tensors = tiny_bert.weights(24, classes=5)
    for i in range(4):
        mask = data["attention_mask"][i].astype(bool)
        first = naive_encoder(tensors, 3, 2, data["input_ids"][i], data["token_type_ids"][i], mask)[
            :1
        ]
        pooled = np.tanh(naive_linear(first, tensors, "pooler.dense"))
        np.testing.assert_allclose(
            model.run(data)["logits"][i], naive_linear(pooled, tensors, "classifier")[0], atol=5e-5
        )


def test_padding_changes_nothing(model):
    data = tiny_bert.inputs(8)
    other = {name: array.copy() for name, array in data.items()}
    hidden = data["attention_mask"] == 0
    other["input_ids"][hidden] = 33
    a, b = model.run(data), model.run(other)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_batching_changes_nothing(model):
    data = tiny_bert.inputs(8)
    together = model.run(data)
    for i in range(8):
        alone = model.run({name: array[i] for name, array in data.items()})
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][i], atol=1e-5)


def test_invisible_key_in_the_middle(model):
    data = {name: array[:1].copy() for name, array in tiny_bert.inputs(1).items()}
    data["attention_mask"][0, 3] = 0
    before = model.run(data)
    data["input_ids"][0, 3] = (data["input_ids"][0, 3] + 1) % tiny_bert.VOCABULARY
    after = model.run(data)
    np.testing.assert_array_equal(before["sentence_embedding"], after["sentence_embedding"])


def test_defaults_of_optional_inputs(model):
    ids = tiny_bert.inputs(3)["input_ids"]
    full = {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": np.ones_like(ids),
    }
    for name, array in model.run(full).items():
        np.testing.assert_array_equal(array, model.run({"input_ids": ids})[name])


def test_trace_has_every_value(model):
    data = tiny_bert.inputs(3)
    trace = model.run(data, trace=True)
    assert {node.output for node in model.graph.nodes} <= set(trace)
    np.testing.assert_allclose(
        FUNCTIONS["gelu"](trace["layer.0.ffn.hidden.pre"]), trace["layer.0.ffn.hidden"], atol=1e-6
    )
    for name, array in model.run(data).items():
        np.testing.assert_array_equal(array, trace[name])


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "input_ids.*missing"),
        ({"input_ids": [[1, 2]], "mask": [[1, 1]]}, "'mask' is unknown"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, "shape"),
        ({"input_ids": [[1.0, 2.0]]}, "integers"),
        ({"input_ids": [[1, tiny_bert.VOCABULARY]]}, r"input_ids\[0\]\[1\] is 50"),
        ({"input_ids": [[1] * 41]}, "40 positions"),
    ],
)
def test_bad_inputs(model, inputs, text):
    with pytest.raises(ConvertError, match=text):
        model.run({name: np.array(value) for name, value in inputs.items()})


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 5e-7), (np.float64, 1e-7)])
def test_erf(dtype, error):
    x = np.linspace(-6, 6, 20001).astype(dtype)
    found = erf(x)
    assert found.dtype == dtype
    assert np.abs(found - ERF(x.astype(np.float64))).max() < error


NAIVE = {
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "identity": lambda x: x,
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0),
    "relu2": lambda x: max(x, 0) ** 2,
    "relu6": lambda x: min(max(x, 0), 6),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_activation(name):
    x = np.linspace(-20, 20, 2001)
    wanted = np.array([NAIVE[name](float(v)) for v in x])
    np.testing.assert_allclose(FUNCTIONS[name](x), wanted, atol=1e-6, rtol=1e-6)
    found = FUNCTIONS[name](x.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_against_hugging_face(tmp_path, activation):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    path = tiny_bert.classifier(tmp_path / "m", hidden=24, heads=3, hidden_act=activation)
    theirs = transformers.BertForSequenceClassification.from_pretrained(path).eval()
    data = tiny_bert.inputs(8)
    with torch.no_grad():
        wanted = theirs(**{k: torch.tensor(v.astype(np.int64)) for k, v in data.items()})
    np.testing.assert_allclose(
        load_source(path).run(data)["logits"], wanted.logits.numpy(), atol=2e-5
    )
