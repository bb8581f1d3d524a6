"""ONNX files that cannot be taken: one clear sentence each, and nothing written."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tiny_bert
import tiny_onnx
from csc_convert import BadCheckpoint, UnsupportedModel, convert, load_source
from tiny_onnx import WIDTH, Builder

VECTORS = Path(__file__).parent / "vectors" / "onnx"


def sentence(error, path):
    """Load a path, which must fail; returns the message."""
    with pytest.raises(error) as caught:
        load_source(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.endswith(".") and "\n" not in text
    return text


@pytest.fixture
def fixture(tmp_path):
    shutil.copy(VECTORS / "weights.bin", tmp_path)
    return Path(shutil.copy(VECTORS / "encoder-eager-dynamo18.onnx", tmp_path / "m.onnx"))


def test_no_such_file(tmp_path):
    assert "no such file" in sentence(BadCheckpoint, tmp_path / "none.onnx")


def test_another_kind_of_file(tmp_path):
    (tmp_path / "m.bin").write_bytes(b"x")
    assert "an .onnx file" in sentence(BadCheckpoint, tmp_path / "m.bin")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x08", bytes(100), b"\xff" * 50])
def test_no_onnx_file(tmp_path, data):
    (tmp_path / "m.onnx").write_bytes(data)
    assert "is no ONNX file" in sentence(BadCheckpoint, tmp_path / "m.onnx")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_truncated(fixture, share):
    data = fixture.read_bytes()
    fixture.write_bytes(data[: int(len(data) * share)])
    assert "is no ONNX file, or is cut off" in sentence(BadCheckpoint, fixture)


def test_external_data_missing(fixture):
    (fixture.parent / "weights.bin").unlink()
    assert "'weights.bin', which is not beside it" in sentence(BadCheckpoint, fixture)


def test_external_data_cut_off(fixture):
    weights = fixture.parent / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:5000])
    text = sentence(BadCheckpoint, fixture)
    assert "cannot be read from 'weights.bin'; the file is cut off" in text


def test_external_data_elsewhere(fixture):
    model = onnx.load(fixture, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"../{fixture.parent.name}/weights.bin"
    fixture.write_bytes(model.SerializeToString())
    assert "cannot be read from '../" in sentence(BadCheckpoint, fixture)


@pytest.mark.parametrize("opset", [9, 12, 22])
def test_opset(fixture, opset):
    model = onnx.load(fixture, load_external_data=False)
    model.opset_import[0].version = opset
    fixture.write_bytes(model.SerializeToString())
    text = sentence(UnsupportedModel, fixture)
    assert f"opset {opset}; supported are 13 to 21" in text and "opset_version=17" in text


def test_not_valid(tmp_path):
    b = Builder()
    b.nodes.append(helper.make_node("Relu", ["nowhere"], ["y"], name="lost"))
    path = tiny_onnx.save(b.model("y"), tmp_path / "m.onnx")
    assert "no valid ONNX model" in sentence(BadCheckpoint, path)


def test_all_ops_that_are_not_supported(tmp_path):
    b = Builder()
    x = b.op("Sin", b.linear(b.embeddings()))
    x = b.op("BiasGelu", b.linear(x), b.normal(WIDTH), domain="com.microsoft")
    x = b.op("Add", b.op("CumSum", b.linear(x), b.integers(1)), b.op("Cos", x))
    model = b.model(b.linear(x))
    names = {node.op_type: node.name for node in model.graph.node}
    text = sentence(UnsupportedModel, tiny_onnx.save(model, tmp_path / "m.onnx"))
    assert text.count("(") == 4 and "of types that are not supported" in text
    for kind in ("Sin", "CumSum", "Cos"):
        assert f"{names[kind]} ({kind})" in text
    assert f"{names['BiasGelu']} (com.microsoft.BiasGelu)" in text


def with_inputs(path, *inputs, use=None):
    """A model with more inputs, summed into the ids by `use`."""
    b = Builder()
    x = use(b) if use else b.embeddings()
    model = b.model(x)
    model.graph.input.extend(helper.make_tensor_value_info(*item) for item in inputs)
    return tiny_onnx.save(model, path)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (("pixels", TensorProto.FLOAT, ["b", 3, "h", "w"]), "'pixels' holds float32"),
        (("lengths", TensorProto.INT64, ["b"]), "'lengths' has the shape [?], whose dimensions"),
        (("bias", TensorProto.INT64, ["b", 1, "t", "t"]), "'bias' has the shape [?, 1, ?, ?]"),
        (("other", TensorProto.INT64, ["b", "t"]), "'attention_mask', 'other' have no role"),
    ],
)
def test_inputs(tmp_path, item, text):
    path = with_inputs(tmp_path / "m.onnx", item)
    assert text in sentence(UnsupportedModel, path)


def test_position_ids_as_an_input(tmp_path):
    def use(b):
        words = b.op("Gather", b.normal(20, WIDTH), "input_ids")
        return b.op("Add", words, b.op("Gather", b.normal(12, WIDTH), "position_ids"))

    item = ("position_ids", TensorProto.INT64, ["b", "t"])
    path = with_inputs(tmp_path / "m.onnx", item, use=use)
    assert "'input_ids', 'position_ids'; supported are" in sentence(UnsupportedModel, path)


def test_outputs(tmp_path):
    b = Builder()
    x = b.linear(b.embeddings())
    path = tiny_onnx.save(b.model(x, b.op("Identity", x)), tmp_path / "m.onnx")
    assert "are the same value" in sentence(UnsupportedModel, path)
    b = Builder()
    b.embeddings()
    path = tiny_onnx.save(b.model(b.op("Cast", "attention_mask", to=1)), path)
    assert "does not depend on the ids" in sentence(UnsupportedModel, path)


def test_not_finite_weights(tmp_path):
    b = Builder()
    x = b.op("MatMul", b.embeddings(), b.constant(np.full((WIDTH, 4), np.nan)))
    path = tiny_onnx.save(b.model(x), tmp_path / "m.onnx")
    assert "must be finite" in sentence(BadCheckpoint, path)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda b, x: b.op("MatMul", b.op("MatMul", x, wide(b, 8, 70000)), wide(b, 70000, 8)),
         "makes 70000 columns; a blob holds at most 65528"),
        (lambda b, x: b.op("LayerNormalization", b.op("MatMul", x, wide(b, 8, 5000)),
                           b.constant(np.ones(5000))),
         "normalizes 5000 columns; a blob holds at most 4096"),
    ],
    ids=["linear", "layernorm"],
)  # fmt: skip
def test_too_large_for_a_blob(tmp_path, write, text):
    b = Builder()
    path = tiny_onnx.save(b.model(write(b, b.embeddings())), tmp_path / "m.onnx")
    assert text in sentence(UnsupportedModel, path)


def wide(b, rows, columns):
    return b.constant(np.ones((rows, columns)))


def test_nothing_is_written(tmp_path, fixture):
    data = tiny_bert.inputs(4, 8)
    (fixture.parent / "weights.bin").unlink()
    with pytest.raises(BadCheckpoint):
        convert(fixture, tmp_path / "m.cscb", calibration=data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]


def test_exit_code(tmp_path):
    b = Builder()
    path = tiny_onnx.save(b.model(b.op("Sin", b.embeddings())), tmp_path / "m.onnx")
    np.savez(tmp_path / "c.npz", **tiny_onnx.data())
    csc = Path(sys.executable).parent / "csc"
    command = [csc, "convert", path, "-o", tmp_path / "m.cscb", "--calibration"]
    done = subprocess.run(
        [*command, tmp_path / "c.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"csc: {path}: there are nodes of types")
    assert not (tmp_path / "m.cscb").exists()


def test_without_the_package(tmp_path, fixture):
    script = (
        "import sys; sys.modules['onnx'] = None\n"
        "from csc_convert import load_source, ConvertError\n"
        f"try: load_source({str(fixture)!r})\nexcept ConvertError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install onnx" in done.stdout
