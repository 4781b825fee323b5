"""Runs of one folder that were asked the same are one model, measured several times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.folders import Outcome, create, dataset, keep, meta, records, sample
from toolchain.repeats import grouped
from toolchain.report.figures import Report
from toolchain.report.html import HtmlWriter
from toolchain.report.summarise import summarise

CUT = Outcome(whole=False, reason="link lost")


def summed(tmp_path: Path, *runs: tuple[str, object, list[object], Outcome]) -> Report:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    for key, about, sent, outcome in runs:
        keep(folder, key, about, sent, outcome)  # type: ignore[arg-type]
    return summarise(folder.load())


def whole(key: str, ms: float, recipe: str = "float32", bits: int = 32) -> tuple[object, ...]:
    return key, meta(recipe, bits), records(times_ms=[ms] * 40), Outcome(whole=True)


def test_times_of_repeats_are_put_together_and_the_model_stands_once(tmp_path: Path) -> None:
    report = summed(
        tmp_path,
        whole("a", 10),
        whole("b", 4, "w8c-a8", 8),
        whole("a.2", 12),
        whole("b.2", 5, "w8c-a8", 8),
    )
    assert [run.key for run in report.runs] == ["a", "b"]
    first, second = report.runs
    assert (first.speed.repeats, second.speed.repeats) == (2, 2)
    assert first.speed.inference is not None
    assert first.speed.inference.samples == 80
    assert first.speed.inference.p50_ms == pytest.approx(11)
    assert first.speed.inference.bounds_ms[50] == (None, None)  # two runs say little
    assert second.accuracy.ap_lost == 0
    assert "80 in 2 runs" in HtmlWriter().render(report)


def test_a_repeat_that_was_cut_off_makes_the_report_partial_and_is_not_counted(
    tmp_path: Path,
) -> None:
    report = summed(
        tmp_path,
        ("a", meta(), records(times_ms=[99.0] * 40)[:20], CUT),
        whole("a.2", 10),
    )
    [run] = report.runs
    assert run.partial
    assert run.reason == "link lost"
    assert run.speed.repeats == 1
    assert run.speed.inference is not None
    assert run.speed.inference.max_ms == 10


def test_a_doubt_about_a_repeat_alone_is_told_once(tmp_path: Path) -> None:
    hot = records(samples=[sample(temps_c={"cpu": 95.0})])
    report = summed(
        tmp_path,
        whole("a", 10),
        ("a.2", meta(), hot, Outcome(whole=True)),
        ("a.3", meta(), hot, Outcome(whole=True)),
    )
    assert [doubt.runs for doubt in report.doubts if doubt.code == "hot"] == [("a",)]


def test_runs_asked_something_else_are_no_repeats(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    for key, about in (("a", meta()), ("b", meta(sha256="9" * 64)), ("c", meta())):
        keep(folder, key, about, records())
    assert [[run.key for run in group] for group in grouped(folder.load().runs)] == [
        ["a", "c"],
        ["b"],
    ]
