"""csc plan on the command line."""

import json

import pytest
from click.testing import CliRunner

import blob_factory as factory
from csc.cli import main
from csc_convert import plan_chip
from csc_convert.oracle import read_blob


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "m.cscb"
    path.write_bytes(factory.tiny_encoder_blob()[0])
    return path


def csc(*arguments):
    return CliRunner().invoke(main, ["plan", *map(str, arguments)])


def test_plan_writes_a_blob_tables_and_json(blob, tmp_path):
    target, facts = tmp_path / "p.cscb", tmp_path / "facts.json"
    done = csc(blob, "-o", target, "--sram-kb", 128, "--max-length", 8, "--json", facts)
    assert done.exit_code == 0, done.output
    assert target.read_bytes() == plan_chip(blob.read_bytes(), sram_bytes=2**17, max_length=8)
    plan, found = read_blob(target.read_bytes()).plan, json.loads(facts.read_text())
    assert sum(found["commands"].values()) == plan.command_count
    assert found["max_length"] == plan.max_length == 8
    assert found["sram_bytes"] == plan.sram_bytes <= 2**17
    assert found["bound_clocks"] >= found["macs"] / 512
    for text in ("commands of BLOCK", "external bytes", "ring of weights", "clocks, at least"):
        assert text in done.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--chip", "cs1"], "There are plans for cs2 only, not for 'cs1'."),
        (["--sram-kb", "65"], "sram_bytes must be a multiple of 4096"),
        (["--max-length", "10"], "max_length must be 1 to the blob's 9, not 10."),
    ],
)
def test_what_cannot_be_planned(blob, tmp_path, options, sentence):
    done = csc(blob, "-o", tmp_path / "p.cscb", *options)
    assert done.exit_code == 2 and sentence in done.output
    assert not (tmp_path / "p.cscb").exists()


def test_no_such_blob(tmp_path):
    done = csc(tmp_path / "none.cscb", "-o", tmp_path / "p.cscb")
    assert done.exit_code == 2 and "cannot be read" in done.output
