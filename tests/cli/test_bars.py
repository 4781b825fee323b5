"""What a terminal shows while stages are under way."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from toolchain.cli.bars import Bars


@pytest.fixture
def screen() -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False
    )


def shown(screen: Console) -> list[str]:
    """Every line that was drawn, in order; a line drawn anew is there again."""
    assert isinstance(screen.file, io.StringIO)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "\n", screen.file.getvalue())
    return [line.strip() for line in drawn.split("\n") if line.strip()]


def test_a_stage_without_a_total_shows_the_time_it_has_taken_while_it_runs(
    screen: Console,
) -> None:
    with Bars(screen).task("export ONNX"):
        time.sleep(1.3)
        seen = shown(screen)
    assert any("export ONNX" in line and "0:00:01" in line for line in seen)


def test_stages_inside_others_have_lines_of_their_own(screen: Console) -> None:
    bars = Bars(screen)
    with bars.task("quantizing"), bars.task("calibrating", 4, "images") as inner:
        inner.advance(4)
        time.sleep(0.3)
        both = shown(screen)
    assert any("calibrating" in line and "4/4 images" in line for line in both)
    assert not any("calibrating" in line and "quantizing" in line for line in both)
    assert "calibrating" in shown(screen)[-2]
    assert "quantizing" in shown(screen)[-1]


def test_a_stage_that_fails_ends_its_line_and_later_ones_start_anew(screen: Console) -> None:
    bars = Bars(screen)
    with pytest.raises(ValueError, match="no"), bars.task("first"):
        raise ValueError("no")
    with bars.task("second", 2) as task:
        task.advance()
    assert "second" in shown(screen)[-1]
    assert "first" not in shown(screen)[-1]


def test_where_nothing_can_move_a_stage_is_named_when_it_begins() -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with Bars(dumb).task("export ONNX"):
        assert shown(dumb) == ["export ONNX ..."]
