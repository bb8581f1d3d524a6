"""Every op x edge shape x backend: the runtime equals the oracle bit for bit."""

import numpy as np
import pytest
from blob_factory import OP_CASES, tiny_encoder_blob
from csc_convert import oracle

import csc

BACKENDS = ["host", "cs1"]


def assert_same(blob, inputs, backend):
    expected = oracle.run(blob, inputs)
    got = csc.infer(csc.load(blob), inputs, raw=True, backend=backend)
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype == values.dtype, name
        np.testing.assert_array_equal(got[name].reshape(values.shape), values, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in OP_CASES])
def test_op(build, backend):
    assert_same(*build(), backend)
