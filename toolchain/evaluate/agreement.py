"""How far two models say the same, without any ground truth."""

from __future__ import annotations

import dataclasses

from toolchain.evaluate.coco_ap import Accuracy, evaluate
from toolchain.evaluate.detections import Detections
from toolchain.evaluate.truth import Box, Dataset

TRUTH_SCORE = 0.25  # what a user of the float model would see


def agreement(
    dataset: Dataset,
    reference: Detections,
    other: Detections,
    *,
    truth_score: float = TRUTH_SCORE,
) -> Accuracy | None:
    """AP of `other` with the boxes of `reference` that score `truth_score` or more as truth.

    Both went through the same NMS.  dataset: its images and categories; its boxes are not looked
    at.  None where the reference sees nothing.  A model agrees with itself to 1.0.
    """
    seen = reference.above(truth_score)
    if not len(seen):
        return None
    rows = zip(
        seen.image_ids.tolist(), seen.category_ids.tolist(), seen.boxes.tolist(), strict=True
    )
    boxes = tuple(
        Box(number, image, category, x, y, width, height, area=width * height)
        for number, (image, category, (x, y, width, height)) in enumerate(rows, start=1)
        if width > 0 and height > 0  # clipped to the picture's edge: nobody can find it
    )
    if not boxes:
        return None
    truth = dataclasses.replace(dataset, boxes=boxes)
    return evaluate(truth, other, sizes=False).accuracy
