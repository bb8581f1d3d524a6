"""The frame protocol: what goes over the line, and all that can go wrong there."""

import random
import struct
import sys
import time
import zlib
from collections import Counter

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob
from boards import need_qemu
from csc import _frames as fmt
from csc._link import Link, decode, encode, pack, unpack
from csc.image import Image, board_elf
from csc.transport import PipeTransport, QemuTransport

RAM = 1 << 16
M, S = fmt.Message, fmt.Status
UNASKED = M.NONE | fmt.ANSWER


@pytest.fixture(scope="session")
def blob_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("blob") / "tiny.cscb"
    path.write_bytes(tiny_encoder_blob()[0])
    return path


@pytest.fixture
def line(server, blob_file):
    transport = PipeTransport([server, str(RAM), str(blob_file)], "the server")
    yield transport
    transport.close()


@pytest.fixture
def link(line):
    return Link(line, 20.0)


def frame(transport):
    """Return (message, status, sequence, body) of the next frame that comes."""
    wire = bytearray()
    while not wire.endswith(b"\0"):
        got = transport.read(1, 20.0)
        assert got, "the device is silent"
        wire += got
    return unpack(bytes(wire[:-1]))


def error_of(body):
    assert len(body) == fmt.ERROR.itemsize
    return np.frombuffer(body, fmt.ERROR)[0]


def exchange(transport, message, body=b"", sequence=1, status=0):
    transport.write(pack(message, sequence, body, status))
    return frame(transport)


