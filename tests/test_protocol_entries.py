"""Entries over the line: sessions on a device, tokens that stream, and requests that go wrong."""

import random
import struct
from collections import Counter

import numpy as np
import pytest

import csc
from blob_factory import tiny_encoder_blob
from csc import _frames as fmt
from csc._link import Link, pack, unpack
from csc.transport import PipeTransport
from entry_factory import append_blob, cached_attention_blob, decoder_blob

RAM = 1 << 16
BLOB = decoder_blob()[0]
PROMPT = [3, 22, 0, 7]
M, S = fmt.Message, fmt.Status
NO_TOKEN = fmt.NO_TOKEN
REQUANT = 16384 + 65536 * 19


@pytest.fixture(scope="module")
def blob_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("blob") / "tiny.cscb"
    path.write_bytes(BLOB)
    return path


@pytest.fixture
def line(server, blob_file):
    transport = PipeTransport([server, str(RAM), str(blob_file)], "the server")
    yield transport
    transport.close()


@pytest.fixture
def link(line):
    return Link(line, 20.0)


@pytest.fixture
def device(line):
    with csc.Device(line) as device:
        yield device


def tensor(name):
    return next(t for t in csc.load(BLOB).tensors if t.name == name).number


def request_of(**fields):
    """Return the record of a GENERATE that is good in state DONE, changed."""
    values = {
        "count": 3,
        "entry": 1,
        "position": 1,
        "token": NO_TOKEN,
        "input": tensor("ids"),
        "output": tensor("logits"),
        "top_k": 1,
        "requant": REQUANT,
        "random": 1,
    }
    assert list(values) == list(fmt.GENERATE.names)
    return tuple({**values, **fields}.values())


def run_entry(link, entry, position, ids):
    link.ask(M.START, (len(ids), entry, position))
    link.ask(M.SET_INPUT, (tensor("ids"), 0), np.array(ids, "<i4").tobytes())
    link.ask(M.RUN)


def go_to_done(link):
    link.ask(M.USE_EMBEDDED)
    run_entry(link, 0, 0, [5])


def frames_of(transport):
    """Return (message, status, sequence, body) of the next frame that comes."""
    wire = bytearray()
    while not wire.endswith(b"\0"):
        got = transport.read(1, 20.0)
        assert got, "the device is silent"
        wire += got
    return unpack(bytes(wire[:-1]))


def exchange(transport, message, body, sequence=1):
    """Return the status and the bodies of all answers to a request."""
    transport.write(pack(message, sequence, body))
    bodies = []
    while True:
        got, status, echoed, answer = frames_of(transport)
        assert (got, echoed) == (message | fmt.ANSWER, sequence)
        bodies.append(answer)
        if message != M.GENERATE or status or np.frombuffer(answer, fmt.GENERATED)[0]["left"] == 0:
            return S(status), bodies


# ------------------------------------------------------------------------------ sessions


def test_a_device_has_entries(device):
    model = csc.load(BLOB)
    assert device.entries == model.entries and device.context == model.context == 13
    assert device.describe()["entries"] == csc.inspect(model)["entries"]


@pytest.mark.parametrize(
    "build",
    [
        decoder_blob,
        lambda: cached_attention_blob(3, 5),
        lambda: cached_attention_blob(2, 4, 9, (2, 7), causal=False, default=-7),
        lambda: append_blob(9, 3, (4, 1, 6)),
    ],
)
def test_a_session_of_a_device_equals_one_of_the_host(server, build):
    """Rows of inputs are filled up on their way; states begin with their default."""
    blob, runs = build()
    host = csc.load(blob).session()
    with csc.Device(PipeTransport([server, str(RAM)], "the server"), blob) as device:
        session = device.session()
        for _ in range(2):
            for entry, inputs in runs:
                got = session.run(entry, inputs, raw=True)
                expected = host.run(entry, inputs, raw=True)
                assert session.position == host.position
                assert list(got) == list(expected)
                for name, values in expected.items():
                    np.testing.assert_array_equal(got[name], values)
            session.reset()
            host.reset()


