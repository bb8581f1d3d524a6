"""Plans in blobs: what the loader takes and refuses, what is shown, and when a run follows one."""

import zlib

import numpy as np
import pytest

import csc
from blob_factory import add_blob, tiny_encoder_blob
from csc_convert import blob_format as fmt
from csc_convert import plan_chip
from csc_convert.blob_writer import with_plan
from plans import command, plan, planned_blob

SECTION = fmt.HEADER.itemsize  # where the table begins


def mend(blob):
    """Return a blob with its CRCs put right."""
    data = bytearray(blob)
    header = np.frombuffer(data, fmt.HEADER, 1)
    table = np.frombuffer(data, fmt.SECTION, int(header["section_count"][0]), SECTION)
    for entry in table:
        first, count = int(entry["offset"]), int(entry["bytes"])
        entry["crc"] = zlib.crc32(data[first : first + count])
    header["header_crc"] = 0
    header["header_crc"] = zlib.crc32(data[: fmt.HEADER_BYTES])
    return bytes(data)


def changed(blob, offset, value):
    """Return a blob with another 32-bit number somewhere, its CRCs put right."""
    data = bytearray(blob)
    data[offset : offset + 4] = value.to_bytes(4, "little")
    return mend(data)


def test_a_plan_is_shown():
    blob, _ = planned_blob(command("NOP") * 3, store_bytes=640)
    facts = csc.inspect(blob)
    assert facts["format"] == "1.1"
    assert facts["plan"] == {
        "chip": "CS2",
        "version": "1.0",
        "commands": 3,
        "max_length": 9,
        "sram_bytes": 65536,
        "store_bytes": 640,
    }
    assert csc.load(blob).plan.commands == 3


def test_without_a_plan():
    blob, _ = tiny_encoder_blob()
    assert csc.inspect(blob)["plan"] is None
    assert csc.inspect(blob)["format"] == "1.0"


def test_the_newer_format_needs_no_plan():
    """Byte 10 of the header is the minor version."""
    blob, _ = tiny_encoder_blob()
    newer = changed(blob, 8, 0x00010001)
    assert csc.inspect(newer)["format"] == "1.1" and csc.load(newer).plan is None


def test_the_older_format_has_no_plan():
    blob, _ = planned_blob()
    with pytest.raises(csc.BlobError, match="header field at byte 20 is not valid"):
        csc.load(changed(blob, 8, 1))


@pytest.mark.parametrize("count", [0, 4, 7])
def test_other_numbers_of_sections(count):
    blob, _ = planned_blob()
    data = bytearray(blob)
    data[20:24] = count.to_bytes(4, "little")
    data[16:20] = bytes(4)
    data[16:20] = zlib.crc32(data[: fmt.HEADER_BYTES]).to_bytes(4, "little")
    with pytest.raises(csc.BlobError, match="header field at byte 20 is not valid"):
        csc.load(bytes(data))


