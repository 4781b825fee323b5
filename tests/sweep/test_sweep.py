"""Whole sweeps on the loopback target: two sizes by two numbers of threads, in two goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.caches import own_cache
from toolchain import demo, making

ROOT = Path(__file__).resolve().parents[2]
CPUS = len(os.sched_getaffinity(0))
QUICK = ["--runs", "5", "--warmup", "1", "--limit", "6", "--out", "swept"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real YOLOv5s in two small sizes."""
    folder = tmp_path_factory.mktemp("sweep")
    own_cache(folder / "cache")
    weights = making.read_weights("yolov5s-seg")
    for size in (64, 96):
        made = making.make_float(weights, (size, size)).tflite
        shutil.copy(made, folder / f"small-{size}x{size}-float32.tflite")
    return folder


def sweep(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    data = demo.material()
    asked = ["--images", str(data.images), "--annotations", str(data.annotations)]
    models = sorted(path.name for path in place.glob("*.tflite"))
    return subprocess.run(
        [sys.executable, "-m", "toolchain.cli", "sweep", *models, *asked, *QUICK, *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HALFBYTE_CACHE": str(place / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def swept(place: Path) -> Any:
    return json.loads((place / "swept" / "sweep.json").read_text())


def attempts(place: Path) -> dict[str, int]:
    """How often each run of each folder was begun."""
    return {
        f"{path.parent.name}/{key}": len(begun)
        for path in sorted((place / "swept").glob("*/run.json"))
        for key, begun in json.loads(path.read_text())["runs"].items()
    }


def test_all_combinations_are_measured_and_drawn(place: Path) -> None:
    first = sweep(place, "--threads", "1")
    assert first.returncode == 0, first.stderr
    before = attempts(place)
    threads = [1, 2] if CPUS > 1 else [1]
    done = sweep(place, "--threads", f"1,{max(threads)},64")
    assert done.returncode == 0, done.stderr
    found = swept(place)
    assert {(r["imgsz"][0], r["threads"]) for r in found["rows"]} == {
        (size, count) for size in (64, 96) for count in threads
    }
    assert found["left_out"] == [
        {
            "power_mode": None,
            "threads": 64,
            "reason": "the board has 1 CPU" if CPUS == 1 else f"the board has {CPUS} CPUs",
        }
    ]
    for row in found["rows"]:
        assert row["ap"] is not None
        assert row["fps_model"] > 0
        assert row["fps_end_to_end"] > 0
        assert (place / "swept" / row["folder"] / "report.html").exists()
    assert any(row["best"] for row in found["rows"])
    after = attempts(place)
    assert {key: after[key] for key in before} == before, "what was there was measured again"
    ET.parse(place / "swept" / "sweep.svg")
    assert len((place / "swept" / "sweep.csv").read_text().splitlines()) == 1 + len(found["rows"])
    assert "float32 96" in done.stdout


def test_a_power_mode_of_a_machine_without_any_is_left_out_and_told(place: Path) -> None:
    done = sweep(place, "--threads", "1", "--power-mode", "15W", "--out", "modes")
    assert done.returncode == 8
    assert "nvpmodel" in done.stderr
    assert not (place / "modes" / "15W-1-thread").exists()