def u32(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


# ------------------------------------------------------------------------------ COBS


@pytest.mark.parametrize("size", [0, 1, 2, 253, 254, 255, 256, 507, 508, 509, 510, 1032])
@pytest.mark.parametrize("kind", ["zeros", "ones", "mixed"])
def test_cobs_there_and_back(size, kind):
    rng = random.Random(size)
    choices = {"zeros": [0], "ones": [1], "mixed": [0, 1, 255]}[kind]
    data = bytes(rng.choice(choices) for _ in range(size))
    wire = encode(data)
    assert 0 not in wire
    assert len(wire) <= size + max(1, -(-size // 254))
    assert decode(wire) == data
    if size == fmt.FRAME_MAX:
        assert len(wire) <= fmt.WIRE_MAX


def test_cobs_examples():
    """Known pairs of the published algorithm."""
    assert encode(b"") == b"\x01"
    assert encode(b"\0") == b"\x01\x01"
    assert encode(b"\x11\x22\0\x33") == b"\x03\x11\x22\x02\x33"
    ones = bytes(range(1, 255))
    assert encode(ones) == b"\xff" + ones
    assert encode(ones + b"\0") == b"\xff" + ones + b"\x01\x01"


@pytest.mark.parametrize("size", [0, 1, 245, 246, 247, 248, 500, 1000, 1024])
def test_bodies_of_every_size_arrive(link, size):
    """READ_MODEL answers with bodies of any size; its bytes are the blob's."""
    link.ask(M.USE_EMBEDDED)
    if size == 0:
        with pytest.raises(csc.DeviceError, match="out of range"):
            link.ask(M.READ_MODEL, (0, 0))
        return
    assert link.ask(M.READ_MODEL, (0, size)) == tiny_encoder_blob()[0][:size]


# ------------------------------------------------------------------------------ bad frames


def bad_crc():
    good = struct.pack("<BBH", M.IDENTIFY, 0, 7)
    return encode(good + (zlib.crc32(good) ^ 1).to_bytes(4, "little")) + b"\0"


BAD_FRAMES = {
    "crc": (bad_crc(), S.CRC),
    "cobs run too long": (b"\x09abc\0", S.COBS),
    "cobs last run cut": (pack(M.IDENTIFY, 1, b"")[:-2] + b"\0", S.COBS),
    "no byte": (encode(b"") + b"\0", S.TOO_SHORT),
    "head alone": (encode(b"\1\0\1\0") + b"\0", S.TOO_SHORT),
    "one byte too long": (b"\x01" * (fmt.WIRE_MAX + 1) + b"\0", S.TOO_LONG),
    "endless": (b"x" * 100_000 + b"\0", S.TOO_LONG),
    "longest frame that fits": (encode(b"\1" * 1033)[:1037] + b"\0", S.COBS),
    "zeros at the end": (b"\x01" * fmt.WIRE_MAX + b"\0", S.COBS),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames_are_answered(line, name):
    wire, wanted = BAD_FRAMES[name]
    line.write(wire)
    message, status, sequence, body = frame(line)
    assert (message, S(status), sequence) == (UNASKED, wanted, 0)
    error_of(body)
    assert exchange(line, M.IDENTIFY)[:3] == (M.IDENTIFY | fmt.ANSWER, S.OK, 1)


def test_empty_frames_have_no_answer(line):
    line.write(b"\0" * 10)
    assert exchange(line, M.IDENTIFY, sequence=9)[2] == 9


@pytest.mark.parametrize("message", [0, 16, 17, 100, 0x81, 255])
def test_unknown_messages(line, message):
    got, status, sequence, body = exchange(line, message, b"abc", 77)
    assert (got, status, sequence) == (message | fmt.ANSWER, S.MESSAGE, 77)
    assert error_of(body)["have"] == message


def test_a_request_with_a_status(line):
    assert exchange(line, M.IDENTIFY, status=1)[1] == S.MESSAGE


SIZES = {
    M.IDENTIFY: 0,
    M.DESCRIBE: 0,
    M.USE_EMBEDDED: 0,
    M.LOAD_BEGIN: 4,
    M.LOAD_DATA: 5,
    M.LOAD_END: 0,
    M.READ_MODEL: 8,
    M.START: 12,
    M.SET_INPUT: 9,
    M.RUN: 0,
    M.GET_OUTPUT: 12,
    M.GET_CLOCKS: 4,
    M.RESET: 0,
    M.RESET_STATES: 0,
    M.GENERATE: 36,
}
SHORT_START = 4  # before version 1.2


def test_every_message_is_here():
    assert set(SIZES) == set(fmt.Message) - {M.NONE}


@pytest.mark.parametrize("message", SIZES, ids=lambda message: message.name)
def test_bodies_of_a_wrong_size(line, message):
    least = SIZES[message]
    has_data = message in (M.LOAD_DATA, M.SET_INPUT, M.GENERATE)
    for size in {0, 1, least - 1, least + 1, fmt.BODY_MAX}:
        if size < 0 or size == least or (has_data and size > least):
            continue
        _, status, _, body = exchange(line, message, bytes(size))
        assert S(status) == S.BODY
        short = message == M.START and size < SHORT_START
        need = SHORT_START if short else least
        assert (error_of(body)["need"], error_of(body)["have"]) == (need, size)


def test_a_start_of_an_older_version(link, line):
    link.ask(M.USE_EMBEDDED)
    assert exchange(line, M.START, u32(3))[1] == S.OK
    assert exchange(line, M.START, u32(3, 0))[1] == S.BODY
    assert exchange(line, M.START, u32(3, 0, 0))[1] == S.OK
    for entry, position in ((1, 0), (0, 1)):
        _, status, _, body = exchange(line, M.START, u32(3, entry, position))
        assert status == S.RUNTIME and error_of(body)["have"] == (1 if entry else 4)


# ------------------------------------------------------------------------------ order


def go_to(link, state):
    """Bring a fresh device into a state."""
    if state == fmt.State.RECEIVING:
        link.ask(M.LOAD_BEGIN, (640,))
    elif state != fmt.State.EMPTY:
        link.ask(M.USE_EMBEDDED)
        if state != fmt.State.READY:
            link.ask(M.START, (3,))
        if state == fmt.State.DONE:
            set_ids(link, [1, 2, 3])
            link.ask(M.RUN)


def state_of(link):
    return fmt.State(int(link.record(link.ask(M.DESCRIBE), fmt.DESCRIPTION)["state"]))


def tensor(name):
    return next(t for t in csc.load(tiny_encoder_blob()[0]).tensors if t.name == name)


def set_ids(link, ids):
    link.ask(M.SET_INPUT, (tensor("ids").number, 0), np.array(ids, "<i4").tobytes())


LOADED = {fmt.State.READY, fmt.State.STARTED, fmt.State.DONE}
ALLOWED = {
    M.LOAD_DATA: {fmt.State.RECEIVING},
    M.LOAD_END: set(),  # in RECEIVING only when all bytes are there
    M.READ_MODEL: LOADED,
    M.START: LOADED,
    M.SET_INPUT: {fmt.State.STARTED},
    M.RUN: {fmt.State.STARTED},
    M.GET_OUTPUT: {fmt.State.DONE},
    M.GET_CLOCKS: {fmt.State.DONE},
    M.RESET_STATES: LOADED,
    M.GENERATE: {fmt.State.DONE},
}


@pytest.mark.parametrize("state", fmt.State, ids=lambda state: state.name)
@pytest.mark.parametrize("message", ALLOWED, ids=lambda message: message.name)
def test_order(link, line, state, message):
    go_to(link, state)
    _, status, _, body = exchange(line, message, bytes(SIZES[message]))
    assert (status != S.ORDER) == (state in ALLOWED[message])
    if status == S.ORDER:
        assert error_of(body)["have"] == state
        assert state_of(link) == state


def test_one_start_serves_one_run(link):
    go_to(link, fmt.State.DONE)
    with pytest.raises(csc.DeviceError, match="does not fit its state DONE"):
        link.ask(M.RUN)


# ------------------------------------------------------------------------------ ranges


@pytest.mark.parametrize(
    ("state", "message", "body"),
    [
        (fmt.State.DONE, M.GET_OUTPUT, u32(10**6, 0, 1)),
        (fmt.State.DONE, M.GET_OUTPUT, u32(0, 0, 1)),  # an input
        (fmt.State.DONE, M.GET_OUTPUT, u32(2**32 - 1, 0, 1)),
        (fmt.State.DONE, M.GET_CLOCKS, u32(1000)),
        (fmt.State.DONE, M.READ_MODEL, u32(2**32 - 1, 2)),
        (fmt.State.DONE, M.READ_MODEL, u32(1, 2**32 - 1)),
        (fmt.State.DONE, M.READ_MODEL, u32(0, fmt.BODY_MAX + 1)),
        (fmt.State.DONE, M.READ_MODEL, u32(0, 0)),
        (fmt.State.STARTED, M.SET_INPUT, u32(10**6, 0) + b"a"),
        (fmt.State.STARTED, M.SET_INPUT, u32(0, 13) + b"a"),  # 3 ids are 12 bytes
        (fmt.State.STARTED, M.SET_INPUT, u32(0, 2**32 - 1) + b"ab"),
        (fmt.State.STARTED, M.SET_INPUT, u32(0, 9) + b"abcd"),
        (fmt.State.RECEIVING, M.LOAD_DATA, u32(1) + b"a"),  # a gap
        (fmt.State.RECEIVING, M.LOAD_DATA, u32(0) + bytes(641)),
    ],
)
def test_ranges(link, line, state, message, body):
    go_to(link, state)
    _, status, _, _ = exchange(line, message, body)
    assert S(status) == S.RANGE
    assert state_of(link) == state


def test_outputs_have_their_live_bytes_only(link):
    go_to(link, fmt.State.DONE)
    hidden = csc.load(tiny_encoder_blob()[0]).outputs[0]
    live = 3 * hidden.row_stride
    assert len(link.ask(M.GET_OUTPUT, (hidden.number, 0, live))) == live
    with pytest.raises(csc.DeviceError, match=f"the limit is {live}"):
        link.ask(M.GET_OUTPUT, (hidden.number, 0, live + 1))


# ------------------------------------------------------------------------------ loading


def test_blob_larger_than_the_memory(server):
    transport = PipeTransport([server, "4096"], "the server")
    with pytest.raises(csc.DeviceError, match=r"room for 4096 bytes, but \d+ are needed"):
        csc.Device(transport, tiny_encoder_blob()[0])


def test_arena_larger_than_the_memory(server):
    blob = tiny_encoder_blob()[0]
    transport = PipeTransport([server, str(len(blob) + 64)], "the server")
    with pytest.raises(csc.DeviceError, match="room for 64 bytes"):
        csc.Device(transport, blob)


def test_a_given_model_goes_before_that_of_the_image(server, blob_file):
    blob, inputs = tiny_encoder_blob(seed=8)
    with csc.Device(PipeTransport([server, str(RAM), str(blob_file)], "x"), blob) as device:
        got = device.infer(inputs, raw=True)
    for name, values in csc.infer(blob, inputs, raw=True).items():
        np.testing.assert_array_equal(got[name], values)


def test_no_model_in_the_image(server):
    transport = PipeTransport([server, "4096"], "the server")
    with pytest.raises(csc.DeviceError, match="its image holds no model"):
        csc.Device(transport)


def test_damaged_model_in_the_image(server, tmp_path):
    blob = bytearray(tiny_encoder_blob()[0])
    blob[-1] ^= 1
    path = tmp_path / "bad.cscb"
    path.write_bytes(blob)
    with pytest.raises(csc.BlobError, match=r"the model on the server .* CRC of section WEIGHTS"):
        csc.Device(PipeTransport([server, "4096", str(path)], "the server"))


def test_damaged_blob_over_the_line(link):
    blob = bytearray(tiny_encoder_blob()[0])
    blob[5000] ^= 1
    link.ask(M.LOAD_BEGIN, (len(blob),))
    for at in range(0, len(blob), 1000):
        link.ask(M.LOAD_DATA, (at,), bytes(blob[at : at + 1000]))
    with pytest.raises(csc.DeviceError) as caught:
        link.ask(M.LOAD_END)
    assert caught.value.status == "RUNTIME"
    assert state_of(link) == fmt.State.EMPTY


def test_load_end_too_early(link):
    link.ask(M.LOAD_BEGIN, (640,))
    with pytest.raises(csc.DeviceError, match="does not fit its state RECEIVING"):
        link.ask(M.LOAD_END)


# ------------------------------------------------------------------------------ csc.Device


@pytest.fixture
def device(line):
    with csc.Device(line) as device:
        yield device


def test_device_has_the_face_of_a_model(device):
    blob, inputs = tiny_encoder_blob()
    model = csc.load(blob)
    assert device.inputs == model.inputs and device.outputs == model.outputs
    assert device.ops == model.ops and device.metadata == model.metadata
    assert (device.max_length, device.arena_bytes) == (model.max_length, model.arena_bytes)
    assert device.blob_bytes == len(blob)
    facts = device.describe()
    assert facts["device"]["board"] == "host"
    assert facts["ops"] == csc.inspect(model)["ops"]
    assert "the server" in repr(device)
    batch = {name: np.stack([values, values[::-1]]) for name, values in inputs.items()}
    got, expected = device.infer(batch), model.infer(batch)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


def test_report_counts_every_op(device):
    blob, inputs = tiny_encoder_blob()
    got = device.infer(inputs, raw=True)
    expected = csc.infer(blob, inputs, raw=True, backend="cs1")
    assert [op.name for op in got.report] == [op.name for op in expected.report]
    for mine, theirs in zip(got.report, expected.report, strict=True):
        assert mine.blocks == theirs.blocks and mine.engine_clocks == theirs.engine_clocks
        assert mine.bus_writes == theirs.bus_writes
        assert mine.clocks == 10  # the server's clock ticks at every reading
    assert device.clocks == 10 * (2 * len(got.report) + 1 + len(got.report))


def test_wrong_inputs(device):
    with pytest.raises(csc.InputError, match="There is no input 'x'"):
        device.infer(x=[1])
    with pytest.raises(csc.InputError, match="The id at position 1 is 31, but op 0"):
        device.infer(ids=[1, 31])
    with pytest.raises(csc.InputError, match="have 10 positions"):
        device.infer(ids=list(range(10)))
    assert set(device.infer(ids=[1, 2])) == {t.name for t in device.outputs}


def test_reset_and_send(device):
    blob, inputs = tiny_encoder_blob(seed=4)
    device.reset()
    device.load(blob)
    expected = csc.infer(blob, inputs, raw=True)
    for name, values in device.infer(inputs, raw=True).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("where", ["", "qemu", "qemu:", "usb:1", "serial:"])
def test_unknown_devices(where):
    with pytest.raises(csc.DeviceError, match="There is no device"):
        csc.Device(where)


def test_unknown_board_of_qemu():
    with pytest.raises(csc.CscError, match=r"'cs2'.*'mps2-an386'"):
        csc.Device("qemu:cs2")


def test_serial_port_that_is_not_there():
    pytest.importorskip("serial")
    with pytest.raises(csc.DeviceError, match="/dev/nothing-here cannot be opened"):
        csc.Device("serial:/dev/nothing-here")


def test_serial_port(server, blob_file, tmp_path):
    """A pair of pseudo terminals for the port; the server behind it."""
    pytest.importorskip("serial")
    import os
    import subprocess
    import tty

    ours, port = os.openpty()
    tty.setraw(ours)
    tty.setraw(port)
    command = [server, str(RAM), str(blob_file)]
    with subprocess.Popen(command, stdin=ours, stdout=ours) as process:
        with csc.Device(f"serial:{os.ttyname(port)}") as device:
            blob, inputs = tiny_encoder_blob()
            expected = csc.infer(blob, inputs, raw=True)
            for name, values in device.infer(inputs, raw=True).items():
                np.testing.assert_array_equal(values, expected[name])
        process.kill()
    os.close(ours)
    os.close(port)


# ------------------------------------------------------------------------------ a bad line


class Silent:
    where = "nothing"

    def write(self, data):
        pass

    def read(self, count, timeout):
        time.sleep(timeout)
        return b""

    def close(self):
        pass


def test_silent_device():
    begin = time.monotonic()
    with pytest.raises(csc.DeviceError, match=r"no answer to IDENTIFY within 0.2 s; check"):
        csc.Device(Silent(), timeout=0.2)
    assert time.monotonic() - begin < 2


class Other(Silent):
    """Answers every request with an identity of protocol version 2."""

    def __init__(self):
        self.answer = b""

    def write(self, data):
        for wire in data.split(b"\0"):
            if wire:
                message, _, sequence, _ = unpack(wire)
                self.answer += pack(message | fmt.ANSWER, sequence, u32(2) + bytes(4))

    def read(self, count, timeout):
        got, self.answer = self.answer[:count], self.answer[count:]
        return got


def test_other_version_of_the_protocol():
    with pytest.raises(csc.DeviceError, match=r"speaks version 2 .* this csc version 1; put"):
        csc.Device(Other())


def test_program_that_ends_says_why():
    transport = PipeTransport(
        [sys.executable, "-c", "import sys; sys.exit('no such machine')"], "qemu:x"
    )
    with pytest.raises(csc.DeviceError, match="qemu:x ended with status 1: no such machine"):
        csc.Device(transport)


def test_leftovers_on_the_line_are_left_out(line):
    line.write(pack(M.IDENTIFY, 1, b"") + b"half a frame")
    with csc.Device(line) as device:
        assert device.identity.board == "host"


class Faulty:
    """A line that loses or changes the n-th byte to or from the device."""

    def __init__(self, inner, to_device, number, change):
        self.inner, self.where = inner, inner.where
        self.left = {True: number if to_device else -1, False: -1 if to_device else number}
        self.change = change
        self.passed = Counter()

    def _pass(self, data, to_device):
        at = self.left[to_device]
        self.left[to_device] -= len(data)
        self.passed[to_device] += len(data)
        if not 0 <= at < len(data):
            return data
        changed = bytes([data[at] ^ self.change]) if self.change else b""
        return data[:at] + changed + data[at + 1 :]

    def write(self, data):
        self.inner.write(self._pass(data, True))

    def read(self, count, timeout):
        return self._pass(self.inner.read(count, timeout), False)

    def close(self):
        self.inner.close()


def converse(server, blob_file, to_device, number, change):
    transport = PipeTransport([server, str(RAM), str(blob_file)], "the server")
    faulty = Faulty(transport, to_device, number, change)
    inputs = tiny_encoder_blob()[1]
    with csc.Device(faulty, timeout=0.25, run_timeout=0.25) as device:
        return device.infer(inputs, raw=True), faulty.passed


@pytest.mark.parametrize("change", [0, 1, 0x80], ids=["lost", "bit0", "bit7"])
@pytest.mark.parametrize("to_device", [True, False], ids=["to", "from"])
def test_any_bad_byte_is_an_error_or_harmless(server, blob_file, to_device, change):
    """Never a wrong result, never a hang: a loop over the bytes of a conversation."""
    blob, inputs = tiny_encoder_blob()
    expected = csc.infer(blob, inputs, raw=True)
    _, passed = converse(server, blob_file, to_device, -1, 0)
    total, step = passed[to_device], max(1, passed[to_device] // 30)
    outcomes = Counter()
    for number in range(0, total, step):
        try:
            got, _ = converse(server, blob_file, to_device, number, change)
        except csc.DeviceError:
            outcomes["error"] += 1
            continue
        outcomes["right"] += 1
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values)
    assert outcomes["error"] > outcomes["right"]


def test_random_requests_never_break_the_server(line):
    """Frames with a right CRC and any content: one answer each, and the device works on."""
    rng = random.Random(11)
    line.write(pack(M.USE_EMBEDDED, 0, b""))
    frame(line)
    seen = Counter()
    for sequence in range(3000):
        message = rng.choice([*SIZES, rng.randrange(256)])
        size = SIZES.get(message, 0) + rng.choice([0, 0, 0, 0, rng.randrange(40)])
        small = [0, 1, 2, 3, 12, 64, 640]
        words = [rng.choice([*small, rng.getrandbits(32)]) for _ in range(20)]
        body = u32(*words)[:size]
        got, status, echoed, _ = exchange(line, message, body, sequence)
        assert (got, echoed) == (message | fmt.ANSWER, sequence)
        seen[S(status)] += 1
    assert {S.OK, S.MESSAGE, S.BODY, S.ORDER, S.RANGE} <= set(seen)
    assert seen[S.OK] > 300
    assert csc.Device(line).identity.board == "host"


@pytest.mark.parametrize(
    ("board", "nowhere"),
    [
        ("qemu-riscv32", 0x1800_0000),
        ("mps2-an386", 0x7000_0000),
        ("mps2-an500", 0x7000_0000),
        ("mps3-an547", 0x2300_0000),
    ],
)
def test_fault_of_the_processor(board, nowhere):
    """A model at an address without memory: the board says FAULT, starts again, and answers."""
    need_qemu(board)
    image = Image(board_elf(board), board)
    record = image.record
    record["model_address"], record["model_bytes"] = nowhere, 4096
    image._write_record(record)
    transport = QemuTransport(board, bytes(image.data))
    try:
        link = Link(transport, 20.0)
        link.identify()
        with pytest.raises(csc.DeviceError, match="met a fault and starts again") as caught:
            link.ask(M.USE_EMBEDDED)
        assert caught.value.status == "FAULT"
        assert state_of(link) == fmt.State.EMPTY
    finally:
        transport.close()


@pytest.mark.parametrize("board", ["qemu-riscv32", "mps2-an386"])
def test_bad_frames_on_a_board(board):
    need_qemu(board)
    transport = QemuTransport(board, board_elf(board))
    try:
        assert exchange(transport, M.IDENTIFY)[1] == S.OK
        for wire, wanted in BAD_FRAMES.values():
            transport.write(wire)
            assert S(frame(transport)[1]) == wanted
        assert exchange(transport, M.RESET)[1] == S.OK
        assert Link(transport, 20.0).identify()["version_major"] == 1
    finally:
        transport.close()
