"""COCO average precision, by pycocotools' own evaluator.

AP is the mean over IoU 0.50 to 0.95, over 101 recalls and over the categories that have objects;
up to 100 detections a category and image count (cocodataset.org, "Detection evaluation").
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError
from toolchain.evaluate.detections import Detections
from toolchain.evaluate.truth import Box, Dataset

MAX_DETECTIONS = 100  # a category and image: the evaluator's default, what published AP means


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Average precision as fractions, 0 to 1; None where there was nothing to find.

    ap_small, ap_medium, ap_large: objects of less than 32 x 32 pixels, less than 96 x 96, and
    more.  per_class: AP by category id.  detections: how many were scored.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: Mapping[int, float | None]
    images: int
    detections: int

    @property
    def nothing_detected(self) -> bool:
        """Not one detection on any image: a broken model looks like this."""
        return self.detections == 0


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMatches:
    """How the detections of one category fared, best score first (ties in image order).

    image: int [D], position of the image in the data set.  found, ignored: bool [T, D] for each
    IoU threshold: matched an object; matched a crowd.  objects: int [I], objects to find on each
    image.
    """

    image: NDArray[np.intp]
    found: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluated:
    """The accuracy, and the matches behind it (for intervals).  recalls: float [101]."""

    accuracy: Accuracy
    matches: tuple[ClassMatches, ...]
    recalls: NDArray[np.float64]


def average_precision(dataset: Dataset, detections: Detections) -> Accuracy:
    """AP of `detections` against the boxes of `dataset`.  Raises DataError: unknown image."""
    return evaluate(dataset, detections).accuracy


def evaluate(dataset: Dataset, detections: Detections, *, sizes: bool = True) -> Evaluated:
    """AP and the matches behind it, silently.

    sizes: also by size of the objects, which takes four times as long.
    Raises DataError: a detection on another image.
    """
    known = np.array([picture.id for picture in dataset.images], np.int64)
    if strange := set(detections.image_ids.tolist()) - set(known.tolist()):
        raise DataError(
            f"detections on image {min(strange)}, which is not in {dataset.source}",
            hint="Evaluate against the annotations of the images that were run.",
        )
    with contextlib.redirect_stdout(io.StringIO()):  # the evaluator prints as it goes
        evaluator = _evaluator(dataset, detections)
        if not sizes:
            del evaluator.params.areaRng[1:], evaluator.params.areaRngLbl[1:]
        evaluator.evaluate()
        evaluator.accumulate()
    return Evaluated(
        _accuracy(evaluator, len(dataset.images), len(detections)),
        _matches(evaluator),
        np.asarray(evaluator.params.recThrs, np.float64),
    )


def _evaluator(dataset: Dataset, detections: Detections) -> Any:
    from pycocotools.cocoeval import COCOeval

    found = zip(
        detections.image_ids.tolist(),
        detections.category_ids.tolist(),
        detections.boxes.tolist(),
        detections.scores.tolist(),
        strict=True,
    )
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "score": score,
            "iscrowd": 0,
        }
        for number, (image, category, box, score) in enumerate(found, start=1)
    ]
    truth = _coco(dataset, [_annotation(box) for box in dataset.boxes])
    evaluator = COCOeval(truth, _coco(dataset, annotations), iouType="bbox")
    evaluator.params.maxDets = [MAX_DETECTIONS]
    return evaluator


def _coco(dataset: Dataset, annotations: Sequence[Mapping[str, Any]]) -> Any:
    """pycocotools' index, without its file reader (which refuses an empty list of results)."""
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = {
        "images": [{"id": picture.id} for picture in dataset.images],
        "categories": [{"id": c.id, "name": c.name} for c in dataset.categories],
        "annotations": list(annotations),
    }
    index.createIndex()
    return index


def _annotation(box: Box) -> dict[str, Any]:
    return {
        "id": box.id,
        "image_id": box.image_id,
        "category_id": box.category_id,
        "bbox": [box.x, box.y, box.width, box.height],
        "area": box.area,
        "iscrowd": int(box.crowd),
    }


def _accuracy(evaluator: Any, images: int, detections: int) -> Accuracy:
    # [IoU threshold, recall, category, area, most detections]; -1 where there was no object
    precision = evaluator.eval["precision"][..., -1]
    thresholds = np.asarray(evaluator.params.iouThrs)
    everything = precision[..., 0]
    by_class = {
        int(category): _mean(everything[:, :, index])
        for index, category in enumerate(evaluator.params.catIds)
    }
    return Accuracy(
        ap=_mean(everything),
        ap50=_mean(everything[np.isclose(thresholds, 0.5)]),
        ap75=_mean(everything[np.isclose(thresholds, 0.75)]),
        ap_small=_mean(precision[..., 1:2]),  # empty without sizes
        ap_medium=_mean(precision[..., 2:3]),
        ap_large=_mean(precision[..., 3:4]),
        per_class=by_class,
        images=images,
        detections=detections,
    )


def _mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _matches(evaluator: Any) -> tuple[ClassMatches, ...]:
    """Of every category with objects, over all sizes."""
    images = len(evaluator.params.imgIds)
    areas = len(evaluator.params.areaRng)
    # evalImgs runs over categories, then areas (the first is "all"), then images
    cells = np.array([*evaluator.evalImgs, None], object)[:-1].reshape(-1, areas, images)
    matches = (_class_matches(list(row)) for row in cells[:, 0, :])
    return tuple(match for match in matches if match.objects.any())


def _class_matches(cells: Sequence[Mapping[str, Any] | None]) -> ClassMatches:
    thresholds = next((np.shape(cell["dtMatches"])[0] for cell in cells if cell is not None), 10)
    objects = [0 if cell is None else int(np.sum(cell["gtIgnore"] == 0)) for cell in cells]
    scores = [[] if cell is None else cell["dtScores"] for cell in cells]
    image = np.repeat(np.arange(len(cells)), [len(of_image) for of_image in scores])
    order = np.argsort(-np.concatenate([np.asarray(s, np.float64) for s in scores]), kind="stable")
    matched, ignored = (
        np.concatenate(
            [
                np.zeros((thresholds, 0), bool) if cell is None else np.asarray(cell[key], bool)
                for cell in cells
            ],
            axis=1,
        )[:, order]
        for key in ("dtMatches", "dtIgnore")
    )
    return ClassMatches(image[order], matched & ~ignored, ignored, np.array(objects, np.int64))
