"""The fastest way wins, unless fewer threads do as well."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.tuning.candidates import Placement
from toolchain.tuning.choice import MOST_NOISE, Trial, choose, contenders, rounds


def trial(threads: int, *medians: float, cpus: tuple[int, ...] = ()) -> Trial:
    return Trial(Placement(threads, cpus), medians)


def test_the_fastest_is_chosen() -> None:
    trials = [trial(1, 40, 40), trial(2, 22, 22), trial(3, 16, 16), trial(4, 13, 13)]
    assert choose(trials).placement == Placement(4)


def test_two_per_cent_are_not_worth_another_thread() -> None:
    trials = [trial(1, 40, 40), trial(2, 22, 22), trial(3, 13.2, 13.2), trial(4, 13, 13)]
    assert choose(trials).placement == Placement(3)


def test_drift_from_round_to_round_is_no_noise() -> None:
    trials = [trial(1, 40, 60), trial(2, 22, 33), trial(3, 14, 21), trial(4, 13, 19.5)]
    choice = choose(trials)
    assert choice.placement == Placement(4)
    assert choice.noise == pytest.approx(0, abs=1e-9)


def test_a_difference_within_the_noise_is_not_worth_another_thread() -> None:
    trials = [trial(1, 40, 41), trial(2, 22, 21), trial(3, 13.9, 13.1), trial(4, 12.6, 13.4)]
    choice = choose(trials)
    assert choice.placement == Placement(3)
    assert choice.noise is not None
    assert choice.noise > 0.03


def test_however_noisy_a_large_difference_counts() -> None:
    trials = [trial(1, 40, 20), trial(2, 20, 30), trial(3, 15, 15), trial(4, 13, 10)]
    choice = choose(trials)
    assert choice.noise is not None
    assert choice.noise > MOST_NOISE
    assert choice.placement == Placement(4)


def test_big_cores_are_chosen_where_they_are_faster_and_not_where_they_are_not() -> None:
    free = [trial(1, 40, 40), trial(2, 30, 30), trial(4, 24, 24)]
    assert choose([*free, trial(2, 20, 20, cpus=(4, 5))]).placement == Placement(2, (4, 5))
    assert choose([*free, trial(4, 24, 24, cpus=(0, 1, 2, 3))]).placement == Placement(4)


def test_one_way_alone_is_chosen() -> None:
    choice = choose([trial(1, 30.0)])
    assert choice.placement == Placement(1)
    assert choice.noise is None


def test_what_ran_once_only_is_out() -> None:
    trials = [trial(1, 9.0), trial(3, 10, 10, 10), trial(4, 8, 8, 8)]
    assert choose(trials).placement == Placement(4)


def test_what_takes_twice_the_time_is_not_run_again() -> None:
    trials = [trial(1, 41), trial(2, 22), trial(3, 20)]
    assert [t.placement.threads for t in contenders(trials)] == [2, 3]


@given(st.integers(2, 64))
def test_there_are_enough_rounds_to_know_the_noise(ways: int) -> None:
    assert (ways - 1) * (rounds(ways) - 1) >= 3
    assert rounds(ways) >= 2


def test_noise_finds_a_real_difference_and_none_where_there_is_none() -> None:
    """In 95 of 100 noisy boards without a difference, the two alike ways are taken for alike."""
    dice = random.Random(5)
    wrong = 0
    for _ in range(300):
        trials = [
            trial(n, *(100 * math.exp(dice.gauss(0, 0.01)) for _ in range(2))) for n in range(1, 5)
        ]
        noise = choose(trials).noise
        assert noise is not None
        difference = abs(math.log(trials[0].mean_ns / trials[1].mean_ns))
        wrong += difference > math.log1p(noise)
    assert wrong / 300 < 0.09
