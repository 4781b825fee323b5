"""Threads follow the CPUs that a board has while its settings are in force, not before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.agent import wire
from targets.errors import LinkLost
from targets.progress import SILENT
from targets.ssh import Connection
from targets.target import Target
from tests.report.folders import create, dataset, facts, meta, records
from tests.targets.firmware.played import GOVERNOR, Played
from tests.targets.firmware.test_holds import ASKED, PERFORMANCE, board, link  # noqa: F401
from toolchain import measuring
from toolchain.bundles import Bundles
from toolchain.evaluate.truth import Dataset
from toolchain.measuring import Board, Measuring, as_set
from toolchain.runmeta import RunMeta
from toolchain.runs import RunFolder
from toolchain.subject import Subject
from toolchain.sweep import conduct
from toolchain.sweep.grid import Asked, Combination

AS_FOUND, IN_FORCE = 2, 6  # CPUs
Measured = Callable[[Measuring], None]
MEASURING = Measuring(warmup=2, timed_runs=40, asked=ASKED)


@dataclasses.dataclass
class Runs:
    """What was begun on the board, and under what.  cut: the next one breaks off early."""

    board: Played
    metas: list[RunMeta] = dataclasses.field(default_factory=list)
    went_on: list[bool] = dataclasses.field(default_factory=list)
    governors: list[str] = dataclasses.field(default_factory=list)
    cut: bool = False

    def begun(self, *given: Any, **more: Any) -> tuple[Iterator[wire.Envelope], int]:
        """As `keeping.begun`, with records of a test."""
        _, _, about, key, folder, _ = given
        before = folder.unfinished(key)
        self.metas.append(about)
        self.went_on.append(before is not None and before.meta == about)
        self.governors.append(self.board.read(GOVERNOR).strip())
        folder.start(key, about, f"{len(self.metas):016x}")
        return self._told(about.settings.threads), 0

    def _told(self, threads: int) -> Iterator[wire.Envelope]:
        for seq, record in enumerate(records(board=facts(cpus_allowed=IN_FORCE))):
            if self.cut and isinstance(record, wire.Timed):
                self.cut = False
                raise LinkLost("cut", hint="")
            own = isinstance(record, wire.Loaded)
            told = dataclasses.replace(record, threads=threads) if own else record
            yield wire.decode(wire.encode(told, seq, 10**9 + seq))

    @property
    def threads(self) -> list[int]:
        """Of each run."""
        return [about.settings.threads for about in self.metas]


@pytest.fixture
def runs(board: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:  # noqa: F811
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    board.tool(
        "python",
        f'read -r is <"$HERE{GOVERNOR}"\n'
        f"[ $is = {PERFORMANCE} ] && echo {IN_FORCE} || echo {AS_FOUND}\n",
    )
    found = Runs(board)
    monkeypatch.setattr(measuring, "begun", found.begun)
    monkeypatch.setattr(measuring, "send_all", lambda *_: None)
    return found


@pytest.fixture
def shed(board: Played, link: Connection) -> Board:  # noqa: F811
    """Reached while it was as it is found: the interpreter tells how many CPUs there are."""
    python: Any = dataclasses.make_dataclass("Python", ["python", "store"])(
        str(board.path("bin/python")), "/nowhere"
    )
    return Board(Target("shed", host="shed.example"), link, python, cpus=AS_FOUND)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    nothing: Any = None
    (tmp_path / "tiny.tflite").write_bytes(b"model")
    return Subject(tmp_path / "tiny.tflite", meta().model, nothing, None)


@pytest.fixture
def measure(tmp_path: Path, subject: Subject, shed: Board, runs: Runs) -> Measured:
    del runs
    images = dataset(tmp_path / "set")
    create(tmp_path / "run", images)

    def once(asked: Measuring) -> None:
        folder = RunFolder.open(tmp_path / "run")
        measuring.measure([subject], shed, Bundles(images), asked, folder)

    return once


def test_the_cpus_of_a_board_are_those_it_has_now(
    board: Played,  # noqa: F811
    shed: Board,
    runs: Runs,
) -> None:
    del runs
    assert as_set(shed).cpus == AS_FOUND
    board.write(GOVERNOR, f"{PERFORMANCE}\n")
    assert as_set(shed).cpus == IN_FORCE


def test_a_run_has_a_thread_for_each_cpu_under_its_settings(runs: Runs, measure: Measured) -> None:
    measure(MEASURING)
    assert (runs.threads, runs.governors) == ([IN_FORCE], [PERFORMANCE])
    measure(MEASURING)
    assert runs.threads == [IN_FORCE], "what is there was measured again"


def test_a_run_of_as_many_threads_as_were_found_is_not_what_is_asked(
    runs: Runs, measure: Measured
) -> None:
    measure(dataclasses.replace(MEASURING, threads=AS_FOUND))
    measure(MEASURING)
    assert runs.threads == [AS_FOUND, IN_FORCE]


def test_a_run_that_was_cut_off_goes_on_with_its_threads(runs: Runs, measure: Measured) -> None:
    runs.cut = True
    with pytest.raises(LinkLost):
        measure(MEASURING)
    measure(MEASURING)
    assert (runs.threads, runs.went_on) == ([IN_FORCE] * 2, [False, True])


def test_a_sweep_has_the_threads_that_fit_under_its_settings(
    tmp_path: Path, subject: Subject, shed: Board, runs: Runs
) -> None:
    images: Dataset = dataset(tmp_path / "set")

    def swept(*threads: int) -> conduct._Sweep:
        return conduct._Sweep(
            [subject], images, MEASURING, Asked(threads), tmp_path / "swept", (), SILENT
        )

    first = swept(1, 4, 8)
    first.mode(shed, None)
    assert runs.threads == [1, 4]
    assert [str(one.combination) for one in first.left_out] == ["8 threads"]
    assert first.left_out[0].reason == f"the board has {IN_FORCE} CPUs"
    every = swept()
    every.mode(shed, None)
    assert sorted(runs.threads) == [1, 2, 3, 4, 5, 6]
    again = swept()
    again.mode(dataclasses.replace(shed, connection=None), None)  # type: ignore[arg-type]
    assert again.measured == [Combination(threads) for threads in range(1, 7)]
    assert len(runs.threads) == 6, "what is there was measured again"
