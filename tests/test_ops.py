"""Every op x edge shape x backend: the runtime equals the oracle bit for bit."""

import os
from functools import partial

import numpy as np
import pytest

import csc
from blob_factory import (
    OP_CASES,
    Dtype,
    attention_blob,
    gemm_blob,
    pool_blob,
    tiny_encoder_blob,
)
from csc import _backend
from csc._backend import BACKENDS as BACKEND_CLASSES
from csc._backend import CPU_BACKENDS, find_backend
from csc_convert import NoPlan, oracle, plan_chip

BACKENDS = csc.backends()
ON_THE_CPU = [name for name in BACKENDS if name in CPU_BACKENDS]


def planned(blob):
    """Return the blob with a plan for CS2, and whether it has one."""
    try:
        return plan_chip(blob), True
    except NoPlan:
        return blob, False


def assert_same(blob, inputs, backend, **options):
    expected = oracle.run(blob, inputs)
    has_plan = False
    if backend == "cs2":
        blob, has_plan = planned(blob)
    got = csc.infer(csc.load(blob), inputs, raw=True, backend=backend, **options)
    assert got.plan.is_used == has_plan
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        np.testing.assert_array_equal(got[name].reshape(values.shape), values, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in OP_CASES])
def test_op(build, backend):
    assert_same(*build(), backend)


def test_cs2_runs_most_of_them_by_plan():
    """The others go the portable way; without this, all of them could."""
    found = [planned(build()[0])[1] for _, build in OP_CASES]
    assert sum(found) > 0.7 * len(found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: attention_blob(1, 9, 1027, mask="holes"), id="keys"),
        pytest.param(lambda: gemm_blob(2048, 9, x_dtype=Dtype.INT16), id="inputs"),
    ],
)
def test_longer_than_a_piece(build, backend):
    """A SIMD backend may take long sums in pieces."""
    assert_same(*build(), backend)


TILES = [
    *(
        pytest.param(
            partial(gemm_blob, k, n, max_length=rows, x_dtype=x_dtype),
            id=f"{k}x{n}x{rows}-{x_dtype.name}",
        )
        for k, n, rows in (
            (64, 64, 33),
            (65, 65, 64),
            (63, 17, 65),
            (128, 40, 16),
            (1, 129, 17),
            (320, 48, 100),
        )
        for x_dtype in (Dtype.INT8, Dtype.INT16)
    ),
    *(
        pytest.param(
            partial(attention_blob, heads, depth, keys, mask=mask),
            id=f"{heads}x{depth}x{keys}-{mask}",
        )
        for heads, depth, keys in (
            (2, 64, 33),
            (1, 65, 64),
            (2, 63, 65),
            (1, 130, 129),
            (3, 16, 200),
        )
        for mask in (None, "holes")
    ),
    *(
        pytest.param(
            partial(attention_blob, 2, 64, 70, requant=requant, data=data), id=f"{requant}-{data}"
        )
        for requant in ("sharp", "flat", "limits")
        for data in ("random", "extreme")
    ),
    *(
        pytest.param(partial(pool_blob, columns, max_length=70, mask="holes"), id=f"pool-{columns}")
        for columns in (63, 64, 65, 130)
    ),
]


@pytest.mark.parametrize("backend", ON_THE_CPU)
@pytest.mark.parametrize("build", TILES)
def test_around_the_edges_of_tiles(build, backend):
    """SIMD backends take rows, columns and depths in tiles and groups of up to 64."""
    assert_same(*build(), backend)


def infer_tiny(backend):
    blob, inputs = tiny_encoder_blob()
    return csc.infer(csc.load(blob), inputs, raw=True, backend=backend)


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_environment_forces_what_host_means(monkeypatch, name):
    monkeypatch.setenv("CSC_BACKEND", name)
    assert find_backend("host") == name
    assert_same(*tiny_encoder_blob(), "host")


