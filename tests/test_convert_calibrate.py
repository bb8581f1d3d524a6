"""Calibration data: what is refused, and that only visible tokens count."""

import numpy as np
import pytest

import tiny_bert
from csc_convert import BadCalibration, load_source
from csc_convert.calibrate import SAMPLE_ROWS, collect, load_calibration


@pytest.fixture
def graph(tmp_path):
    return load_source(tiny_bert.encoder(tmp_path / "m"), pooling="mean").graph


def test_npz_and_mapping_are_the_same(tmp_path, graph):
    data = tiny_bert.inputs()
    np.savez(tmp_path / "c.npz", labels=np.zeros(3), **data)
    from_file, length = load_calibration(tmp_path / "c.npz", graph, None)
    from_mapping, same = load_calibration(data, graph, None)
    assert length == same == 20
    for name in data:
        np.testing.assert_array_equal(from_file[name], from_mapping[name])
        np.testing.assert_array_equal(from_file[name], data[name])


def test_maximum_length(graph):
    data = tiny_bert.inputs(width=20)
    assert load_calibration(data, graph, 30)[1] == 30
    wide = {name: np.pad(array, ((0, 0), (0, 50))) for name, array in data.items()}
    arrays, length = load_calibration(wide, graph, None)
    assert length == tiny_bert.POSITIONS
    assert arrays["input_ids"].shape == (24, 20)


def spoiled(**changes):
    return {**tiny_bert.inputs(4, 8), **changes}


BAD = [
    ({}, "input_ids.*missing"),
    ({"attention_mask": np.ones((2, 3), int)}, "input_ids.*missing"),
    (spoiled(input_ids=np.zeros((4, 8))), "integers, not float64"),
    (spoiled(input_ids=np.zeros((4, 8, 1), int)), "must be"),
    (spoiled(input_ids=np.zeros((0, 8), int)), "not empty"),
    (spoiled(attention_mask=np.ones((4, 7), int)), "shape"),
    (spoiled(input_ids=np.full((4, 8), tiny_bert.VOCABULARY)), r"input_ids\[0\]\[0\] is 50"),
    (spoiled(input_ids=np.full((4, 8), -1)), "is -1"),
    (spoiled(token_type_ids=np.full((4, 8), 2)), r"token_type_ids\[0\]\[0\] is 2"),
    (
        spoiled(attention_mask=np.eye(4, 8, dtype=int) * [0, 1, 1, 1, 1, 1, 1, 1]),
        "sequence 0 has no visible token",
    ),
]


@pytest.mark.parametrize(("data", "text"), BAD)
def test_bad_data(graph, data, text):
    with pytest.raises(BadCalibration, match=text):
        load_calibration(data, graph, None)


def test_too_long_for_the_maximum_length(graph):
    with pytest.raises(BadCalibration, match="20 tokens, more than the maximum length 12"):
        load_calibration(tiny_bert.inputs(width=20), graph, 12)


def test_too_long_for_the_model(graph):
    with pytest.raises(BadCalibration, match="45 tokens, more than the maximum length 40"):
        load_calibration(tiny_bert.inputs(width=45), graph, None)
    with pytest.raises(BadCalibration, match="length 50 exceeds the 40 positions"):
        load_calibration(tiny_bert.inputs(width=45), graph, 50)


def test_bad_files(tmp_path, graph):
    with pytest.raises(BadCalibration, match=r"nowhere\.npz: cannot be read"):
        load_calibration(tmp_path / "nowhere.npz", graph, None)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(BadCalibration, match=r"text\.npz"):
        load_calibration(tmp_path / "text.npz", graph, None)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(BadCalibration, match=r"one\.npy"):
        load_calibration(tmp_path / "one.npy", graph, None)
    np.savez(tmp_path / "objects.npz", input_ids=np.array([{}, 1], dtype=object))
    with pytest.raises(BadCalibration, match=r"objects\.npz"):
        load_calibration(tmp_path / "objects.npz", graph, None)
    np.savez(tmp_path / "cut.npz", **tiny_bert.inputs())
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCalibration, match=r"cut\.npz"):
        load_calibration(tmp_path / "cut.npz", graph, None)


def test_statistics_of_visible_tokens_only(graph):
    data = tiny_bert.inputs()
    other = {name: array.copy() for name, array in data.items()}
    other["input_ids"][data["attention_mask"] == 0] = 44
    a, b = collect(graph, data), collect(graph, other)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name].low, b[name].low)
        np.testing.assert_array_equal(a[name].high, b[name].high)


def test_statistics_are_the_traces(tmp_path, graph):
    data = tiny_bert.inputs()
    trace = load_source(tmp_path / "m", pooling="mean").run(data, trace=True)
    visible = data["attention_mask"].astype(bool)
    for name, found in collect(graph, data).items():
        array = trace[name]
        rows = array if array.ndim == 2 else array[visible]
        np.testing.assert_allclose(found.low, rows.min(axis=0), atol=1e-5)
        np.testing.assert_allclose(found.high, rows.max(axis=0), atol=1e-5)


def test_sample_is_bounded_and_covers_everything(graph):
    data = {name: np.tile(array, (8, 1)) for name, array in tiny_bert.inputs().items()}
    assert data["attention_mask"].sum() > SAMPLE_ROWS
    statistics = collect(graph, data)
    assert statistics["layer.0.ffn.hidden"].sample.shape == (SAMPLE_ROWS, 96)
    assert statistics["embeddings.sum"].sample is None
    few = collect(graph, tiny_bert.inputs())
    assert len(few["embeddings"].sample) == tiny_bert.inputs()["attention_mask"].sum()
    assert len(few["pooler.first"].sample) == 24


def test_progress(graph):
    seen = []
    collect(graph, tiny_bert.inputs(), lambda *call: seen.append(call))
    assert seen[-1] == ("calibrate", 24, 24)
