"""CS2 fails, the firmware does not: errors name layer and command, and the next run is right."""

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob
from csc_convert import plan_chip
from plans import command, planned_blob

PLAIN, INPUTS = tiny_encoder_blob()
PLANNED = plan_chip(PLAIN)
WAIT_FOR_EVER = command("COPY", WAIT_ON=1, WAIT_DMA=9, TAG=4, ROWS=1, ROW_BYTES=64)


def assert_right(device):
    got = device.infer(INPUTS, raw=True, check=True)
    assert got.plan.is_used


def fail(**faults):
    """Run with faults on a fresh chip; return the error. The run after it must be right."""
    with csc.Device("soc:cs2", PLANNED) as device:
        soc = device._transport.soc
        soc.set_faults(**faults)
        with pytest.raises(csc.ChipError) as caught:
            device.infer(INPUTS)
        soc.set_faults()
        assert_right(device)
    return str(caught.value)


def tag_of(number):
    """Return the op a command works for."""
    with csc.Device("soc:cs2", PLANNED, command_trace=True) as device:
        assert_right(device)
        return {event.number: event.tag for event in device._transport.soc.commands}[number]


@pytest.mark.parametrize("number", [1, 9, 40])
def test_a_hung_engine(number):
    text = fail(hang_command=number)
    name = csc.load(PLAIN).ops[tag_of(number - 1)].name
    assert f"did not finish in time in op {tag_of(number - 1)} ('{name}')" in text
    assert f"command {number - 1} was given up after" in text


def test_a_wait_that_never_ends():
    """The watchdog finds a command that waits for one behind it."""
    blob, inputs = planned_blob(WAIT_FOR_EVER)
    with csc.Device("soc:cs2", blob) as device, pytest.raises(csc.ChipError) as caught:
        device.infer(inputs)
    assert "did not finish in time in op 4 ('layer0.dense.op')" in str(caught.value)
    assert "command 0" in str(caught.value)


@pytest.mark.parametrize("number", [1, 9, 71])
def test_a_code_that_is_none(number):
    text = fail(change_command=number, change_word=0, change_mask=0xFF)
    assert f"stopped at command {number - 1} of op {tag_of(number - 1)} ('" in text
    assert "its code or a reserved bit is unknown to the chip" in text


@pytest.mark.parametrize("engine", [0, 1, 2])
def test_an_address_in_no_memory(engine):
    """Space 3 does not exist; words 5 to 7 are an address in commands of every engine."""
    with csc.Device("soc:cs2", PLANNED, command_trace=True) as device:
        assert_right(device)
        events = device._transport.soc.commands
    number = next(e.number for e in events if e.engine == engine and e.number > 9)
    text = fail(change_command=number + 1, change_word=5, change_mask=3 << 30)
    assert f"stopped at command {number} of op " in text
    assert "an operand lies beyond its memory (word 5)" in text


@pytest.mark.parametrize("burst", [1, 20, 40])
def test_external_memory_that_fails(burst):
    text = fail(external_error=burst)
    assert "stopped at command " in text and "check the external memory" in text


def test_a_lost_doorbell():
    assert "ended a run too early in the plan" in fail(lose_doorbell_at=1)


def test_the_queue_does_not_overrun():
    """A plan without commands is done at once; one of many wraps nothing."""
    many, inputs = planned_blob(command("NOP") * 3000)
    with csc.Device("soc:cs2", many) as device:
        assert device.infer(inputs).plan.is_used


@pytest.mark.parametrize("name", ["ids", "types"])
@pytest.mark.parametrize("position", [0, 3, 8])
@pytest.mark.parametrize("value", [-1, 31, 100000])
def test_a_bad_id_is_the_same_error_everywhere(name, position, value):
    inputs = {key: np.array(values) for key, values in tiny_encoder_blob(length=9)[1].items()}
    inputs[name][position] = value
    found = []
    for backend in ("portable", "cs2"):
        with pytest.raises(csc.InputError) as caught:
            csc.infer(csc.load(PLANNED), inputs, backend=backend)
        found.append(str(caught.value))
    assert found[0] == found[1]
    assert f"The id at position {position} is {value}, but op 0" in found[0]


def test_after_a_bad_id_the_chip_goes_on():
    bad = dict(INPUTS, ids=np.full(len(INPUTS["ids"]), 1000))
    with csc.Device("soc:cs2", PLANNED) as device:
        with pytest.raises(csc.InputError, match="id at position 0 is 1000"):
            device.infer(bad)
        assert_right(device)


def test_wrong_data_is_found_by_the_check():
    """The chip has no way to notice an operand that is another one."""
    with csc.Device("soc:cs2", PLANNED) as device:
        soc = device._transport.soc
        # The last command brings the outputs out; from another place it brings something else.
        soc.set_faults(change_command=71, change_word=5, change_mask=64 * 8)
        with pytest.raises(csc.ChipError, match="is not the host's; the chip computes wrong"):
            device.infer(INPUTS, check=True)


def test_the_driver_of_the_part_that_is_cs1():
    """Op by op, with the faults of CS1's engine."""
    with csc.Device("soc:cs2", PLAIN) as device:
        soc = device._transport.soc
        soc.set_faults(never_done=1)
        with pytest.raises(csc.ChipError, match="did not finish in time in op 2"):
            device.infer(INPUTS)
        soc.set_faults()
        assert device.infer(INPUTS, check=True).plan.name == "none"
