"""Threads chosen by measuring on the loopback target, remembered, and shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.caches import own_cache
from toolchain import making

ROOT = Path(__file__).resolve().parents[2]
CPUS = len(os.sched_getaffinity(0))
QUICK = ["--runs", "3", "--warmup", "0"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real YOLOv5s, of the smallest size."""
    made = making.make_float(making.read_weights("yolov5s-seg"), (64, 64)).tflite
    return Path(shutil.copy(made, tmp_path_factory.mktemp("model") / "small.tflite"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    own_cache(folder / "cache")
    return folder


def halfbyte(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HALFBYTE_CACHE": str(place / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_of(place: Path, out: str) -> Any:
    [run] = json.loads((place / out / "report.json").read_text())["runs"]
    return run


def remembered(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "cache" / "tuning.json").read_text())["choices"]
    return found


def test_threads_are_chosen_kept_and_shown(place: Path, model: Path) -> None:
    done = halfbyte(place, "bench", str(model), *QUICK, "--tune", "--out", "first")
    assert done.returncode == 0, done.stderr
    run = run_of(place, "first")
    tuning = run["tuning"]
    assert [way["threads"] for way in tuning["tried"]] == list(range(1, CPUS + 1))
    assert all(way["median_ms"] > 0 for way in tuning["tried"])
    assert run["speed"]["threads"] == tuning["threads"] <= CPUS
    assert not tuning["remembered"]
    assert len(remembered(place)) == 1
    assert "Chosen by short runs" in (place / "first" / "report.html").read_text()
    assert "chosen of" in done.stdout


def test_the_choice_is_used_again_and_measured_anew_when_asked(place: Path, model: Path) -> None:
    if not (place / "cache" / "tuning.json").exists():
        pytest.skip("the test before did not come so far")
    [(key, choice)] = remembered(place).items()
    done = halfbyte(place, "bench", str(model), *QUICK, "--tune", "--out", "second")
    assert done.returncode == 0, done.stderr
    tuning = run_of(place, "second")["tuning"]
    assert tuning["remembered"]
    assert tuning["measured"] == choice["measured"]
    again = halfbyte(place, "bench", str(model), *QUICK, "--tune", "--again", "--out", "second")
    assert again.returncode == 0, again.stderr
    assert not run_of(place, "second")["tuning"]["remembered"]
    assert remembered(place).keys() == {key}


def test_a_command_goes_on_with_what_was_chosen_in_its_folder(place: Path, model: Path) -> None:
    if not (place / "first" / "report.json").exists():
        pytest.skip("the test before did not come so far")
    before = (place / "first" / "run.json").read_text()
    (place / "cache" / "tuning.json").unlink(missing_ok=True)
    done = halfbyte(place, "bench", str(model), *QUICK, "--tune", "--out", "first")
    assert done.returncode == 0, done.stderr
    assert not (place / "cache" / "tuning.json").exists()
    assert json.loads((place / "first" / "run.json").read_text()) == json.loads(before)


def test_threads_that_are_given_are_not_chosen(place: Path, model: Path) -> None:
    done = halfbyte(place, "bench", str(model), "--tune", "--threads", "1", "--out", "both")
    assert done.returncode == 3
    assert "--tune chooses" in done.stderr


@pytest.mark.skipif(CPUS < 2, reason="one CPU: nothing to choose from")
def test_threads_keep_to_the_cpus_that_are_given(place: Path, model: Path) -> None:
    last = max(os.sched_getaffinity(0))
    done = halfbyte(place, "bench", str(model), *QUICK, "--cpus", str(last), "--out", "bound")
    assert done.returncode == 0, done.stderr
    speed = run_of(place, "bound")["speed"]
    assert speed["cpus"] == [last]
    assert speed["threads"] == 1


def test_cpus_that_the_board_lacks_are_told(place: Path, model: Path) -> None:
    done = halfbyte(place, "bench", str(model), *QUICK, "--cpus", "900", "--out", "lacking")
    assert done.returncode == 7
    assert "this process may use" in done.stderr
