"""Intervals of ratios, on simulated runs whose true ratio is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.compare.spans import SEGMENTS, Floats, Span, Timed, in_turn, of_images, span

TRIES = 200


def run(
    rng: np.random.Generator,
    median_ms: float,
    *,
    drift: float = 0.0,
    flicker: float = 0.0,
    scatter: float = 0.01,
    count: int = 60,
) -> Floats:
    """Times of one run, ms: a level of its own (`drift`), noise of every time scale (`flicker`:
    random stretches, halved again and again), and white scatter that only slows down."""
    logs = np.full(count, np.log(median_ms) + rng.normal(0, drift))
    pieces = 1
    while pieces <= count // 4:
        for stretch in np.array_split(np.arange(count), pieces):
            logs[stretch] += rng.normal(0, flicker)
        pieces *= 2
    return np.asarray(np.exp(logs + np.abs(rng.normal(0, scatter, count))), np.float64)


def of(*times: Floats, first: int = 0, step: int = 2) -> list[Timed]:
    return [Timed(t, "boot", first + step * n) for n, t in enumerate(times)]


def one_each(rng: np.random.Generator, a_ms: float, b_ms: float, **noise: float) -> Span:
    found = span(of(run(rng, a_ms, **noise)), of(run(rng, b_ms, **noise)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("drift", "flicker", "scatter"),
    [
        (0.0, 0.0, 0.005),
        (0.02, 0.0, 0.02),
        (0.03, 0.01, 0.02),
        (0.0, 0.05, 0.05),
        (0.05, 0.05, 0.1),
    ],
)
def test_one_model_twice_is_no_difference_nineteen_times_in_twenty(
    drift: float, flicker: float, scatter: float
) -> None:
    rng = np.random.default_rng(1)
    noise = {"drift": drift, "flicker": flicker, "scatter": scatter}
    real = sum(one_each(rng, 10, 10, **noise).real for _ in range(TRIES))
    assert real <= 0.05 * TRIES * 1.5


def test_without_the_drift_between_runs_an_interval_would_be_wrong_most_of_the_time() -> None:
    """Why times of one run are no independent values: the usual standard error of their mean."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(TRIES):
        a, b = (np.log(run(rng, 10, drift=0.03, flicker=0.01)) for _ in range(2))
        error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        wrong += abs(a.mean() - b.mean()) > 1.96 * error
    assert wrong > 0.5 * TRIES


@pytest.mark.parametrize(("faster", "flicker"), [(0.8, 0.01), (0.5, 0.05), (0.27, 0.1)])
def test_a_faster_model_is_seen_where_the_noise_is_small_against_it(
    faster: float, flicker: float
) -> None:
    rng = np.random.default_rng(3)
    found = [one_each(rng, 10, 10 * faster, drift=0.02, flicker=flicker) for _ in range(50)]
    assert sum(one.real and one.high < 1 for one in found) >= 45
    assert sum(one.low <= faster <= one.high for one in found) >= 45


def test_a_run_that_something_slowed_down_is_not_taken_for_a_slow_model() -> None:
    rng = np.random.default_rng(4)
    quiet, half = run(rng, 10, count=60), run(rng, 10, count=60)
    half[10:] *= 1.7  # another process for five sixths of the run
    found = span(of(quiet), of(half))
    assert found is not None
    assert found.ratio > 1.5
    assert not found.real


@pytest.mark.parametrize("rounds", [3, 5])
def test_rounds_in_turn_cover_the_truth_as_often_as_they_say(rounds: int) -> None:
    """Though the machine grows slower by a third meanwhile, which both see."""
    rng = np.random.default_rng(5)
    covered = narrow = 0
    for _ in range(TRIES):
        slope = np.linspace(0, 0.3, 2 * rounds)
        a = [run(rng, 10 * np.exp(slope[2 * n]), drift=0.05) for n in range(rounds)]
        b = [run(rng, 9 * np.exp(slope[2 * n + 1]), drift=0.05) for n in range(rounds)]
        found = span(of(*a), of(*b, first=1))
        assert found is not None
        assert "in turn" in found.how
        late = np.exp(slope[1] - slope[0])  # B comes later in each round
        covered += found.low <= 0.9 * late <= found.high
        narrow += found.high / found.low < 2
    assert covered >= 0.92 * TRIES
    assert narrow > 0.8 * TRIES


def test_groups_that_did_not_run_in_turn_are_wider_than_rounds() -> None:
    rng = np.random.default_rng(6)
    a, b = ([run(rng, 10, drift=0.001) for _ in range(4)] for _ in range(2))
    turn = span(of(*a), of(*b, first=1))
    apart = span(of(*a), of(*b, first=100))
    assert turn is not None
    assert apart is not None
    assert "not in turn" in apart.how
    assert apart.high / apart.low > 1.05 > turn.high / turn.low


def test_runs_of_two_boots_or_of_unequal_number_are_not_in_turn() -> None:
    times = np.ones(3)
    a = [Timed(times, "one", n) for n in (0, 2)]
    assert in_turn(a, [Timed(times, "one", n) for n in (1, 3)])
    assert in_turn(a, [Timed(times, "one", n) for n in (1, 5)])
    assert not in_turn(a, [Timed(times, "two", n) for n in (1, 3)])
    assert not in_turn(a, [Timed(times, "one", 1)])
    assert not in_turn(a, [Timed(times, "one", n) for n in (3, 4)])
    assert not in_turn([Timed(times)], [Timed(times)])


def test_images_in_both_runs_cancel_however_much_they_differ() -> None:
    rng = np.random.default_rng(7)
    sizes = rng.uniform(1, 20, 100)
    a, b = (sizes * np.exp(rng.normal(0, 0.01, 100)) for _ in range(2))
    same, faster = of_images(a, b), of_images(a, 0.8 * b)
    assert same is not None
    assert faster is not None
    assert not same.real
    assert faster.real
    assert same.high < 1.1


def test_few_times_and_a_clock_that_stood_still_say_nothing() -> None:
    few, many, still = np.ones(11), np.ones(60), np.zeros(60)
    assert span(of(few), of(many)) is None
    assert span(of(still), of(many)) is None
    assert span([], of(many)) is None
    assert of_images(few, few) is None
    assert of_images(still, many) is None


@given(
    st.lists(st.floats(1e-3, 1e12), min_size=2 * SEGMENTS, max_size=60),
    st.lists(st.floats(1e-3, 1e12), min_size=2 * SEGMENTS, max_size=60),
)
def test_the_ratio_lies_inside_and_turning_the_sides_turns_the_interval(
    a: list[float], b: list[float]
) -> None:
    ours, theirs = of(np.array(a)), of(np.array(b))
    found, turned = span(ours, theirs), span(theirs, ours)
    assert found is not None
    assert turned is not None
    assert 0 < found.low <= found.ratio <= found.high < float("inf")
    assert found.low == pytest.approx(1 / turned.high, rel=1e-6)
    assert found.real == turned.real
