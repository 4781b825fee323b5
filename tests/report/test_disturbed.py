"""What else a board did while a run was on: told where it disturbed, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from targets.agent import wire
from tests.report.folders import MIB, create, dataset, facts, keep, meta, records, sample
from toolchain.report.summarise import summarise

PERIOD_NS = 500_000_000
CORES = 4
FAST, SLOW = 2_400_000, 1_500_000


def readings(
    loads: Sequence[float], own: float, *, clocks: Sequence[int] = (FAST,), **changed: object
) -> Iterator[wire.Sample]:
    """Twice a second; the first one knows no load yet.  own: cores that the agent kept busy."""
    for number in range(40):
        known = {f"cpu{core}": load for core, load in enumerate(loads)}
        yield sample(
            at_ns=10**9 + number * PERIOD_NS,
            cpu_ns=int(number * PERIOD_NS * own),
            cpu_load=known if number else {},
            cpu_khz={"policy0": clocks[number % len(clocks)]},
            **changed,
        )


def told(tmp_path: Path, samples: Sequence[wire.Sample], **board: object) -> dict[str, str]:
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "a", meta(), records(board=facts(**board), samples=samples))
    return {doubt.code: doubt.text for doubt in summarise(folder.load()).doubts}


@pytest.mark.parametrize("own", [1, 2, 3])
def test_a_foreign_process_on_one_core_is_told(tmp_path: Path, own: int) -> None:
    """As far as a load average goes, it is one thread more, which proves nothing."""
    loads = [(own + 1) / CORES] * CORES
    found = told(tmp_path, list(readings(loads, own, load_1min=own + 1.0)))
    assert "it took 1.0 cores on average" in found["busy"]


@pytest.mark.parametrize(
    ("loads", "own"),
    [([1, 1, 0.02, 0.02], 2.0), ([0.8, 0.8, 0.8, 0.8], 3.1), ([1, 1, 1, 1], 4.1), ([0] * 4, 0.0)],
)
def test_what_an_idle_system_takes_is_not_told(
    tmp_path: Path, loads: Sequence[float], own: float
) -> None:
    """Nor is a load average of before the run."""
    assert "busy" not in told(tmp_path, list(readings(loads, own, load_1min=9.0)))


def test_a_restart_is_no_work_of_others(tmp_path: Path) -> None:
    """Processor time begins anew, and so does the board's clock."""
    once = list(readings([0.5] * CORES, 2.0))
    assert "busy" not in told(tmp_path, [*once, *once])


@pytest.mark.parametrize(
    ("slow", "governor", "doubt"),
    [
        (8, "performance", "in 8 of 39 readings"),
        (1, "performance", "in 1 of 39 readings"),
        (8, "ondemand", "in 8 of 39 readings"),
        (1, "ondemand", ""),
        (0, "performance", ""),
    ],
)
def test_a_clock_that_fell_while_its_cores_worked_is_told(
    tmp_path: Path, slow: int, governor: str, doubt: str
) -> None:
    clocks = [FAST] * (40 - slow) + [SLOW] * slow
    samples = list(readings([0.5] * CORES, 2.0, clocks=clocks))
    found = told(tmp_path, samples, governors={"policy0": governor})
    assert ("slowed" in found) == bool(doubt)
    assert doubt in found.get("slowed", "")


def test_clocks_of_idle_cores_and_of_before_the_work_are_not_told(tmp_path: Path) -> None:
    clusters = (wire.Cluster(cpus=(0, 1)), wire.Cluster(cpus=(2, 3)))
    board = {"clusters": clusters, "cpu_max_khz": {"policy0": FAST, "policy2": FAST}}
    clocks = [SLOW] + [FAST] * 39
    samples = [
        wire.Sample(**{**vars(one), "cpu_khz": {**one.cpu_khz, "policy2": SLOW}})
        for one in readings([1, 1, 0.1, 0], 2.0, clocks=clocks)
    ]
    assert "slowed" not in told(tmp_path / "idle", samples, **board)
    working = list(readings([0, 0, 1, 1], 2.0, clocks=[SLOW]))
    assert "slowed" not in told(tmp_path / "other", working, **board)
    assert "slowed" in told(tmp_path / "own", list(readings([1, 1, 0, 0], 2.0, clocks=[SLOW])))


@pytest.mark.parametrize(("profile", "told_so"), [("quiet", False), (None, True)])
def test_a_limit_that_was_asked_for_slows_nothing(
    tmp_path: Path, profile: str | None, told_so: bool
) -> None:
    """Where nobody asked, a board that a power mode holds back is worth a word."""
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    limited = wire.Cluster(cpus=tuple(range(CORES)), max_khz=SLOW, hardware_max_khz=FAST)
    board = facts(clusters=(limited,), cpu_max_khz={"policy0": FAST})
    about = dataclasses.replace(meta(), profile=profile)
    samples = list(readings([0.5] * CORES, 2.0, clocks=[SLOW]))
    keep(folder, "a", about, records(board=board, samples=samples))
    codes = {doubt.code for doubt in summarise(folder.load()).doubts}
    assert ("slowed" in codes) == told_so


def test_swap_that_the_board_takes_meanwhile_is_told(tmp_path: Path) -> None:
    free = [(1000 - 8 * number) * MIB for number in range(40)]
    samples = [sample(swap_free_bytes=one) for one in free]
    assert "swapped out 312 MiB" in told(tmp_path / "a", samples)["swapped"]
    for name, quiet in (
        ("used before", free[-1:] * 9),
        ("given back", free[::-1]),
        ("a", free[:3]),
    ):
        assert "swapped" not in told(
            tmp_path / f"{name}-quiet", [sample(swap_free_bytes=one) for one in quiet]
        )
