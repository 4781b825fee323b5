"""What a report compares with what, through the command line, on the loopback target."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli import sandbox

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--imgsz", "96", "128"]
DATA = ["--images", "val", "--annotations", "val.json"]
QUICK = ["--runs", "3", "--warmup", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    sandbox.furnish(folder)
    done = halfbyte(folder, "convert", "--weights", "best.pt", *SMALL, "--calibration", "train")
    assert done.returncode == 0, done.stderr
    return folder


def halfbyte(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def runs(out: Path) -> list[Any]:
    found: list[Any] = json.loads((out / "report.json").read_text())["runs"]
    return found


def test_models_evaluated_together_are_compared_with_their_float_model(place: Path) -> None:
    models = sorted(str(path) for path in (place / "models").glob("best-*.tflite"))
    done = halfbyte(place, "evaluate", *models, *DATA, *QUICK, "--out", "compared")
    assert done.returncode == 0, done.stderr
    assert {run["model"]["weights"] for run in runs(place / "compared")} == {"best"}
    found = {run["model"]["recipe"]: run["accuracy"] for run in runs(place / "compared")}
    assert found.keys() == {"float32", "w8c-a8", "w4e-a8"}
    for recipe in ("w8c-a8", "w4e-a8"):
        assert found[recipe]["ap_float"] == found["float32"]["ap"]
        assert found[recipe]["ap_lost"] is not None
        assert found[recipe]["agreement"] > 20


def test_two_models_of_one_name_are_two_runs(place: Path) -> None:
    for name, source in (("x", "w8c-a8"), ("y", "w4e-a8")):
        (place / name).mkdir()
        shutil.copy(place / "models" / f"best-96x128-{source}.tflite", place / name / "a.tflite")
    done = halfbyte(place, "bench", "x/a.tflite", "y/a.tflite", *QUICK, "--out", "named")
    assert done.returncode == 0, done.stderr
    assert sorted(run["model"]["bits"] for run in runs(place / "named")) == [4, 8]


def test_repeats_run_in_turn_and_count_as_one_model_each(place: Path) -> None:
    models = [f"models/best-96x128-{recipe}.tflite" for recipe in ("float32", "w8c-a8")]
    done = halfbyte(place, "bench", *models, *QUICK, "--repeat", "3", "--out", "repeated")
    assert done.returncode == 0, done.stderr
    assert "compare.html" in done.stderr
    assert (place / "repeated" / "compare.html").exists()
    begun = list(json.loads((place / "repeated" / "run.json").read_text())["runs"])
    one, other = begun[:2]
    assert begun == [one, other, f"{one}.2", f"{other}.2", f"{one}.3", f"{other}.3"]
    assert [run["speed"]["repeats"] for run in runs(place / "repeated")] == [3, 3]
    assert [run["speed"]["inference_ms"]["samples"] for run in runs(place / "repeated")] == [9, 9]


def test_strict_fails_where_the_report_doubts_a_figure(place: Path) -> None:
    model = "models/best-96x128-w8c-a8.tflite"
    done = halfbyte(place, "bench", model, *QUICK, "--strict", "--out", "strict")
    assert done.returncode == 8
    assert "more" in done.stderr
    assert len(runs(place / "strict")) == 1


def test_a_steady_state_is_waited_for_and_the_wait_is_told(place: Path) -> None:
    model = "models/best-96x128-w8c-a8.tflite"
    done = halfbyte(place, "bench", model, *QUICK, "--steady", "2", "--out", "steady")
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "steady" / "report.json").read_text())
    assert "not-steady" in {doubt["code"] for doubt in report["doubts"]}
    assert report["runs"][0]["speed"]["warmup"] > 10


def test_a_run_folder_takes_no_runs_of_another_size(place: Path) -> None:
    model = "models/best-96x128-w8c-a8.tflite"
    assert halfbyte(place, "bench", model, *QUICK, "--out", "one").returncode == 0
    words = ["--weights", "best.pt", "--calibration", "train", "--bits", "8", *DATA, *QUICK]
    done = halfbyte(place, "run", *words, "--imgsz", "64", "--out", "one")
    assert done.returncode == 3
    assert "holds runs" in done.stderr


def test_a_model_that_sees_nothing_is_a_failed_check_with_a_report(place: Path) -> None:
    sandbox.fine_tuned(place / "blind.pt", blind=True)
    words = ["--weights", "blind.pt", "--calibration", "train", "--bits", "8", *DATA, *QUICK]
    done = halfbyte(place, "run", *words, *SMALL, "--out", "nothing")
    assert done.returncode == 8, done.stderr
    assert "detected nothing at all" in done.stderr
    assert {run["accuracy"]["ap"] for run in runs(place / "nothing")} == {0.0}
