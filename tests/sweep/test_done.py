"""What a sweep has measured in a power mode is not measured again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from targets.progress import SILENT
from targets.target import Target
from tests.report.folders import create, dataset, keep, meta, records
from toolchain.measuring import Board, Measuring
from toolchain.plannedruns import meta_of, run_keys
from toolchain.settingsseen import Asked as Settings
from toolchain.subject import Subject
from toolchain.sweep.conduct import MODE, _Sweep
from toolchain.sweep.grid import Asked, Combination, folder_of


@pytest.mark.parametrize("mode", ["7W", None])
def test_a_combination_that_was_measured_leaves_the_board_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    nothing: Any = None
    board = Board(Target("shed", host="shed.example"), nothing, nothing, cpus=4)
    subject = Subject(Path("tiny.tflite"), meta().model, nothing, None)
    images = dataset(tmp_path / "set")
    measuring = Measuring(asked=Settings("benchmark"))
    combination = Combination(1, mode)
    chosen = ((MODE, mode),) if mode else ()
    asked = dataclasses.replace(
        measuring, threads=1, asked=dataclasses.replace(measuring.asked, overrides=chosen)
    )
    folder = create(folder_of(tmp_path / "swept", combination), images)
    [key] = run_keys([subject], board.target)
    keep(folder, key, meta_of(subject, board, images, asked), records())
    modes = (mode,) if mode else ()
    sweep = _Sweep([subject], images, measuring, Asked((1,), modes), tmp_path / "swept", (), SILENT)
    sweep.mode(board, mode)
    assert sweep.measured == [combination]
    assert not sweep.left_out
