"""The chip fails, the firmware does not: every fault gives its error, and the next run is right."""

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob

BLOB, INPUTS = tiny_encoder_blob()


@pytest.fixture
def device():
    with csc.Device("soc:cs1", BLOB, timeout=2.0, run_timeout=5.0) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected():
    return csc.infer(BLOB, INPUTS, raw=True)


def assert_right(device, expected):
    got = device.infer(INPUTS, raw=True)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


def break_chip(device, **faults):
    device._transport.soc.set_faults(**faults)


def reads_of_engine(device):
    return device._transport.soc.totals.reads["engine"]


def test_never_done(device, expected):
    break_chip(device, never_done=1)
    with pytest.raises(csc.ChipError, match="did not finish in time in op 2"):
        device.infer(INPUTS)
    break_chip(device)
    assert_right(device, expected)


@pytest.mark.parametrize("multiplies", [1, 8, 64])
def test_done_too_early(device, expected, multiplies):
    break_chip(device, done_after=multiplies)
    with pytest.raises(csc.ChipError, match="ended a run too early in op"):
        device.infer(INPUTS)
    break_chip(device)
    assert_right(device, expected)


@pytest.mark.parametrize("multiplies", [256, 400, 511])
def test_done_a_little_early_is_an_error_or_harmless(device, expected, multiplies):
    """The engine may have ended by the time the CPU has looked."""
    break_chip(device, done_after=multiplies)
    try:
        device.infer(INPUTS, check=True)
    except csc.ChipError as error:
        assert "ended a run too early" in str(error)
    break_chip(device)
    assert_right(device, expected)


def test_wrong_data_is_an_error_or_nothing(device, expected):
    """One read of the engine goes wrong: an error, or all the right bits (a poll one later)."""
    assert_right(device, expected)
    start = reads_of_engine(device)
    assert_right(device, expected)
    count = reads_of_engine(device) - start
    noticed = 0
    for at in np.linspace(1, count, 24).astype(int).tolist():
        break_chip(device, change_read_at=reads_of_engine(device) + at, change_read=1 << 20)
        try:
            device.infer(INPUTS, raw=True, check=True)
        except csc.ChipError as error:
            noticed += 1
            assert "is not the host's; the chip computes wrong" in str(error)
        break_chip(device)
        assert_right(device, expected)
    assert noticed > 3


@pytest.mark.parametrize("fault", ["lose_byte_at", "change_byte_at"])
@pytest.mark.parametrize("at", [1, 2, 7])
def test_bytes_lost_or_changed(device, expected, fault, at):
    sent = device._transport.soc.uart_output
    changed = {"change_byte": 0x10} if fault == "change_byte_at" else {}
    break_chip(device, **{fault: len(sent) + at}, **changed)
    with pytest.raises(csc.DeviceError):
        device.infer(INPUTS)
    break_chip(device)
    device.refresh()
    assert_right(device, expected)


def test_spurious_interrupts(device, expected):
    break_chip(device, interrupts=0xFFFFFFFF)
    assert_right(device, expected)
