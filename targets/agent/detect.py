"""One picture end to end: bytes, pixels, input, inference, boxes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional, Tuple

from . import boxes
from .frames import decode_picture
from .letterbox import Placement
from .pictures import PictureInput, encoded
from .plan import Plan, PlanFile
from .records import Detected
from .runtime import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Detection:
    """A model that looks at pictures as the plan says."""

    def __init__(self, plan: Plan, model: Model, pictures: PictureInput) -> None:
        self._plan = plan
        self._model = model
        self._pictures = pictures

    def of(self, index: int, image: PlanFile) -> Detected:
        """The image's detections and what each stage took.

        Boxes are timed at the plan's fps_confidence and then found once more, untimed, at its
        confidence.  Raises FrameUnreadable, OutputMismatch, OutputNotFinite, ModelRefused.
        """
        data = encoded(image)
        clock = [time.perf_counter_ns()]
        picture = decode_picture(data)
        clock.append(time.perf_counter_ns())
        tensor, placement = self._pictures.fit(picture)
        clock.append(time.perf_counter_ns())
        self._model.run((tensor,))
        clock.append(time.perf_counter_ns())
        boxes_ns: Optional[int] = None
        rows: Tuple[Tuple[float, ...], ...] = ()
        if self._plan.head is not None:
            self._found(self._plan.head, placement, self._plan.fps_confidence)
            boxes_ns = time.perf_counter_ns() - clock[3]
            rows = rows_of(self._found(self._plan.head, placement, self._plan.confidence))
        return Detected(
            index=index,
            image=image.id,
            height=picture.shape[0],
            width=picture.shape[1],
            decode_ns=clock[1] - clock[0],
            letterbox_ns=clock[2] - clock[1],
            inference_ns=clock[3] - clock[2],
            boxes_ns=boxes_ns,
            detections=rows,
        )

    def _found(
        self, head: boxes.Head, placement: Placement, confidence: float
    ) -> NDArray[np.float32]:
        plan = self._plan
        return boxes.detect(
            self._model.results(),
            head,
            placement,
            confidence=confidence,
            iou=plan.iou,
            max_detections=plan.max_detections,
            multi_label=plan.multi_label,
        )


def rows_of(detections: NDArray[np.float32]) -> Tuple[Tuple[float, ...], ...]:
    """float32 [n, 6] as the wire's rows: thousandths of a pixel, millionths of a score."""
    return tuple(
        (round(x1, 3), round(y1, 3), round(x2, 3), round(y2, 3), round(score, 6), label)
        for x1, y1, x2, y2, score, label in detections.tolist()
    )
