"""Hugging Face directories: every way to write the same model, and every way to be wrong."""

import json

import numpy as np
import pytest

import tiny_bert
from csc_convert import BadCheckpoint, ConvertError, UnsupportedModel, load_source
from csc_convert.import_hf import import_hf


def weights_of(graph):
    return {
        (node.name, name): array for node in graph.nodes for name, array in node.weights.items()
    }


def assert_same_weights(graph, other, tolerance=0.0):
    a, b = weights_of(graph), weights_of(other)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=tolerance, atol=tolerance, err_msg=key)


def write_safetensors(path, arrays, dtype):
    """A safetensors file by hand: length of the header, header, data."""
    header, data = {}, b""
    for name, (shape, raw) in arrays.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def plain(tmp_path):
    return tiny_bert.encoder(tmp_path / "plain")


def test_prefix_and_old_layernorm_names(tmp_path, plain):
    renamed = {}
    for name, array in tiny_bert.weights(24).items():
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        renamed[f"bert.{name}"] = array
    renamed["bert.embeddings.position_ids"] = np.arange(40)[None]
    renamed["cls.predictions.bias"] = np.zeros(50, np.float32)
    other = tiny_bert.write(tmp_path / "other", tiny_bert.config(hidden=24, heads=3), renamed)
    assert_same_weights(import_hf(plain), import_hf(other))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (np.float64, 1e-7)])
def test_other_float_types(tmp_path, plain, dtype, tolerance):
    other = tiny_bert.encoder(tmp_path / "other", dtype=dtype)
    assert_same_weights(import_hf(plain), import_hf(other), tolerance)


def test_bfloat16(tmp_path, plain):
    upper = {
        name: (array.shape, (array.view(np.uint32) >> 16).astype("<u2").tobytes())
        for name, array in tiny_bert.weights(24).items()
    }
    write_safetensors(plain / "model.safetensors", upper, "BF16")
    graph = import_hf(plain)
    original = import_hf(tiny_bert.encoder(tmp_path / "again"))
    assert_same_weights(graph, original, 2.0**-7)
    some = weights_of(graph)["layer.0.ffn.up", "weight"]
    assert not np.array_equal(some, weights_of(original)["layer.0.ffn.up", "weight"])
    assert not np.any(some.view(np.uint32) & 0xFFFF)


def shards(directory):
    """Split model.safetensors of a directory in two."""
    tensors = tiny_bert.weights(24)
    names = sorted(tensors)
    weight_map = {}
    for i in range(2):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        part = {name: (tensors[name].shape, tensors[name].tobytes()) for name in names[i::2]}
        write_safetensors(directory / file, part, "F32")
        weight_map.update(dict.fromkeys(part, file))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "model.safetensors").unlink()


def test_sharded(tmp_path, plain):
    other = tiny_bert.encoder(tmp_path / "other")
    shards(other)
    assert_same_weights(import_hf(plain), import_hf(other))


def test_missing_shard_is_named(plain):
    shards(plain)
    (plain / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="model-00002-of-00002"):
        import_hf(plain)


def test_tensor_in_two_shards(plain):
    shards(plain)
    first = plain / "model-00001-of-00002.safetensors"
    (plain / "model-00002-of-00002.safetensors").write_bytes(first.read_bytes())
    with pytest.raises(BadCheckpoint, match="two files"):
        import_hf(plain)


def test_shard_outside_directory(plain):
    shards(plain)
    index = plain / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(BadCheckpoint, match="outside"):
        import_hf(plain)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("relu", "relu"),
        ("silu", "silu"),
        ("swish", "silu"),
        ("tanh", "tanh"),
        ("quick_gelu", "quick_gelu"),
        ("mish", "mish"),
        ("hardswish", "hard_swish"),
    ],
)
def test_activations(tmp_path, name, function):
    graph = import_hf(tiny_bert.encoder(tmp_path / "m", hidden_act=name))
    assert {
        node.attributes["function"]
        for node in graph.nodes
        if node.op == "activation" and "ffn" in node.name
    } == {function}


def test_outputs_and_labels(tmp_path):
    assert load_source(tiny_bert.classifier(tmp_path / "c")).labels == tiny_bert.CLASSES
    assert load_source(tmp_path / "c").graph.outputs == ["logits"]
    assert import_hf(tiny_bert.encoder(tmp_path / "e")).outputs == [
        "last_hidden_state",
        "pooler_output",
    ]
    assert import_hf(tiny_bert.encoder(tmp_path / "n", pooler=False)).outputs == [
        "last_hidden_state"
    ]


def test_pooling_option(plain):
    for pooling, mode in (("cls", "first"), ("mean", "mean")):
        graph = import_hf(plain, pooling)
        assert graph.outputs[-1] == "sentence_embedding"
        assert graph.producer("sentence_embedding").attributes["mode"] == mode
    with pytest.raises(UnsupportedModel, match="'max'"):
        import_hf(plain, "max")


