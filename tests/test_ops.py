"""Every op x edge shape x backend: the runtime equals the oracle bit for bit."""

import numpy as np
import pytest

import csc
from blob_factory import OP_CASES, Dtype, attention_blob, gemm_blob, tiny_encoder_blob
from csc._backend import BACKENDS as BACKEND_MAKERS
from csc._backend import has_avx2
from csc_convert import NoPlan, oracle, plan_chip

AVX2 = pytest.param("avx2", marks=pytest.mark.skipif(not has_avx2(), reason="no AVX2 here"))
BACKENDS = ["portable", AVX2, "cs1", "cs2"]


def planned(blob):
    """Return the blob with a plan for CS2, and whether it has one."""
    try:
        return plan_chip(blob), True
    except NoPlan:
        return blob, False


def assert_same(blob, inputs, backend):
    expected = oracle.run(blob, inputs)
    has_plan = False
    if backend == "cs2":
        blob, has_plan = planned(blob)
    got = csc.infer(csc.load(blob), inputs, raw=True, backend=backend)
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


def infer_tiny(backend):
    blob, inputs = tiny_encoder_blob()
    return csc.infer(csc.load(blob), inputs, raw=True, backend=backend)


@pytest.mark.parametrize(("name", "kind"), [("portable", "Backend"), ("avx2", "Avx2Backend")])
def test_environment_forces_what_host_means(monkeypatch, name, kind):
    if name == "avx2" and not has_avx2():
        pytest.skip("no AVX2 here")
    monkeypatch.setenv("CSC_BACKEND", name)
    assert type(BACKEND_MAKERS["host"]([], None)).__name__ == kind
    assert_same(*tiny_encoder_blob(), "host")


def test_host_is_the_best_the_cpu_has(monkeypatch):
    monkeypatch.delenv("CSC_BACKEND", raising=False)
    best = "Avx2Backend" if has_avx2() else "Backend"
    assert type(BACKEND_MAKERS["host"]([], None)).__name__ == best


def test_environment_with_an_unknown_backend(monkeypatch):
    monkeypatch.setenv("CSC_BACKEND", "sse9")
    with pytest.raises(csc.InputError, match="CSC_BACKEND is 'sse9'; set it to 'portable' or"):
        infer_tiny("host")
    infer_tiny("portable")


def test_avx2_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(csc._backend, "has_avx2", lambda: False)
    with pytest.raises(csc.InputError, match="'avx2' needs an x86-64 CPU with AVX2"):
        infer_tiny("avx2")
    monkeypatch.delenv("CSC_BACKEND", raising=False)
    assert type(BACKEND_MAKERS["host"]([], None)).__name__ == "Backend"
