"""The whole road: a directory and calibration data in, a blob close to the float model out."""

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny_bert
from csc_convert import (
    AccuracyGate,
    BadCalibration,
    BadCheckpoint,
    ConvertError,
    convert,
    load_source,
    oracle,
)
from csc_convert.files import write_file

# `csc_convert.convert` is the function; this is its module.
CONVERT = sys.modules["csc_convert.convert"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return tiny_bert.classifier(tmp_path_factory.mktemp("classifier") / "m", hidden=32, heads=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_bert.encoder(tmp_path_factory.mktemp("encoder") / "m")


DATA = tiny_bert.inputs(40)
UNSEEN = tiny_bert.inputs(24, seed=9)


def real_outputs(blob, data):
    """Outputs of every sequence as real numbers, by name."""
    parsed = oracle.read_blob(blob)
    results = {tensor.name: [] for tensor in parsed.outputs}
    for i, count in enumerate(data["attention_mask"].sum(axis=1)):
        found = oracle.run(parsed, {name: array[i, :count] for name, array in data.items()})
        for tensor in parsed.outputs:
            results[tensor.name].append(
                (found[tensor.name].astype(float) - tensor.zero_point) * tensor.scale
            )
    return results


def sqnr(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(wanted - found).sum())


def test_classifier_on_unseen_inputs(classifier):
    made = convert(classifier, calibration=DATA)
    wanted = load_source(classifier).run(UNSEEN)["logits"]
    found = np.concatenate(real_outputs(made.blob, UNSEEN)["logits"])
    assert sqnr(wanted, found) > 25
    assert (wanted.argmax(axis=1) == found.argmax(axis=1)).mean() >= 0.95


@pytest.mark.parametrize("pooling", ["none", "cls", "mean"])
def test_encoder_on_unseen_inputs(encoder, pooling):
    made = convert(encoder, calibration=DATA, pooling=pooling)
    wanted = load_source(encoder, pooling).run(UNSEEN)
    found = real_outputs(made.blob, UNSEEN)
    assert wanted.keys() == found.keys()
    counts = UNSEEN["attention_mask"].sum(axis=1)
    for name, array in wanted.items():
        rows = (
            [row[:count] for row, count in zip(array, counts, strict=True)]
            if array.ndim == 3
            else list(array[:, None])
        )
        assert sqnr(np.concatenate(rows), np.concatenate(found[name])) > 24, name


@pytest.mark.parametrize(
    ("hidden", "heads", "layers", "changes", "dtype"),
    [
        (16, 2, 1, {}, np.float32),
        (24, 3, 1, {"hidden_act": "relu"}, np.float16),
        (24, 2, 2, {"hidden_act": "gelu_new"}, np.float32),
        (32, 2, 1, {"hidden_act": "silu"}, np.float16),
        (20, 4, 1, {"hidden_act": "tanh"}, np.float32),
        (24, 3, 1, {"hidden_act": "linear"}, np.float32),
    ],
)
@pytest.mark.parametrize("wide", ["none", "all"])
def test_shapes_and_activations(tmp_path, hidden, heads, layers, changes, dtype, wide):
    path = tiny_bert.classifier(tmp_path / "m", hidden, heads, layers, dtype, **changes)
    made = convert(path, calibration=DATA, wide=wide)
    assert made.report.output_sqnr_db > (20 if wide == "none" else 27)
    assert made.report.agreement >= 0.9
    assert bool(made.report.wide) == (wide == "all")


def test_same_arguments_give_the_same_bytes(classifier, tmp_path):
    copy = tiny_bert.classifier(tmp_path / "elsewhere", hidden=32, heads=2)
    first = convert(classifier, calibration=DATA)
    second = convert(copy, tmp_path / "m.cscb", calibration=DATA)
    assert first.blob == second.blob == (tmp_path / "m.cscb").read_bytes()
    assert first.report.to_dict() == second.report.to_dict()


def test_padding_of_the_calibration_does_not_matter(classifier):
    other = {name: np.pad(array, ((0, 0), (0, 5))) for name, array in DATA.items()}
    other["input_ids"][other["attention_mask"] == 0] = 7
    assert (
        convert(classifier, calibration=DATA, max_length=20).blob
        == convert(classifier, calibration=other, max_length=20).blob
    )


def test_wide_costs_and_brings(classifier):
    reports = {
        wide: convert(classifier, calibration=DATA, wide=wide).report
        for wide in ("none", "auto", "all")
    }
    assert not reports["none"].wide
    assert set(reports["auto"].wide) <= set(reports["all"].wide)
    assert len(reports["all"].wide) == 2 * 4 + 2
    assert reports["all"].output_sqnr_db > reports["none"].output_sqnr_db + 3
    assert {"pooler.dense", "logits"} <= set(reports["auto"].wide)


def test_auto_widens_until_the_target(classifier, monkeypatch):
    def widened(target):
        monkeypatch.setattr("csc_convert.wide.TARGET_LOGITS_DB", target)
        report = convert(classifier, calibration=DATA, wide="auto").report
        return len(report.wide), report.output_sqnr_db

    low = widened(-100.0)
    high = widened(1000.0)
    target = (low[1] + high[1]) / 2
    middle = widened(target)
    assert low[0] < middle[0] <= high[0]
    assert low[1] < target <= middle[1]


def test_unused_tokens_of_the_vocabulary_work(classifier):
    """Ids that calibration never saw stay near the float model."""
    few = {name: array.copy() for name, array in DATA.items()}
    few["input_ids"] %= 25
    made = convert(classifier, calibration=few)
    wanted = load_source(classifier).run(UNSEEN)["logits"]
    found = np.concatenate(real_outputs(made.blob, UNSEEN)["logits"])
    assert sqnr(wanted, found) > 10


def test_blob_records(classifier):
    blob = oracle.read_blob(convert(classifier, calibration=DATA, max_length=33).blob)
    assert blob.max_length == 33
    assert [t.name for t in blob.inputs] == ["input_ids", "token_type_ids", "attention_mask"]
    assert [t.name for t in blob.outputs] == ["logits"]
    assert blob.outputs[0].scale > 0
    assert blob.metadata["labels"] == tiny_bert.CLASSES
    assert blob.metadata["architecture"] == "BertForSequenceClassification"
    ids = {"input_ids": [1, 2, 3]}
    full = {**ids, "token_type_ids": [0, 0, 0], "attention_mask": [1, 1, 1]}
    np.testing.assert_array_equal(oracle.run(blob, ids)["logits"], oracle.run(blob, full)["logits"])
    by_name = {tensor.name: tensor for tensor in blob.tensors}
    assert by_name["layer.0.attention.qkv"].scale == 0
    assert by_name["layer.0.attention.sum"].scale > 0
    assert "layer.0.norm.gemm" in by_name


def test_longest_and_shortest_sequences(classifier):
    blob = convert(classifier, calibration=DATA, max_length=tiny_bert.POSITIONS).blob
    model = load_source(classifier)
    for length in (1, 2, tiny_bert.POSITIONS):
        ids = np.arange(length) % tiny_bert.VOCABULARY
        found = real_outputs(blob, {"input_ids": ids[None], "attention_mask": ids[None] * 0 + 1})
        assert sqnr(model.run({"input_ids": ids})["logits"], found["logits"][0]) > 15


def test_all_keys_invisible_still_runs(classifier):
    blob = convert(classifier, calibration=DATA).blob
    found = oracle.run(blob, {"input_ids": [1, 2], "attention_mask": [0, 0]})
    assert found["logits"].shape == (1, 5)


def test_report(encoder):
    made = convert(encoder, calibration=DATA, pooling="mean")
    report = made.report
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.blob_bytes == len(made.blob)
    assert report.arena_lower_bound <= report.arena_bytes
    assert report.arena_bytes == oracle.read_blob(made.blob).arena_bytes
    assert report.weight_bytes == sum(row.weight_bytes for row in report.rows)
    assert report.agreement is None
    assert set(report.cosine) == {"last_hidden_state", "pooler_output", "sentence_embedding"}
    assert min(report.cosine.values()) > 0.99
    assert report.calibration_sequences == 40
    names = [row.name for row in report.rows]
    assert len(set(names)) == len(names)
    assert {row.kind for row in report.rows} == {
        "EMBED",
        "LAYERNORM",
        "GEMM",
        "ATTENTION",
        "ADD",
        "POOL",
    }
    assert all(0 <= row.saturation < 0.1 for row in report.rows)
    assert min(row.sqnr_db for row in report.rows) > 10
    assert report.worst(2)[0].sqnr_db <= report.worst(2)[1].sqnr_db


def test_progress(classifier):
    seen = []
    convert(classifier, calibration=DATA, progress=lambda *call: seen.append(call))
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages[:4] == ["load", "calibrate", "quantize", "measure"]
    assert stages[-1] == "write"
    assert all(0 <= done <= total for _, done, total in seen)


# -- gates and errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [{"min_sqnr": 90.0}, {"min_agreement": 1.0}])
def test_gates_write_nothing(classifier, tmp_path, monkeypatch, gate):
    real = CONVERT.measure

    def worse(*arguments):
        measured = real(*arguments)
        measured.agreements[0] = False
        return measured

    monkeypatch.setattr(CONVERT, "measure", worse)
    with pytest.raises(AccuracyGate) as caught:
        convert(classifier, tmp_path / "m.cscb", calibration=DATA, **gate)
    text = str(caught.value)
    assert ("90.00 dB" if "min_sqnr" in gate else "1.0000") in text
    assert "worst tensors are" in text
    assert list(tmp_path.iterdir()) == []


def test_gates_let_good_blobs_pass(classifier, tmp_path):
    convert(classifier, tmp_path / "m.cscb", calibration=DATA, min_sqnr=20, min_agreement=0.9)
    assert [path.name for path in tmp_path.iterdir()] == ["m.cscb"]


def test_agreement_needs_logits(encoder):
    with pytest.raises(ConvertError, match="no logits"):
        convert(encoder, calibration=DATA, min_agreement=0.9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"wide": "some"}, "wide"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 9000}, "max_length"),
        ({"min_agreement": 95}, "share"),
        ({"min_sqnr": float("nan")}, "min_sqnr"),
        ({"pooling": "max"}, "pooling"),
        ({"max_length": 41}, "41"),
    ],
)
def test_bad_options(classifier, options, text):
    with pytest.raises(ConvertError, match=text):
        convert(classifier, calibration=DATA, **options)


