"""Limits on real runs: what is unknown fails, and what lies on the edge is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.compare.measured import Folders
from tests.report import folders as made
from toolchain.compare.sides import Named, named
from toolchain.gates import Checked, Gate, Limits, check
from toolchain.gates_written import as_json, to_junit, to_markdown

CUT = made.Outcome(whole=False, reason="link lost")
GENEROUS = Limits(
    max_ap_drop=90,
    min_ap=0,
    min_fps=0.01,
    max_memory_bytes=10**10,
    max_latency_p50_ms=10**5,
    max_latency_p95_ms=10**5,
    max_file_bytes=10**9,
    max_slowdown_percent=10**4,
)


def gate(found: Checked, name: str) -> Gate:
    [one] = [gate for gate in found.gates if gate.name == name]
    return one


def test_a_run_within_all_limits_passes_and_its_float_model_is_not_asked(folders: Folders) -> None:
    found = check(Named(folders.first), GENEROUS)
    assert found.passed
    assert {gate.model for gate in found.gates} == {"yolov5s-seg int8 w8c-a8 on loopback"}
    assert len(found.gates) == 8
    assert not any(gate.spans for gate in found.gates if gate.name != "AP drop")


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"min_fps": 10**6}, "FPS end to end"),
        ({"min_ap": 99.9}, "AP"),
        ({"max_memory_bytes": 10**6}, "peak memory"),
        ({"max_latency_p50_ms": 1e-3}, "latency p50"),
        ({"max_latency_p95_ms": 1e-3}, "latency p95"),
        ({"max_file_bytes": 10**6}, "file"),
        ({"max_ap_drop": -200}, "AP drop"),
        ({"max_slowdown_percent": -99.9}, "slowdown"),
        ({"strict": True}, "doubts"),
    ],
)
def test_each_limit_can_fail(folders: Folders, limit: dict[str, float], name: str) -> None:
    found = check(Named(folders.first), Limits(**limit))  # type: ignore[arg-type]
    assert [gate.name for gate in found.failed] == [name]


def test_a_named_model_is_checked_though_it_is_the_float_one(folders: Folders) -> None:
    found = check(named(f"{folders.first}:float32"), Limits(max_file_bytes=10**7, max_ap_drop=1))
    assert not gate(found, "file").passed
    assert gate(found, "AP drop").why == "unknown: it is the float model itself"


def test_a_baseline_elsewhere_is_the_same_model_there(folders: Folders) -> None:
    found = check(Named(folders.first), Limits(max_ap_drop=0), against=Named(folders.second))
    drop = gate(found, "AP drop")
    assert drop.passed
    assert drop.value == 0
    assert "w8c-a8" in drop.why


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("AP drop", Limits(max_ap_drop=100)),
        ("AP", Limits(min_ap=0)),
        ("slowdown", Limits(max_slowdown_percent=10**6)),
    ],
)
def test_what_is_unknown_fails_with_the_reason(folders: Folders, name: str, limits: Limits) -> None:
    """No float model in the folder, no labels."""
    found = gate(check(Named(folders.others), limits), name)
    assert not found.passed
    assert found.value is None
    assert found.why.startswith("unknown: ")


def test_other_pictures_than_the_baselines_fail(folders: Folders) -> None:
    found = check(Named(folders.others), Limits(max_ap_drop=100), against=Named(folders.first))
    assert "not the same pictures" in gate(found, "AP drop").why
    assert not found.passed


def fleet(folder: Path, int8_ms: float, threads: int = 2, only: str = "") -> Path:
    """A float model and its int8 form on two boards, of which one is ten times as fast."""
    run = made.create(folder, made.dataset(folder.with_name(f"{folder.name}-set")))
    for target, factor in (("slow", 10.0), ("fast", 1.0)):
        for recipe, bits, ms in (("float32", 32, 10.0), ("w8c-a8", 8, int8_ms)):
            if only and target != only:
                continue
            about = made.meta(recipe, bits)
            about = dataclasses.replace(
                about,
                target=dataclasses.replace(about.target, name=target),
                settings=dataclasses.replace(about.settings, threads=threads),
            )
            weaker = {1: made.perfect(1), 2: ()} if target == "slow" and bits == 32 else None
            sent = [
                dataclasses.replace(r, threads=threads) if isinstance(r, made.wire.Loaded) else r
                for r in made.records(weaker, times_ms=(ms * factor,) * 40)
            ]
            made.keep(run, f"{recipe}@{target}", about, sent)
    return folder


def test_every_board_of_a_fleet_is_held_against_its_own_float_model(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", int8_ms=20.0)
    found = check(Named(run), Limits(max_slowdown_percent=5, max_ap_drop=0.5))
    slower = [one for one in found.gates if one.name == "slowdown"]
    assert [one.value for one in slower] == [pytest.approx(100)] * 2
    assert not any(one.passed for one in slower)
    drops = {one.model: one.value for one in found.gates if one.name == "AP drop"}
    assert drops["tiny int8 w8c-a8 on fast"] == 0  # less than nothing against the other board's


def test_a_baseline_elsewhere_is_on_the_same_board(tmp_path: Path) -> None:
    run, before = fleet(tmp_path / "run", int8_ms=20.0), fleet(tmp_path / "before", int8_ms=4.0)
    found = check(Named(run), Limits(max_slowdown_percent=5), against=Named(before))
    assert [one.value for one in found.gates] == [pytest.approx(400)] * 2
    assert not any(one.passed for one in found.gates)


def test_a_board_that_the_baseline_lacks_is_unknown(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", int8_ms=20.0)
    before = fleet(tmp_path / "before", int8_ms=20.0, only="slow")
    limits = Limits(max_slowdown_percent=5, max_ap_drop=90)
    found = check(Named(run), limits, against=Named(before))
    assert {one.model for one in found.failed} == {"tiny int8 w8c-a8 on fast"}
    for one in found.failed:
        assert one.why == "unknown: there is no model on fast to measure it against"
    chosen = Named(before, "w8c-a8")  # who names one wants that one: AP is not the board's
    found = check(Named(run, "w8c-a8@fast"), limits, against=chosen)
    assert gate(found, "AP drop").passed
    assert "Different target" in gate(found, "slowdown").why
    assert not gate(found, "slowdown").passed


def test_a_slowdown_against_another_number_of_threads_is_unknown(tmp_path: Path) -> None:
    run, before = fleet(tmp_path / "run", 2.0), fleet(tmp_path / "before", 20.0, threads=1)
    found = check(Named(run), Limits(max_slowdown_percent=5), against=Named(before))
    assert [one.passed for one in found.gates] == [False, False]
    assert all("Different threads: A 1, B 2." in one.why for one in found.gates)


def test_a_board_that_said_nothing_of_memory_and_a_partial_run_fail(tmp_path: Path) -> None:
    folder = made.create(tmp_path / "run", made.dataset(tmp_path / "set"))
    silent = [
        dataclasses.replace(r, memory=made.wire.Memory()) if isinstance(r, made.wire.Sample) else r
        for r in made.records()
        if not isinstance(r, made.wire.Peak | made.wire.Loaded)
    ]
    made.keep(folder, "int8", made.meta("w8c-a8", 8), silent, CUT)
    found = check(Named(tmp_path / "run"), Limits(max_memory_bytes=10**12))
    assert [(g.name, g.passed) for g in found.gates] == [("run", False), ("peak memory", False)]
    assert "link lost" in found.gates[0].why


def test_a_limit_inside_the_interval_is_decided_by_the_figure_and_told(tmp_path: Path) -> None:
    folder = made.create(tmp_path / "run", made.dataset(tmp_path / "set"))
    times = [10.0 + n % 7 for n in range(70)]
    made.keep(folder, "int8", made.meta("w8c-a8", 8), made.records(times_ms=times))
    just, above, far = (
        gate(check(Named(tmp_path / "run"), Limits(max_latency_p95_ms=limit)), "latency p95")
        for limit in (16.0, 15.9, 30.0)
    )
    assert just.passed
    assert not above.passed
    assert far.passed
    assert just.spans
    assert "inside the interval" in just.why
    assert not far.spans


def test_junit_is_a_suite_a_model_and_a_case_a_gate(folders: Folders, tmp_path: Path) -> None:
    found = check(Named(folders.first), dataclasses.replace(GENEROUS, min_fps=10**6))
    top = ET.fromstring(to_junit(found))
    [suite] = top
    assert (suite.get("tests"), suite.get("failures")) == ("8", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["FPS end to end"]
    evil = dataclasses.replace(found.gates[0], model="a<b>\0\x1b|`c`\ud800", why="x|y")
    other = dataclasses.replace(found, gates=(evil,))
    [suite] = ET.fromstring(to_junit(other))
    assert suite.get("name") == "a<b>\ufffd\ufffd|`c`\ufffd"
    assert "x\\|y" in to_markdown(other)
    assert as_json(found)["passed"] is False
    assert ":x:" in to_markdown(found)
