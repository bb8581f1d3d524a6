"""csc profile of CS2: timelines, bound, energy, sweeps; expected values are computed by hand."""

import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import joblib
import pytest

import csc
from blob_factory import encoder_blob, tiny_encoder_blob
from csc import _energy, _parameters, _profile_cs2, _sweep, _timeline
from csc import _tables as tables
from csc._cs2_format import Code
from csc._energy import CONSTANTS
from csc._plots import draw, draw_sweep
from csc_convert import plan_chip
from test_chip_md import table

BLOB, INPUTS = tiny_encoder_blob()
CSC = Path(sys.executable).parent / "csc"
DMA, BLOCK, VECTOR = "dma", "block", "vector"
NUMBERS = {DMA: 0, BLOCK: 1, VECTOR: 2, "control": 3}
ORIGIN = 1000


def event(number, op, name, engine, dispatched, ready, started, completed, **changes):
    """Return an event at clocks counted from the start of the run."""
    times = (dispatched, ready, started, completed)
    names = ("dispatched", "ready", "started", "completed")
    rest = {"waited_for": 0, "stall_bank": 0, "stall_bus": 0, "stall_drain": 0}
    clocks = {key: ORIGIN + time for key, time in zip(names, times, strict=True)}
    made = {"number": number, "tag": op, "code": Code[name], "engine": NUMBERS[engine]}
    return SimpleNamespace(**made, **clocks, **{**rest, **changes})