def test_states_have_their_default_when_a_model_comes_into_use(server):
    """Also where other bytes have been in their place before."""
    blob, runs = cached_attention_blob(2, 4, 9, (2, 7), causal=False, default=-7)
    expected = csc.load(blob).session().run(*runs[0], raw=True)["out"]
    with csc.Device(PipeTransport([server, str(RAM)], "the server"), BLOB) as device:
        device.session().run("prefill", ids=PROMPT)
        device.load(blob)
        record = device.entries[0]
        device._link.ask(M.START, (2, record.number, 0))
        x = record.inputs[0]
        rows = np.pad(runs[0][1]["x"], ((0, 0), (0, x.row_stride - x.shape[1])))
        device._set_input(x.number, rows.tobytes())
        device._run_started()
        np.testing.assert_array_equal(device._get_output(record.outputs[0], 2), expected)


def test_report_of_a_run(device):
    got = device.session().run("step", ids=[4])
    step = device.entries[1]
    assert [op.number for op in got.report] == list(range(step.first_op, len(device.ops)))
    assert all(op.clocks == 10 for op in got.report)  # the server's clock ticks at every reading
    assert got.plan.name == "none"


def test_errors_of_a_run(device):
    session = device.session()
    with pytest.raises(csc.InputError, match="The id at position 0 is 23"):
        session.run("prefill", ids=[23])
    with pytest.raises(csc.InputError, match="'step' of the model on the server takes 1 to 1"):
        session.run("step", ids=[1, 2])
    assert session.position == 0
    with pytest.raises(csc.InputError, match="run them with a session"):
        device.infer(ids=[1])


def test_models_without_entries_have_no_session(server, tmp_path):
    with csc.Device(PipeTransport([server, str(RAM)], "x"), tiny_encoder_blob()[0]) as device:
        with pytest.raises(csc.InputError, match="has no entries"):
            device.session()
        assert exchange(device._transport, M.RESET_STATES, b"")[0] == S.OK


# ------------------------------------------------------------------------------ generation


@pytest.mark.parametrize(
    ("prompt", "count", "options"),
    [
        (PROMPT, 9, {}),
        (PROMPT, 1, {"top_k": 5}),
        (PROMPT, 9, {"top_k": 8, "seed": 3}),
        (PROMPT, 9, {"top_k": 23, "seed": 8, "temperature": 2.0}),
        (PROMPT, 99, {"top_k": 3}),
        ([1] * 13, 5, {}),
        (PROMPT * 2, 4, {"top_k": 2}),
    ],
)
def test_a_device_generates_what_the_host_does(device, prompt, count, options):
    expected = list(csc.generate(BLOB, prompt, count, **options))
    assert list(csc.generate(device, prompt, count, **options)) == expected
    assert list(csc.generate(device, prompt, count, **options)) == expected


def test_a_device_stops_behind_a_stop_id(device):
    whole = list(csc.generate(BLOB, PROMPT, 9, top_k=23, seed=6))
    for stop in whole[1:6]:
        got = list(csc.generate(device, PROMPT, 9, top_k=23, seed=6, stop_ids=[stop, 2**31]))
        assert got == whole[: whole.index(stop) + 1]


def test_tokens_stream(link, line):
    """Each token is an answer of its own, in the order of SPEC.md 3.8."""
    go_to_done(link)
    status, bodies = exchange(line, M.GENERATE, struct.pack("<9I", *request_of(top_k=9)), 77)
    assert status == S.OK
    made = [np.frombuffer(body, fmt.GENERATED)[0] for body in bodies]
    assert [int(each["left"]) for each in made] == [2, 1, 0]
    assert [int(each["position"]) for each in made] == [1, 2, 3]
    again = struct.pack("<9I", *request_of(top_k=9, count=1, position=3, token=made[2]["token"],
                                           random=made[2]["random"]))  # fmt: skip
    status, bodies = exchange(line, M.GENERATE, again)
    assert int(np.frombuffer(bodies[0], fmt.GENERATED)[0]["position"]) == 4


