"""csc profile: what it counts adds up, and is what the chip did."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob
from boards import need_qemu
from csc._plots import draw

BLOB, INPUTS = tiny_encoder_blob()
CSC = Path(sys.executable).parent / "csc"


@pytest.fixture(scope="module")
def model():
    return csc.load(BLOB)


@pytest.fixture(scope="module", params=[0, 1], ids=["wait0", "wait1"])
def report(request, model):
    return csc.profile(model, inputs=INPUTS, ram_wait=request.param)


def test_the_profiled_run_has_the_hosts_bits(model, report):
    host = model.infer(INPUTS, raw=True)
    assert {name: np.asarray(values).tolist() for name, values in host.items()} == report.outputs


def test_clocks_add_up(model, report):
    assert [op.name for op in report.ops] == [op.name for op in model.ops]
    inside = sum(op.clocks for op in report.ops)
    assert inside < report.clocks < 1.05 * inside
    for before, op in itertools.pairwise(report.ops):
        assert op.start == before.start + before.clocks
    for op in report.ops:
        assert op.clocks == op.cpu_clocks + op.bus_clocks
        assert 0 < op.bus_clocks < op.clocks and 3 * op.instructions <= op.clocks
        assert op.bytes_moved > 0


def test_engine_time_is_that_of_its_blocks(report):
    for op in report.ops:
        assert op.engine_clocks == 512 * op.blocks
        assert (op.blocks > 0) == (op.kind in ("GEMM", "ATTENTION"))


def test_waits_of_the_ram_cost_clocks(model):
    quick = csc.profile(model, inputs=INPUTS, ram_wait=0)
    slow = csc.profile(model, inputs=INPUTS, ram_wait=1)
    assert slow.clocks > 1.2 * quick.clocks
    assert all(b.bus_clocks > a.bus_clocks for a, b in zip(quick.ops, slow.ops, strict=True))


def test_a_profile_repeats_exactly(model):
    first = csc.profile(model, tokens=3).to_dict()
    assert csc.profile(model, tokens=3).to_dict() == first


def test_macs_and_bound(model):
    """The tiny encoder: hidden 16, FFN 24, 2 layers, 3 labels, by hand for 5 tokens."""
    report = csc.profile(model, tokens=5)
    layer = 5 * (16 * 48 + 16 * 16 + 2 * 16 * 24) + 2 * 5 * 5 * 16
    assert report.macs == 2 * layer + 16 * 16 + 16 * 3
    assert report.bound_clocks == report.macs
    assert report.milliseconds == report.clocks / 1e5


def test_clock_rate_changes_time_alone(model):
    fast = csc.profile(model, tokens=2, clock_hz=200e6)
    slow = csc.profile(model, tokens=2)
    assert fast.clocks == slow.clocks and fast.milliseconds == slow.milliseconds / 2


def test_trace_is_what_perfetto_reads(report):
    trace = json.loads(json.dumps(report.to_trace()))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    ops = [event for event in spans if event["tid"] == 1]
    assert [event["name"] for event in ops] == [op.name for op in report.ops]
    for before, event in itertools.pairwise(ops):
        assert event["ts"] == pytest.approx(before["ts"] + before["dur"])
    assert ops[0]["dur"] == pytest.approx(report.ops[0].clocks / 100)
    engine = [event["name"] for event in spans if event["tid"] == 2]
    assert engine == [op.name for op in report.ops if op.engine_clocks]


def test_models_and_devices_profile_themselves(model):
    assert model.describe() == csc.inspect(model)
    expected = csc.profile(model, tokens=4)
    assert model.profile(tokens=4).to_dict() == expected.to_dict()
    with csc.Device("soc:cs1", model) as device:
        own = device.profile(tokens=4)
    assert [op.clocks for op in own.ops] == [op.clocks for op in expected.ops]
    assert own.outputs == expected.outputs and own.ops[0].bus_clocks is None


def test_a_board_gives_the_same_report(model):
    """Another processor without engine: its own clocks, no waits known, the same bits."""
    need_qemu("qemu-riscv32")
    report = csc.profile(model, tokens=4, device="qemu:qemu-riscv32")
    assert report.outputs == csc.profile(model, tokens=4).outputs
    assert report.source == "qemu:qemu-riscv32"
    assert all(op.clocks > 0 and op.engine_clocks == 0 for op in report.ops)
    assert all(op.bus_clocks is None for op in report.ops)
    assert draw(report, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chip": "cs9"}, "no chip 'cs9'"),
        ({"tokens": 0}, "takes 1 to 9 tokens, not 0"),
        ({"tokens": 10}, "takes 1 to 9 tokens, not 10"),
        ({"tokens": 2, "inputs": INPUTS}, "not both"),
        ({"inputs": {"ids": [[1, 2]]}}, "profile one sequence"),
        ({"inputs": {"ids": [31]}}, "has ids 0 to 30"),
        ({"clock_hz": 0}, "above 0"),
    ],
)
def test_bad_use(model, options, message):
    with pytest.raises(csc.InputError, match=message):
        csc.profile(model, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("profile")
    (made / "m.cscb").write_bytes(BLOB)
    return made


def run(*arguments):
    return subprocess.run(
        [CSC, "profile", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_command_line(folder):
    done = run(folder / "m.cscb", "--tokens", "3", "--json", folder / "p.json",
               "--trace", folder / "t.json", "--plot", folder / "p.svg")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("engine busy", "bus, waits", "MAC/clock", "ratio to the bound", "milliseconds"):
        assert word in done.stdout
    found = json.loads((folder / "p.json").read_text())
    assert found["tokens"] == 3 and found["ratio_to_bound"] > 1
    assert sum(op["share"] for op in found["ops"]) == pytest.approx(1, abs=0.05)
    assert json.loads((folder / "t.json").read_text())["traceEvents"]
    picture = (folder / "p.svg").read_text()
    assert picture.startswith("<?xml") and "roof" in picture


def test_picture_as_png(folder):
    assert run(folder / "m.cscb", "--plot", folder / "p.png").returncode == 0
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")


def test_command_line_errors(folder):
    done = run(folder / "m.cscb", "--plot", folder / "p.gif")
    assert done.returncode == 2 and ".png or .svg" in done.stderr
    done = run(folder / "m.cscb", "--tokens", "99")
    assert done.returncode == 2 and "not 99" in done.stderr