# Two copies, a product that waits for the first, and a norm that waits for both other engines.
EVENTS = [
    event(0, 0, "COPY", DMA, 50, 50, 51, 151, stall_bus=7),
    event(1, 1, "COPY", DMA, 54, 151, 151, 251, stall_bank=2),
    event(2, 0, "GEMM", BLOCK, 58, 58, 151, 201, waited_for=1, stall_bank=3, stall_drain=5),
    event(3, 1, "NORM", VECTOR, 62, 62, 251, 281, waited_for=3),
]
CLOCKS = 300
COUNTS = {
    "macs": 512 * 40, "drained": 640, "lane_steps": 480, "line_reads": 70, "line_writes": 30,
    "ext_read": 800, "ext_written": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return csc.load(BLOB)


def make_run(**changes):
    run = _profile_cs2.ChipRun(CLOCKS, ORIGIN, EVENTS, COUNTS, 60, {"out": [1, 2]})
    return dataclasses.replace(run, **changes)


@pytest.fixture(scope="module")
def report(model):
    return _profile_cs2.make_report(model, _parameters.make({}), 5, make_run(), None)


# --- timeline -------------------------------------------------------------------------------------


def test_engines(report):
    dma, block, vector = report.engines
    assert (dma.commands, dma.busy, dma.waits, dma.idle) == (2, 200, {"start": 1}, 99)
    assert dma.stalls == {"bank": 2, "bus": 7, "drain": 0}
    assert (block.busy, block.waits, block.idle) == (50, {"dma": 93}, 157)
    assert block.stalls == {"bank": 3, "bus": 0, "drain": 5}
    assert (vector.busy, vector.waits, vector.idle) == (30, {"dma+block": 189}, 81)


def test_engine_time_adds_up(report):
    for engine in report.engines:
        assert engine.busy + sum(engine.waits.values()) + engine.idle == CLOCKS


def test_ops(report, model):
    first, second = report.ops
    assert (first.name, first.kind) == (model.ops[0].name, model.ops[0].kind)
    assert first.busy == {"dma": 100, "block": 50, "vector": 0}
    assert (first.start, first.end, first.advance) == (51, 201, 151)
    assert first.waits == {"dma": 93, "start": 1}
    assert first.stalls == {"bank": 3, "bus": 7, "drain": 5}
    assert (second.start, second.end, second.advance) == (151, 281, 80)
    assert report.outside == 50 + 19


def test_clocks_by_kind_add_up(report):
    assert sum(report.clocks_by_kind().values()) == CLOCKS
    assert report.clocks_by_kind()["outside the ops"] == 69


def test_what_is_no_part_of_the_run_is_left_out():
    early = event(9, 0, "COPY", DMA, -90, -90, -80, -1)
    late = event(9, 0, "COPY", DMA, 200, 200, 290, CLOCKS + 1)
    fence = event(9, 0, "FENCE", "control", 5, 5, 5, 6)
    found = _timeline.read_commands([early, late, fence, *EVENTS], ORIGIN, ORIGIN + CLOCKS)
    assert [each.number for each in found] == [0, 1, 2, 3]


def test_an_unknown_tag_is_an_op_of_its_own():
    commands = _timeline.read_commands([event(0, 7, "COPY", DMA, 1, 1, 1, 9)], ORIGIN, 2000)
    (op,) = _timeline.op_use(commands, [("a", "GEMM", 1)])
    assert (op.name, op.kind, op.advance) == ("op 7", "-", 8)


def test_an_op_that_ends_inside_another_moves_nothing():
    events = [
        event(0, 0, "COPY", DMA, 0, 0, 0, 100),
        event(1, 1, "NORM", VECTOR, 4, 4, 4, 60),
    ]
    ops = _timeline.op_use(_timeline.read_commands(events, ORIGIN, 2000), [])
    assert [op.advance for op in ops] == [40, 60]


# --- trace, tables, pictures ----------------------------------------------------------------------


def slices(report, row):
    events = json.loads(json.dumps(report.to_trace()))["traceEvents"]
    names = {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}
    return [e for e in events if e["ph"] == "X" and e["tid"] == names[row]]


def spans(found):
    return [(e["name"], round(100 * e["ts"]), round(100 * (e["ts"] + e["dur"]))) for e in found]


def test_trace_has_a_row_per_engine(report):
    assert spans(slices(report, "DMA")) == [
        ("start", 50, 51), ("COPY", 51, 151), ("COPY", 151, 251)]  # fmt: skip
    assert spans(slices(report, "BLOCK")) == [("wait for dma", 58, 151), ("GEMM", 151, 201)]
    assert spans(slices(report, "VECTOR")) == [("wait for dma+block", 62, 251), ("NORM", 251, 281)]
    assert spans(slices(report, "CPU")) == [
        ("start", 0, 50), ("wait for the queue", 50, 281), ("end", 281, 300)]  # fmt: skip


def test_trace_names_the_reason_of_waits_and_stalls(report, model):
    wait, product = slices(report, "BLOCK")
    assert wait["args"]["reason"] == "dma" and wait["args"]["op"] == model.ops[0].name
    assert product["args"]["stall_drain"] == 5 and product["args"]["stall_bank"] == 3


@pytest.mark.parametrize("row", ["ops", "CPU", "DMA", "BLOCK", "VECTOR"])
def test_slices_of_a_row_never_overlap(report, row):
    found = sorted(spans(slices(report, row)), key=lambda span: span[1])
    assert found
    for before, after in itertools.pairwise(found):
        assert before[2] <= after[1]


def text_of(made):
    return [[cell for cell in column.cells] for table in made for column in table.columns]


def test_tables(report):
    ops, engines, whole = tables.profile_tables(report)
    cells = {column.header: list(column.cells) for column in ops.columns}
    assert cells["share"] == ["50.33 %", "26.67 %", "23.00 %"]
    assert cells["stalls"][:2] == ["bus 7, drain 5, bank 3", "bank 2"]
    assert cells["waits"][:2] == ["dma 93", "dma+block 189"]
    assert list(engines.columns[2].cells) == ["66.67 %", "16.67 %", "10.00 %"]
    facts = dict(zip(*(column.cells for column in whole.columns), strict=True))
    assert facts["path"] == "planned" and facts["milliseconds at 100 MHz"] == "0.003"
    assert facts["utilization, block products"] == "13.33 %"


def test_picture(report):
    assert draw(report, "png").startswith(b"\x89PNG")
    picture = draw(report, "svg").decode()
    assert "VECTOR" in picture and "waiting" in picture


def test_json_has_it_all(report):
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["utilization"]["block products"] == pytest.approx(40 / 300)
    assert found["ops"][0]["share"] == pytest.approx(151 / 300)
    assert found["engines"][1]["waits"] == {"dma": 93}
    assert found["parameters"]["ext_latency"] == 30 and "commands" not in found
    assert found["energy_constants"]["INT8_MULTIPLY"]["value"] == 0.2
    assert sum(found["energy_uj"].values()) == pytest.approx(found["total_uj"])
    assert found["milliwatts"] == pytest.approx(found["total_uj"] / 0.003)


# --- the bound and the path -----------------------------------------------------------------------

MACS = 2 * (5 * (16 * 48 + 16 * 16 + 2 * 16 * 24) + 2 * 5 * 5 * 16) + 16 * 16 + 16 * 3


def test_bound_by_macs_or_bytes(report, model):
    assert report.bound.macs == MACS
    assert report.bound.mac_clocks == math.ceil(MACS / 512)
    assert report.bound.external_clocks == math.ceil(report.bound.external_bytes / 4)
    assert report.bound.side == "external bytes"
    small = _profile_cs2.bound_of(model, _parameters.make({"array": 1}), 5)
    assert (small.clocks, small.side) == (MACS, "MACs")
    wide = _profile_cs2.bound_of(model, _parameters.make({"ext_bytes_per_clock": 64}), 5)
    assert wide.external_clocks == math.ceil(report.bound.external_bytes / 64)


def test_bound_counts_rows_of_tables_that_are_read(model):
    """One token more: a row of words (int8), its multiplier and a row of positions (int16)."""
    four, five = (
        _profile_cs2.bound_of(model, _parameters.make({}), length).external_bytes
        for length in (4, 5)
    )
    embed = model.ops[0].operands
    row = sum(
        model.tensors[embed[name]].nbytes / model.tensors[embed[name]].shape[0]
        for name in ("word", "word_multiplier", "position")
    )
    assert abs(five - four - row) < 3


def test_a_blob_without_a_plan_has_its_reason(model):
    reason = _profile_cs2.why_portable(model, _parameters.make({}), 5)
    assert "the blob has no plan" in reason
    with pytest.raises(csc.InputError, match=r"no plan.*--portable\.$"):
        csc.profile(model, "cs2", tokens=5)


@pytest.mark.parametrize(
    ("changes", "length", "words"),
    [
        ({}, 9, None),
        ({"max_length": 4}, 5, "serves 1 to 4 tokens, not 5"),
        ({"sram_bytes": 600000}, 5, "needs 600000 bytes of SRAM, the chip has 524288; plan"),
        ({"chip": "CS7"}, 5, "is for CS7 1.0, not for CS2 1.0"),
        ({"version": "2.0"}, 5, "is for CS2 2.0"),
    ],
)
def test_reasons(changes, length, words):
    plan = {"chip": "CS2", "version": "1.0", "max_length": 9, "sram_bytes": 524288, **changes}
    face = SimpleNamespace(plan=SimpleNamespace(**plan))
    reason = _profile_cs2.why_portable(face, _parameters.make({}), length)
    assert reason is None if words is None else words in reason


def test_a_portable_run_has_the_firmwares_clocks(model):
    times = [(10 * n, 10) for n in range(len(model.ops))]
    run = make_run(events=[], op_clocks=times, clocks=10 * len(model.ops) + 4, planned=False)
    found = _profile_cs2.make_report(model, _parameters.make({}), 5, run, "the blob has no plan")
    assert not found.planned and found.outside == 4
    assert spans(slices(found, "CPU"))[1] == (model.ops[1].name, 10, 20)
    assert "portable: the blob has no plan" in str(text_of(tables.profile_tables(found)))
    assert draw(found, "png").startswith(b"\x89PNG")


def chip_at(clocks, **counts):
    return SimpleNamespace(clocks=clocks, instructions=clocks // 5, **counts)


def test_marks_of_a_plan_are_the_run():
    """The clocks before RUN, such as those of the line, are in no count."""
    watch = _profile_cs2.ChipWatch(lambda *_: None, 7)
    counts = dict.fromkeys(_profile_cs2.COUNTS, 10)
    watch.soc = SimpleNamespace(chip_totals=SimpleNamespace(**counts), commands=EVENTS)
    watch(0xFFFFFFFE, chip_at(ORIGIN))
    watch.soc.chip_totals.macs = 522
    watch(0xFFFFFFFF, chip_at(ORIGIN + 290))
    run = watch.finish(CLOCKS, {})
    assert run.planned and (run.origin, run.instructions, run.op_clocks) == (ORIGIN, 58, [])
    assert run.counts["macs"] == 512 and run.counts["ext_read"] == 0


def test_marks_of_ops_give_their_clocks():
    steps = []
    watch = _profile_cs2.ChipWatch(lambda *step: steps.append(step), 2)
    counts = dict.fromkeys(_profile_cs2.COUNTS, 0)
    watch.soc = SimpleNamespace(chip_totals=SimpleNamespace(**counts), commands=[])
    for word, clock in enumerate((1000, 1040, 1042, 1100)):
        watch(word, chip_at(clock))
    run = watch.finish(120, {})
    assert not run.planned and run.op_clocks == [(0, 40), (42, 58)]
    assert steps == [("run on the chip", 1, 2), ("run on the chip", 2, 2)]


# --- energy and area ------------------------------------------------------------------------------


def test_energy_by_hand(report):
    """A 64 KiB bank lies a fifth of the way from 32 KiB to 1 MiB, in powers of two."""
    word = 20 * 5 ** (1 / 5)
    assert _energy.sram_access_pj(64 << 10) == pytest.approx(word)
    expected = {
        "MAC": 20480 * 0.3,
        "requantization": 640 * 3.3,
        "vector": 480 * 3.2,
        "SRAM": 100 * 8 * word,
        "external": 100 * 1300,
        "CPU": 60 * 70,
        "leakage": 12e-6 * 4 * 0.9 * 3e-6 * 1e12,
    }
    assert report.energy_uj == pytest.approx({k: 1e-6 * v for k, v in expected.items()})
    assert report.total_uj == pytest.approx(1e-6 * sum(expected.values()))
    assert report.milliwatts == pytest.approx(1e-9 * sum(expected.values()) / 3e-6)


@pytest.mark.parametrize(
    ("size", "picojoules"), [(4 << 10, 10), (8 << 10, 10), (16 << 10, 200**0.5), (32 << 10, 20),
                             (1 << 20, 100), (2 << 20, 100)],
)  # fmt: skip
def test_energy_of_a_bank(size, picojoules):
    assert _energy.sram_access_pj(size) == pytest.approx(picojoules)


def test_energy_of_cs1():
    found = _energy.cs1_energy(1000, 80, 10)
    assert found["MAC"] == pytest.approx(300e-6) and found["SRAM"] == pytest.approx(1000e-6)
    assert found["CPU"] == pytest.approx(700e-6) and sum(found.values()) == pytest.approx(2e-3)


def test_a_slower_clock_leaks_longer():
    slow = _energy.cs2_energy(COUNTS, 60, _parameters.make({"clock_mhz": 50}), CLOCKS)
    usual = _energy.cs2_energy(COUNTS, 60, _parameters.make({}), CLOCKS)
    assert slow["leakage"] == pytest.approx(2 * usual["leakage"])
    assert {k: v for k, v in slow.items() if k != "leakage"} == {
        k: v for k, v in usual.items() if k != "leakage"
    }


def test_area_by_hand():
    square = 512 * 419 + 16 * 3632 + 8 * 524288 * 0.346 / 0.6
    assert _energy.area_mm2(_parameters.make({})) == pytest.approx(1e-6 * square)


def test_constants_are_those_of_chip_md():
    """The table of CHIP.md, section Energy, has every constant of the module."""
    rows = [(name.strip("`"), float(value), *rest) for name, value, *rest in table("energy")]
    assert rows == [(name, c.value, c.unit, c.source) for name, c in CONSTANTS.items()]


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ext_speed=2", r"no parameter 'ext_speed'; known are: clock_mhz, sram_bytes"),
        ("array", "given as name=value, not 'array'"),
        ("array=", "given as name=value"),
        ("array=many", "must be a number, not 'many'"),
        ("array=100", "array must be one of 1, 8, 64, 512, got 100"),
        ("lanes=3", "lanes must be one of 1, 2, 4"),
        ("lanes=2.5", "must be a number, not '2.5'"),
        ("ext_bytes_per_clock=128", "must be one of"),
        ("ext_burst=100", "must be one of 64, 128"),
        ("ext_latency=-1", "ext_latency must be .*, got -1"),
        ("sram_bytes=100000", "multiple of 4096 from 65536 to 16777216, got 100000"),
        ("clock_mhz=0", "above 0"),
        ("clock_mhz=nan", "above 0"),
    ],
)
def test_bad_parameters(text, message):
    with pytest.raises(csc.InputError, match=message) as caught:
        _parameters.make(_parameters.parse_changes([text]))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_parameters():
    made = _parameters.make(_parameters.parse_changes(["array=64", "clock_mhz=250"]))
    assert made.changes() == {"clock_mhz": 250.0, "array": 64}
    assert made.label() == "clock_mhz=250, array=64"
    assert set(made.chip()) == set(_parameters.NAMES) - {"clock_mhz"}
    assert _parameters.parse_variant("cs2:lanes=4:array=8") == ("cs2", {"lanes": 4, "array": 8})


