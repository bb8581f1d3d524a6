"""Rules 15 to 17 of SPEC.md: every reader refuses what breaks them, the oracle by their number."""

import numpy as np
import pytest

import csc
from blob_editor import Editor, same_place, set_item
from csc_convert import oracle
from csc_convert.blob_format import Dtype, Keys, Op
from csc_convert.blob_writer import OpSpec
from entry_factory import (
    EntryBuilder,
    append_blob,
    decoder_blob,
    random_runs,
    rows_attention_blob,
)

BIG = 2**32 - 64


def entry(e, number, **fields):
    for name, value in fields.items():
        e.entries[name][number] = value


def make_older(e):
    set_item(e.header["version_minor"], 0, 1)
    set_item(e.header["context"], 0, 0)
    set_item(e.header["entry_count"], 0, 0)


def keys_of(e, op, tensor):
    e.operand(op, "k", tensor)
    e.operand(op, "v", tensor)


ATTEND, QKV, KEEP = "step/layer0.context.op", "step/layer0.qkv", "step/layer0.keep k"
HEADER = "header field at byte"
ENTRY = "entry {} has a bad field '{}'"

# rule, what is broken, the change, what the C loader says
BROKEN = [
    (15, "context 0", lambda e: set_item(e.header["context"], 0, 0), f"{HEADER} 40"),
    (15, "context 8193", lambda e: set_item(e.header["context"], 0, 8193), f"{HEADER} 40"),
    (15, "entry_count 0", lambda e: set_item(e.header["entry_count"], 0, 0), f"{HEADER} 44"),
    (15, "entry_count 3", lambda e: set_item(e.header["entry_count"], 0, 3), "section ENTRIES"),
    (15, "entry_count 1", lambda e: set_item(e.header["entry_count"], 0, 1), "section ENTRIES"),
    (15, "entry_count big", lambda e: set_item(e.header["entry_count"], 0, BIG), f"{HEADER} 44"),
    (2, "section PLAN", lambda e: set_item(e.sections["kind"], 5, 6), "section ENTRIES has"),
    (2, "minor 1", make_older, "section PLAN has a wrong"),
    (15, "names", lambda e: entry(e, 1, name=e.entries["name"][0]), ENTRY.format(1, "name")),
    (15, "name", lambda e: entry(e, 0, name=BIG), ENTRY.format(0, "name")),
    (15, "first_op", lambda e: entry(e, 0, first_op=1), ENTRY.format(0, "first_op")),
    (15, "gap", lambda e: entry(e, 1, first_op=27), ENTRY.format(1, "first_op")),
    (15, "overlap", lambda e: entry(e, 1, first_op=1), ENTRY.format(1, "first_op")),
    (15, "op_count 0", lambda e: entry(e, 0, op_count=0), ENTRY.format(0, "op_count")),
    (15, "op_count", lambda e: entry(e, 1, op_count=999), ENTRY.format(1, "op_count")),
    (15, "op_count big", lambda e: entry(e, 1, op_count=2**32 - 1), ENTRY.format(1, "op_count")),
    (15, "the end", lambda e: entry(e, 1, op_count=2), ENTRY.format(1, "op_count")),
    (15, "length 0", lambda e: entry(e, 0, max_length=0), ENTRY.format(0, "max_length")),
    (15, "length 7", lambda e: entry(e, 0, max_length=7), ENTRY.format(0, "max_length")),
    (15, "reserved", lambda e: set_item(e.entries["reserved"], (1, 11), 1), "bad field 'reserved'"),
    (16, "state as output", lambda e: e.tensor("layer0.k", flags=20), "bad field 'flags'"),
    (16, "state as input", lambda e: e.tensor("layer0.k", flags=18), "bad field 'flags'"),
    (16, "state on a tensor", lambda e: same_place(e, "layer0.k", "step/embed"), "is read"),
    (16, "state on a state", lambda e: same_place(e, "layer0.k", "layer1.v"), "tensor .* is read"),
    (7, "default of a state", lambda e: e.tensor("layer0.k", default_value=128), "'default_value'"),
    (7, "default of a tensor", lambda e: e.tensor("hidden", default_value=1), "'default_value'"),
    (12, "from another entry", lambda e: e.operand("step/layer0.add.op", "a", "prefill/embed"),
     "operand 0 of op"),
    (12, "output overwritten", lambda e: same_place(e, "step/last", "hidden", 64), "of op"),
    (12, "output not written", lambda e: e.tensor("hidden.scratch", flags=4), "tensor .* is read"),
    (9, "keys are no state", lambda e: keys_of(e, ATTEND, QKV), "operand 1 of op"),
    (9, "k unlike v", lambda e: e.operand(ATTEND, "v", QKV), "operand 2 of op"),
    (10, "keys 2", lambda e: e.param(ATTEND, "keys", 2), "bad field 'param'"),
    (10, "keys -1", lambda e: e.param(ATTEND, "keys", -1), "bad field 'param'"),
    (10, "causal 2", lambda e: e.param(ATTEND, "causal", 2), "bad field 'param'"),
    (10, "positions 2", lambda e: e.param("step/embed.op", "positions", 2), "bad field 'param'"),
    (9, "scratch", lambda e: e.shape("step/layer0.context.scratch", 895), "operand 6 of op"),
    (17, "rows of a state", lambda e: e.shape("layer0.k", 12, 16), "operand 1 of op"),
    (9, "positions", lambda e: set_item(e.header["context"], 0, 14), "operand 4 of op 0"),
    (9, "APPEND to no state", lambda e: e.operand(KEEP, "state", "hidden"), "operand 1 of op"),
    (9, "column", lambda e: e.param(KEEP, "column", 33), "operand 0 of op"),
    (10, "column -1", lambda e: e.param(KEEP, "column", -1), "bad field 'param'"),
    (9, "column 2^31", lambda e: e.param(KEEP, "column", 2**31 - 1), "bad field 'param'"),
]  # fmt: skip