BAD = [
    ({"chip": 0}, "bad field 'chip'"),
    ({"max_length": 0}, "bad field 'max_length'"),
    ({"max_length": 10}, "bad field 'max_length'"),
    ({"max_length": 2**32 - 1}, "bad field 'max_length'"),
    ({"sram_bytes": 0}, "bad field 'sram_bytes'"),
    ({"sram_bytes": 64}, "bad field 'sram_bytes'"),
    ({"reserved": [0] * 9 + [1]}, "bad field 'reserved'"),
    ({"command_count": 0}, "section PLAN has a wrong place or size"),
    ({"command_count": 2}, "section PLAN has a wrong place or size"),
    ({"command_count": 2**26 + 1}, "section PLAN has a wrong place or size"),
    ({"command_count": 2**32 - 1}, "section PLAN has a wrong place or size"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=lambda each: str(each)[:40])
def test_a_bad_record_is_refused(fields, message):
    with pytest.raises(csc.BlobError, match=message):
        csc.load(planned_blob(**fields)[0])


def test_inputs_and_outputs_end_within_the_sram():
    model = csc.load(tiny_encoder_blob()[0])
    end = max(t.offset + t.nbytes for t in (*model.inputs, *model.outputs))
    assert csc.load(planned_blob(sram_bytes=end)[0]).plan.sram_bytes == end
    with pytest.raises(csc.BlobError, match="bad field 'sram_bytes'"):
        csc.load(planned_blob(sram_bytes=end - 1)[0])


def test_a_section_too_small_for_its_record():
    blob, _ = planned_blob()
    table = np.frombuffer(blob, fmt.SECTION, 6, SECTION)
    cut = blob[: int(table["offset"][5])]
    entry = SECTION + 5 * fmt.SECTION.itemsize
    data = bytearray(cut)
    data[entry + 8 : entry + 12] = bytes(4)
    data[12:16] = len(cut).to_bytes(4, "little")
    with pytest.raises(csc.BlobError, match="section PLAN has a wrong place or size"):
        csc.load(mend(data))


def test_other_backends_pass_a_plan_by():
    blob, inputs = planned_blob()
    expected = csc.infer(tiny_encoder_blob()[0], inputs, raw=True)
    for backend in ("portable", "cs1"):
        got = csc.infer(blob, inputs, raw=True, backend=backend)
        assert got.plan.name == "backend"
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize(
    ("state", "fields"),
    [
        ("used", {}),
        ("chip", {"chip": 0x00335343}),
        ("chip", {"version": 0x00020000}),
        ("chip", {"version": 0x00010001}),
        ("length", {"max_length": 4}),
        ("sram", {"sram_bytes": 524288 + 64}),
    ],
)
@pytest.mark.parametrize("place", ["host", "soc"])
def test_when_a_run_follows_the_plan(place, state, fields):
    """The plan does nothing, so that the outputs tell whether it was followed."""
    blob, inputs = planned_blob(**fields)
    expected = csc.infer(blob, inputs, raw=True)
    if place == "host":
        got = csc.infer(blob, inputs, raw=True, backend="cs2")
    else:
        with csc.Device("soc:cs2", blob) as device:
            got = device.infer(inputs, raw=True)
            assert device.plan == csc.load(blob).plan
    assert got.plan.name == state and got.plan.reason
    is_same = all(np.array_equal(got[name], expected[name]) for name in expected)
    assert is_same == (state != "used")


def test_an_arena_of_the_caller_is_not_the_sram():
    blob, inputs = planned_blob()
    arena = np.zeros(1 << 20, np.uint8)
    arena = arena[-arena.ctypes.data % 64 :]
    got = csc.infer(blob, inputs, backend="cs2", arena=arena)
    assert got.plan.name == "arena"


def test_a_blob_outside_the_external_memory_is_not_planned():
    """Without external memory a small model goes into the processor's RAM and runs op by op."""
    blob, inputs = add_blob(8, length=5)
    blob = with_plan(blob, plan())
    with csc.Device("soc:cs2", blob, send=True, external_bytes=64) as device:
        got = device.infer(inputs, raw=True)
        assert device._transport.soc.totals.reads["sram"] > 0
    assert got.plan.name == "blob"
    for name, values in csc.infer(blob, inputs, raw=True).items():
        np.testing.assert_array_equal(got[name], values)


def test_the_store_has_room_in_the_work_memory():
    """What a plan stores outside SRAM takes the place of the arena, and more where it needs it."""
    blob, inputs = planned_blob(store_bytes=1 << 20)
    with csc.Device("soc:cs2", blob) as device:
        assert device.infer(inputs, raw=True).plan.is_used


def test_a_long_run_of_a_short_plan_has_the_right_bits():
    blob, inputs = tiny_encoder_blob()
    short = plan_chip(blob, max_length=4)
    for length, state in ((4, "used"), (5, "length")):
        inputs = tiny_encoder_blob(length=length)[1]
        got = csc.infer(short, inputs, raw=True, backend="cs2")
        assert got.plan.name == state
        for name, values in csc.infer(blob, inputs, raw=True).items():
            np.testing.assert_array_equal(got[name], values)
