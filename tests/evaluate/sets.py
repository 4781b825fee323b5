"""Small data sets made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolchain.evaluate.detections import Detections, from_rows
from toolchain.evaluate.truth import Box, Category, Dataset, Picture

# Two pictures of 200 x 200 with three people, and detections that fit them exactly.
PEOPLE: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 200, "height": 200},
        {"id": 2, "file_name": "b.jpg", "width": 200, "height": 200},
    ],
    "categories": [{"id": 1, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [100, 20, 50, 50]},
        {"id": 3, "image_id": 2, "category_id": 1, "bbox": [20, 30, 60, 60]},
    ],
}
PERFECT = from_rows(
    [
        (1, 1, 10, 10, 40, 40, 0.9),
        (1, 1, 100, 20, 50, 50, 0.8),
        (2, 1, 20, 30, 60, 60, 0.7),
    ]
)
NOTHING = from_rows([])


def picture(path: Path, width: int = 200, height: int = 200, *, orientation: int = 1) -> Path:
    """A small picture with something on it; width and height as coded."""
    rows = np.arange(height, dtype=np.uint32)[:, None] * 7 + np.arange(width, dtype=np.uint32) * 3
    image = Image.fromarray((rows % 251).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return path


def truncated(path: Path) -> Path:
    """The first 60 percent of a picture."""
    encoded = picture(path).read_bytes()
    path.write_bytes(encoded[: len(encoded) * 6 // 10])
    return path


def coco(folder: Path, content: Mapping[str, Any] | Sequence[Any] = PEOPLE) -> Path:
    """An annotation file with its pictures beside it."""
    if isinstance(content, dict):
        for entry in content.get("images", ()):
            if isinstance(entry, dict) and not (folder / str(entry.get("file_name"))).exists():
                picture(folder / entry["file_name"], entry["width"], entry["height"])
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def made(
    truth: Sequence[tuple[int, int, float, float, float, float]],
    *,
    images: int,
    categories: int = 1,
    crowds: Sequence[int] = (),
) -> Dataset:
    """A data set without files: rows of image (from 1), category (from 1), x, y, width, height."""
    return Dataset(
        form="coco",
        source="made",
        images=tuple(Picture(n, Path(f"{n}.jpg"), 640, 640) for n in range(1, images + 1)),
        categories=tuple(Category(n, f"thing {chr(64 + n)}") for n in range(1, categories + 1)),
        boxes=tuple(
            Box(n, image, category, x, y, w, h, area=w * h, crowd=n in crowds)
            for n, (image, category, x, y, w, h) in enumerate(truth, start=1)
        ),
        sha256="0" * 64,
    )


def scattered(
    rng: np.random.Generator, *, images: int, categories: int, objects: int
) -> tuple[Dataset, Detections]:
    """Random objects and a mediocre model of them: near hits, misses, confusions, inventions."""
    truth, found = [], []
    for _ in range(objects):
        image, category = int(rng.integers(1, images + 1)), int(rng.integers(1, categories + 1))
        x, y, w, h = _box(rng)
        truth.append((image, category, x, y, w, h))
        if rng.random() < 0.7:
            dx, dy = rng.normal(0, 0.1, 2) * (w, h)
            found.append((image, category, x + dx, y + dy, w, h, float(rng.random())))
    for _ in range(objects * 2):
        image, category = int(rng.integers(1, images + 1)), int(rng.integers(1, categories + 1))
        found.append((image, category, *_box(rng), float(rng.random())))
    crowds = [n for n in range(1, objects + 1) if rng.random() < 0.1]
    return (
        made(truth, images=images, categories=categories, crowds=crowds),
        from_rows(found),
    )


def _box(rng: np.random.Generator) -> tuple[float, float, float, float]:
    place: NDArray[np.float64] = rng.uniform(0, 500, 2)
    extent: NDArray[np.float64] = rng.uniform(5, 140, 2)
    return float(place[0]), float(place[1]), float(extent[0]), float(extent[1])
