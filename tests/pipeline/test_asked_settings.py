"""Runs under other settings of the board are other runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from targets.agent import wire
from targets.errors import InputError
from targets.target import Target
from tests.report.folders import create, keep, meta, records
from toolchain.measuring import Board, Measuring
from toolchain.plannedruns import meta_of, remaining
from toolchain.repeats import grouped
from toolchain.runmeta import RunMeta, built
from toolchain.settingsseen import Asked
from toolchain.subject import Subject

BENCHMARK = Asked("benchmark")
SLOW = Asked("benchmark", overrides=(("cpu.max_khz", 600_000),))
SLOWER = Asked("benchmark", overrides=(("cpu.max_khz", 600_000), ("cpu.max_khz", 400_000)))


@pytest.fixture
def board() -> Board:
    """As far as it is asked before a run."""
    nothing: Any = None
    return Board(Target("shed", host="shed.example"), nothing, nothing, cpus=4)


@pytest.fixture
def subject() -> Subject:
    nothing: Any = None
    return Subject(Path("tiny.tflite"), meta().model, nothing, None)


def test_what_was_measured_under_other_settings_is_measured_again(
    tmp_path: Path, board: Board, subject: Subject
) -> None:
    folder = create(tmp_path)
    [(_, key, about)] = remaining([subject], board, None, Measuring(asked=SLOW), folder)
    assert about.overrides == ("cpu.max_khz=600000",)
    keep(folder, key, about, records({}))
    assert not remaining([subject], board, None, Measuring(asked=SLOW), folder)
    for other in (BENCHMARK, SLOWER, Asked()):
        assert remaining([subject], board, None, Measuring(asked=other), folder)


def test_runs_under_other_settings_do_not_repeat_each_other(
    tmp_path: Path, board: Board, subject: Subject
) -> None:
    folder = create(tmp_path)
    for key, asked in (("a", SLOW), ("b", SLOWER), ("c", SLOW)):
        about = meta_of(subject, board, None, Measuring(asked=asked))
        keep(folder, key, about, records({}))
    assert [[run.key for run in group] for group in grouped(folder.load().runs)] == [
        ["a", "c"],
        ["b"],
    ]


def test_a_file_of_settings_counts_by_its_content(
    tmp_path: Path, board: Board, subject: Subject
) -> None:
    config = tmp_path / "own.toml"
    found = []
    for content in ("a = 1", "a = 2", "a = 1"):
        config.write_text(content)
        asked = dataclasses.replace(BENCHMARK, config=config)
        found.append(meta_of(subject, board, None, Measuring(asked=asked)))
    assert found[0] == found[2] != found[1]
    config.unlink()
    with pytest.raises(InputError):
        meta_of(subject, board, None, Measuring(asked=asked))


def test_order_and_kind_of_values_are_kept_apart_and_read_again(
    board: Board, subject: Subject
) -> None:
    ways = [
        (("cpu.governor", ("performance", "schedutil")), ("swap.swappiness", 10)),
        (("swap.swappiness", 10), ("cpu.governor", ("performance", "schedutil"))),
    ]
    one, other = (
        meta_of(subject, board, None, Measuring(asked=Asked("quiet", overrides=way)))
        for way in ways
    )
    assert one == other
    assert one.overrides == ("cpu.governor=performance,schedutil", "swap.swappiness=10")
    assert built(RunMeta, wire.plain(one), "meta") == one
    old = {k: v for k, v in wire.plain(one).items() if k not in ("overrides", "config_sha256")}
    assert built(RunMeta, old, "meta").overrides == ()