def test_a_half_lane_is_none():
    with pytest.raises(csc.InputError, match="lanes"):
        _parameters.make({"lanes": 2.5})


def test_cs1_has_no_parameters(model):
    with pytest.raises(csc.InputError, match="Only the model of cs2 has the parameter 'lanes'"):
        csc.profile(model, "cs1", parameters={"lanes": 4})


# --- sweeps and comparisons -----------------------------------------------------------------------


def point(ms, energy, area=1.0, **changes):
    return _sweep.Point({"array": ms}, milliseconds=ms, total_uj=energy, area_mm2=area, **changes)


def test_pareto_front():
    a, b, c, d = point(1, 9), point(2, 5), point(3, 5), point(4, 1)
    assert _sweep.pareto([d, c, b, a], "total_uj") == [a, b, d]
    twin = dataclasses.replace(b, parameters={"array": 7})
    assert _sweep.pareto([a, b, twin], "total_uj") == [a, b, twin]
    assert _sweep.pareto([], "total_uj") == []


def test_grid():
    chips = _sweep.grid({"array": [64, 512], "lanes": [4, 8]}, {"ext_latency": 9})
    assert [(c.array, c.lanes, c.ext_latency) for c in chips] == [
        (64, 4, 9), (64, 8, 9), (512, 4, 9), (512, 8, 9)]  # fmt: skip


