"""A run that is killed or stopped keeps what it measured, says so, and goes on when asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ends
from toolchain import making

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> Path:
    """Real YOLOv5s, small enough for a thousand inferences a minute."""
    return making.make_float(making.read_weights("yolov5s-seg"), (96, 128)).tflite


def started(out: Path, model: Path, runs: int) -> subprocess.Popen[str]:
    return halfbyte("bench", str(model), "--runs", str(runs), "--out", str(out), "--threads", "1")


def halfbyte(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolchain.cli", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out: Path) -> list[dict[str, Any]]:
    files = sorted((out / "records").glob("*.jsonl")) if (out / "records").is_dir() else []
    lines = files[-1].read_text().split("\n")[:-1] if files else []
    return [json.loads(line) for line in lines]


def wait_for(out: Path, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    for _ in range(1200):
        seen = records(out)
        if enough(seen):
            return seen
        time.sleep(0.1)
    pytest.fail(f"only {len(seen)} records in two minutes")


def timed(seen: list[dict[str, Any]]) -> int:
    return sum(record["record"] == "timed" for record in seen)


def report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def test_an_agent_killed_in_the_middle_leaves_a_partial_report(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "run"
    process = started(out, model, runs=100_000)
    seen = wait_for(out, lambda found: timed(found) >= 20)
    os.kill(seen[0]["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 7
    assert "killed" in errors
    assert report(out)["partial"] is True
    [run] = report(out)["runs"]
    assert run["speed"]["inference_ms"]["p50"] > 0
    assert run["memory"]["load_rss_bytes"] > 0


def test_interrupting_keeps_what_was_measured_and_the_same_command_goes_on(
    tmp_path: Path, model: Path
) -> None:
    out = tmp_path / "run"
    process = started(out, model, runs=100_000)
    wait_for(out, lambda found: timed(found) >= 20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert timed(records(out)) >= 20
    again = started(out, model, runs=5)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert report(out)["partial"] is False
    attempts = len(list((out / "records").glob("*.jsonl")))
    kept = started(out, model, runs=5)
    kept.communicate(timeout=120)
    assert len(list((out / "records").glob("*.jsonl"))) == attempts  # whole: not measured again


@pytest.mark.parametrize("way", ["the same command", "runs attach"])
def test_a_host_that_is_killed_finds_its_run_on_the_board_again(
    tmp_path: Path, model: Path, way: str
) -> None:
    out = tmp_path / "run"
    process = started(out, model, runs=1500)
    wait_for(out, lambda found: timed(found) >= 20)
    process.kill()
    process.communicate()
    here = len(records(out))
    with next((out / "records").glob("*.jsonl")).open("a") as stream:
        stream.write('{"seq":12')  # as a power cut of the host leaves it
    again = (
        started(out, model, runs=1500)
        if way == "the same command"
        else halfbyte("runs", "attach", str(out), "--json")
    )
    told, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    seen = records(out)
    assert [record["seq"] for record in seen] == list(range(len(seen)))
    assert [r["index"] for r in seen if r["record"] == "timed"] == list(range(1500))
    assert len({record["pid"] for record in seen if record["record"] == "hello"}) == 1
    assert len(list((out / "records").glob("*.jsonl"))) == 1
    assert report(out)["partial"] is False
    if way == "runs attach":
        [attached] = json.loads(told)
        assert attached["records"] == len(seen) - here > 0


def test_two_commands_never_write_into_one_folder(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "run"
    first = started(out, model, runs=100_000)
    wait_for(out, lambda found: timed(found) >= 5)
    second = halfbyte("runs", "attach", str(out))
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 3
    assert "in use by another command" in errors
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    told = records(out)
    assert [record["seq"] for record in told] == list(range(len(told)))


def test_a_run_that_was_left_is_ended_by_attach_and_makes_way_for_another(
    tmp_path: Path, model: Path
) -> None:
    for way in ("runs attach --stop", "another command"):
        out = tmp_path / way.replace(" ", "-")
        process = started(out, model, runs=100_000)
        seen = wait_for(out, lambda found: timed(found) >= 5)
        process.kill()
        process.communicate()
        if way == "another command":
            again = started(out, model, runs=5)
        else:
            again = halfbyte("runs", "attach", str(out), "--stop")
        _, errors = again.communicate(timeout=120)
        assert again.returncode == (0 if way == "another command" else 7), errors
        assert ends(seen[0]["pid"]), "the agent is still there"
    told = records(tmp_path / "runs-attach---stop")
    assert [record["seq"] for record in told] == list(range(len(told)))
    assert told[-1]["record"] == "failed"
