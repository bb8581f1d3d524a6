"""ONNX files of every exporter: the same graph and the same blob as of the Hugging Face model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tiny_bert
from csc.blob import Blob
from csc_convert import UnsupportedModel, convert, load_source
from csc_convert import blob_format as fmt
from csc_convert.import_hf import import_hf
from csc_convert.import_onnx import import_onnx

VECTORS = Path(__file__).parent / "vectors" / "onnx"
FILES = sorted(path.name for path in VECTORS.glob("*.onnx"))
OF_HF = [name for name in FILES if not name.startswith("distilbert")]
INPUTS = dict(np.load(VECTORS / "inputs.npz"))
CALIBRATION = tiny_bert.inputs(12, 8, seed=1)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """Hugging Face directories of the models that were exported, by kind."""
    folder = tmp_path_factory.mktemp("hf")
    sizes = {"hidden": 16, "heads": 2, "layers": 1}
    tanh = {"pooler": False, "hidden_act": "gelu_new"}
    return {
        "encoder": tiny_bert.encoder(folder / "encoder", **sizes),
        "classifier": tiny_bert.classifier(folder / "classifier", **sizes),
        "sentence": tiny_bert.encoder(folder / "sentence", **tanh, **sizes),
    }


def hf_graph(directories, name):
    """Import the directory a file was exported from, with the same outputs."""
    kind = name.split("-")[0]
    graph = import_hf(directories[kind], "mean" if kind == "sentence" else "none")
    if kind == "sentence":
        graph.outputs = ["sentence_embedding"]
    return graph


def assert_same_graph(graph, wanted):
    """Same inputs, nodes, attributes, weights and outputs; only names may differ."""
    assert graph.inputs == wanted.inputs
    names = {item.name: item.name for item in graph.inputs}
    assert [node.op for node in graph.nodes] == [node.op for node in wanted.nodes]
    for node, other in zip(graph.nodes, wanted.nodes, strict=True):
        assert [names[name] for name in node.inputs] == other.inputs
        assert node.attributes == other.attributes
        assert node.weights.keys() == other.weights.keys()
        for key, array in node.weights.items():
            assert np.array_equal(array, other.weights[key]), (node.name, key)
        names[node.output] = other.output
    assert [names[name] for name in graph.outputs] == wanted.outputs


def test_the_matrix_is_whole():
    found = {tuple(name.removesuffix(".onnx").split("-")) for name in FILES}
    for exporter in ("legacy14", "legacy17", "dynamo18", "dynamo20"):
        for attention in ("eager", "sdpa"):
            for remark in ((), ("nomask",)):
                assert ("encoder", attention, exporter, *remark) in found
    assert ("encoder", "eager", "legacy13") in found


@pytest.mark.parametrize("name", OF_HF)
def test_same_graph_as_of_the_directory(directories, name):
    graph = import_onnx(VECTORS / name)
    assert_same_graph(graph, hf_graph(directories, name))
    assert graph.metadata["max_positions"] == (8 if "static" in name else tiny_bert.POSITIONS)


@pytest.mark.parametrize("name", FILES)
def test_same_numbers_as_the_original(name):
    kind = name.split("-")[0]
    model = load_source(VECTORS / name)
    with np.load(VECTORS / "expected.npz") as expected:
        wanted = {key.split("/")[1]: expected[key] for key in expected if key.startswith(kind)}
    found = model.run({item.name: INPUTS[item.name] for item in model.graph.inputs})
    assert list(found) == list(wanted)
    shown = INPUTS["attention_mask"][..., None]
    for output, array in wanted.items():
        mine = found[output]
        if output == "sentence_embedding":
            mine = mine / np.linalg.norm(mine, axis=-1, keepdims=True)
        array, mine = (x * shown if x.ndim == 3 else x for x in (array, mine))
        np.testing.assert_allclose(mine, array, atol=2e-5)


def records(blob):
    """What a blob says and holds, without names and metadata."""
    blob = Blob(blob)
    tensors = [{**vars(tensor), "name": ""} for tensor in blob.tensors]
    ops = [{**vars(op), "name": ""} for op in blob.ops]
    return tensors, ops, blob.section(fmt.Section.WEIGHTS).tobytes()


SOME = [
    "classifier-eager-dynamo18.onnx",
    "classifier-sdpa-legacy14.onnx",
    "encoder-eager-legacy13.onnx",
    "encoder-sdpa-dynamo20-nomask.onnx",
]


@pytest.mark.parametrize("name", SOME)
def test_same_blob_as_of_the_directory(directories, name):
    options = {"calibration": CALIBRATION, "pooling": "none"}
    made = convert(VECTORS / name, **options)
    assert records(made.blob) == records(convert(directories[name.split("-")[0]], **options).blob)
    assert made.report.notes == ()


def test_layers_have_the_names_of_their_parameters():
    for name in ("classifier-eager-legacy17.onnx", "classifier-sdpa-dynamo20.onnx"):
        names = [node.name for node in import_onnx(VECTORS / name).nodes]
        layer = "model.bert.encoder.layer.0"
        assert f"{layer}.attention.self.query" in names
        assert f"{layer}.attention.self.context" in names
        assert f"{layer}.attention.output.LayerNorm" in names
        assert names[-1] == "logits"


def test_the_outputs_keep_their_names():
    graph = import_onnx(VECTORS / "encoder-eager-dynamo20.onnx")
    assert graph.outputs == ["last_hidden_state", "pooler_output"]


def test_what_is_left_out_of_the_model_is_noted(tmp_path):
    made = convert(VECTORS / "sentence-eager-dynamo18.onnx", calibration=CALIBRATION)
    assert len(made.report.notes) == 1 and "divides each row" in made.report.notes[0]
    assert made.report.to_dict()["notes"] == list(made.report.notes)


def copied(folder, name="classifier-eager-dynamo18.onnx"):
    """Copy a file with its weights; returns its path."""
    shutil.copy(VECTORS / "weights.bin", folder)
    return Path(shutil.copy(VECTORS / name, folder / "model.onnx"))


def test_labels(tmp_path):
    path = copied(tmp_path)
    assert load_source(path).labels == [f"LABEL_{i}" for i in range(5)]
    labels = {str(i): name for i, name in enumerate(tiny_bert.CLASSES)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": labels}))
    assert load_source(path).labels == tiny_bert.CLASSES
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "one"}}))
    assert load_source(path).labels[0] == "LABEL_0"


def test_pooling_option(directories):
    path = VECTORS / "encoder-eager-legacy17-nomask.onnx"
    for pooling in ("cls", "mean"):
        wanted = import_hf(directories["encoder"], pooling)
        assert_same_graph(import_onnx(path, pooling), wanted)
    with pytest.raises(UnsupportedModel, match="'max'"):
        import_onnx(path, "max")
    with pytest.raises(UnsupportedModel, match="one row per token"):
        import_onnx(VECTORS / "classifier-eager-dynamo18.onnx", "mean")


def whole(name):
    """Load a file with its weights inside."""
    return onnx.load(VECTORS / name)


def quantized(model):
    """Put QuantizeLinear and DequantizeLinear around matrices and the inputs of products."""
    nodes, graph = [], model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scalars = [("s", np.float32(0.01)), ("z", np.uint8(128)), ("i", np.int8(0))]
    graph.initializer.extend(numpy_helper.from_array(np.array(a), name) for name, a in scalars)
    for node in graph.node:
        for place, name in enumerate(node.input):
            matrix = name in tensors and len(tensors[name].dims) == 2
            if matrix and tensors[name].data_type == onnx.TensorProto.FLOAT:
                axis = 0 if node.op_type == "Gather" else 1
                found = f"{name}/float"
                if all(found not in other.output for other in nodes):
                    array = numpy_helper.to_array(tensors[name])
                    scale = np.abs(array).max(axis=1 - axis).astype(np.float32) / 127
                    steps = np.rint(array / np.expand_dims(scale, 1 - axis)).astype(np.int8)
                    zeros = np.zeros(len(scale), np.int8)
                    parts = [f"{name}/{part}" for part in ("steps", "scale", "zero")]
                    for part, value in zip(parts, (steps, scale, zeros), strict=True):
                        graph.initializer.append(numpy_helper.from_array(value, part))
                    nodes.append(
                        onnx.helper.make_node("DequantizeLinear", parts, [found], axis=axis)
                    )
                node.input[place] = found
            elif node.op_type == "MatMul" and place == 0:
                pair = [f"{node.output[0]}/q", f"{node.output[0]}/dq"]
                nodes.append(onnx.helper.make_node("QuantizeLinear", [name, "s", "z"], pair[:1]))
                nodes.append(
                    onnx.helper.make_node("DequantizeLinear", [pair[0], "s", "z"], pair[1:])
                )
                node.input[0] = pair[1]
        nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("name", ["encoder-eager-legacy14.onnx", "encoder-sdpa-dynamo20.onnx"])
def test_quantized_before(tmp_path, directories, name):
    onnx.save(quantized(whole(name)), tmp_path / "q.onnx")
    graph = import_onnx(tmp_path / "q.onnx")
    wanted = hf_graph(directories, name)
    assert [node.op for node in graph.nodes] == [node.op for node in wanted.nodes]
    assert any("quantized before: 8 pairs" in note for note in graph.metadata["notes"])
    for node, other in zip(graph.nodes, wanted.nodes, strict=True):
        for key, array in node.weights.items():
            largest = np.abs(other.weights[key]).max()
            np.testing.assert_allclose(array, other.weights[key], atol=0.51 * largest / 127)
    linear = next(node for node in graph.nodes if node.op == "linear")
    assert len(np.unique(linear.weights["weight"][0])) <= 255
    assert not np.array_equal(linear.weights["weight"], wanted.nodes[2].weights["weight"])


def test_half_precision(tmp_path, directories):
    model = whole("encoder-eager-legacy17.onnx")
    half = onnx.TensorProto.FLOAT16
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == 1:
                with np.errstate(over="ignore"):
                    array = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(array))
    for item in model.graph.output:
        item.type.tensor_type.elem_type = half
    onnx.save(model, tmp_path / "half.onnx")
    graph = import_onnx(tmp_path / "half.onnx")
    for node, other in zip(graph.nodes, hf_graph(directories, "encoder-").nodes, strict=True):
        assert node.attributes == other.attributes
        for key, array in node.weights.items():
            assert np.array_equal(array, other.weights[key].astype(np.float16).astype(np.float32))


def test_command_line(tmp_path):
    np.savez(tmp_path / "c.npz", **CALIBRATION)
    csc = Path(sys.executable).parent / "csc"
    source = VECTORS / "sentence-sdpa-dynamo20.onnx"
    command = [csc, "convert", source, "-o", tmp_path / "m.cscb", "--calibration"]
    done = subprocess.run(
        [*command, tmp_path / "c.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Note: The model divides" in " ".join(done.stdout.split())
    command = [csc, "verify", tmp_path / "m.cscb", source, "--data"]
    done = subprocess.run(
        [*command, tmp_path / "c.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_onnx_is_loaded_only_for_onnx_files(tmp_path):
    tiny_bert.encoder(tmp_path / "m", layers=1)
    script = (
        "import sys; from csc_convert import load_source; "
        f"load_source({str(tmp_path / 'm')!r}); print('onnx' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
