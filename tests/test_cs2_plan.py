"""Plans for CS2: executed by the reference, with a look for races, against the oracle."""

import dataclasses
import itertools
import re
from unittest import mock

import numpy as np
import pytest

import blob_factory as factory
import tiny_bert
from blob_factory import OP_CASES, Pool
from cs2_plans import assert_follows, execute, run_on_chip
from cs2_reference import HazardError, WaitError, decode
from csc_convert import ConvertError, NoPlan, convert, make_plan, plan_chip
from csc_convert import cs2_format as chip
from csc_convert.blob_format import Flag
from csc_convert.blob_writer import place_without_reuse, with_plan
from csc_convert.cs2 import memory, order, stream
from csc_convert.cs2 import plan as planner
from csc_convert.cs2.lower import Lowering
from csc_convert.cs2.program import Access, Buffer, Command
from csc_convert.oracle import OracleError, read_blob, run

GROUPS = 16
REFUSALS = ("needs a multiple of 8", "the SRAM has 524288", "there are no plans for that yet")
AHEAD = planner.SETTINGS[0].ahead
DATA = tiny_bert.inputs(40)


def allowed_to_refuse(blob):
    """Whether CS2 cannot hold a blob: heads that split tiles, outputs behind the SRAM, new ops."""
    model = read_blob(blob)
    if any(op.params.get("causal") or op.params.get("mode") == Pool.LAST for op in model.ops):
        return True
    keys = ("head_dim", "q_column", "k_column", "v_column")
    split = any(op.params[key] % 8 for op in model.ops if op.kind == "ATTENTION" for key in keys)
    return split or any(t.offset + t.bytes > 2**19 for t in [*model.inputs, *model.outputs])


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_op(group):
    planned = 0
    for name, make in OP_CASES[group::GROUPS]:
        blob, inputs = make()
        if allowed_to_refuse(blob):
            with pytest.raises(NoPlan, match="|".join(REFUSALS)):
                plan_chip(blob)
            continue
        try:
            assert_follows(plan_chip(blob), inputs)
        except Exception as error:
            raise AssertionError(name) from error
        planned += 1
    assert planned > 30


def inputs_and_outputs_first(tensors):
    """Arena places without reuse, but with what the plan keeps at its place near the start."""
    kept = Flag.INPUT | Flag.OUTPUT
    return place_without_reuse(sorted(tensors, key=lambda tensor: not tensor.flags & kept))


def big_encoder(length=None, **changes):
    """An encoder with the shape of TinyBERT-256 and random weights."""
    shape = {"hidden": 256, "heads": 4, "layers": 2, "ffn": 1024, "vocabulary": 500, "longest": 128}
    values = {**shape, **changes}.values()
    with mock.patch.object(factory, "place_without_reuse", inputs_and_outputs_first):
        return factory.encoder_blob(*values, length, Pool.MEAN, 3, "all")


@pytest.fixture(scope="module")
def big():
    return make_plan(big_encoder()[0])


@pytest.mark.parametrize("length", [1, 7, 64, 65, 128])
def test_encoder_of_full_width(big, length):
    assert_follows(big.blob, big_encoder(length)[1])