def test_whoever_leaves_early_may_go_on(device):
    """The rest of a request's answers is waited for, and the line stays in step."""
    expected = list(csc.generate(BLOB, PROMPT, 9))
    for count in range(1, 6):
        tokens = csc.generate(device, PROMPT, 9)
        assert [next(tokens) for _ in range(count)] == expected[:count]
        tokens.close()
        assert device.session().position == 0
    assert list(csc.generate(device, PROMPT, 9)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0},
        {"entry": 2},
        {"entry": 2**32 - 1},
        {"input": 10**6},
        {"input": 1},
        {"output": 0},
        {"output": 10**6},
        {"top_k": 0},
        {"top_k": 24},
        {"requant": 32768 + 65536},
        {"requant": 5},
        {"requant": 47 * 65536},
        {"requant": 2**31 + 65536},
        {"random": 0},
    ],
)
def test_bad_requests(link, line, fields):
    go_to_done(link)
    body = struct.pack("<9I", *request_of(**fields))
    status, bodies = exchange(line, M.GENERATE, body)
    assert status == S.RANGE and len(bodies) == 1
    state = link.record(link.ask(M.DESCRIBE), fmt.DESCRIPTION)["state"]
    assert state == fmt.State.DONE


def test_stop_ids_that_are_cut(link, line):
    go_to_done(link)
    status, bodies = exchange(line, M.GENERATE, struct.pack("<9I", *request_of()) + b"abc")
    assert status == S.BODY
    assert np.frombuffer(bodies[0], fmt.ERROR)[0]["have"] == 39


@pytest.mark.parametrize("fields", [{"token": 23}, {"token": 5, "position": 13}])
def test_a_step_that_fails(link, line, fields):
    """The error is the last answer; a new run is needed then."""
    go_to_done(link)
    body = struct.pack("<9I", *request_of(**fields))
    status, bodies = exchange(line, M.GENERATE, body)
    assert status == S.RUNTIME and len(bodies) == 1
    assert exchange(line, M.GENERATE, body)[0] == S.ORDER
    run_entry(link, 1, 0, [5])
    assert exchange(line, M.GENERATE, struct.pack("<9I", *request_of()))[0] == S.OK


def test_the_host_says_what_failed(device):
    session = device.session()
    session.feed("prefill", {"ids": PROMPT})
    device._link.ask(M.RESET_STATES)
    with pytest.raises(csc.DeviceError, match="refused GENERATE: the request does not fit"):
        loop = csc._session.Loop(device.entries[1], *device.entries[1].inputs, device.outputs[1])
        list(session.stream(loop, csc._choose.Choice(1, REQUANT, 1), 3, set()))


def test_reset_states_begins_a_sequence(link):
    """Without it the states keep what they had: the answer then is another one."""
    link.ask(M.USE_EMBEDDED)
    logits = csc.load(BLOB).outputs[1]
    count = logits.row_stride * 2

    def answer(position):
        run_entry(link, 1, position, [5])
        return link.ask(M.GET_OUTPUT, (logits.number, 0, count))

    run_entry(link, 0, 0, PROMPT)
    late = answer(4)
    link.ask(M.RESET_STATES)
    fresh = answer(4)
    assert fresh != late
    run_entry(link, 0, 0, PROMPT)
    assert answer(4) == late


def random_words(rng, message):
    """Return the numbers of a request, mostly good ones."""
    if message == M.GENERATE:
        words = list(request_of())
        words[rng.randrange(9)] = rng.choice([0, 1, 2, 5, 13, 23, rng.getrandbits(32)])
        return [words[0] % 50, *words[1:]]
    if message == M.START:
        return [1, rng.choice([0, 1, 1, 2]), rng.choice([0, 0, 1, 20])]
    if message == M.SET_INPUT:
        return [tensor("ids"), 0, rng.choice([1, 5, 22, 23])]
    return []


def test_random_requests_never_break_the_server(line):
    """Frames of any content: the right answers, no overrun, and the device works on."""
    rng = random.Random(12)
    exchange(line, M.USE_EMBEDDED, b"")
    seen = Counter()
    usual = [M.START, M.SET_INPUT, M.RUN, M.GENERATE, M.GENERATE]
    for sequence in range(2000):
        message = usual[sequence % 5]
        if rng.random() < 0.2:
            message = rng.choice([*usual, M.RESET_STATES])
        words = random_words(rng, message)
        status, _ = exchange(line, message, struct.pack(f"<{len(words)}I", *words), sequence)
        seen[message, status] += 1
    assert seen[M.GENERATE, S.OK] > 50 and seen[M.GENERATE, S.RANGE] > 50
    assert seen[M.GENERATE, S.RUNTIME] > 5 and seen[M.RUN, S.RUNTIME] > 5
    assert csc.Device(line).identity.board == "host"
