"""The C code itself: under sanitizers, fuzzed, without float, globals or libc."""

import os
import struct

import numpy as np
import pytest

import csc
from blob_factory import OP_CASES, tiny_encoder_blob
from building import build, clang, run
from csc._csc import lib
from csc_convert import oracle
from entry_factory import ENTRY_CASES, decoder_blob
from plans import planned_blob

CPU_FEATURES = (
    lib.csc_host_has_avx2,
    lib.csc_host_has_avx512vnni,
    lib.csc_host_has_avx512vbmi,
    lib.csc_host_has_amx,
)
FUZZ_SECONDS = int(os.environ.get("CSC_FUZZ_SECONDS", "10"))


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    return build("sanitize", "all", tmp_path_factory.mktemp("sanitize"))


@pytest.fixture(
    params=[tiny_encoder_blob, planned_blob, decoder_blob], ids=["plain", "planned", "entries"]
)
def tiny_blob(request, tmp_path):
    path = tmp_path / "tiny.cscb"
    path.write_bytes(request.param()[0])
    return path


def fields(arrays):
    """Pack (tensor number, array) pairs as run_cases.c reads them."""
    packed = struct.pack("<I", len(arrays))
    for number, array in arrays:
        data = np.ascontiguousarray(array).tobytes()
        packed += struct.pack("<II", number, len(data)) + data
    return packed


def as_in_arena(tensor, array):
    """Return an input as its record says: rows filled up to their stride."""
    array = np.asarray(array).astype(tensor.dtype)
    if array.ndim == 2:
        array = np.pad(array, ((0, 0), (0, tensor.row_stride - array.shape[1])))
    return array


def pack_case(blob, inputs):
    model = csc.load(blob)
    given = [(t.number, as_in_arena(t, inputs[t.name])) for t in model.inputs if t.name in inputs]
    expected = oracle.run(blob, inputs)
    outputs = [(t.number, expected[t.name]) for t in model.outputs]
    run = struct.pack("<IIII", 1, 0, 0, len(given[0][1])) + fields(given) + fields(outputs)
    return struct.pack("<I", len(blob)) + blob + run


def pack_entry_case(blob, runs):
    """Runs of entries one after another."""
    entries = {entry.name: entry for entry in csc.load(blob).entries}
    session = oracle.Session(blob)
    packed = struct.pack("<I", len(blob)) + blob + struct.pack("<I", len(runs))
    for name, inputs in runs:
        position, entry = session.position, entries[name]
        expected = session.run(name, inputs)
        given = [(t.number, as_in_arena(t, inputs[t.name])) for t in entry.inputs]
        outputs = [(t.number, expected[t.name]) for t in entry.outputs]
        packed += struct.pack("<III", entry.number, position, session.position - position)
        packed += fields(given) + fields(outputs)
    return packed


def test_every_op_case_under_sanitizers(sanitized, tmp_path):
    cases = tmp_path / "cases"
    packed = [pack_case(*build_case()) for _, build_case in OP_CASES]
    packed += [pack_entry_case(*build_case()) for _, build_case in ENTRY_CASES]
    cases.write_bytes(b"".join(packed))
    printed = run(sanitized / "tests/c/run_cases", cases)
    backends = 2 + sum(has() for has in CPU_FEATURES)
    assert f"{len(packed)} cases equal on {backends} backends" in printed


def test_wrong_expectation_is_noticed(sanitized, tmp_path):
    case = bytearray(pack_case(*tiny_encoder_blob()))
    case[-1] ^= 1
    cases = tmp_path / "cases"
    cases.write_bytes(case)
    with pytest.raises(AssertionError, match="differs from the oracle"):
        run(sanitized / "tests/c/run_cases", cases)


def test_every_flipped_bit_and_truncation_is_refused(sanitized, tiny_blob):
    printed = run(sanitized / "tests/c/break_blob", tiny_blob)
    size = tiny_blob.stat().st_size
    assert f"{8 * size} flipped bits and {size} truncations refused" in printed


def write_seeds(folder):
    folder.mkdir()
    for number, (_, build_case) in enumerate(OP_CASES[:: max(1, len(OP_CASES) // 40)]):
        (folder / f"op{number}").write_bytes(build_case()[0])
    (folder / "tiny").write_bytes(tiny_encoder_blob()[0])
    (folder / "planned").write_bytes(planned_blob()[0])
    (folder / "entries").write_bytes(decoder_blob()[0])
    return folder


def test_fuzzed_loader_never_misbehaves(tmp_path):
    """libFuzzer where a clang has it, else our own mutator: the same target either way."""
    seeds = write_seeds(tmp_path / "seeds")
    compiler = clang()
    preset = "fuzz-clang" if compiler else "fuzz-standalone"
    folder = build(preset, "fuzz_load", tmp_path / "build", compiler)
    program = folder / "tests/fuzz/fuzz_load"
    if compiler:
        printed = run(program, f"-max_total_time={FUZZ_SECONDS}", "-max_len=65536", seeds)
    else:
        printed = run(program, str(FUZZ_SECONDS), *sorted(seeds.iterdir()))
    assert "Done " in printed


@pytest.fixture(scope="session")
def integer_only(tmp_path_factory):
    """Runtime, driver and backends, compiled so that any float is an error."""
    return build("integer-only", "csc_cs2", tmp_path_factory.mktemp("integer"))


def symbols(folder):
    names = ("runtime", "cs1", "cs2")
    printed = run("nm", *(folder / f"libcsc_{name}.a" for name in names))
    lines = [line.split() for line in printed.splitlines() if line and not line.endswith(":")]
    return [(parts[-2], parts[-1]) for parts in lines]


def test_no_libc_beyond_memcpy_and_memset(integer_only):
    found = symbols(integer_only)
    defined = {name for kind, name in found if kind != "U"}
    assert "csc_load_model" in defined
    assert {name for kind, name in found if kind == "U"} - defined <= {"memcpy", "memset"}


def test_no_writable_globals(integer_only):
    assert [name for kind, name in symbols(integer_only) if kind in "bBdDcCsSgG"] == []
