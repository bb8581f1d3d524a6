"""The Python face: csc.load, csc.infer, csc.inspect, traces, threads, and every bad input."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import csc
from blob_factory import Pool, tiny_encoder_blob
from csc_convert import oracle

BLOB, INPUTS = tiny_encoder_blob()


@pytest.fixture(scope="module")
def model():
    return csc.load(BLOB)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tiny.cscb"
    file.write_bytes(BLOB)
    return file


def batch_of(count, length=9):
    rng = np.random.default_rng(count)
    return rng.integers(0, 31, (count, length)).astype(np.int32)


# --- what it gives


def test_load_takes_path_string_and_bytes(path):
    for source in (path, str(path), BLOB):
        assert csc.load(source).blob_bytes == len(BLOB)


def test_facts(model):
    assert [tensor.name for tensor in model.inputs] == ["ids", "types", "mask"]
    assert [tensor.name for tensor in model.outputs] == ["layer1.norm2.a", "logits"]
    assert model.inputs[0].shape == (None,) and model.inputs[0].dtype == np.int32
    assert model.inputs[2].optional and model.inputs[2].default == 1
    assert model.max_length == 9
    assert model.arena_bytes == np.frombuffer(BLOB, "<u4", 1, 24)[0]
    assert model.ops[0].kind == "EMBED" and model.ops[-1].name == "logits.op"
    assert model.labels == []
    assert "ids, types, mask -> " in repr(model)


def test_real_outputs_are_scaled_raw_ones(model):
    raw = csc.infer(model, INPUTS, raw=True)
    real = csc.infer(model, INPUTS)
    for tensor in model.outputs:
        values = raw[tensor.name]
        assert values.dtype == tensor.dtype and real[tensor.name].dtype == np.float32
        expected = (values.astype(float) - tensor.zero_point) * tensor.scale
        np.testing.assert_allclose(real[tensor.name], expected, rtol=1e-6)


def test_infer_takes_model_path_bytes_mapping_and_keywords(model, path):
    expected = model.infer(INPUTS)["logits"]
    for source in (model, path, BLOB):
        np.testing.assert_array_equal(csc.infer(source, **INPUTS)["logits"], expected)
    mixed = csc.infer(model, {"ids": INPUTS["ids"]}, types=INPUTS["types"], mask=INPUTS["mask"])
    np.testing.assert_array_equal(mixed["logits"], expected)


@pytest.mark.parametrize("length", [1, 5, 9])
def test_batch_equals_its_rows(model, length):
    ids = batch_of(5, length)
    together = csc.infer(model, ids=ids, raw=True)
    assert together["logits"].shape == (5, 3)
    assert together["layer1.norm2.a"].shape == (5, length, 16)
    for row in range(5):
        alone = csc.infer(model, ids=ids[row], raw=True)
        assert alone["logits"].shape == (3,)
        for name, values in alone.items():
            np.testing.assert_array_equal(together[name][row], values)


def test_left_out_inputs_get_their_defaults(model):
    ids = INPUTS["ids"]
    full = csc.infer(model, ids=ids, types=np.zeros_like(ids), mask=np.ones_like(ids))
    np.testing.assert_array_equal(csc.infer(model, ids=ids)["logits"], full["logits"])


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float32, np.float64, "list"])
def test_whole_numbers_of_any_dtype_are_taken(model, dtype):
    ids = INPUTS["ids"].tolist() if dtype == "list" else INPUTS["ids"].astype(dtype)
    np.testing.assert_array_equal(
        csc.infer(model, ids=ids)["logits"], csc.infer(model, ids=INPUTS["ids"])["logits"]
    )


def test_padding_behind_a_mask_changes_no_bit():
    blob, _ = tiny_encoder_blob(Pool.MEAN)
    ids = batch_of(1, 9)[0]
    mask = np.arange(9) < 6
    np.testing.assert_array_equal(
        csc.infer(blob, ids=ids, mask=mask, raw=True)["logits"],
        csc.infer(blob, ids=ids[:6], raw=True)["logits"],
    )


def test_cs1_gives_the_same_bits_and_counts(model):
    host = csc.infer(model, INPUTS, raw=True)
    chip = csc.infer(model, INPUTS, raw=True, backend="cs1")
    assert host.report == []
    for name in host:
        np.testing.assert_array_equal(chip[name], host[name])
    by_name = {entry.name: entry for entry in chip.report}
    assert [entry.name for entry in chip.report] == [op.name for op in model.ops]
    # 9 tokens are two tiles of rows; 16 inputs and 48 outputs are 2 x 6 blocks of weights.
    qkv = by_name["layer0.qkv.op"]
    assert (qkv.blocks, qkv.engine_clocks) == (2 * 2 * 6, 512 * 2 * 2 * 6)
    assert qkv.bus_reads > 514 * qkv.blocks and qkv.bus_writes > 64 * qkv.blocks
    assert by_name["embed.op"].blocks == 0 == by_name["embed.op"].bus_reads


def test_cs1_counts_add_up_over_a_batch(model):
    one = csc.infer(model, ids=batch_of(1)[0], backend="cs1").report
    three = csc.infer(model, ids=np.repeat(batch_of(1), 3, axis=0), backend="cs1").report
    assert [entry.blocks * 3 for entry in one] == [entry.blocks for entry in three]
    assert sum(entry.blocks for entry in one) > 0


def test_trace_equals_the_oracle(model):
    expected = oracle.run(BLOB, INPUTS, trace=True)
    got = model.trace(INPUTS)
    assert set(got) <= set(expected) and len(got) >= len(model.ops)
    for name, values in got.items():
        np.testing.assert_array_equal(values, expected[name].reshape(values.shape), err_msg=name)


def test_many_threads_share_a_model(model):
    batches = [batch_of(1, 1 + number % 9)[0] for number in range(64)]
    expected = [model.infer(ids=ids, raw=True)["logits"] for ids in batches]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda ids: model.infer(ids=ids, raw=True)["logits"], batches * 8))
    for number, values in enumerate(got):
        np.testing.assert_array_equal(values, expected[number % 64])


def test_outputs_outlive_later_runs(model):
    first = model.infer(ids=batch_of(1)[0], raw=True)
    kept = {name: values.copy() for name, values in first.items()}
    model.infer(ids=batch_of(2)[1], raw=True)
    for name, values in kept.items():
        np.testing.assert_array_equal(first[name], values)


def test_own_arena(model):
    room = np.zeros(model.arena_bytes + 64, np.uint8)
    skip = -room.ctypes.data % 64
    arena = room[skip : skip + model.arena_bytes]
    np.testing.assert_array_equal(
        model.infer(INPUTS, arena=arena)["logits"], model.infer(INPUTS)["logits"]
    )


def test_inspect_is_json_and_complete(path):
    facts = json.loads(json.dumps(csc.inspect(path)))
    assert facts["format"] == "1.0" and facts["blob_bytes"] == len(BLOB)
    assert [tensor["name"] for tensor in facts["inputs"]] == ["ids", "types", "mask"]
    assert facts["inputs"][0]["shape"] == [None] and facts["inputs"][0]["dtype"] == "int32"
    assert {op["kind"] for op in facts["ops"]} == {
        "EMBED", "LAYERNORM", "GEMM", "ATTENTION", "ADD", "POOL",
    }  # fmt: skip
    assert len(facts["tensors"]) == len(csc.load(path).tensors)


def test_import_is_light():
    code = "import csc, sys; print([m for m in ('numpy', 'rich', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for name in csc.__all__:
        assert getattr(csc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        csc.nonsense  # noqa: B018


# --- bad inputs


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "'ids' is missing; the model's inputs are 'ids', 'types', 'mask'"),
        ({"input_ids": [1]}, "no input 'input_ids'; the model's inputs are 'ids'"),
        ({"mask": [1]}, "'ids' is missing"),
        ({"ids": [1.5]}, r"'ids' has the value 1.5 at \[0\], which is no int32"),
        ({"ids": [np.nan]}, "value nan at"),
        ({"ids": [2**40]}, r"value 1099511627776 at \[0\].*whole numbers from -2147483648"),
        ({"ids": [1], "mask": [256]}, "'mask' has the value 256.*from 0 to 255"),
        ({"ids": [1], "mask": [-1]}, "'mask' has the value -1"),
        ({"ids": ["a"]}, "'ids' must hold numbers"),
        ({"ids": [[1, 2], [3]]}, "'ids' must hold numbers.*rows of one length"),
        ({"ids": 5}, r"'ids' has shape \(\); give \[length\] or \[batch, length\]"),
        ({"ids": [[[1]]]}, r"shape \(1, 1, 1\)"),
        ({"ids": [1, 2], "mask": [1]}, r"'mask' has shape \(1,\), but 'ids' has \(2,\)"),
        ({"ids": []}, "0 positions, but .* takes 1 to 9"),
        ({"ids": [1] * 10}, "10 positions, but .* takes 1 to 9; shorten"),
        ({"ids": np.zeros((0, 3), int)}, "batch is empty"),
        ({"ids": [1, 31]}, r"id at position 1 is 31, but op 0 \('embed.op'\).* has ids 0 to 30"),
        ({"ids": [-1]}, "position 0 is -1"),
        ({"ids": [1], "types": [2]}, "position 0 is 2, but op 0 .* has ids 0 to 1"),
    ],
)
def test_bad_input(model, inputs, message):
    with pytest.raises(csc.InputError, match=message):
        csc.infer(model, inputs)


def test_bad_backend(model):
    with pytest.raises(csc.InputError, match="no backend 'gpu'; known backends are 'host'"):
        csc.infer(model, INPUTS, backend="gpu")


def test_trace_takes_one_sequence(model):
    with pytest.raises(csc.InputError, match="one sequence"):
        model.trace(ids=batch_of(2))


def test_model_works_after_an_error(model):
    with pytest.raises(csc.InputError):
        model.infer(ids=[31])
    np.testing.assert_array_equal(
        model.infer(INPUTS)["logits"], csc.load(BLOB).infer(INPUTS)["logits"]
    )


def test_small_arena_names_need_and_have(model):
    room = np.zeros(model.arena_bytes + 64, np.uint8)
    skip = -room.ctypes.data % 64
    message = f"needs {model.arena_bytes} bytes but has {model.arena_bytes - 1}"
    with pytest.raises(csc.ArenaError, match=message):
        model.infer(INPUTS, arena=room[skip : skip + model.arena_bytes - 1])
    with pytest.raises(csc.ArenaError, match="multiple of 64"):
        model.infer(INPUTS, arena=room[skip + 1 :])
    with pytest.raises(csc.ArenaError, match="1-D array of uint8"):
        model.infer(INPUTS, arena=np.zeros(1000))


# --- bad blobs


def flipped(bit):
    data = bytearray(BLOB)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "has 0 bytes, less than the 192 of a header"),
        (BLOB[:100], "has 100 bytes, less than the 192"),
        (BLOB[:-64], f"header says {len(BLOB)} bytes, but it has {len(BLOB) - 64}"),
        (BLOB + bytes(64), f"header says {len(BLOB)} bytes, but it has {len(BLOB) + 64}"),
        (b"\x7fELF" + bytes(300), "does not start with the magic of a CSC blob"),
        (flipped(8 * 8 + 1), "format version is 3.0, this csc reads 1.2"),
        (flipped(8 * 30), "CRC of its header"),
        (flipped(8 * 200), "CRC of section OPS"),
        (flipped(8 * len(BLOB) - 1), "CRC of section WEIGHTS"),
    ],
)
def test_bad_blob(blob, message):
    with pytest.raises(csc.BlobError, match=message):
        csc.load(blob)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(csc.BlobError, match=r"none\.cscb cannot be read: No such file"):
        csc.load(tmp_path / "none.cscb")
    with pytest.raises(csc.BlobError, match="Is a directory"):
        csc.load(tmp_path)


def test_errors_are_value_errors_of_one_family():
    assert issubclass(csc.BlobError, (csc.CscError, ValueError))
    assert issubclass(csc.InputError, ValueError) and issubclass(csc.ChipError, RuntimeError)
