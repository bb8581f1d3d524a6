"""The command line: what it prints, writes, and how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny_bert

CSC = Path(sys.executable).parent / "csc"


def csc(*arguments, check=True, **options):
    done = subprocess.run(
        [CSC, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with a converted tiny classifier, its source and data with labels."""
    folder = tmp_path_factory.mktemp("cli")
    source = tiny_bert.classifier(folder / "source")
    rng = np.random.default_rng(5)
    ids = rng.integers(0, tiny_bert.VOCABULARY, (24, 12))
    mask = np.arange(12) < rng.integers(3, 13, (24, 1))
    arrays = {"input_ids": ids, "attention_mask": mask.astype(np.uint8)}
    np.savez(folder / "data.npz", **arrays, labels=rng.integers(0, 5, 24))
    np.savez(folder / "calibration.npz", **arrays)
    csc("convert", source, "-o", folder / "m.cscb", "--calibration", folder / "calibration.npz",
        "--json", folder / "convert.json")  # fmt: skip
    return folder


def test_convert_writes_blob_tables_and_json(work):
    report = json.loads((work / "convert.json").read_text())
    assert report["blob_bytes"] == (work / "m.cscb").stat().st_size
    assert report["arena_bytes"] > 0 and report["rows"]
    assert {"shape", "weight_bytes", "sqnr_db", "saturation"} <= set(report["rows"][0])
    done = csc("convert", work / "source", "-o", work / "again.cscb",
               "--calibration", work / "calibration.npz")  # fmt: skip
    for word in ("SQNR dB", "saturated", "blob bytes", "arena bytes", "agreement"):
        assert word in done.stdout
    assert (work / "again.cscb").read_bytes() == (work / "m.cscb").read_bytes()


@pytest.mark.parametrize("gate", [("--min-sqnr", "150"), ("--min-agreement", "1.0")])
def test_accuracy_gate_writes_nothing(work, gate):
    extra = ["--wide", "none"]
    if gate[0] == "--min-agreement":  # a model that always agrees cannot show the gate
        extra += ["--min-sqnr", "150"]
    done = csc("convert", work / "source", "-o", work / "gated.cscb", "--calibration",
               work / "calibration.npz", *gate, *extra, check=False)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("csc: The output SQNR is")
    assert not list(work.glob("*gated*"))


def test_infer_prints_labels_and_writes_outputs(work):
    done = csc("infer", work / "m.cscb", "--input", work / "data.npz", "-o", work / "out.npz",
               "--limit", "4", "--json", work / "infer.json")  # fmt: skip
    result = json.loads((work / "infer.json").read_text())
    logits = np.load(work / "out.npz")["logits"]
    assert logits.shape == (4, 5) and logits.dtype == np.float32
    best = [tiny_bert.CLASSES[index] for index in logits.argmax(axis=1)]
    assert result["predictions"] == best
    assert best[0] in done.stdout
    np.testing.assert_allclose(result["outputs"]["logits"], logits, rtol=1e-6)


def test_infer_on_cs1_prints_counts_and_the_same_bits(work):
    common = ["infer", work / "m.cscb", "--input", work / "data.npz", "--limit", "2", "--raw"]
    host = json.loads(csc(*common, "--json", "-").stdout)
    done = csc(*common, "--backend", "cs1", "--json", "-")
    chip = json.loads(done.stdout)
    assert chip["outputs"] == host["outputs"]
    assert sum(entry["blocks"] for entry in chip["chip"]) > 0 and host["chip"] == []
    assert "CS1 block engine" in done.stderr


def test_inspect(work):
    done = csc("inspect", work / "m.cscb", "--tensors")
    for word in ("input_ids", "logits", "EMBED", "ATTENTION", "apples", "weights"):
        assert word in done.stdout
    facts = json.loads(csc("inspect", work / "m.cscb", "--json", "-").stdout)
    assert facts["metadata"]["labels"] == tiny_bert.CLASSES


def test_verify(work):
    done = csc("verify", work / "m.cscb", work / "source", "--data", work / "data.npz",
               "--json", work / "verify.json")  # fmt: skip
    found = json.loads((work / "verify.json").read_text())
    assert found["sequences"] == 24 and found["agreement"] > 0.9
    assert 0 <= found["float_accuracy"] <= 1 and 0 <= found["integer_accuracy"] <= 1
    assert found["cosine"]["logits"] > 0.99
    errors = [layer["sqnr_db"] for layer in found["layers"]]
    assert len(errors) > 5 and errors == sorted(errors)
    assert "Worst layers" in done.stdout and found["layers"][0]["tensor"] in done.stdout


def test_verify_gate(work):
    done = csc("verify", work / "m.cscb", work / "source", "--data", work / "data.npz",
               "--min-sqnr", "150", check=False)  # fmt: skip
    assert done.returncode == 2 and "below the required 150.0 dB" in done.stderr


BAD = {
    "no such source": (
        ["convert", "{w}/none", "-o", "{w}/x.cscb", "--calibration", "{w}/calibration.npz"],
        "none",
    ),
    "no calibration file": (
        ["convert", "{w}/source", "-o", "{w}/x.cscb", "--calibration", "{w}/none.npz"],
        "none.npz",
    ),
    "no calibration at all": (["convert", "{w}/source", "-o", "{w}/x.cscb"], "--calibration"),
    "blob is something else": (["inspect", "{w}/data.npz"], "magic"),
    "no blob": (["inspect", "{w}/none.cscb"], "cannot be read"),
    "no data": (["infer", "{w}/m.cscb", "--input", "{w}/none.npz"], "cannot be read"),
    "data are a blob": (["infer", "{w}/m.cscb", "--input", "{w}/m.cscb"], "cannot be read"),
    "verify without data": (
        ["verify", "{w}/m.cscb", "{w}/source", "--data", "{w}/none.npz"],
        "cannot be read",
    ),
    "verify another model": (
        ["verify", "{w}/m.cscb", "{w}/none", "--data", "{w}/data.npz"],
        "none",
    ),
    "unknown backend": (
        ["infer", "{w}/m.cscb", "--input", "{w}/data.npz", "--backend", "gpu"],
        "gpu",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_use_ends_with_2_and_one_sentence(work, name):
    arguments, word = BAD[name]
    done = csc(*[part.format(w=work) for part in arguments], check=False)
    assert done.returncode == 2
    assert word in done.stderr and "Traceback" not in done.stderr
    assert not (work / "x.cscb").exists()


def test_full_disk_leaves_nothing(work):
    if not Path("/dev/full").exists():
        pytest.fail("/dev/full is needed to play a full disk")
    for arguments in (
        ["inspect", work / "m.cscb", "--json", "/dev/full/x.json"],
        ["infer", work / "m.cscb", "--input", work / "data.npz", "-o", work / "no/out.npz"],
    ):
        done = csc(*arguments, check=False)
        assert done.returncode == 2 and "cannot be written" in done.stderr
    assert not (work / "no").exists()