def test_errors_write_nothing(classifier, tmp_path):
    with pytest.raises(BadCalibration):
        convert(classifier, tmp_path / "a.cscb", calibration={"input_ids": np.zeros((1, 1))})
    with pytest.raises(BadCheckpoint):
        convert(tmp_path / "nowhere", tmp_path / "b.cscb", calibration=DATA)
    assert list(tmp_path.iterdir()) == []


# -- writing -------------------------------------------------------------------------------------


def full_disk(*_arguments, **_named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "pathlib.Path.open"])
def test_full_disk_leaves_nothing(tmp_path, monkeypatch, step):
    (tmp_path / "m.cscb").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(step, full_disk)
        with pytest.raises(ConvertError, match="No space left"):
            write_file(tmp_path / "m.cscb", b"new")
    assert (tmp_path / "m.cscb").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.cscb"]


def test_full_device(monkeypatch, tmp_path):
    """The bytes really do not fit: the temporary file stands on a device that is always full."""
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(Path, "open", lambda _path, _mode: full)
    with pytest.raises(ConvertError, match="No space left"):
        write_file(tmp_path / "m.cscb", b"new")
    assert list(tmp_path.iterdir()) == []


def test_missing_directory(tmp_path):
    with pytest.raises(ConvertError, match=r"m\.cscb: cannot be written"):
        write_file(tmp_path / "nowhere" / "m.cscb", b"new")


