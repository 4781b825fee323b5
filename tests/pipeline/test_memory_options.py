"""What becomes of few-bit filters and of the file's memory on a target, as the user asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli import sandbox
from tests.pipeline.test_measuring import DATA, QUICK, SMALL, halfbyte, runs

PACKED = "models/best-96x128-w4e-a8.tflite"
INT4 = "models/best-96x128-w4c-a8.tflite"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    sandbox.furnish(folder)
    making = ["convert", "--weights", "best.pt", *SMALL, "--calibration", "train"]
    for more in (["--bits", "4"], ["--recipe", "w4c-a8", "--format", "int4"]):
        done = halfbyte(folder, *making, "--recovery", "none", *more)
        assert done.returncode == 0, done.stderr
    return folder


def benched(place: Path, model: str, *words: str) -> dict[str, Any]:
    """The only run of a report.  Its settings are those that were asked for."""
    out = place / "-".join(["out", *(word.strip("-") for word in words), Path(model).stem])
    done = halfbyte(place, "bench", model, *QUICK, *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    (run,) = runs(out)
    found: dict[str, Any] = run
    return found


def best_scores(place: Path, *words: str) -> dict[int, float]:
    """Of the INT4 model, by image."""
    out = place / "-".join(["detected", *(word.strip("-") for word in words)])
    done = halfbyte(place, "evaluate", INT4, *DATA, *QUICK, *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    (results,) = (out / "detections").iterdir()
    found: dict[int, float] = {}
    for one in json.loads(results.read_text()):
        found[one["image_id"]] = max(one["score"], found.get(one["image_id"], 0.0))
    return found


def test_int4_tensors_are_run_as_the_int8_ones_that_they_mean(place: Path) -> None:
    as_they_are = benched(place, INT4)
    expanded = benched(place, INT4, "--expand-int4", "--expand-in-memory")
    assert as_they_are["memory"]["expand_ms"] is None
    assert expanded["memory"]["expand_ms"] > 0
    assert expanded["settings"]["expand_int4"] is True
    usual = best_scores(place)
    # Kernels for INT4 and for int8 round sums to int8 by rules of their own.
    assert best_scores(place, "--expand-int4") == pytest.approx(usual, abs=0.05)
    assert max(usual.values()) > 0.25


def test_an_expanded_model_is_kept_unless_it_is_to_live_in_memory(place: Path) -> None:
    def expanded_ms(*words: str) -> float:
        found: float | None = benched(place, PACKED, *words)["memory"]["expand_ms"]
        return found or 0.0

    expanded_ms()  # an earlier test run may have left the model there, or not
    assert expanded_ms("--again") == 0
    assert expanded_ms("--expand-in-memory") > 0


def test_dropped_pages_are_told_and_change_nothing_that_is_seen(place: Path) -> None:
    usual, dropped = benched(place, PACKED), benched(place, PACKED, "--drop-pages")
    assert (usual["settings"]["drop_pages"], dropped["settings"]["drop_pages"]) == (False, True)
    page = place / "out-drop-pages-best-96x128-w4e-a8" / "report.html"
    assert "pages of the model&#39;s file dropped" in page.read_text()
