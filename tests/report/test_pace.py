"""Burst beside sustained, and whether a run had come to rest."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import wire
from tests.report.folders import Outcome, create, meta, records, sample
from toolchain.recorded import Run
from toolchain.report.html import HtmlWriter
from toolchain.report.measured import speed_figures
from toolchain.report.pace import Pace, pace, pooled, theil_sen
from toolchain.report.summarise import summarise

SECOND = 10**9


def worked(
    seconds: int, latency_ms: Callable[[float], float], celsius: Callable[[float], float] | None
) -> Run:
    """A run of 10 inferences a second, with a reading each second; 3 of warm-up."""
    envelopes = []
    for n in range(seconds * 10):
        at_s = (n + 1) / 10
        kind = wire.Warmed if n < 3 else wire.Timed
        envelopes.append((at_s, kind(n, int(latency_ms(at_s) * 1e6))))
        if celsius is not None and n % 10 == 0:
            envelopes.append((at_s, sample(temps_c={"cpu": celsius(at_s), "off": None})))
    return Run(
        "a",
        meta(),
        Outcome(whole=True),
        tuple(
            wire.Envelope(seq, int(at_s * SECOND), record)
            for seq, (at_s, record) in enumerate(envelopes)
        ),
    )


def throttling(at_s: float) -> float:
    """100 ms, then slower and slower towards 150 ms with a time constant of 40 s."""
    return 100 + 50 * (1 - math.exp(-at_s / 40))


def test_a_board_that_slows_down_is_faster_at_first_than_for_long() -> None:
    found = pace(worked(400, throttling, lambda s: 80 - 40 * math.exp(-s / 40)))
    assert 100 < np.median(found.burst_ns) / 1e6 < 107
    assert 149 < np.median(found.sustained_ns) / 1e6 <= 150
    assert found.steady is True


def test_one_that_is_still_slowing_down_has_not_come_to_rest() -> None:
    found = pace(worked(90, throttling, None))
    assert found.latency_slope is not None
    assert found.latency_slope > 5
    assert found.temperature_slope is None
    assert found.steady is False


def test_one_that_is_still_warming_up_has_not_either() -> None:
    found = pace(worked(90, lambda _: 100.0, lambda s: 40 + s / 30))
    assert found.latency_slope == pytest.approx(0, abs=1e-6)
    assert found.temperature_slope == pytest.approx(2, abs=0.1)
    assert found.steady is False


def test_single_slow_inferences_do_not_tilt_a_run() -> None:
    found = pace(worked(90, lambda s: 900.0 if s > 85 and s % 1 < 0.2 else 100.0, None))
    assert found.steady is True


def test_a_short_run_has_a_burst_and_nothing_sustained() -> None:
    found = pace(worked(20, throttling, None))
    assert len(found.burst_ns) == pytest.approx(100, abs=2)
    assert found.sustained_ns == ()
    assert found.steady is None
    assert pace(Run("a", meta(), None, ())) == Pace((), (), 0.0)


@pytest.mark.parametrize(("seconds", "reached"), [(20, True), (20, False), (90, True), (90, False)])
def test_after_a_wait_for_a_steady_state_all_timed_inferences_are_sustained(
    seconds: int, reached: bool
) -> None:
    run = worked(seconds, throttling, None)
    place = next(n for n, e in enumerate(run.records) if isinstance(e.record, wire.Timed))
    waited = wire.Envelope(0, run.records[place].monotonic_ns, wire.Steady(reached=reached))
    found = pace(
        dataclasses.replace(run, records=(*run.records[:place], waited, *run.records[place:]))
    )
    if reached:
        assert len(found.sustained_ns) == 10 * seconds - 3
        assert found.steady is (seconds == 20)  # in the long one times still grew afterwards
    else:
        assert found.steady is False
        assert found.latency_slope is None


def test_a_report_says_both_and_doubts_what_had_not_come_to_rest(tmp_path: Path) -> None:
    folder = create(tmp_path)
    folder.start("a", meta())
    start, *_ = records()
    run = worked(90, throttling, None)
    for seq, (at, record) in enumerate(
        [(0, start), *((e.monotonic_ns, e.record) for e in run.records), (10**12, wire.Finished())]
    ):
        folder.append("a", wire.encode(record, seq, at))
    folder.finish("a", Outcome(whole=True))
    report = summarise(folder.load())
    [figures] = report.runs
    assert figures.speed.burst is not None
    assert figures.speed.sustained is not None
    assert figures.speed.burst.p50_ms < figures.speed.sustained.p50_ms
    assert "Sustained p50" in HtmlWriter().render(report)
    [doubt] = [doubt for doubt in report.doubts if doubt.code == "unsteady"]
    assert "% a minute" in doubt.text


def restarted(first: Run, second: Run, *, boots: bool = True) -> Run:
    """The second goes on after a power cut, with a clock that began anew."""
    parts = []
    for boot, part in (("aaaaaaaa", first), ("bbbbbbbb", second)):
        hello = wire.Envelope(0, 0, wire.Hello(boot_id=boot))
        parts += [
            dataclasses.replace(envelope, boot=boot if boots else None)
            for envelope in (hello, *part.records)
        ]
    numbered = [dataclasses.replace(envelope, seq=seq) for seq, envelope in enumerate(parts)]
    return dataclasses.replace(first, records=tuple(numbered))


def later(run: Run, seconds: float) -> Run:
    """As long after the start of its boot."""
    return dataclasses.replace(
        run,
        records=tuple(
            dataclasses.replace(e, monotonic_ns=e.monotonic_ns + int(seconds * SECOND))
            for e in run.records
        ),
    )


@pytest.mark.parametrize("boots", [True, False])
def test_clocks_of_two_boots_are_not_mixed(boots: bool) -> None:
    before = later(worked(10, lambda _: 100.0, None), 900)
    after = worked(90, throttling, None)
    found = pace(restarted(before, after, boots=boots))
    assert found.burst_ns == pace(before).burst_ns
    assert len(found.burst_ns) == 99
    assert found.worked_s == pytest.approx(100, abs=0.5)
    assert found.latency_slope == pace(after).latency_slope
    assert found.steady is False
    assert len(found.sustained_ns) == pytest.approx(450, abs=2)


def test_temperatures_of_two_boots_are_not_mixed() -> None:
    hot = later(worked(120, lambda _: 100.0, lambda _: 80.0), 900)
    cold = worked(120, lambda _: 100.0, lambda _: 30.0)
    assert pace(restarted(hot, cold)).temperature_slope == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("reached", [True, False])
def test_a_wait_after_a_restart_does_not_speak_for_times_before_it(
    reached: bool, tmp_path: Path
) -> None:
    """All was timed before the power went; then pictures were left."""
    timed, place = worked(20, throttling, None), 3
    at = timed.records[place].monotonic_ns
    steady = wire.Envelope(0, at, wire.Steady(reached=reached, window_ns=1))
    first = dataclasses.replace(
        timed, records=(*timed.records[:place], steady, *timed.records[place:])
    )
    after = (
        wire.Envelope(0, SECOND, wire.Warmed(0, 10**8)),
        wire.Envelope(0, 2 * SECOND, wire.Steady(reached=not reached, window_ns=1)),
    )
    run = restarted(first, dataclasses.replace(timed, records=after))
    assert pace(run).reached is reached
    folder = create(tmp_path)
    folder.start("a", meta())
    for envelope in (*run.records, wire.Envelope(len(run.records), 10**11, wire.Finished())):
        line = wire.encode(
            envelope.record, envelope.seq, envelope.monotonic_ns, envelope.boot or "bbbbbbbb"
        )
        folder.append("a", line)
    folder.finish("a", Outcome(whole=True))
    codes = {doubt.code for doubt in summarise(folder.load()).doubts}
    assert ("not-steady" in codes) is not reached


def test_of_runs_that_repeat_each_other_times_are_put_together_and_rest_is_the_worsts() -> None:
    still = worked(90, lambda _: 100.0, None)
    slowing = worked(90, throttling, None)
    short = worked(20, lambda _: 100.0, None)
    alone = [pace(run) for run in (still, slowing, short)]
    assert [one.steady for one in alone] == [True, False, None]
    found = pooled(alone)
    assert len(found.burst_ns) == sum(len(one.burst_ns) for one in alone)
    assert len(found.sustained_ns) == sum(len(one.sustained_ns) for one in alone)
    assert found.latency_slope == alone[1].latency_slope
    assert found.steady is False
    assert pooled([alone[0], alone[2]]).steady is None
    speed = speed_figures([still, slowing])
    assert speed.steady is False
    assert speed.burst is not None
    assert speed.burst.samples == len(alone[0].burst_ns) + len(alone[1].burst_ns)


@given(
    st.floats(-100, 100),
    st.floats(-100, 100),
    st.lists(st.integers(0, 10**6), min_size=2, max_size=400, unique=True),
)
def test_points_on_a_line_have_its_slope(slope: float, offset: float, xs: list[int]) -> None:
    x = np.array(xs, np.float64)
    found = theil_sen(x, offset + slope * x)
    assert found == pytest.approx(slope, abs=1e-4)


def test_points_at_one_place_have_none() -> None:
    assert theil_sen(np.ones(5), np.arange(5.0)) is None
