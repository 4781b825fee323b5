"""From raw output tensors to boxes in picture pixels, in numpy, the same on board and host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Union

import numpy as np

from .decoding import Output, OutputMismatch, OutputNotFinite, candidates
from .heads import Head, HeadError, Level, check_head, head_from_dict, head_to_dict
from .letterbox import Placement
from .nms import best_first, suppress

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_CANDIDATES",
    "Head",
    "HeadError",
    "Level",
    "Output",
    "OutputMismatch",
    "OutputNotFinite",
    "check_head",
    "detect",
    "head_from_dict",
    "head_to_dict",
]

MAX_CANDIDATES = 30_000


def detect(
    outputs: Mapping[str, Union[Output, NDArray[Any]]],
    head: Head,
    placement: Placement,
    *,
    confidence: float = 0.001,
    iou: float = 0.65,
    max_detections: int = 300,
    multi_label: bool = True,
) -> NDArray[np.float32]:
    """The detections of one picture: float32 [n, 6] x1, y1, x2, y2, score, class, best first.

    outputs: by tensor name, as `Output` or, where not quantized, as a bare array.
    placement: how the picture lies in the input (`letterbox`); boxes come in pixels of the
    upright picture, clipped to it, and those with no area left inside it are dropped.

    A box counts when its objectness is above `confidence`, then each of its classes whose score
    (objectness x class) is, or the best class alone if not `multi_label`.  Of these the
    MAX_CANDIDATES best go through suppression class by class (overlap above `iou`), and the
    `max_detections` best of the rest are kept.  Equal scores keep the order of the tensors.
    This is what YOLOv7's test does at 0.001, 0.65 and 300.

    Raises OutputMismatch, OutputNotFinite, ValueError (a threshold outside [0, 1)).
    """
    if not 0 <= confidence < 1 or not 0 <= iou <= 1 or max_detections < 1:
        raise ValueError(
            f"confidence {confidence!r}, iou {iou!r}, max_detections {max_detections!r}"
        )
    tensors = {
        name: value if isinstance(value, Output) else Output(value)
        for name, value in outputs.items()
    }
    imgsz = (placement.input_height, placement.input_width)
    found = candidates(tensors, head, imgsz, confidence=confidence, multi_label=multi_label)
    order = best_first(found.scores, MAX_CANDIDATES)
    boxes, classes = found.boxes[order], found.classes[order]
    kept = suppress(boxes, classes, iou=iou, max_kept=max_detections)
    detections = np.empty((kept.size, 6), np.float32)
    detections[:, :4] = placement.to_picture(boxes[kept])
    detections[:, 4] = found.scores[order[kept]]
    detections[:, 5] = classes[kept]
    has_area = (detections[:, 2] > detections[:, 0]) & (detections[:, 3] > detections[:, 1])
    return detections[has_area]
