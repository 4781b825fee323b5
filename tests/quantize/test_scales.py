from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.errors import NotFinite
from toolchain.quantize.scales import HIGHEST, LOWEST, Scale, covering

reals = st.floats(-(2.0**100), 2.0**100, width=32)


@given(reals, reals)
def test_a_range_keeps_zero_exact_and_its_ends_within_a_step(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    scale = covering(low, high)
    assert 0 < scale.scale < math.inf
    assert LOWEST <= scale.zero_point <= HIGHEST
    zero = np.zeros(1, np.float32)
    assert scale.decode(scale.encode(zero))[0] == 0
    if (high - low) / 255 > 1e-37:
        assert scale.low - low <= scale.scale * 0.51
        assert high - scale.high <= scale.scale * 0.51


@given(reals, reals, st.floats(0, 1))
def test_a_number_inside_comes_back_within_half_a_step(a: float, b: float, where: float) -> None:
    scale = covering(min(a, b), max(a, b))
    value = np.array([scale.low + where * (scale.high - scale.low)])
    found = scale.decode(scale.encode(value))
    assert abs(float(found[0]) - value[0]) <= scale.scale * (0.5 + 1e-4)


def test_a_number_outside_saturates() -> None:
    scale = covering(-1.0, 1.0)
    assert scale.encode(np.array([-9.0, 9.0])).tolist() == [-128, 127]


def test_a_tensor_that_is_always_zero_gets_a_usable_scale() -> None:
    assert covering(0.0, 0.0) == Scale(1.0, 0)
    assert covering(0.0, 1e-44) == Scale(1.0, 0)


@pytest.mark.parametrize("ends", [(math.nan, 1), (0, math.nan), (-math.inf, 0), (0, math.inf)])
def test_a_range_that_is_not_finite_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(NotFinite):
        covering(*ends)


def test_the_scale_is_the_float32_that_the_file_will_hold() -> None:
    scale = Scale(0.1, 0).scale
    assert scale == float(np.float32(0.1)) != 0.1


@given(st.integers(LOWEST, HIGHEST), st.floats(1e-6, 1e6))
def test_all_codes_come_back(zero_point: int, step: float) -> None:
    scale = Scale(step, zero_point)
    codes: NDArray[np.int8] = np.arange(LOWEST, HIGHEST + 1).astype(np.int8)
    np.testing.assert_array_equal(scale.encode(scale.levels()), codes)