def test_write_file_replaces_and_keeps_the_usual_mode(tmp_path):
    (tmp_path / "m.cscb").write_bytes(b"old")
    write_file(tmp_path / "m.cscb", b"new")
    assert (tmp_path / "m.cscb").read_bytes() == b"new"
    (tmp_path / "plain").write_bytes(b"")
    assert Path(tmp_path / "m.cscb").stat().st_mode == Path(tmp_path / "plain").stat().st_mode


# -- strange models ------------------------------------------------------------------------------


def scaled(pattern, factor):
    def change(tensors):
        for name in tensors:
            if pattern in name:
                tensors[name] = tensors[name] * np.float32(factor)

    return change


STRANGE = {
    "zero linear weights": scaled("dense.weight", 0),
    "all zero": scaled("", 0),
    "zero embeddings": scaled("embeddings.word", 0),
    "zero gains": scaled("LayerNorm.weight", 0),
    "large queries": scaled("query.weight", 1e4),
    "large values": scaled("value", 1e4),
    "large embeddings": scaled("_embeddings", 1e4),
    "tiny embeddings": scaled("_embeddings", 1e-6),
    "large gains": scaled("LayerNorm.weight", 1e3),
    "tiny gains": scaled("LayerNorm", 1e-5),
    "large biases": scaled("dense.bias", 1e5),
    "tiny everything": scaled("", 1e-6),
    "large everything": scaled("", 1e3),
    "large logits": scaled("classifier", 1e6),
    "tiny logits": scaled("classifier", 1e-9),
}


