"""Real factors as multipliers and shifts, encodings, weights and tables."""

import numpy as np
import pytest

from csc_convert import blob_format as fmt
from csc_convert.activations import FUNCTIONS
from csc_convert.encoding import Encoding, int16
from csc_convert.fixed import (
    LARGEST_FACTOR,
    add_multipliers,
    multipliers,
    norm_affine,
    norm_epsilon,
    packed,
)
from csc_convert.migrate import migrated, output_error, search_migration
from csc_convert.tables import asymmetric, make_table, search_table_output
from csc_convert.weights import quantize_weights, scale_limits


def test_multipliers_are_close_and_normalized():
    rng = np.random.default_rng(1)
    factors = np.exp2(rng.uniform(-31, 13.9, 20000))
    multiplier, shift = multipliers(factors)
    assert multiplier.min() >= 16384
    assert multiplier.max() <= 32767
    assert shift.min() >= 1
    assert shift.max() <= 46
    relative = np.abs(multiplier / np.exp2(shift) / factors - 1)
    assert relative.max() <= 2.0**-15 + 1e-12


@pytest.mark.parametrize(
    ("factor", "wanted"),
    [
        (1.0, (16384, 14)),
        (1 / 256, (16384, 22)),
        (0.0, (0, None)),
        (2.0**-46, (1, 46)),
        (2.0**-48, (0, 46)),
        (LARGEST_FACTOR, (32767, 1)),
        (1 - 2.0**-20, (16384, 14)),
    ],
)
def test_multipliers_at_the_ends(factor, wanted):
    multiplier, shift = multipliers(np.array([factor]))
    assert multiplier[0] == wanted[0]
    assert wanted[1] is None or shift[0] == wanted[1]
    assert packed(np.array([factor]))[0] == multiplier[0] + 65536 * shift[0]


def test_multipliers_refuse_what_does_not_fit():
    for factor in (16384.0, -1.0, np.nan):
        with pytest.raises(AssertionError):
            multipliers(np.array([factor]))


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0.5, 1), (1, 0.3), (3, 0.01), (1e-6, 1e-7)])
def test_add_multipliers(a, b):
    ma, mb, shift = add_multipliers(a, b)
    assert 0 <= ma <= 16384
    assert 0 <= mb <= 16384
    assert 1 <= shift <= 29
    step = max(a, b) * 2.0**-13 if max(a, b) > 2.0**-15 else 2.0**-29
    assert abs(ma / 2**shift - a) <= step
    assert abs(mb / 2**shift - b) <= step


def test_plain_add():
    assert add_multipliers(1.0, 1.0) == (16384, 16384, 14)


def test_norm_affine():
    rng = np.random.default_rng(2)
    gain, offset = rng.normal(0, 3000, 64), rng.normal(0, 2000, 64)
    affine, shift = norm_affine(gain, offset)
    assert 1 <= shift <= 29
    assert np.abs(affine[:, 1]).max() <= 32767
    assert np.abs(affine[:, 1]).max() > 16000
    assert np.abs(affine[:, 0]).max() <= 2**29
    np.testing.assert_allclose(affine[:, 1] / 2.0 ** (shift - 10), gain, atol=2.0 ** (10 - shift))
    np.testing.assert_allclose(affine[:, 0] / 2.0**shift, offset, atol=2.0**-shift)


def test_norm_affine_with_large_offset():
    affine, shift = norm_affine(np.array([1e-3]), np.array([30000.0]))
    assert abs(affine[0, 0]) <= 2**29
    assert abs(affine[0, 0] / 2.0**shift - 30000) < 1


@pytest.mark.parametrize(
    ("epsilon", "scale", "wanted"),
    [(1e-12, 1.0, 1), (1e-5, 1e-3, round(1e-5 * 256 * 256 / 1e-6)), (0.5, 1e-12, 2**54 - 1)],
)
def test_norm_epsilon(epsilon, scale, wanted):
    assert norm_epsilon(epsilon, 256, scale) == wanted


def test_encoding_round_trip():
    encoding = Encoding(fmt.Dtype.INT8, np.array([0.5, 0.1]), -128, 127, 3, np.array([1.0, -2.0]))
    q = np.array([[-128, 127], [0, 3]])
    np.testing.assert_array_equal(encoding.quantize(encoding.decode(q)), q)
    assert encoding.decode(np.array([3, 3])).tolist() == [1.0, -2.0]
    assert encoding.quantize(np.array([1e9, -1e9])).tolist() == [127, -128]
    assert encoding.record_scale == 0
    assert int16(2.0).record_scale == 2.0 / 32767