def sentence_transformer(directory, pooling):
    (directory / "modules.json").write_text("[]")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"word_embedding_dimension": 24, "pooling_mode": "mean"}, "mean"),
    ],
)
def test_pooling_auto(plain, settings, mode):
    assert "sentence_embedding" not in import_hf(plain).outputs
    sentence_transformer(plain, settings)
    graph = import_hf(plain)
    assert graph.producer("sentence_embedding").attributes["mode"] == mode
    assert "sentence_embedding" not in import_hf(plain, "none").outputs


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {},
    ],
)
def test_pooling_auto_refuses(plain, settings):
    sentence_transformer(plain, settings)
    with pytest.raises(UnsupportedModel, match="1_Pooling"):
        import_hf(plain)


BAD_CONFIGS = [
    ({"architectures": ["OPTForCausalLM"], "model_type": "opt"}, "OPTForCausalLM"),
    ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
    ({"architectures": []}, "architectures"),
    ({"model_type": "roberta"}, "roberta"),
    ({"position_embedding_type": "relative_key"}, "relative_key"),
    ({"is_decoder": True}, "is_decoder"),
    ({"add_cross_attention": True}, "add_cross_attention"),
    ({"hidden_act": "laplace"}, "laplace"),
    ({"num_attention_heads": 5}, "does not divide"),
    ({"num_attention_heads": 0}, "num_attention_heads"),
    ({"hidden_size": "24"}, "hidden_size"),
    ({"hidden_size": 8192}, "hidden_size 8192 is larger than the supported 4096"),
    ({"num_attention_heads": 300, "hidden_size": 600}, "num_attention_heads 300"),
    ({"num_attention_heads": 1, "hidden_size": 2048}, "1024"),
    ({"intermediate_size": 70000}, "intermediate_size"),
    ({"layer_norm_eps": 0}, "layer_norm_eps"),
    ({"architectures": ["BertForSequenceClassification"], "id2label": {"1": "x"}}, "id2label"),
]


@pytest.mark.parametrize(("changes", "text"), BAD_CONFIGS)
def test_config_refusals(tmp_path, changes, text):
    path = tiny_bert.encoder(tmp_path / "m", layers=1)
    settings = {**tiny_bert.config(hidden=24, heads=3, layers=1), **changes}
    (path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConvertError, match=text) as caught:
        import_hf(path)
    assert "config.json" in str(caught.value)


def change_tensor(path, name, change):
    tensors = tiny_bert.weights(24)
    change(tensors, name)
    tiny_bert.write(path, tiny_bert.config(hidden=24, heads=3), tensors)


def test_missing_tensor(plain):
    change_tensor(plain, "encoder.layer.1.output.dense.bias", lambda t, n: t.pop(n))
    with pytest.raises(BadCheckpoint, match=r"encoder\.layer\.1\.output\.dense\.bias.*missing"):
        import_hf(plain)


def test_wrong_shape(plain):
    def cut(tensors, name):
        tensors[name] = tensors[name][:-1]

    change_tensor(plain, "encoder.layer.0.intermediate.dense.weight", cut)
    with pytest.raises(BadCheckpoint, match=r"intermediate.*\[95, 24\].*\[96, 24\]"):
        import_hf(plain)


def test_surplus_layer(plain):
    settings = tiny_bert.config(hidden=24, heads=3, layers=1)
    (plain / "config.json").write_text(json.dumps(settings))
    with pytest.raises(BadCheckpoint, match=r"encoder\.layer\.1.*no place"):
        import_hf(plain)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(plain, value):
    def spoil(tensors, name):
        tensors[name][3, 5] = value

    change_tensor(plain, "encoder.layer.0.attention.self.key.weight", spoil)
    with pytest.raises(BadCheckpoint, match=r"self\.key\.weight.*index \(3, 5\)"):
        import_hf(plain)


def test_float16_overflow_is_not_finite(plain):
    change_tensor(plain, "pooler.dense.bias", lambda t, n: t.update({n: t[n] * 1e39}))
    with pytest.raises(BadCheckpoint, match=r"pooler\.dense\.bias"):
        import_hf(plain)


def test_integer_weights(plain):
    change_tensor(plain, "pooler.dense.bias", lambda t, n: t.update({n: t[n].astype(np.int32)}))
    with pytest.raises(BadCheckpoint, match="I32"):
        import_hf(plain)


def test_same_tensor_twice(plain):
    change_tensor(plain, "pooler.dense.bias", lambda t, n: t.update({f"bert.{n}": t[n]}))
    with pytest.raises(BadCheckpoint, match="mean the same"):
        import_hf(plain)


@pytest.mark.parametrize("length", [0, 7, 100, 5000])
def test_truncated_file(plain, length):
    file = plain / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        import_hf(plain)


def test_missing_files(tmp_path, plain):
    with pytest.raises(BadCheckpoint, match="nowhere"):
        load_source(tmp_path / "nowhere")
    (plain / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match="neither"):
        load_source(plain)
    (plain / "config.json").write_text("{")
    with pytest.raises(BadCheckpoint, match="JSON"):
        load_source(plain)
    (plain / "config.json").write_text("[]")
    with pytest.raises(BadCheckpoint, match="object"):
        load_source(plain)
    (plain / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        load_source(plain)