def test_host_is_the_best_the_cpu_has(monkeypatch):
    monkeypatch.delenv("CSC_BACKEND", raising=False)
    assert find_backend("host") == csc.backends()[0]
    assert csc.backends()[-3:] == ["portable", "cs1", "cs2"]


def test_environment_with_an_unknown_backend(monkeypatch):
    monkeypatch.setenv("CSC_BACKEND", "sse9")
    with pytest.raises(csc.InputError, match="CSC_BACKEND is 'sse9'; set it to 'amx' or"):
        infer_tiny("host")
    infer_tiny("portable")


def forget():
    """What this CPU has is asked once; make it be asked again."""
    _backend._missing.cache_clear()
    _backend._best.cache_clear()


@pytest.mark.parametrize("name", ["avx2", "avx512vnni", "amx"])
def test_a_backend_the_cpu_lacks(monkeypatch, name):
    monkeypatch.setattr(BACKEND_CLASSES[name], "lacks", lambda: "a better CPU")
    forget()
    try:
        with pytest.raises(csc.InputError, match=f"'{name}' needs a better CPU, which this one"):
            infer_tiny(name)
        monkeypatch.setenv("CSC_BACKEND", name)
        with pytest.raises(csc.InputError, match=f"'{name}' needs a better CPU"):
            infer_tiny("host")
        monkeypatch.delenv("CSC_BACKEND")
        assert name not in csc.backends()
        assert find_backend("host") != name
    finally:
        monkeypatch.undo()
        forget()


# -------------------------------------------------------------------------------- threads


SHARING = [name for name in BACKENDS if BACKEND_CLASSES[name].shares_ops]


@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("backend", SHARING)
@pytest.mark.parametrize(
    "build",
    [
        *(pytest.param(build, id=name) for name, build in OP_CASES[:: len(OP_CASES) // 40]),
        pytest.param(lambda: attention_blob(3, 9, 130, mask="holes"), id="blocks"),
        pytest.param(lambda: gemm_blob(70, 200, max_length=330), id="rows"),
        pytest.param(lambda: gemm_blob(70, 200, max_length=330, x_dtype=Dtype.INT16), id="wide"),
    ],
)
def test_threads_share_an_op(build, backend, threads):
    assert_same(*build(), backend, threads=threads)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_batch(backend):
    blob, inputs = tiny_encoder_blob()
    model = csc.load(blob, threads=3)
    batch = {name: np.stack([values] * 7) for name, values in inputs.items()}
    batch["ids"] = (batch["ids"] + np.arange(7)[:, None]) % 31
    got = model.infer(batch, raw=True, backend=backend)
    for row in range(7):
        alone = oracle.run(blob, {name: values[row] for name, values in batch.items()})
        for name, values in alone.items():
            np.testing.assert_array_equal(got[name][row], values.reshape(got[name][row].shape))


@pytest.mark.parametrize("backend", SHARING)
def test_the_first_bad_token_is_reported_whoever_found_it(backend):
    blob, inputs = tiny_encoder_blob()
    ids = inputs["ids"].copy()
    ids[[4, 8]] = 99
    with pytest.raises(csc.InputError, match="position 4"):
        csc.infer(blob, {**inputs, "ids": ids}, backend=backend, threads=4)


@pytest.mark.parametrize("threads", [0, -1, 65, 1.5, "2"])
def test_threads_out_of_range(threads):
    blob, inputs = tiny_encoder_blob()
    with pytest.raises(csc.InputError, match="give a whole number from 1 to 64"):
        csc.infer(blob, inputs, threads=threads)
    with pytest.raises(csc.InputError, match="threads is"):
        csc.load(blob, threads=threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_makes_threads_of_its_own():
    blob, inputs = tiny_encoder_blob()
    model = csc.load(blob, threads=2)
    expected = model.infer(inputs, raw=True)["logits"]
    child = os.fork()
    if child == 0:
        same = (model.infer(inputs, raw=True)["logits"] == expected).all()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