@pytest.mark.parametrize(
    ("vary", "options", "message"),
    [
        ({}, {}, "at least one parameter to vary"),
        ({"array": [64]}, {"parameters": {"array": 8}}, "both set and varied"),
        ({"array": [3]}, {}, "array must be one of"),
        ({"size": [3]}, {}, "no parameter 'size'"),
        ({"array": [64]}, {"chip": "cs1"}, "Only cs2 has parameters"),
        ({"array": [64]}, {"tokens": 99}, "takes 1 to 9 tokens, not 99"),
        ({"ext_latency": list(range(101)), "clock_mhz": list(range(100))}, {}, "10100 points"),
    ],
)
def test_bad_sweeps(model, vary, options, message):
    with pytest.raises(csc.InputError, match=message):
        csc.sweep(model, vary, **options)


@pytest.fixture
def quick(monkeypatch, model):
    """The profile without the chip: clocks are 1000 over the bus's width; narrow chips fail."""

    def profile(blob, chip, *, tokens, parameters):
        made = _parameters.make(parameters)
        if made.ext_bytes_per_clock == 1:
            raise csc.ChipError("too narrow")
        assert blob.plan.max_length == 9 and chip == "cs2"
        run_ = make_run(clocks=1000 // made.ext_bytes_per_clock)
        return _profile_cs2.make_report(model, made, tokens, run_, None)

    monkeypatch.setattr(_sweep, "profile", profile)


def test_a_sweep_runs_the_grid(quick):
    steps = []
    vary = {"ext_bytes_per_clock": [1, 2, 8], "array": [64, 512]}
    found = csc.sweep(BLOB, vary, tokens=5, progress=lambda *step: steps.append(step))
    assert [p.clocks for p in found.points] == [0, 0, 500, 500, 125, 125]
    assert [p.error for p in found.failures] == ["too narrow"] * 2
    assert [s[1:] for s in steps] == [(n, 6) for n in range(7)]
    assert [p.parameters["array"] for p in found.front("area")] == [64]
    assert found.points[4].area_mm2 < found.points[5].area_mm2


def test_a_sweep_plans_for_the_chip():
    """A chip too small for the model is a point with the planner's reason."""
    blob, _ = encoder_blob(64, 2, 1, 4096, 31, 256, 5)
    found = csc.sweep(blob, {"sram_bytes": [65536]}, tokens=5)
    assert "SRAM" in found.points[0].error


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_results_come_in_order_from_every_backend(backend):
    """The last one cannot give results one by one, like that of Ray."""
    with joblib.parallel_config(backend, n_jobs=2):
        tasks = [joblib.delayed(abs)(-n) for n in range(5)]
        assert list(_sweep._results(tasks, None)) == [0, 1, 2, 3, 4]


def test_sweep_axes_from_the_command_line():
    assert _parameters.parse_axes(["array=64,512", "clock_mhz=50,99.5"]) == {
        "array": [64, 512], "clock_mhz": [50, 99.5]}  # fmt: skip
    with pytest.raises(csc.InputError, match="varied twice"):
        _parameters.parse_axes(["array=64", "array=512"])


@pytest.fixture
def found():
    points = [point(1, 9, 2.0), point(2, 5, 3.0), point(3, 0, error="too small")]
    return _sweep.Sweep("cs2", 5, {"array": [1, 2, 3]}, points)


def test_sweep_tables_and_json(found):
    main, failed = tables.sweep_tables(found)
    cells = {column.header: list(column.cells) for column in main.columns}
    assert cells["best in"] == ["energy, area", "energy", "not possible"]
    assert list(failed.columns[1].cells) == ["too small"]
    entries = json.loads(json.dumps(found.to_dict(), allow_nan=False))["points"]
    assert [e["in_front_of_area"] for e in entries] == [True, False, False]


def test_sweep_picture(found):
    picture = draw_sweep(found, "svg").decode()
    assert re.search("array=1", picture) and "Pareto front" in picture
    with pytest.raises(csc.CscError, match="no point of the sweep can run"):
        draw_sweep(dataclasses.replace(found, points=found.failures), "svg")


def test_comparison(model, report):
    slow = dataclasses.replace(report, clocks=600)
    found = _sweep.Comparison(5, ["cs2", "cs2:lanes=4"], [report, slow])
    cs1 = csc.profile(model, tokens=5)
    both = _sweep.Comparison(5, ["cs1", "cs2"], [cs1, report])
    assert [e["relative"] for e in found.entries] == [1, 2]
    (made,) = tables.comparison_tables(both)
    cells = {row[0]: row[1:] for row in zip(*(c.cells for c in made.columns), strict=True)}
    assert cells["clocks"] == (tables.count(cs1.clocks), "300")
    first = csc.load(BLOB).ops[0].kind
    assert cells[f"clocks, {first}"][0] == tables.count(cs1.clocks_by_kind()[first])
    assert sum(cs1.clocks_by_kind().values()) == cs1.clocks
    assert json.dumps(both.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("chips", "message"),
    [
        (["cs1"], "at least two chips"),
        (["cs1", "cs3"], "no chip 'cs3'"),
        (["cs1", "cs2:ext=1"], "no parameter 'ext'"),
        (["cs1:lanes=4", "cs1"], "Only the model of cs2 has the parameter 'lanes'"),
    ],
)
def test_bad_comparisons(model, chips, message):
    with pytest.raises(csc.InputError, match=message):
        csc.compare(model, chips, tokens=2)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("profile_cs2")
    (made / "bare.cscb").write_bytes(BLOB)
    (made / "short.cscb").write_bytes(plan_chip(BLOB, max_length=4))
    (made / "m.cscb").write_bytes(plan_chip(BLOB))
    return made


def run(folder, *arguments):
    made = subprocess.run(
        [CSC, *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=300
    )
    return SimpleNamespace(code=made.returncode, out=made.stdout, err=made.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("profile bare.cscb --chip cs2", "the blob has no plan"),
        ("profile short.cscb --chip cs2 --length 5", "the plan serves 1 to 4 tokens, not 5"),
        ("profile m.cscb --chip cs2 --length 10", "takes 1 to 9 tokens, not 10"),
        ("profile m.cscb --chip cs2 --set speed=2", "no parameter 'speed'"),
        ("profile m.cscb --chip cs2 --set array=2", "array must be one of 1, 8, 64, 512, got 2"),
        ("profile m.cscb --chip cs2 --set array", "name=value"),
        ("profile m.cscb --chip cs1 --set array=64", "Only the model of cs2"),
        ("profile m.cscb --compare cs1", "at least two chips"),
        ("profile m.cscb --compare cs1,cs2:lanes=3", "lanes must be one of"),
        ("profile m.cscb --compare cs1,cs2 --plot p.svg", "--compare gives a table and JSON"),
        ("sweep m.cscb --vary array=64 --set array=8", "both set and varied"),
        ("sweep m.cscb --vary array=64,x", "must be a number, not 'x'"),
        ("sweep m.cscb --vary array=64 --chip cs1", "Only cs2 has parameters"),
        ("sweep m.cscb --vary array=64 --length 0", "takes 1 to 9 tokens, not 0"),
    ],
)
def test_command_line_errors(folder, arguments, words):
    """One sentence each, and exit code 2."""
    done = run(folder, *arguments.split())
    last = done.err.strip().splitlines()[-1]
    assert done.code == 2 and words in done.err and "Traceback" not in done.err
    assert done.err.count("csc: ") == 1 and last.endswith(".")


# --- the chip itself ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned():
    return csc.load(plan_chip(BLOB))


@pytest.fixture(scope="module")
def measured(planned):
    return csc.profile(planned, "cs2", tokens=5)


def test_the_chip_has_the_bits_of_cs1(model, measured):
    assert measured.outputs == csc.profile(model, "cs1", tokens=5).outputs
    assert measured.planned and measured.why_portable is None


def test_figures_of_the_chip_agree(planned, measured):
    """Commands and totals of the model say the same, and no run beats the bound."""
    assert len(measured.commands) == measured.counts["commands"] <= planned.plan.commands
    assert [op.number for op in measured.ops] == list(range(len(planned.ops)))
    assert measured.clocks > measured.bound.clocks
    assert measured.counts["macs"] >= measured.bound.macs == MACS
    assert measured.counts["ext_read"] >= measured.bound.external_bytes
    assert sum(measured.clocks_by_kind().values()) == measured.clocks
    for engine in measured.engines:
        assert engine.busy > 0 and engine.idle >= 0
        assert engine.busy + sum(engine.waits.values()) + engine.idle == measured.clocks
    assert all(value > 0 for value in measured.energy_uj.values())


def test_commands_of_an_engine_never_overlap(measured):
    for engine in _timeline.ENGINES:
        own = [each for each in measured.commands if each.engine == engine]
        for before, after in itertools.pairwise(own):
            assert before.completed <= after.ready <= after.started <= after.completed


def test_products_and_norms_belong_to_their_ops(measured):
    kinds = {op.number: op.kind for op in measured.ops}
    assert {kinds[c.op] for c in measured.commands if c.name == "NORM"} == {"LAYERNORM"}
    assert {kinds[c.op] for c in measured.commands if c.name == "GEMM"} == {"GEMM", "ATTENTION"}


def test_a_profile_of_the_chip_repeats_exactly(planned, measured):
    assert planned.profile("cs2", tokens=5).to_dict() == measured.to_dict()


@pytest.mark.parametrize(
    "changes", [{"ext_bytes_per_clock": 1}, {"ext_latency": 300}, {"array": 1}, {"lanes": 1},
                {"ext_burst": 64}]
)  # fmt: skip
def test_a_smaller_chip_is_slower_with_the_same_bits(planned, measured, changes):
    small = csc.profile(planned, "cs2", tokens=5, parameters=changes)
    assert small.clocks > measured.clocks and small.outputs == measured.outputs


def test_another_sram_has_another_plan(planned, measured):
    small = csc.profile(planned, "cs2", tokens=5, parameters={"sram_bytes": 65536})
    assert small.planned and small.outputs == measured.outputs
    assert small.energy_uj["SRAM"] < measured.energy_uj["SRAM"]


def test_the_portable_path_of_the_chip(model, measured):
    found = csc.profile(model, "cs2", tokens=5, portable=True)
    assert not found.planned and "has no plan" in found.why_portable
    assert found.outputs == measured.outputs and found.clocks > 10 * measured.clocks
    assert [op.name for op in found.ops] == [op.name for op in model.ops]
    assert sum(found.clocks_by_kind().values()) == found.clocks and found.outside > 0
    assert found.commands == [] and found.counts["commands"] == 0


def test_a_device_says_where_its_profile_is(planned):
    with (
        csc.Device("soc:cs2", planned) as device,
        pytest.raises(csc.InputError, match=r"ran the plan.*csc profile --chip cs2"),
    ):
        device.profile(tokens=5)


def test_sweep_over_processes_is_that_in_one(planned):
    vary = {"ext_bytes_per_clock": [2, 4], "sram_bytes": [65536, 524288]}
    many = csc.sweep(planned, vary, tokens=5, jobs=2)
    assert many.to_dict() == csc.sweep(planned, vary, tokens=5).to_dict()
    assert not many.failures and many.points[0].clocks > many.points[2].clocks


def test_profile_on_the_command_line(folder):
    options = "--chip cs2 --length 5 --set ext_bytes_per_clock=8 --json p.json --trace t.json"
    done = run(folder, "profile", "m.cscb", *options.split(), "--plot", "p.svg")
    assert done.code == 0, done.err
    for word in ("ext_bytes_per_clock=8", "planned", "ratio to the bound", "average power"):
        assert word in done.out
    found = json.loads((folder / "p.json").read_text())
    assert found["planned"] and found["parameters"]["ext_bytes_per_clock"] == 8
    rows = {e["args"]["name"] for e in json.loads((folder / "t.json").read_text())["traceEvents"]
            if e["name"] == "thread_name"}  # fmt: skip
    assert rows == {"ops", "CPU", "DMA", "BLOCK", "VECTOR"}
    assert "waiting" in (folder / "p.svg").read_text()


def test_comparison_on_the_command_line(folder):
    chips = "cs1,cs2,cs2:ext_bytes_per_clock=1"
    done = run(folder, "profile", "m.cscb", "--compare", chips, "--length", "5", "--json", "c.json")
    assert done.code == 0, done.err
    first, second, third = json.loads((folder / "c.json").read_text())["chips"]
    assert first["clocks"] > third["clocks"] > second["clocks"] and first["relative"] == 1
    assert "clocks, ATTENTION" in done.out and "energy, uJ" in done.out


def test_sweep_on_the_command_line(folder):
    options = "--vary array=64,512 --vary lanes=4,16 --set clock_mhz=200 --length 5 --jobs 2"
    done = run(folder, "sweep", "m.cscb", *options.split(), "-o", "s.json", "--plot", "s.png")
    assert done.code == 0, done.err
    points = json.loads((folder / "s.json").read_text())["points"]
    assert [(p["parameters"]["array"], p["parameters"]["lanes"]) for p in points] == [
        (64, 4), (64, 16), (512, 4), (512, 16)]  # fmt: skip
    assert all(p["milliseconds"] == p["clocks"] / 200e3 for p in points)
    assert (folder / "s.png").read_bytes().startswith(b"\x89PNG")
