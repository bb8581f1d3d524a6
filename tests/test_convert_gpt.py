"""GPT-2 models: from a directory to a blob with entries and states, close to the float model."""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

import csc
import tiny_gpt
from csc_convert import (
    AccuracyGate,
    BadCalibration,
    BadCheckpoint,
    ConvertError,
    UnsupportedModel,
    convert,
    load_source,
    oracle,
)
from csc_convert.decoder import last_row
from csc_convert.import_hf import import_hf
from csc_convert.language import Predictions, divergence

RECORDED = Path(__file__).resolve().parent / "vectors" / "gpt2"
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "debian_texts"
DATA = tiny_gpt.texts(40)
UNSEEN = tiny_gpt.texts(16, seed=9)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    return tiny_gpt.model(tmp_path_factory.mktemp("gpt") / "m", hidden=32)


@pytest.fixture(scope="module")
def made(gpt):
    return convert(gpt, calibration=DATA, held_out=UNSEEN, score=True)


def sqnr(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


def texts_of(data):
    """The visible tokens of each text."""
    counts = data["attention_mask"].sum(axis=1)
    return [ids[:count] for ids, count in zip(data["input_ids"], counts, strict=True)]


# -- the float model -----------------------------------------------------------------------------


def normalized(x, tensors, name):
    spread = np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    return (x - x.mean()) / spread * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def conv1d(x, tensors, name):
    return sum(x[i] * tensors[f"{name}.weight"][i] for i in range(len(x))) + tensors[f"{name}.bias"]


def gelu_new(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def naive_attention(q, keys, values, heads):
    """The context of one row, head by head, over the keys so far."""
    width = len(q) // heads
    context = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = np.array([k[part] @ q[part] for k in keys]) / math.sqrt(width)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        context[part] = sum(share * v[part] for share, v in zip(shares, values, strict=True))
    return context


def naive_gpt(tensors, heads, layers, ids):
    """Logits of one text in float64, token by token with caches of keys and values."""
    tensors = {
        name.removeprefix("transformer."): array.astype(np.float64)
        for name, array in tensors.items()
    }
    caches = [([], []) for _ in range(layers)]
    head = tensors.get("lm_head.weight", tensors["wte.weight"])
    rows = []
    for position, token in enumerate(ids):
        x = tensors["wte.weight"][token] + tensors["wpe.weight"][position]
        for i, (keys, values) in enumerate(caches):
            qkv = conv1d(normalized(x, tensors, f"h.{i}.ln_1"), tensors, f"h.{i}.attn.c_attn")
            q, k, v = np.split(qkv, 3)
            keys.append(k)
            values.append(v)
            context = naive_attention(q, keys, values, heads)
            x = x + conv1d(context, tensors, f"h.{i}.attn.c_proj")
            hidden = conv1d(normalized(x, tensors, f"h.{i}.ln_2"), tensors, f"h.{i}.mlp.c_fc")
            x = x + conv1d(gelu_new(hidden), tensors, f"h.{i}.mlp.c_proj")
        rows.append(head @ normalized(x, tensors, "ln_f"))
    return np.array(rows)


@pytest.mark.parametrize(("tied", "inner"), [(True, None), (False, 40)])
def test_against_naive_formula(tmp_path, tied, inner):
    path = tiny_gpt.model(tmp_path / "m", 24, heads=3, tied=tied, n_inner=inner)
    data = tiny_gpt.texts(3)
    found = load_source(path).run(data)["logits"]
    tensors = tiny_gpt.weights(24, 2, inner, tied=tied)
    for i, ids in enumerate(texts_of(data)):
        wanted = naive_gpt(tensors, 3, 2, ids)
        np.testing.assert_allclose(found[i, : len(ids)], wanted, atol=2e-4)


def test_against_recorded_logits():
    """transformers wrote this directory and computed these logits."""
    recorded = np.load(RECORDED / "logits.npz")
    found = load_source(RECORDED / "model").run({"input_ids": recorded["input_ids"]})
    assert np.abs(recorded["logits"]).max() > 1
    np.testing.assert_allclose(found["logits"], recorded["logits"], atol=2e-4)


def test_model_without_head(tmp_path):
    """The same weights without a head: last_hidden_state, in a blob without entries."""
    recorded = np.load(RECORDED / "logits.npz")
    settings = json.loads((RECORDED / "model" / "config.json").read_text())
    settings["architectures"] = ["GPT2Model"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = (RECORDED / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    inputs = {"input_ids": recorded["input_ids"]}
    found = load_source(tmp_path).run(inputs)
    np.testing.assert_allclose(found["last_hidden_state"], recorded["hidden"], atol=1e-4)
    blob = oracle.read_blob(convert(tmp_path, calibration=inputs, wide="all").blob)
    assert (blob.context, [t.name for t in blob.inputs]) == (0, ["input_ids"])
    tensor = blob.outputs[0]
    rows = [oracle.run(blob, {"input_ids": ids})[tensor.name] for ids in recorded["input_ids"]]
    assert sqnr(recorded["hidden"], np.array(rows) * tensor.scale) > 25


def test_padding_changes_nothing(gpt):
    model = load_source(gpt)
    other = {name: array.copy() for name, array in DATA.items()}
    other["input_ids"][other["attention_mask"] == 0] = 33
    np.testing.assert_array_equal(model.run(DATA)["logits"], model.run(other)["logits"])
    assert convert(gpt, calibration=DATA).blob == convert(gpt, calibration=other).blob


def test_last_row_computes_the_last_row(gpt):
    rows = import_hf(gpt)
    ids = DATA["input_ids"][:1]
    model = load_source(gpt)
    wanted = model.run({"input_ids": ids})["logits"][:, -1]
    graph = last_row(model.graph)
    single = type(model)(graph)
    np.testing.assert_allclose(single.run({"input_ids": ids})["logits"], wanted, atol=1e-5)
    pooled = {node.name for node in graph.nodes if node.op == "pool"}
    assert pooled == {"layer.1.attention.context.last", "layer.0.ffn.sum.last"}
    assert rows.outputs == graph.outputs == ["logits"]


# -- the blob ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wide", "least"), [("none", 25), ("auto", 26), ("all", 30)])
def test_logits_of_unseen_texts(gpt, wide, least):
    blob = oracle.read_blob(convert(gpt, calibration=DATA, wide=wide, score=True).blob)
    scale = next(t.scale for t in blob.outputs if t.name == "score/logits")
    wanted, found = [], []
    for ids in texts_of(UNSEEN):
        wanted.append(load_source(gpt).run({"input_ids": ids})["logits"][0])
        found.append(oracle.run(blob, {"input_ids": ids}, entry="score")["score/logits"] * scale)
    wanted, found = np.concatenate(wanted), np.concatenate(found)
    assert sqnr(wanted, found) > least
    assert (wanted.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.9


def test_prefill_equals_steps_and_score(made):
    """Every way to the same position gives the same bits."""
    blob = oracle.read_blob(made.blob)
    for ids in texts_of(UNSEEN)[:4]:
        session = oracle.Session(blob)
        steps = [session.run("step", {"input_ids": [token]})["logits"] for token in ids]
        rows = oracle.run(blob, {"input_ids": ids}, entry="score")["score/logits"]
        np.testing.assert_array_equal(np.concatenate(steps), rows)
        for cut in (1, len(ids) // 2, len(ids)):
            first = oracle.run(blob, {"input_ids": ids[:cut]}, entry="prefill")["logits"]
            np.testing.assert_array_equal(first, rows[cut - 1 : cut])
        session = oracle.Session(blob)
        session.run("prefill", {"input_ids": ids[: len(ids) // 2 + 1]})
        if len(ids) // 2 + 1 < len(ids):
            rest = session.run("prefill", {"input_ids": ids[len(ids) // 2 + 1 :]})["logits"]
            np.testing.assert_array_equal(rest, rows[-1:])


def test_runtime_gives_the_oracles_bits(made):
    """Prompt and answer, as the C runtime and as the oracle compute them."""
    model = csc.load(made.blob)
    for ids in texts_of(UNSEEN)[:3]:
        oracle_session = oracle.Session(made.blob)
        logits = oracle_session.run("prefill", {"input_ids": ids})["logits"]
        found = model.session().run("prefill", {"input_ids": ids}, raw=True)["logits"]
        np.testing.assert_array_equal(found, logits[0])
        wanted = []
        for _ in range(6):
            wanted.append(oracle.greedy(logits))
            logits = oracle_session.run("step", {"input_ids": [wanted[-1]]})["logits"]
        assert list(csc.generate(model, ids.tolist(), 6)) == wanted


def test_records(gpt):
    made = convert(gpt, calibration=DATA, max_length=20, context=32)
    blob = oracle.read_blob(made.blob)
    assert (blob.max_length, blob.context) == (20, 32)
    assert [(e.name, e.max_length) for e in blob.entries] == [("prefill", 20), ("step", 1)]
    assert [t.name for t in blob.inputs] == ["input_ids"]
    assert [(t.name, t.shape) for t in blob.outputs] == [("logits", (1, tiny_gpt.VOCABULARY))]
    assert len(blob.states) == 4
    assert {t.shape for t in blob.states} == {(32, 32)}
    assert blob.metadata["end_token"] == 7
    assert blob.metadata["architecture"] == "GPT2LMHeadModel"
    names = [t.name for t in blob.tensors if not t.in_arena]
    assert len(set(names)) == len(names)
    assert made.plan is None
    assert made.no_plan
    report = made.report
    assert (report.context, report.entries) == (32, ("prefill", "step"))
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.arena_bytes == blob.arena_bytes >= report.arena_lower_bound
    assert report.weight_bytes == sum(row.weight_bytes for row in report.rows)


def test_score_adds_only_what_the_last_layer_needs(gpt, made):
    """Weights are there once, and places of entries overlap."""
    plain = convert(gpt, calibration=DATA, held_out=UNSEEN)
    assert plain.report.weight_bytes == made.report.weight_bytes
    added = made.report.arena_bytes - plain.report.arena_bytes
    assert 0 <= added < plain.report.arena_bytes


def test_same_arguments_give_the_same_bytes(gpt, tmp_path):
    copy = tiny_gpt.model(tmp_path / "elsewhere", hidden=32)
    first = convert(gpt, calibration=DATA)
    assert first.blob == convert(copy, tmp_path / "m.cscb", calibration=DATA).blob
    assert first.blob == (tmp_path / "m.cscb").read_bytes()


# -- perplexity ----------------------------------------------------------------------------------


def test_predictions_against_plain_sums():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, 7)
    wanted, found = rng.normal(0, 2, (2, 7, 5))
    told = Predictions()
    told.add(ids, wanted, found)
    shares = np.exp(wanted) / np.exp(wanted).sum(axis=1, keepdims=True)
    others = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    loss = [-math.log(shares[t, ids[t + 1]]) for t in range(6)]
    assert told.perplexities[0] == pytest.approx(math.exp(sum(loss) / 6))
    distance = (shares * np.log(shares / others)).sum(axis=1)
    np.testing.assert_allclose(divergence(wanted, found), distance, rtol=1e-9)
    assert told.mean_divergence == pytest.approx(distance.mean())


def test_perplexity_of_the_report(gpt, made):
    """The float model's is that of its logits; the integers' is near."""
    total, count = 0.0, 0
    logits = load_source(gpt).run(UNSEEN)["logits"].astype(np.float64)
    for row, ids in zip(logits, texts_of(UNSEEN), strict=True):
        shares = np.exp(row) / np.exp(row).sum(axis=1, keepdims=True)
        total -= sum(math.log(shares[t, ids[t + 1]]) for t in range(len(ids) - 1))
        count += len(ids) - 1
    found = made.report.perplexity
    assert found["float"] == pytest.approx(math.exp(total / count), rel=1e-4)
    assert found["integer"] == pytest.approx(found["float"], rel=0.03)
    assert found["integer"] != found["float"]
    assert 0 < found["divergence"] < 0.01
    assert made.report.measured_sequences == 16


def test_gate(gpt, tmp_path, made):
    found = made.report.perplexity
    growth = found["integer"] / found["float"] - 1
    options = {"calibration": DATA, "held_out": UNSEEN}
    with pytest.raises(AccuracyGate, match="perplexity rises"):
        convert(gpt, tmp_path / "m.cscb", max_perplexity_increase=growth - 1e-6, **options)
    assert list(tmp_path.iterdir()) == []
    convert(gpt, tmp_path / "m.cscb", max_perplexity_increase=growth + 1e-6, **options)


def test_auto_widens_by_divergence(gpt, monkeypatch):
    def widened(target):
        monkeypatch.setattr("csc_convert.wide.TARGET_DIVERGENCE", target)
        report = convert(gpt, calibration=DATA).report
        return len(report.wide), report.perplexity["divergence"]

    few, many = widened(10.0), widened(1e-9)
    between = widened((few[1] + many[1]) / 2)
    assert few[0] < between[0] <= many[0]
    assert between[1] <= (few[1] + many[1]) / 2


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"scale_attn_weights": False}, "scale_attn_weights"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"activation_function": "cube"}, "activation_function 'cube'"),
        ({"n_embd": 5000}, "n_embd 5000 is larger"),
        ({"n_head": 5}, "n_head 5 does not divide n_embd 16"),
        ({"n_inner": -1}, "n_inner must be a positive integer"),
        ({"n_inner": 32}, r"c_fc.weight.*\[16, 64\].*\[16, 32\]"),
        ({"vocab_size": 70000}, "vocab_size 70000"),
        ({"n_positions": 39}, "wpe.weight"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "GPT2ForSequenceClassification"),
        ({"tie_word_embeddings": False}, "lm_head.weight.*missing"),
    ],
)
def test_config_refusals(tmp_path, changes, text):
    path = tiny_gpt.model(tmp_path / "m", layers=1)
    settings = {**tiny_gpt.config(layers=1), **changes}
    (path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConvertError, match=text):
        import_hf(path)


def test_untied_head_in_a_tied_model(tmp_path):
    path = tiny_gpt.model(tmp_path / "m", tied=False)
    (path / "config.json").write_text(json.dumps(tiny_gpt.config()))
    with pytest.raises(BadCheckpoint, match="differs from wte"):
        import_hf(path)


def test_buffers_are_passed_by_and_strangers_are_not(tmp_path):
    tensors = tiny_gpt.weights(layers=1)
    tensors["transformer.h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)
    tensors["transformer.h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    path = tiny_gpt.write(tmp_path / "m", tiny_gpt.config(layers=1), tensors)
    assert import_hf(path).outputs == ["logits"]
    tensors["transformer.h.1.ln_1.weight"] = np.ones(16, np.float32)
    tiny_gpt.write(path, tiny_gpt.config(layers=1), tensors)
    with pytest.raises(BadCheckpoint, match=r"h\.1\.ln_1\.weight"):
        import_hf(path)


def test_padding_before_the_text(gpt):
    flipped = {name: array[:, ::-1] for name, array in DATA.items()}
    with pytest.raises(BadCalibration, match="padding behind the text"):
        convert(gpt, calibration=flipped)


@pytest.mark.parametrize("context", [19, 41])
def test_context_out_of_range(gpt, context):
    with pytest.raises(UnsupportedModel, match=f"20.*40.*not {context}"):
        convert(gpt, calibration=DATA, context=context)


def test_pooling_is_for_encoders(gpt):
    with pytest.raises(UnsupportedModel, match="pooling 'mean'"):
        convert(gpt, calibration=DATA, pooling="mean")


@pytest.mark.parametrize("option", ["context", "score", "max_perplexity_increase"])
def test_options_for_generating_models(tmp_path, option):
    path = tiny_gpt.model(tmp_path / "m", head=False)
    with pytest.raises(ConvertError, match=f"{option} is for models that generate text"):
        convert(path, calibration=DATA, **{option: 30})


# -- a trained model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    """The example's modules and checkpoint, where tokenizers is there."""
    pytest.importorskip("tokenizers")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        yield importlib.import_module("texts"), importlib.import_module("make_tokens")


def example_tokens(example, split, count):
    texts, make_tokens = example
    chosen = make_tokens.choose(texts.read_texts(split), count)
    return dict(
        zip(
            ("input_ids", "attention_mask"),
            texts.encode(chosen, texts.load_tokenizer(), 64),
            strict=True,
        )
    )


def test_trained_example(example):
    """Half a percent of perplexity is the gate; the texts are not those of the calibration."""
    made = convert(
        EXAMPLE / "checkpoint",
        calibration=example_tokens(example, "train", 24),
        held_out=example_tokens(example, "validation", 16),
        wide="none",
        max_perplexity_increase=0.005,
    )
    report = made.report
    assert report.perplexity["float"] < 40
    assert report.agreement > 0.96
    assert report.perplexity["divergence"] < 0.002
    assert (report.max_length, report.context) == (64, 128)
    blob = oracle.read_blob(made.blob)
    assert sum(t.bytes for t in blob.states) == 2 * 4 * 128 * 128


def test_examples_questions(example):
    texts, _ = example
    rows = [("games", "0ad", "real-time strategy. more."), ("net", "curl", "a tool. more.")]
    assert texts.ask(rows, "train")[1:3] == [
        f"which section is 0ad in?{texts.END}games",
        f"what does curl do?{texts.END}a tool",
    ]
    questions = {text.split(texts.END)[0] for text in texts.ask(rows, "validation")}
    assert not questions & {text.split(texts.END)[0] for text in texts.ask(rows, "train")}