# Scores so large that every softmax takes one key, which the smallest error changes.
HOPELESS = {"large queries", "large gains", "large everything"}


@pytest.mark.parametrize("wide", ["none", "all"])
@pytest.mark.parametrize("name", STRANGE)
def test_strange_weights_make_valid_blobs(tmp_path, name, wide):
    tensors = tiny_bert.weights(16, layers=1, classes=5)
    STRANGE[name](tensors)
    settings = tiny_bert.config("BertForSequenceClassification", layers=1)
    path = tiny_bert.write(tmp_path / "m", settings, tiny_bert.in_classifier(tensors))
    made = convert(path, calibration=DATA, wide=wide)
    wanted = load_source(path).run(UNSEEN)["logits"]
    found = np.concatenate(real_outputs(made.blob, UNSEEN)["logits"])
    assert np.isfinite(found).all()
    if name not in HOPELESS:
        assert np.square(wanted - found).sum() <= 0.05 * np.square(wanted).sum()


def test_encoder_of_zeros(tmp_path):
    tensors = {name: array * 0 for name, array in tiny_bert.weights(24).items()}
    path = tiny_bert.write(tmp_path / "m", tiny_bert.config(hidden=24, heads=3), tensors)
    for row in real_outputs(convert(path, calibration=DATA).blob, UNSEEN)["pooler_output"]:
        assert not row.any()


def test_overflow_of_the_float_model_is_named(tmp_path):
    tensors = tiny_bert.weights(16, layers=1, classes=5)
    scaled("output.dense.weight", 1e38)(tensors)
    settings = tiny_bert.config("BertForSequenceClassification", layers=1)
    path = tiny_bert.write(tmp_path / "m", settings, tiny_bert.in_classifier(tensors))
    with pytest.raises(ConvertError, match="overflows at 'layer"):
        convert(path, calibration=tiny_bert.inputs(6))


def test_one_short_sequence_is_enough(classifier):
    made = convert(classifier, calibration={"input_ids": np.array([[3]])})
    assert oracle.read_blob(made.blob).max_length == 1
    assert made.report.output_sqnr_db > 20
