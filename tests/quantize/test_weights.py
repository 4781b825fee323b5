from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolchain.quantize import weights as w

FloatArray = NDArray[np.float32]
biases = arrays(np.float32, st.integers(1, 6), elements=st.floats(-1e4, 1e4, width=32))
scales = st.floats(1e-4, 10)


@given(biases, scales, scales, st.floats(1, 1e6))
def test_a_bias_is_kept_within_half_a_step_at_the_smallest_scale_and_above(
    bias: FloatArray, source: float, target: float, factor: float
) -> None:
    floor = w.floor_of_scale(bias, input_scale=source, output_scale=target)
    scale = (floor * factor).astype(np.float32)
    steps = w.encode_bias(bias, scale, source)
    assert steps.dtype == np.int32
    assert np.abs(steps.astype(np.int64)).max() <= 2**30 + 128
    step = scale.astype(np.float64) * source
    assert (np.abs(steps * step - bias) <= step * 0.5 + np.abs(bias) * 1e-6).all()


@given(biases, scales, scales)
def test_at_the_smallest_scale_the_kernels_multiplier_is_one_they_take(
    bias: FloatArray, source: float, target: float
) -> None:
    floor = w.floor_of_scale(bias, input_scale=source, output_scale=target)
    assert (floor > 0).all()
    assert (source * floor / target >= 2.0**-30 * (1 - 1e-12)).all()


def test_a_bias_beyond_int32_saturates_and_does_not_wrap() -> None:
    bias = np.array([1e6, -1e6], np.float32)
    steps = w.encode_bias(bias, np.full(2, 1e-9, np.float32), 1e-3)
    assert steps.tolist() == [2**31 - 1, -(2**31)]
