from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from toolchain.quantize.histogram import BINS, centres, count

floats = arrays(
    np.float32, st.integers(0, 50), elements=st.floats(-60000, 60000, width=32, allow_nan=False)
)


def test_centres_rise_and_mirror_around_zero() -> None:
    values = centres()
    assert len(values) == BINS
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(values, -values[::-1])


@given(floats)
def test_every_value_is_counted_once_near_its_bin(values: NDArray[np.float32]) -> None:
    counts = count(values)
    assert counts.sum() == values.size
    held = np.repeat(centres(), counts)
    np.testing.assert_allclose(held, np.sort(values), rtol=1 / 1024, atol=2.0**-23)


@given(floats, floats)
def test_counts_of_two_pictures_add_up(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(count(a) + count(b), count(np.concatenate([a, b])))


def test_values_beyond_the_bins_are_kept_at_the_ends() -> None:
    counts = count(np.array([1e30, -1e30, 1e-30, -0.0], np.float32))
    assert counts[-1] == counts[0] == 1
    assert counts[BINS // 2] == 2
