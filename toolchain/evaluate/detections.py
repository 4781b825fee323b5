"""Detections of many images as arrays, and COCO's results form that other tools open."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from targets.agent.wire import Detected
from targets.files import write_whole
from toolchain.errors import DataError
from toolchain.evaluate.classes import ClassMap
from toolchain.evaluate.truth import Dataset, Picture


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Boxes found, a row each, in the order in which the images were run, best first in each.

    image_ids, category_ids: int64 [n], of the data set.  boxes: float64 [n, 4], x, y (top left),
    width, height in pixels of the upright picture.  scores: float64 [n], 0 to 1.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        return self._taken(self.scores >= score)

    def on(self, image_ids: Collection[int]) -> Detections:
        """Those on these images."""
        return self._taken(np.isin(self.image_ids, np.fromiter(image_ids, np.int64)))

    def _taken(self, mask: NDArray[np.bool_]) -> Detections:
        return Detections(
            self.image_ids[mask], self.category_ids[mask], self.boxes[mask], self.scores[mask]
        )


def from_rows(rows: Sequence[tuple[int, int, float, float, float, float, float]]) -> Detections:
    """Rows of image id, category id, x, y, width, height, score as arrays."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    ids = np.array([row[:2] for row in rows], np.int64).reshape(-1, 2)
    return Detections(ids[:, 0], ids[:, 1], table[:, 2:6], table[:, 6])


def from_records(records: Iterable[Detected], dataset: Dataset, class_map: ClassMap) -> Detections:
    """What a board detected; classes that the data set does not know are left out.

    The board is not trusted: raises DataError for an unknown image, a class that the model does
    not have, numbers that are none, and a picture whose size differs from the one seen here.
    """
    pictures = {str(picture.id): picture for picture in dataset.images}
    rows = []
    for record in records:
        picture = pictures.get(record.image)
        if picture is None:
            _refuse(record, "is not in the data set")
        if (record.width, record.height) != (picture.width, picture.height):
            _refuse(
                record,
                f"was {record.width} x {record.height} where it ran, "
                f"and is {picture.width} x {picture.height} here",
            )
        rows += [row for raw in record.detections if (row := _row(record, picture, raw, class_map))]
    return from_rows(rows)


def _row(
    record: Detected, picture: Picture, raw: Sequence[Any], class_map: ClassMap
) -> tuple[int, int, float, float, float, float, float] | None:
    if len(raw) != 6 or not all(isinstance(v, int | float) and math.isfinite(v) for v in raw):
        _refuse(record, "has a detection that is not six numbers")
    x1, y1, x2, y2, score, index = raw
    if index != int(index) or not 0 <= index < len(class_map.category_ids):
        _refuse(record, f"has class {index:g} of a model of {len(class_map.category_ids)} classes")
    if not (0 <= score <= 1 and x1 <= x2 and y1 <= y2):
        _refuse(record, "has a detection with corners or a score out of order")
    category = class_map.category_ids[int(index)]
    return None if category is None else (picture.id, category, x1, y1, x2 - x1, y2 - y1, score)


def _refuse(record: Detected, why: str) -> NoReturn:
    raise DataError(
        f"image {record.image[:40]!r} {why}",
        hint="These records do not belong to this data set and model; run them again.",
    )


def to_coco(detections: Detections) -> list[dict[str, Any]]:
    """COCO's results form: image_id, category_id, bbox (x, y, width, height), score."""
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(
            detections.image_ids.tolist(),
            detections.category_ids.tolist(),
            np.round(detections.boxes, 3).tolist(),
            np.round(detections.scores, 6).tolist(),
            strict=True,
        )
    ]


def write_coco(detections: Detections, path: Path) -> None:
    """Write a results file (strict JSON, whole or not at all)."""
    write_whole(path, json.dumps(to_coco(detections), allow_nan=False).encode("ascii"))


def read_coco(path: Path) -> Detections:
    """Detections out of a COCO results file.  Raises DataError, with the file and the entry."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not JSON ({error})") from error
    if not isinstance(content, list):
        raise _bad(path, "not a list")
    return from_rows([_entry(path, index, entry) for index, entry in enumerate(content)])


def _entry(
    path: Path, index: int, entry: Any
) -> tuple[int, int, float, float, float, float, float]:
    try:
        x, y, width, height = (float(value) for value in entry["bbox"])
        score = float(entry["score"])
        image, category = entry["image_id"], entry["category_id"]
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(path, f"[{index}] lacks {error}") from error
    if type(image) is not int or type(category) is not int:
        raise _bad(path, f"[{index}]: ids are whole numbers")
    if not all(math.isfinite(v) for v in (x, y, width, height, score)) or min(width, height) < 0:
        raise _bad(path, f"[{index}]: bbox and score are finite, width and height not negative")
    return image, category, x, y, width, height, score


def _bad(path: Path, what: str) -> DataError:
    return DataError(
        f"{path.name}: {what}",
        hint="COCO results are a list of image_id, category_id, bbox and score.",
    )