def assert_refused(blob, rule, message):
    with pytest.raises(oracle.OracleError, match=rf"^rule {rule}: \S"):
        oracle.read_blob(blob)
    with pytest.raises(csc.BlobError, match=message):
        csc.load(blob)


def test_the_editor_changes_nothing_by_itself():
    blob = decoder_blob()[0]
    assert Editor(blob).done() == blob
    csc.load(blob)


@pytest.mark.parametrize(
    ("rule", "change", "message"),
    [pytest.param(rule, change, text, id=f"{rule}-{name}") for rule, name, change, text in BROKEN],
)
def test_broken_rule(rule, change, message):
    editor = Editor(decoder_blob()[0])
    change(editor)
    assert_refused(editor.done(), rule, message)


def test_only_append_writes_a_state():
    editor = Editor(append_blob(8, 0, (1,))[0])
    editor.tensor("out", flags=16)
    assert_refused(editor.done(), 16, "operand 4 of op 1 is read")


def test_inputs_of_one_entry_lie_apart():
    editor = Editor(rows_attention_blob(2, 9, 7, 3, False)[0])
    same_place(editor, "kv", "q")
    assert_refused(editor.done(), 12, "tensor .* is read")


def test_inputs_of_different_entries_may_share_a_place():
    """So an optional input of one entry is not filled when another runs."""
    model = EntryBuilder(4, 9)
    state = model.state("state", 3)
    outputs = []
    for name in "ab":
        x = model.rows_input(f"x of {name}", Dtype.INT8, 8)
        model.append(f"append {name}", x, state, 2)
        model.end_entry(name)
        outputs.append(x)
    editor = Editor(model.build())
    same_place(editor, "x of b", "x of a")
    blob = editor.done()
    oracle.read_blob(blob)
    assert [entry.inputs[0].name for entry in csc.load(blob).entries] == outputs


def masked_blob(keys):
    """An ATTENTION with a mask, over the rows of the run or over an input of so many rows."""
    model = EntryBuilder(7, 7)
    q = model.rows_input("q", Dtype.INT8, 4)
    kv = model.rows_input("kv", Dtype.INT8, 8, keys)
    scales = np.full((1, 2), 16384 + 65536 * 20)
    out = model.attend("out", (q, kv, kv), (0, 0, 4), scales, 4, Dtype.INT8, Keys.ROWS, True)
    model.ops[-1].operands["mask"] = model.input("mask", Dtype.UINT8)
    model.end_entry("run")
    return model.build(out)


def test_a_mask_needs_keys_with_the_length_of_the_run():
    csc.load(masked_blob(None))
    assert_refused(masked_blob(7), 8, "operand 3 of op 0")


def test_a_mask_and_causality_together():
    blob = masked_blob(None)
    rng = np.random.default_rng(3)
    _, inputs = random_runs(rng, "run", (6,), q=4, kv=8)[0]
    inputs["mask"] = np.array([0, 1, 0, 0, 1, 1], np.uint8)
    got = csc.load(blob).session().run("run", inputs, raw=True)
    np.testing.assert_array_equal(got["out"], oracle.run(blob, inputs)["out"])
    assert (got["out"][0] == 0).all(), "no key is visible to the first row"


def test_too_many_keys():
    csc.load(rows_attention_blob(1, 1, 8192, 1, False)[0])
    assert_refused(rows_attention_blob(1, 1, 8193, 1, False)[0], 9, "operand 1 of op 0")


def test_append_needs_entries():
    model = EntryBuilder(4, 4)
    x = model.rows8("x", np.zeros((4, 8), np.int64))
    model.append("append", x, model.state("state", 8), 0)
    model.context = 0
    assert_refused(model.build(), 17, "bad field 'flags'")
    model = EntryBuilder(4, 0)
    x = model.rows8("x", np.zeros((4, 8), np.int64))
    other = model.rows("other", Dtype.INT8, 8, dynamic=False)
    model.ops.append(OpSpec(Op.APPEND, "append", {"x": x, "state": other}, {}))
    assert_refused(model.build(), 17, "operand 1 of op 2")


def test_entries_need_names():
    """Rule 13 is one for readers that hand out things by name."""
    editor = Editor(decoder_blob()[0])
    entry(editor, 0, name=0)
    oracle.read_blob(editor.done())
    with pytest.raises(csc.BlobError, match="its entries need names"):
        csc.load(editor.done())


def test_oracle_sessions_check_what_runs():
    session = oracle.Session(decoder_blob()[0])
    for name, inputs, message in (
        ("go", {"ids": [1]}, "there is no entry 'go'"),
        ("step", {"ids": [1, 2]}, r"length 2 is not in 1\.\.1"),
        ("step", {"ids": [23]}, r"ids\[0\] = 23"),
    ):
        with pytest.raises(oracle.OracleError, match=message):
            session.run(name, inputs)
    for _ in range(13):
        session.run("step", {"ids": [1]})
    with pytest.raises(oracle.OracleError, match="position 13 and 1 tokens exceed 13"):
        session.run("step", {"ids": [1]})
