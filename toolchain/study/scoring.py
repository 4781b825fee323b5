"""Detections as figures, each model beside the float model on the same images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from targets.agent.records import Detected
from toolchain.errors import DataError
from toolchain.evaluate.agreement import TRUTH_SCORE, agreement
from toolchain.evaluate.classes import ClassMap, match_classes
from toolchain.evaluate.coco_ap import Evaluated, evaluate
from toolchain.evaluate.detections import Detections, from_records
from toolchain.evaluate.intervals import paired_interval
from toolchain.evaluate.truth import Dataset


@dataclasses.dataclass(frozen=True)
class Figures:
    """AP in points, 0 to 100.  ap_lost: against the float model on the same images, with its paired
    95 % interval.  agreement: AP with the float model's boxes as truth; None where it sees none.
    confident_boxes: those that score 0.25 or more, of the float model `confident_boxes_float`.
    """

    images: int
    ap: float
    ap50: float
    ap_lost: float
    ap_lost_ci95: tuple[float, float] | None
    agreement: float | None
    confident_boxes: int
    confident_boxes_float: int


class Scorer:
    """The float model's detections, and what others are worth beside them.

    dataset: with ground truth.  names: of the model's classes.  reference: of the float model.
    Raises DataError (nothing to find), LabelsDisagree.
    """

    def __init__(
        self, dataset: Dataset, names: Sequence[str], reference: Sequence[Detected]
    ) -> None:
        self._map: ClassMap = match_classes(names, dataset)
        seen = {int(record.image) for record in reference}
        self._dataset = dataset.only(seen).labelled()
        if not self._dataset.has_truth:
            raise DataError(
                "no image with objects to find was run", hint="Give images with annotations."
            )
        self._reference = self._found(reference)

    @property
    def images(self) -> int:
        """How many are scored."""
        return len(self._dataset.images)

    @property
    def float_ap(self) -> float:
        """Of the float model on all images, in points."""
        return _points(self._evaluated(None)[2].accuracy.ap)

    def figures(self, records: Sequence[Detected], images: frozenset[str] | None = None) -> Figures:
        """images: ids of those to look at, None for all.  Raises DataError."""
        dataset, reference, evaluated = self._evaluated(images)
        ids = [picture.id for picture in dataset.images]
        own = self._found(records).on(ids)
        mine = evaluate(dataset, own, sizes=False)
        agreed = agreement(dataset, reference, own)
        interval = paired_interval(evaluated, mine)
        ap, ap_float = _points(mine.accuracy.ap), _points(evaluated.accuracy.ap)
        return Figures(
            images=len(ids),
            ap=ap,
            ap50=_points(mine.accuracy.ap50),
            ap_lost=ap_float - ap,
            ap_lost_ci95=None if interval is None else (100 * interval.low, 100 * interval.high),
            agreement=None if agreed is None else _points(agreed.ap),
            confident_boxes=len(own.above(TRUTH_SCORE)),
            confident_boxes_float=len(reference.above(TRUTH_SCORE)),
        )

    @functools.cache  # noqa: B019  # as long as the scorer: two sets of images
    def _evaluated(self, images: frozenset[str] | None) -> tuple[Dataset, Detections, Evaluated]:
        dataset = self._dataset
        if images is not None:
            dataset = dataset.only([int(image) for image in images])
        reference = self._reference.on([picture.id for picture in dataset.images])
        return dataset, reference, evaluate(dataset, reference, sizes=False)

    def _found(self, records: Sequence[Detected]) -> Detections:
        labelled = {picture.id for picture in self._dataset.images}
        kept = [record for record in records if int(record.image) in labelled]
        return from_records(kept, self._dataset, self._map)


def _points(fraction: float | None) -> float:
    return 100 * (fraction or 0.0)
