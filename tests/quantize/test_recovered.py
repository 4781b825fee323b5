"""One filter through each scheme as layers go through it, with bias, mean and smallest scale."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.errors import NotFinite
from toolchain.quantize.coded import expand
from toolchain.quantize.granularity import Channel, Group
from toolchain.quantize.methods import EIGHT_BITS, Method
from toolchain.quantize.recovered import Recovered, fit, recovered
from toolchain.quantize.schemes import SCHEMES
from toolchain.quantize.weights import encode_bias, floor_of_scale

METHODS = (
    EIGHT_BITS,
    Method("uniform", 4, Channel(), "weighted"),
    Method("uniform", 2, Channel(), "weighted"),
    Method("grouped", 4, Group(8), "weighted"),
    Method("codebook", 4, Channel(), "weighted"),
    Method("entropy", 4, Channel(), "weighted"),
)
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.scheme}-{m.bits}")
FloatArray = NDArray[np.float32]


def stored(
    exact: FloatArray,
    bias: FloatArray,
    method: Method,
    *,
    floor: NDArray[np.float64] | None = None,
    mean: NDArray[np.float64] | None = None,
) -> Recovered:
    """Rounded to nearest."""
    energy = np.ones(exact.shape[-1])
    least = np.zeros(len(exact)) if floor is None else floor
    steps = None
    if method.scheme == "entropy":
        largest = np.abs(exact).max(axis=(1, 2, 3))
        steps = np.where(largest > 0, largest / 9, 1).astype(np.float32)[:, None]
    parameters = fit(exact, method, energy, least, steps)
    codes = SCHEMES[method.scheme].encode(exact, parameters)
    return recovered(exact, bias, method, parameters, codes, mean=mean)


def usual(seed: int, shape: tuple[int, ...] = (4, 3, 3, 8)) -> FloatArray:
    random = np.random.default_rng(seed)
    return (random.standard_t(5, shape) * random.lognormal(0, 1, (shape[0], 1, 1, 1))).astype(
        np.float32
    )


@each_method
def test_scale_times_code_is_what_is_said_to_be_stored(method: Method) -> None:
    made = stored(usual(0), np.zeros(4, np.float32), method)
    assert made.coded is not None
    assert made.scale is not None
    whole = expand(made.coded).astype(np.float32) * made.scale[:, None, None, None]
    np.testing.assert_array_equal(whole, made.weights)
    assert made.stored_bits > 0


@each_method
def test_the_mean_shift_of_rounding_is_taken_off_the_bias(method: Method) -> None:
    random = np.random.default_rng(0)
    exact, bias = usual(1), random.normal(size=4).astype(np.float32)
    inputs = random.gamma(1.0, size=(4000, 72))
    made = stored(exact, bias, method, mean=inputs.mean(axis=0))
    flat = exact.reshape(4, -1).astype(np.float64), made.weights.reshape(4, -1).astype(np.float64)
    due = (inputs @ flat[0].T + bias).mean(axis=0)
    np.testing.assert_allclose((inputs @ flat[1].T + made.bias).mean(axis=0), due, atol=1e-4)
    assert np.abs((inputs @ (flat[1] - flat[0]).T).mean(axis=0)).max() > 1e-3


@each_method
def test_without_a_mean_the_bias_is_left_alone(method: Method) -> None:
    bias = np.array([0.5, -1.0, 0.0, 3.0], np.float32)
    np.testing.assert_array_equal(stored(usual(2), bias, method).bias, bias)


@each_method
def test_a_channel_of_zeros_stays_one_at_a_finite_scale_without_a_warning(method: Method) -> None:
    exact = usual(3)
    exact[2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = stored(exact, np.ones(4, np.float32), method, mean=np.ones(72))
    assert made.coded is not None
    assert made.scale is not None
    assert not expand(made.coded)[2].any()
    assert not made.weights[2].any()
    assert 0 < made.scale[2] < np.inf
    assert made.bias[2] == 1


@each_method
@given(
    seed=st.integers(0, 10_000),
    bias=st.floats(-1e4, 1e4, width=32),
    power=st.floats(-12, 3),
    outlier=st.sampled_from([1.0, 30.0, 1e4]),
    source=st.floats(1e-4, 1),
)
def test_a_bias_is_kept_within_half_a_step_whatever_its_weights(
    method: Method, seed: int, bias: float, power: float, outlier: float, source: float
) -> None:
    exact = usual(seed, (2, 1, 1, 24)) * np.float32(10**power)
    exact[0, 0, 0, 0] *= np.float32(outlier)
    biases = np.array([bias, 0.1], np.float32)
    floor = floor_of_scale(biases, input_scale=source, output_scale=0.1)
    made = stored(exact, biases, method, floor=floor)
    assert made.scale is not None
    steps = encode_bias(biases, made.scale, source).astype(np.int64)
    step = made.scale.astype(np.float64) * source
    assert (np.abs(steps * step - biases) <= step * 0.51 + np.abs(biases) * 1e-6).all()
    assert (source * made.scale / 0.1 >= 2.0**-32).all()  # below, XNNPACK refuses the operator


@each_method
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(method: Method, bad: float) -> None:
    exact = usual(4)
    exact[1, 0, 0, 2] = bad
    with pytest.raises(NotFinite, match="output channel 1"):
        fit(exact, method, np.ones(8), np.zeros(4))
