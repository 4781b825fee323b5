"""What a board was set to is told of the attempt that was under it, and of no other."""

from __future__ import annotations

from pathlib import Path

from targets.agent.records import Warmed
from targets.agent.wire import encode
from tests.report.folders import meta
from toolchain.boardsettings import Around
from toolchain.runmeta import BoardSettings, Outcome
from toolchain.runs import RunFolder
from toolchain.settling import part_of, settle

TOLD = BoardSettings("generic", "benchmark", hold="a" * 16)


def new(path: Path) -> RunFolder:
    return RunFolder.create(path / "run", command=[], versions={})


def test_an_attempt_that_was_withdrawn_is_told_nothing_of(tmp_path: Path) -> None:
    """Nor is the one before it, which was under other settings."""
    folder = new(tmp_path)
    for earlier in (False, True):
        if earlier:
            folder.start("int8", meta("w8c-a8", 8), "0" * 16)
            folder.append("int8", encode(Warmed(), 0, 1))
            folder.finish("int8", Outcome(whole=False))
        folder.start("int8", meta("w8c-a8", 8), "1" * 16)
        part = part_of(folder, "int8", None)
        settle(folder, {"int8": part}, Around(TOLD))
        folder.withdraw("int8")
        settle(folder, {"int8": part}, Around(TOLD))
    (run,) = folder.load().runs
    assert run.settings is None


def test_a_part_before_is_known_by_its_run(tmp_path: Path) -> None:
    folder = new(tmp_path)
    folder.start("int8", meta("w8c-a8", 8), "0" * 16)
    folder.settled("int8", TOLD)
    left = folder.unfinished("int8")
    assert left is not None
    assert part_of(folder, "int8", left).before == TOLD
    folder.start("int8", meta("w8c-a8", 8), "1" * 16)
    assert part_of(folder, "int8", left).before is None
