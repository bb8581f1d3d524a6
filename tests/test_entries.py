"""Entries, positions and states: every backend equals the oracle, and steps equal one long run."""

from functools import cache

import numpy as np
import pytest

import csc
from blob_editor import Editor
from blob_factory import tiny_encoder_blob
from csc._backend import BACKENDS as BACKEND_CLASSES
from csc_convert import NoPlan, oracle, plan_chip
from csc_convert.oracle import read_blob
from entry_factory import ENTRY_CASES, cached_attention_blob, decoder_blob

BACKENDS = csc.backends()


@cache
def expected_of(build):
    """Return the blob, its runs, and what the oracle gives for each of them."""
    blob, runs = build()
    session = oracle.Session(blob)
    return blob, runs, [session.run(entry, inputs) for entry, inputs in runs]


def assert_same(got, expected):
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        np.testing.assert_array_equal(got[name].reshape(values.shape), values, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in ENTRY_CASES])
def test_runs_one_after_another(build, backend):
    blob, runs, expected = expected_of(build)
    session = csc.load(blob).session(backend=backend)
    position = 0
    for (entry, inputs), wanted in zip(runs, expected, strict=True):
        assert session.position == position
        assert_same(session.run(entry, inputs, raw=True), wanted)
        position += len(next(iter(inputs.values())))


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if BACKEND_CLASSES[name].shares_ops])
@pytest.mark.parametrize(
    "build",
    [pytest.param(build, id=name) for name, build in ENTRY_CASES[:: len(ENTRY_CASES) // 40]],
)
def test_threads_share_the_ops_of_an_entry(build, backend, threads):
    blob, runs, expected = expected_of(build)
    session = csc.load(blob, threads=threads).session(backend=backend)
    for (entry, inputs), wanted in zip(runs, expected, strict=True):
        assert_same(session.run(entry, inputs, raw=True), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [(70, 1, 90, 3), (33, 32, 31, 64, 1)])
@pytest.mark.parametrize("causal", [True, False])
def test_many_rows_and_keys(causal, lengths, backend):
    """A SIMD backend may take many rows and many keys at a time."""
    blob, runs = cached_attention_blob(2, 20, 170, lengths, causal=causal)
    expected = oracle.Session(blob)
    session = csc.load(blob).session(backend=backend, threads=3)
    for run in runs:
        assert_same(session.run(*run, raw=True), expected.run(*run))


def test_states_matter():
    """The same inputs at another position, with another past, give something else."""
    blob, runs = cached_attention_blob(2, 5)
    session = csc.load(blob).session()
    first = session.run(*runs[1], raw=True)["out"]
    session.reset()
    session.run(*runs[0])
    assert (session.run(*runs[1], raw=True)["out"] != first).any()


def test_reset_begins_again():
    blob, runs = decoder_blob()
    session = csc.load(blob).session()
    first = [session.run(*each, raw=True) for each in runs]
    assert session.position == sum(len(inputs["ids"]) for _, inputs in runs)
    session.reset()
    assert session.position == 0
    for each, wanted in zip(runs, first, strict=True):
        assert_same(session.run(*each, raw=True), wanted)


def test_reset_fills_states_with_their_default():
    """Without causality the rows behind the position would be seen if they were keys."""
    model = csc.load(cached_attention_blob(1, 4, default=-7)[0])
    session = model.session()
    k = next(tensor for tensor in model.tensors if tensor.name == "k")
    room = session._arena.memory[k.offset : k.offset + k.nbytes].view(np.int8)
    assert (room == -7).all()
    session.run("run", {"x": np.ones((2, 12), np.int8)})
    assert not (room == -7).all()
    session.reset()
    assert (room == -7).all()


def test_two_sessions_do_not_touch_each_other():
    blob, runs = decoder_blob()
    model = csc.load(blob)
    one, other = model.session(), model.session()
    expected = [one.run(*each, raw=True) for each in runs]
    one.reset()
    for each, wanted in zip(runs, expected, strict=True):
        assert_same(one.run(*each, raw=True), wanted)
        assert_same(other.run(*each, raw=True), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cuts", [(6,), (1,) * 6, (3, 3), (2, 1, 3), (5, 1)])
def test_steps_equal_one_long_run(cuts, backend):
    """No token sees a later one, so the bits do not depend on how a sequence is cut."""
    ids = np.array([3, 22, 0, 7, 7, 19], np.int32)
    session = csc.load(decoder_blob()[0]).session(backend=backend)
    whole = session.run("prefill", ids=ids, raw=True)
    session.reset()
    rows, last = [], None
    for end in np.cumsum(cuts).tolist():
        count = cuts[len(rows)]
        entry = "step" if count == 1 else "prefill"
        got = session.run(entry, ids=ids[end - count : end], raw=True)
        rows.append(got["hidden"])
        last = got["logits"]
    np.testing.assert_array_equal(np.concatenate(rows), whole["hidden"])
    np.testing.assert_array_equal(last, whole["logits"])


def test_a_later_token_changes_no_earlier_row():
    session = csc.load(decoder_blob()[0]).session()
    one = session.run("prefill", ids=[3, 22, 0, 7], raw=True)["hidden"]
    session.reset()
    other = session.run("prefill", ids=[3, 22, 0, 8], raw=True)["hidden"]
    np.testing.assert_array_equal(one[:3], other[:3])
    assert (one[3] != other[3]).any()


def test_entries_of_a_model():
    model = csc.load(decoder_blob()[0])
    prefill, step = model.entries
    assert (prefill.name, step.name, model.context) == ("prefill", "step", 13)
    assert (prefill.max_length, step.max_length) == (6, 1)
    assert prefill.first_op == 0 and prefill.op_count == step.first_op
    assert [t.name for t in step.inputs] == ["ids"]
    assert [t.name for t in step.outputs] == ["hidden", "logits"]
    facts = csc.inspect(model)
    assert facts["context"] == 13 and facts["format"] == "1.2"
    assert facts["entries"][1]["outputs"] == ["hidden", "logits"]


def test_a_single_entry_runs_with_infer():
    blob, runs = cached_attention_blob(2, 5)
    expected = oracle.run(blob, runs[0][1])
    assert_same(csc.infer(blob, runs[0][1], raw=True), expected)
    with pytest.raises(csc.InputError, match=r"has the entries 'prefill', 'step'; run them with"):
        csc.infer(decoder_blob()[0], ids=[1])


def test_chips_report_the_ops_of_the_entry():
    session = csc.load(decoder_blob()[0]).session(backend="cs1")
    prefill, step = session._face.entries
    first = session.run("prefill", ids=[1, 2, 3]).report
    second = session.run("step", ids=[4]).report
    assert [op.number for op in first] == list(range(prefill.op_count))
    assert [op.number for op in second] == list(range(step.first_op, step.first_op + step.op_count))
    assert 0 < sum(op.blocks for op in second) <= sum(op.blocks for op in first)


@pytest.mark.parametrize(
    ("entry", "inputs", "message"),
    [
        ("go", {"ids": [1]}, "There is no entry 'go'; the model has 'prefill', 'step'."),
        ("step", {"ids": [1, 2]}, "have 2 positions, but 'step' of .* takes 1 to 1"),
        ("prefill", {"ids": []}, "have 0 positions"),
        ("prefill", {"id": [1]}, "There is no input 'id'; those of 'prefill' are 'ids'"),
        ("prefill", {}, "The input 'ids' is missing"),
        ("prefill", {"ids": [[1, 2]]}, r"has shape \(1, 2\); give \(1,\)"),
        ("prefill", {"ids": [0.5]}, "has the value 0.5"),
        ("prefill", {"ids": [23]}, "The id at position 0 is 23"),
    ],
)
def test_wrong_runs(entry, inputs, message):
    session = csc.load(decoder_blob()[0]).session()
    with pytest.raises(csc.InputError, match=message):
        session.run(entry, inputs)
    assert session.position == 0


def test_a_full_context():
    session = csc.load(decoder_blob(context=7)[0]).session()
    session.run("prefill", ids=[1, 2, 3, 4, 5, 6])
    session.run("step", ids=[1])
    with pytest.raises(csc.InputError, match=r"has 7 tokens and 1 more do not fit .* of 7"):
        session.run("step", ids=[1])


def test_rows_of_an_input_need_their_width():
    session = csc.load(cached_attention_blob(1, 4)[0]).session()
    with pytest.raises(csc.InputError, match=r"'x' has shape \(2, 11\); give \(2, 12\)"):
        session.run("run", x=np.zeros((2, 11), int))


def test_models_without_entries_have_no_session():
    model = csc.load(tiny_encoder_blob()[0])
    assert model.entries == [] and model.context == 0
    with pytest.raises(csc.InputError, match="has no entries"):
        model.session()


def test_there_is_no_plan():
    with pytest.raises(NoPlan, match="has entries and states"):
        plan_chip(decoder_blob()[0])


def causal_encoder(length=9):
    """A model without entries whose attention is causal all the same."""
    blob, inputs = tiny_encoder_blob(length=length)
    editor = Editor(blob)
    for op in read_blob(blob).ops:
        if op.kind == "ATTENTION":
            editor.param(op.name, "causal", 1)
    return editor.done(), inputs


@pytest.mark.parametrize("length", [1, 8, 9])
@pytest.mark.parametrize("backend", BACKENDS)
def test_causal_without_entries(backend, length):
    blob, inputs = causal_encoder(length)
    assert_same(csc.infer(blob, inputs, raw=True, backend=backend), oracle.run(blob, inputs))


def test_there_is_no_plan_for_causal_attention():
    with pytest.raises(NoPlan, match=r"\(ATTENTION\) is causal"):
        plan_chip(causal_encoder()[0])


@pytest.mark.parametrize("backend", ["host", "cs2"])
def test_no_run_of_an_entry_follows_a_plan(backend):
    session = csc.load(decoder_blob()[0]).session(backend=backend)
    assert session.run("prefill", ids=[1]).plan.name == "none"
