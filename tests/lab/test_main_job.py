"""The main job on emulated boards of both kinds: weights to report, over SSH, beside loopback.

Kernels differ by processor, so boxes may move by a step.  Each box that scores 0.25 and
`MOST_SCORE` or more on one side must be on the other too: the same class, an IoU of at least
`LEAST_IOU`, a score within `MOST_SCORE`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.cli import SIZE, Host
from tests.lab.conftest import board_called

CONFIDENCE = 0.25
MOST_SCORE = 0.05
LEAST_IOU = 0.85
RECIPES = {"float32", "w8c-a8", "w4e-a8"}


@pytest.fixture(scope="module")
def job(host: Host) -> list[str]:
    """Weights, pictures and calibration of the main job; models are made once, for loopback."""
    from toolchain import demo

    data = demo.material()
    words = ["--weights", "yolov5s-seg", "--bits", "4", "8", "--imgsz", SIZE, "--recovery", "none"]
    words += ["--images", str(data.images), "--annotations", str(data.annotations)]
    words += ["--calibration", str(data.calibration), "--calibration-limit", "8"]
    return [*words, "--limit", "3", "--runs", "2", "--warmup", "1", "--json", "--accept-new"]


@pytest.fixture(scope="module")
def here(host: Host, job: list[str]) -> dict[str, dict[str, list[list[float]]]]:
    return detections(host, job, "loopback")


def detections(host: Host, job: list[str], target: str) -> dict[str, dict[str, list[list[float]]]]:
    """Boxes by picture, by recipe; the whole job must have gone well."""
    out = host.home / f"job-{target}"
    done = host.halfbyte("run", *job, "--target", target, "--out", str(out), timeout_s=1200)
    assert done.status == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["partial"] is False
    assert (out / "report.html").stat().st_size > 10_000
    found: dict[str, dict[str, list[list[float]]]] = {}
    for run in report["runs"]:
        (records,) = (out / "records").glob(f"{run['key']}.1.jsonl")
        told: list[Any] = [json.loads(line) for line in records.read_text().splitlines()]
        found[run["model"]["recipe"]] = {
            r["image"]: r["detections"] for r in told if r["record"] == "detected"
        }
    return found


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def unmatched(boxes: list[list[float]], others: list[list[float]]) -> list[list[float]]:
    """Boxes well above the threshold that have no counterpart."""
    return [
        box
        for box in boxes
        if box[4] >= CONFIDENCE + MOST_SCORE
        and not any(
            box[5] == other[5]
            and abs(box[4] - other[4]) <= MOST_SCORE
            and iou(box, other) >= LEAST_IOU
            for other in others
        )
    ]


@pytest.mark.parametrize("name", ["pi-4", "pi-3"], ids=["arm64", "armhf"])
def test_weights_to_report_on_an_emulated_board_finds_what_loopback_finds(
    host: Host, job: list[str], here: dict[str, dict[str, list[list[float]]]], name: str
) -> None:
    there = detections(host, job, board_called(name).name)
    assert there.keys() == here.keys() == RECIPES
    confident = 0
    for recipe, pictures in here.items():
        assert there[recipe].keys() == pictures.keys()
        for image, boxes in pictures.items():
            assert unmatched(boxes, there[recipe][image]) == [], (recipe, image)
            assert unmatched(there[recipe][image], boxes) == [], (recipe, image)
            confident += sum(box[4] >= CONFIDENCE + MOST_SCORE for box in boxes)
    assert confident >= 6, "too few boxes to tell anything by"
