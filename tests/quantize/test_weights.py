from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from targets.agent.expand import unpack_int4
from toolchain.errors import NotFinite
from toolchain.quantize import weights as w
from toolchain.tflite.packing import pack_int4

FloatArray = NDArray[np.float32]
filters = arrays(
    np.float32,
    array_shapes(min_dims=4, max_dims=4, max_side=4),
    elements=st.floats(-1e6, 1e6, width=32),
)
widths = st.sampled_from([4, 8])


@given(filters, widths)
def test_weights_come_back_within_half_a_step_and_never_clip(values: FloatArray, bits: int) -> None:
    scale = w.fit_scale(values, bits)
    coded = w.encode(values, scale, bits)
    limit = w.largest_code(bits)
    assert (scale > 0).all()
    assert np.abs(coded.codes).max() <= limit
    error = np.abs(coded.decode().astype(np.float64) - values)
    assert (error <= scale[:, None, None, None] * (0.5 + 1e-4)).all()


@given(filters, widths)
def test_a_filter_of_zeros_stays_exactly_zero_without_a_warning(
    values: FloatArray, bits: int
) -> None:
    values[0] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coded = w.encode(values, w.fit_scale(values, bits), bits)
    assert not coded.codes[0].any()
    assert not coded.decode()[0].any()
    assert 0 < coded.scale[0] < np.inf


@given(filters)
def test_four_bit_codes_survive_packing(values: FloatArray) -> None:
    codes = w.encode(values, w.fit_scale(values, 4), 4).codes
    unpacked = unpack_int4(pack_int4(codes), codes.size)
    np.testing.assert_array_equal(unpacked.reshape(codes.shape), codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    values = np.ones((2, 1, 1, 3), np.float32)
    values[1, 0, 0, 2] = bad
    with pytest.raises(NotFinite):
        w.fit_scale(values, 8)


@given(st.floats(-1e4, 1e4, width=32), st.floats(0, 1e3, width=32), st.floats(1e-4, 1))
def test_a_bias_is_kept_within_half_a_step_whatever_its_weights(
    bias: float, weight: float, source: float
) -> None:
    values = np.full((1, 1, 1, 2), weight, np.float32)
    biases = np.array([bias], np.float32)
    floor = w.floor_of_scale(biases, input_scale=source, output_scale=0.1)
    scale = w.fit_scale(values, 8, floor=floor)
    steps = w.encode_bias(biases, scale, source)
    assert abs(int(steps[0])) <= 2**30 + 64
    step = float(scale[0]) * source
    assert abs(int(steps[0]) * step - biases[0]) <= step * 0.51 + abs(bias) * 1e-6


def test_the_shift_of_rounding_is_what_the_mean_input_makes_of_the_difference() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(4, 1, 1, 5)).astype(np.float32)
    rounded = np.rint(exact * 2) / np.float32(2)
    inputs = random.gamma(1.0, size=(5000, 5))
    moved = (inputs @ (rounded - exact)[:, 0, 0].T.astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(w.expected_shift(exact, rounded, inputs.mean(axis=0)), moved)
