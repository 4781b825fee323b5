"""Intervals of percentiles cover the truth as often as they say, also where times hang together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolchain.report.percentiles import correlation_time, interval


def drifting(rng: np.random.Generator, count: int, memory: float) -> NDArray[np.float64]:
    """An autoregressive series of variance 1: its percentiles are those of a normal."""
    steps = rng.normal(0, np.sqrt(1 - memory**2), count)
    values = np.empty(count)
    values[0] = rng.normal()
    for at in range(1, count):
        values[at] = memory * values[at - 1] + steps[at]
    return values


@pytest.mark.parametrize(("share", "truth"), [(0.5, 0.0), (0.9, 1.2816), (0.95, 1.6449)])
def test_of_independent_times_the_interval_covers_as_often_as_it_says(
    share: float, truth: float
) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = interval(rng.normal(size=100).tolist(), share)
        covered += (low is None or low <= truth) and (high is None or truth <= high)
    assert covered >= 0.93 * 300


def test_of_times_that_hang_together_it_covers_where_a_naive_one_does_not() -> None:
    rng = np.random.default_rng(2)
    covered = naive = 0
    for _ in range(300):
        times = drifting(rng, 200, memory=0.8)
        low, high = interval(times.tolist(), 0.5)
        assert low is not None
        assert high is not None
        covered += low <= 0 <= high
        shuffled = interval(rng.permutation(times).tolist(), 0.5)
        naive += shuffled[0] <= 0 <= shuffled[1]  # type: ignore[operator]
    assert covered >= 0.87 * 300
    assert naive < 0.7 * 300


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=80), st.sampled_from([0.5, 0.9, 0.99]))
def test_bounds_are_measured_times_around_the_percentile(times: list[float], share: float) -> None:
    low, high = interval(times, share)
    middle = np.quantile(times, share, method="inverted_cdf")
    for bound in (low, high):
        assert bound is None or bound in times
    assert low is None or low <= middle
    assert high is None or middle <= high


def test_thirty_times_give_no_upper_bound_of_the_99th_percentile() -> None:
    low, high = interval([float(n) for n in range(30)][::-1], 0.99)
    assert high is None
    assert interval([1.0, 2.0, 3.0], 0.5) == (None, None)
    assert interval([], 0.5) == (None, None)
    many = np.random.default_rng(3).normal(size=600).tolist()
    assert None not in interval(many, 0.99)
    assert low is not None


def test_a_correlation_time_is_one_for_independent_times_and_grows_with_memory() -> None:
    rng = np.random.default_rng(4)
    independent = np.mean([correlation_time(rng.normal(size=200)) for _ in range(40)])
    alike = np.mean([correlation_time(drifting(rng, 200, 0.8)) for _ in range(40)])
    assert 1 <= independent < 1.7
    assert 3 < alike < 12  # (1 + 0.8) / (1 - 0.8) = 9 for the values themselves
    assert correlation_time(np.full(50, 3.0)) == 1