def test_weights_per_channel():
    weight = np.random.default_rng(3).normal(0, 1, (8, 32)) * np.exp2(np.arange(8))[:, None]
    plain = quantize_weights(weight)
    np.testing.assert_allclose(np.abs(plain.q).max(axis=1), 127)
    assert np.all(np.abs(plain.q * plain.scale[:, None] - weight) <= plain.scale[:, None] * 0.501)


def test_channel_of_zeros_keeps_its_bias():
    least, most = scale_limits(np.array([5.0, 0.0]), np.array([0.1, 0.1]))
    made = quantize_weights(np.zeros((2, 4)), limits=(least, most))
    assert not made.q.any()
    assert np.all(np.array([5.0, 0.0]) / made.scale <= fmt.MAX_BIAS)
    multiplier, shift = multipliers(made.scale / 0.1)
    found = np.round(5.0 / made.scale[0]) * multiplier[0] / 2.0 ** shift[0]
    assert abs(found - 50) < 0.01


def outlier_rows(rng, count=400, width=32):
    x = rng.normal(0, 1, (count, width))
    x[:, 3] *= 30
    x[:, 7] += 50
    return x


def test_migration_beats_one_scale_for_all():
    rng = np.random.default_rng(4)
    x, weight = outlier_rows(rng), rng.normal(0, 1, (16, 32))
    low, high = x.min(axis=0), x.max(axis=0)
    importance = np.ones(16)
    best = search_migration(x, low, high, weight, importance, wide=False)
    reach = np.abs(x).max()
    plain = Encoding(fmt.Dtype.INT8, np.float64(reach / 127), -128, 127)
    assert (
        output_error(x, weight, best, importance) < output_error(x, weight, plain, importance) / 10
    )
    wide = search_migration(x, low, high, weight, importance, wide=True)
    assert wide.dtype == fmt.Dtype.INT16
    assert (wide.low, wide.high) == (-4096, 4095)
    assert output_error(x, weight, wide, importance) < output_error(x, weight, best, importance)


def test_migration_of_a_constant_channel():
    x = np.ones((10, 4))
    made = migrated(x.min(axis=0), x.max(axis=0), np.zeros((2, 4)), 0.8, False)
    assert np.all(made.scale > 0)
    np.testing.assert_allclose(made.decode(made.quantize(x)), x)


@pytest.mark.parametrize("wide", [False, True])
def test_asymmetric_has_an_exact_zero(wide):
    made = asymmetric(-0.17, 3.0, wide)
    assert made.decode(made.quantize(np.array([0.0])))[0] == 0
    ends = made.decode(np.array([made.low, made.high]))
    assert ends[0] <= -0.17 + float(made.scale)
    assert ends[1] >= 3.0 - float(made.scale)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"identity"}))
def test_tables_follow_their_function(name):
    function = FUNCTIONS[name]
    pre = np.random.default_rng(5).normal(0, 2, (300, 16))
    wanted = function(pre)
    low, high = float(pre.min()) - 0.1, float(pre.max()) + 0.1
    encoding = asymmetric(float(wanted.min()), float(wanted.max()), wide=False)
    table = make_table(function, pre, low, high, encoding)
    assert table.entries.shape == (1024,)
    assert table.entries.min() >= -128
    assert table.entries.max() <= 127
    index = np.clip(np.round(pre / table.scale) + table.zero_point, 0, 1023).astype(int)
    found = encoding.decode(table.entries[index])
    signal = np.square(wanted).mean()
    assert np.square(found - wanted).mean() < signal * 1e-3
    assert np.abs(found - wanted).max() < float(encoding.scale) * 1.5


def test_table_leaves_out_what_is_flat():
    """A GELU whose arguments reach far below 0 spends few entries there."""
    pre = np.concatenate([np.linspace(-200, -20, 300), np.linspace(-3, 3, 3000)])[:, None]
    encoding = asymmetric(-0.17, 3.0, wide=False)
    table = make_table(FUNCTIONS["gelu"], pre, -200.0, 3.0, encoding)
    assert table.scale < 203 / 1023 / 10


def test_table_output_clips_rare_outliers():
    rng = np.random.default_rng(6)
    x = np.abs(rng.normal(0, 0.1, (2000, 512)))
    x[5, 7] = 20.0
    made = search_table_output(x, 0.0, 20.0, rng.normal(0, 1, (8, 512)), wide=False)
    assert made.decode(np.array([127]))[0] < 20