def test_weights_stream_through_a_large_ring():
    made = make_plan(big_encoder(layers=1)[0])
    assert made.ring_bytes >= 160 * 1024
    commands = [decode(words) for words in descriptors(made.blob)]
    sizes = [c.ROW_BYTES for c in commands if c.name == "COPY" and c.ROWS == 1]
    assert 16384 < max(sizes) <= 24576
    assert made.external_bytes > 12 * 256 * 256
    assert made.bound_clocks == max(-(-made.external_bytes // 4), -(-made.macs // 512))


@pytest.mark.parametrize("length", [1, 64, 65, 128])
def test_the_chip_gives_the_same_bits(big, length):
    inputs = big_encoder(length)[1]
    _, outputs, _ = run_on_chip(big.blob, inputs)
    for name, wanted in run(big.blob, inputs).items():
        np.testing.assert_array_equal(outputs[name], wanted, err_msg=name)


def test_weights_never_stop_in_short_sequences():
    """The time of a few tokens is that of the bytes, latencies of bursts included."""
    made = make_plan(big_encoder(layers=4)[0])
    done, _, totals = run_on_chip(made.blob, big_encoder(24, layers=4)[1])
    assert done.clocks < 1.06 * totals.ext_read / 4
    assert totals.ext_busy > 0.97 * done.clocks


def test_the_block_engine_multiplies_in_long_sequences():
    """Products of the FFN take at least 90 % of the clocks from its first to its last command."""
    made = make_plan(big_encoder(layers=1)[0])
    done, _, _ = run_on_chip(made.blob, big_encoder(128, layers=1)[1])
    ops = [op for op in read_blob(made.blob).ops if op.kind == "GEMM"]
    up = next(op for op in ops if op.operands["out"].dims[1] == 1024)
    events = [event for event in done.events if event.tag == up.index and event.engine == 1]
    products = 128 * 256 * 1024 / 512
    assert products > 0.9 * sum(event.completed - event.started for event in events)
    assert products > 0.9 * (events[-1].completed - events[0].started)


def descriptors(blob):
    return np.frombuffer(read_blob(blob).plan.descriptors, "<u4").reshape(-1, 16)


def test_a_wait_that_is_missing_is_a_race(big):
    """Without any one of its waits, the reference finds a race or the waits are implied."""
    inputs = big_encoder()[1]
    waiting = [n for n, words in enumerate(descriptors(big.blob)) if decode(words).WAIT_ON]
    races = 0
    for number in waiting[:: len(waiting) // 6]:
        words = descriptors(big.blob).copy()
        words[number, 2] &= ~np.uint32(7 << 16)
        record = planned_record(big.blob)
        try:
            execute(with_plan(big.blob, record + words.tobytes()), inputs)
        except HazardError:
            races += 1
    assert races >= 3


def planned_record(blob):
    plan = read_blob(blob).plan
    fields = [plan.chip, plan.version, plan.command_count, plan.max_length, plan.sram_bytes]
    return np.array([*fields, plan.store_bytes, *[0] * 10], "<u4").tobytes()


@pytest.mark.parametrize("length", [1, 9, 20, 33])
def test_converted_model(tmp_path_factory, length):
    source = tiny_bert.classifier(tmp_path_factory.mktemp("plan") / "m", hidden=64, heads=2)
    made = convert(source, calibration=DATA, max_length=33)
    assert made.plan is not None and made.report.blob_bytes == len(made.blob)
    rng = np.random.default_rng(length)
    inputs = {
        "input_ids": rng.integers(0, tiny_bert.VOCABULARY, length),
        "token_type_ids": rng.integers(0, 2, length),
        "attention_mask": rng.integers(0, 2, length),
    }
    assert_follows(made.blob, inputs)
    del inputs["attention_mask"], inputs["token_type_ids"]
    assert_follows(made.blob, inputs)


def test_convert_without_plan(tmp_path):
    source = tiny_bert.encoder(tmp_path / "m", hidden=12, heads=3)
    made = convert(source, calibration=DATA)
    assert made.plan is None and read_blob(made.blob).plan is None
    assert re.fullmatch(r"op \d+ '.*' \(ATTENTION\): head_dim is 4, .*\.", made.no_plan)
    assert convert(source, calibration=DATA, chip="none").blob == made.blob
    with pytest.raises(ConvertError, match="chip must be one of cs2, none, not 'cs9'"):
        convert(source, calibration=DATA, chip="cs9")


def test_a_plan_replaces_the_older_one(big):
    blob = big_encoder()[0]
    short = plan_chip(big.blob, max_length=16)
    assert short == plan_chip(blob, max_length=16)
    assert read_blob(short).plan.max_length == 16
    assert plan_chip(short) == big.blob
    assert len(blob) < len(short) < len(big.blob) + 1
    assert_follows(short, big_encoder(16)[1])


@pytest.mark.parametrize("sram_kb", [64, 96, 128, 256, 384, 1024])
def test_other_sizes_of_sram(sram_kb):
    """With little memory for short sequences only; every plan stays within its SRAM."""
    longest = 16 if sram_kb < 128 else 40
    blob = big_encoder(layers=1)[0]
    made = make_plan(blob, sram_bytes=1024 * sram_kb, max_length=longest)
    assert made.sram_bytes <= 1024 * sram_kb
    assert_follows(made.blob, big_encoder(longest, layers=1)[1])


def test_long_sequences():
    """Attention takes its heads one after another where the scores of all are too many."""
    shape = {"hidden": 64, "heads": 4, "layers": 1, "ffn": 64, "longest": 700}
    blob, inputs = big_encoder(650, **shape)
    assert_follows(plan_chip(blob), inputs)


def test_what_does_not_fit():
    blob = big_encoder(longest=128)[0]
    with pytest.raises(NoPlan, match=r"^op \d+ .*: \d{6} bytes .* in 131072, .*max_length"):
        plan_chip(blob, sram_bytes=2**17)
    for bad in (0, 129):
        with pytest.raises(NoPlan, match=f"max_length must be 1 to the blob's 128, not {bad}"):
            plan_chip(blob, max_length=bad)
    with pytest.raises(NoPlan, match="sram_bytes must be a multiple of 4096"):
        plan_chip(blob, sram_bytes=100000)
    with pytest.raises(NoPlan, match="cs2 only, not for 'cs1'"):
        plan_chip(blob, "cs1")
    with pytest.raises(NoPlan, match="not valid"):
        plan_chip(b"no blob")


def test_rule_14():
    """The oracle's reader refuses what SPEC.md forbids of a plan."""
    blob = plan_chip(factory.tiny_encoder_blob()[0])
    words, body = np.frombuffer(planned_record(blob), "<u4"), read_blob(blob).plan.descriptors

    def broken(place, value):
        changed = words.copy()
        changed[place] = value
        return with_plan(blob, changed.tobytes() + body)

    count = int(words[2])
    for place, value in ((0, 0), (2, count + 1), (2, count - 1), (3, 0), (3, 10), (4, 0), (6, 1)):
        with pytest.raises(OracleError, match="rule 14"):
            read_blob(broken(place, value))
    with pytest.raises(OracleError, match="rule 14"):
        read_blob(with_plan(blob, b""))
    assert read_blob(broken(1, 7)).plan.version == 7


# --- the passes, each for itself ------------------------------------------------------------------


def toy(count, size=4096):
    """Products that use chunk after chunk of weights, each twice."""
    a = Buffer("a", 64, pinned=0)
    commands = []
    for number in range(count):
        chunk = Buffer(f"chunk {number}", size, in_ring=True)
        chunk.load = Command("COPY", 0, {}, [Access("TARGET", chunk, 0, size, (), True)])
        use = [Access("A", a, 0, 64), Access("B", chunk, 0, size)]
        commands += [Command("GEMM", 0, {}, list(use)) for _ in range(2)]
    return commands


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 20])
def test_loads_come_before_uses_and_in_order(slots):
    commands = toy(15)
    made = stream.insert_loads(commands, 4096 * slots, AHEAD)
    stream.check_loads(made.commands)
    assert [c for c in made.commands if c.name == "GEMM"] == commands
    names = [next(iter(c.buffers)).name for c in made.commands if c.name == "COPY"]
    assert names == [f"chunk {number}" for number in range(15)]
    ahead = 0
    for command in made.commands:
        ahead += {"COPY": 2, "GEMM": -1}[command.name]
        assert ahead <= 2 * min(slots, AHEAD + 1)


def test_a_ring_may_be_too_small():
    with pytest.raises(stream.RingTooSmall):
        stream.insert_loads(toy(3), 4095, AHEAD)


def test_checks_notice_broken_passes():
    commands = toy(3)
    with pytest.raises(AssertionError, match="before its load"):
        stream.check_loads(commands)
    twice = stream.insert_loads(commands, 8192, AHEAD).commands
    with pytest.raises(AssertionError, match="twice"):
        stream.check_loads([twice[0], *twice])
    twice[0].waits = {chip.Engine.BLOCK: 1}
    with pytest.raises(AssertionError, match="later command"):
        order.check_waits(twice)
    lives = [memory.Lifetime(Buffer(name, 128), 0, 5) for name in "ab"]
    for places in ((0, 64), (-64, 128), (0, 480), (0, 130)):
        with pytest.raises(AssertionError):
            memory.check_layout(memory.Layout(list(zip(places, lives, strict=True))), 512)


def test_a_place_is_used_again_only_behind_waits():
    """Two products in one ring slot: the second load waits for the first product."""
    made = stream.insert_loads(toy(2), 4096, AHEAD)
    ring = Buffer("ring", 4096)
    found = memory.layout(memory.lifetimes(made.commands, ring), ring, 65536)
    memory.settle(found, ring, made.ring_places)
    order.add_waits(made.commands, 65536)
    loads = [c for c in made.commands if c.name == "COPY"]
    assert [c.waits for c in loads] == [{}, {chip.Engine.BLOCK: 2}]


def test_waits_of_long_programs_stay_unambiguous():
    a, b = Buffer("a", 64, address=0), Buffer("b", 64, address=64)
    write = Command("COPY", 0, {}, [Access("TARGET", a, 0, 64, (), True)])
    others = [Command("COPY", 0, {}, [Access("TARGET", b, 0, 64, (), True)]) for _ in range(40000)]
    read = Command("GEMM", 0, {}, [Access("A", a, 0, 64)])
    order.add_waits([write, *others, read], 4096)
    assert read.waits == {chip.Engine.DMA: 40001 - order.FARTHEST}


def test_coarse_settings_come_first(monkeypatch):
    """Finer chunks and scores are taken only where the coarse ones do not fit."""
    model, tried = read_blob(big_encoder(layers=1)[0]), []

    class Spy(Lowering):
        def run(self):
            tried.append(self.settings)
            return super().run()

    monkeypatch.setattr(planner, "Lowering", Spy)
    planner._fit_any(model, 128, 2**19)
    assert tried == [planner.SETTINGS[0]]
    tried.clear()
    fitting = [kb for kb in range(256, 512, 16) if fits(model, kb)]
    assert fitting and len(tried) > len(fitting)


def fits(model, sram_kb):
    try:
        planner._fit_any(model, 128, 1024 * sram_kb)
    except NoPlan:
        return False
    return True


def test_settings_get_finer():
    pairs = itertools.pairwise(dataclasses.astuple(each) for each in planner.SETTINGS)
    assert all(
        fine[0] < coarse[0] and fine[1] < coarse[1] and fine[2] <= coarse[2]
        for coarse, fine in pairs
    )


def test_a_wait_for_later_commands_is_an_error(big):
    words = descriptors(big.blob).copy()
    number = next(n for n, each in enumerate(words) if decode(each).WAIT_ON & 1)
    words[number, 1] = words[number, 1] & 0xFFFF0000 | len(words)
    with pytest.raises(WaitError):
        execute(with_plan(big.blob, planned_record(big.blob) + words.tobytes()), big_encoder()[1])
