"""One model, one input, the same bits from every backend and every board."""

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob
from boards import need_qemu
from csc_convert import oracle, plan_chip
from entry_factory import cached_attention_blob, decoder_blob

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ROOT / "examples" / "debian_sections"
HOST = ["host", *csc.backends()]
BOARDS = ["qemu-riscv32", "mps2-an386", "mps2-an500", "mps3-an547"]
PLACES = [*HOST, *(f"qemu:{board}" for board in BOARDS), "soc:cs1", "soc:cs2"]


def run_on(place, blob, inputs, **options):
    """Return the raw outputs of a model on a backend of the host or on a device."""
    kind, _, board = place.partition(":")
    if kind == "qemu":
        need_qemu(board)
    if place in HOST:
        return csc.infer(blob, inputs, raw=True, backend=place)
    with csc.Device(place, blob, timeout=120, **options) as device:
        return device.infer(inputs, raw=True)


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype
        assert got[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("length", [1, 5, 9])
@pytest.mark.parametrize("place", PLACES)
def test_every_op_of_a_tiny_encoder(place, length):
    blob, inputs = tiny_encoder_blob(length=length)
    expected = oracle.run(blob, inputs)
    got = run_on(place, blob, inputs)
    assert_same(got, {n: v.reshape(got[n].shape) for n, v in expected.items()})


def session_on(place, blob):
    """Return a session of a model on a backend of the host or on a device, and what to close."""
    kind, _, board = place.partition(":")
    if kind == "qemu":
        need_qemu(board)
    if place in HOST:
        return csc.load(blob).session(backend=place), nullcontext()
    device = csc.Device(place, blob, timeout=120)
    return device.session(), device


@pytest.mark.parametrize(
    "build", [decoder_blob, lambda: cached_attention_blob(3, 5, 9, (4, 1, 3), default=-7)]
)
@pytest.mark.parametrize("place", PLACES)
def test_entries_one_after_another(place, build):
    blob, runs = build()
    expected = oracle.Session(blob)
    session, opened = session_on(place, blob)
    with opened:
        for entry, inputs in runs:
            got = session.run(entry, inputs, raw=True)
            wanted = expected.run(entry, inputs)
            assert_same(got, {n: v.reshape(got[n].shape) for n, v in wanted.items()})


@pytest.mark.parametrize("place", PLACES)
def test_generation(place):
    """The same tokens everywhere, whoever chooses them."""
    blob, _ = decoder_blob()
    expected = list(csc.generate(blob, [3, 22, 0], 6, top_k=9, seed=5))
    assert len(set(expected)) > 2
    with session_on(place, blob)[1] as device:
        model = device or csc.load(blob)
        backend = place if place in HOST else "host"
        made = csc.generate(model, [3, 22, 0], 6, top_k=9, seed=5, backend=backend)
        assert list(made) == expected


@pytest.mark.parametrize("place", [*(f"qemu:{board}" for board in BOARDS), "soc:cs1", "soc:cs2"])
def test_a_model_sent_over_the_line(place):
    blob, inputs = tiny_encoder_blob()
    assert_same(run_on(place, blob, inputs, send=True), run_on("portable", blob, inputs))


@pytest.mark.parametrize("place", ["cs2", "soc:cs2"])
def test_a_planned_model(place):
    blob, inputs = tiny_encoder_blob()
    got = run_on(place, plan_chip(blob), inputs)
    assert got.plan.is_used
    assert_same(got, run_on("portable", blob, inputs))


@pytest.mark.parametrize("send", [False, True])
def test_one_planned_model_runs_at_every_length_and_again(send):
    blob = plan_chip(tiny_encoder_blob()[0])
    with csc.Device("soc:cs2", blob, send=send) as device:
        for length in (9, 1, 4, 9, 8):
            inputs = tiny_encoder_blob(length=length)[1]
            got = device.infer(inputs, raw=True)
            assert got.plan.is_used
            assert_same(got, csc.infer(blob, inputs, raw=True))


@pytest.mark.parametrize("chip", ["soc:cs1", "soc:cs2"])
def test_the_chip_with_slow_memory(chip):
    """One more clock for each access to RAM: the firmware still keeps up with the line."""
    blob, inputs = tiny_encoder_blob()
    got = run_on(chip, blob, inputs, send=True, ram_wait=1)
    assert_same(got, run_on("portable", blob, inputs))


def test_the_chip_counts_what_the_driver_counts():
    """The firmware on the chip and the driver on the host: the same blocks and engine clocks.

    Writes may differ: where stores reach the registers, the driver rounds rows up with zeros.
    """
    blob, inputs = tiny_encoder_blob()
    with csc.Device("soc:cs1", blob) as chip:
        assert chip.identity.has_engine
        there = chip.infer(inputs, raw=True)
        assert sum(op.clocks for op in there.report) <= chip.clocks
    here = csc.infer(blob, inputs, raw=True, backend="cs1")
    for mine, theirs in zip(there.report, here.report, strict=True):
        assert mine.name == theirs.name and mine.clocks > 0
        assert mine.blocks == theirs.blocks and mine.bus_writes >= theirs.bus_writes
        assert mine.engine_clocks == theirs.engine_clocks <= mine.clocks


@pytest.fixture(scope="session")
def tinybert(tmp_path_factory):
    """The real model, converted for short texts: (blob, inputs)."""
    sys.path.insert(0, str(SECTIONS))
    rng = np.random.default_rng(3)
    ids = rng.integers(5, 4000, (8, 12)).astype(np.int32)
    path = tmp_path_factory.mktemp("tinybert") / "tinybert.cscb"
    csc.convert(SECTIONS / "checkpoint", path, calibration={"input_ids": ids}, wide="none")
    return path.read_bytes(), {"input_ids": ids[0, :3]}


@pytest.mark.parametrize("place", ["cs2", "soc:cs2"])
def test_planned_tinybert(place, tinybert):
    blob, inputs = tinybert
    got = run_on(place, plan_chip(blob), inputs)
    assert got.plan.is_used
    assert_same(got, run_on("portable", blob, inputs))


@pytest.mark.parametrize("place", PLACES)
def test_tinybert(place, tinybert):
    blob, inputs = tinybert
    assert_same(run_on(place, blob, inputs), run_on("portable", blob, inputs))
