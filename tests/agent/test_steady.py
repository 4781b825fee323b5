"""The rule by which a board counts as steady."""

import numpy as np
import pytest

from targets.agent import steady, wire
from targets.agent.steady import Steadiness
from tests.agent.running import of_kind, records_of, run, small_plan


def fed(times_ms, temps_c, period_s=0.1, window_s=20.0):
    """When, in seconds, it first says steady; None where it never does."""
    state = Steadiness(window_s)
    for index, (time_ms, temp_c) in enumerate(zip(times_ms, temps_c, strict=True)):
        state.note(index * period_s, int(time_ms * 1e6), temp_c)
        movement = state.movement()
        if movement is not None and movement.is_steady:
            return index * period_s
    return None


def noisy(times_ms, scatter, seed=1):
    return np.asarray(times_ms) * np.random.default_rng(seed).lognormal(0, scatter, len(times_ms))


def test_a_board_that_does_not_move_is_steady_after_one_window():
    assert fed([50.0] * 1000, [60.0] * 1000) == pytest.approx(20.0)


def test_a_board_that_warms_up_is_steady_when_its_temperature_has_settled():
    seconds = np.arange(3000) * 0.1
    temps = 80 - 40 * np.exp(-seconds / 40)  # 40 s: a board without a fan
    assert 60 < fed([50.0] * 3000, temps) < 200


def test_a_board_that_slows_down_is_not_steady_before_it_has():
    seconds = np.arange(4000) * 0.1
    times = 50 + 20 / (1 + np.exp(-(seconds - 150) / 10))
    after = fed(noisy(times, 0.005), [None] * 4000)
    steady_at_first = after is not None and after < 30
    assert steady_at_first, "flat before it slows: a rule that looks back cannot know"
    later = fed(noisy(times[1300:], 0.005), [None] * 2700)
    assert later is None or later > 40


def test_a_rising_temperature_alone_keeps_it_waiting():
    assert fed([50.0] * 1000, 50 + np.arange(1000) * 0.01) is None


@pytest.mark.parametrize("scatter", [0.01, 0.05, 0.2])
def test_scatter_alone_does_not_keep_it_waiting_for_long(scatter):
    waits = [fed(noisy([50.0] * 3000, scatter, seed), [60.0] * 3000) for seed in range(30)]
    assert all(wait is not None for wait in waits)
    assert np.median(waits) < 30


def test_a_slow_model_gets_a_longer_window():
    assert fed([9000.0] * 40, [None] * 40, period_s=9.0) == pytest.approx(9 * 9)


def test_the_agent_waits_and_says_what_came_of_it(agent, tmp_path, monkeypatch):
    records = records_of(run(agent, small_plan(tmp_path, steady_s=1.5)).stdout)
    [told] = of_kind(records, wire.Steady)
    assert not told.reached
    assert 1.5e9 <= told.waited_ns < 4e9
    assert told.inferences == len(of_kind(records, wire.Warmed)) > 10
    assert [warmed.index for warmed in of_kind(records, wire.Warmed)] == list(
        range(told.inferences)
    )
    assert len(of_kind(records, wire.Timed)) == 3


def test_without_being_asked_it_does_not_wait(agent, tmp_path):
    records = records_of(run(agent, small_plan(tmp_path)).stdout)
    assert not of_kind(records, wire.Steady)
    assert len(of_kind(records, wire.Warmed)) == 1


def test_the_wait_ends_as_soon_as_nothing_moves(monkeypatch):
    clock = iter(np.arange(0, 10_000, 0.5))
    monkeypatch.setattr(steady.time, "monotonic", lambda: float(next(clock)))
    wait = steady.Waiting(600, 3, lambda: 50.0)
    while not wait.is_over:
        wait.note(50_000_000)
    told = wait.end()
    assert told.reached
    assert 19e9 < told.waited_ns < 23e9
    assert (told.latency_change, told.temp_change_c) == (0.0, 0.0)


def test_after_a_restart_pictures_alone_do_not_wait(agent, tmp_path):
    rest = {"first_timed": 3, "first_image": 1, "steady_s": 60.0}
    records = records_of(run(agent, small_plan(tmp_path, **rest)).stdout)
    assert not of_kind(records, wire.Steady)
    assert len(of_kind(records, wire.Warmed)) == 1
    assert not of_kind(records, wire.Timed)
    assert len(of_kind(records, wire.Detected)) == 1


def test_after_a_restart_times_that_are_left_do_wait(agent, tmp_path):
    rest = {"first_timed": 2, "steady_s": 1.0}
    records = records_of(run(agent, small_plan(tmp_path, **rest)).stdout)
    assert len(of_kind(records, wire.Steady)) == 1
    assert len(of_kind(records, wire.Timed)) == 1
