"""How much AP one model has more than another: over the images that both finished."""

from __future__ import annotations

import dataclasses
from typing import Final

from toolchain.compare.sides import Side
from toolchain.errors import DataError, LabelsDisagree
from toolchain.evaluate.agreement import agreement
from toolchain.evaluate.intervals import paired_interval
from toolchain.evaluate.truth import Dataset
from toolchain.report.scored import Usable, evaluated_on, points, usable_of

FEWEST_IMAGES: Final = 20  # with fewer a bootstrap's interval is too narrow to be believed


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """In points.  low, high: 95 % interval of B's AP less A's, None where there is none.

    agreement: AP of B with the confident boxes of A as truth.  problem: why nothing can be said.
    other_pictures: the problem is that the two ran over different ones.
    """

    a: float | None = None
    b: float | None = None
    low: float | None = None
    high: float | None = None
    images: int = 0
    agreement: float | None = None
    problem: str = ""
    other_pictures: bool = False


def accuracies(a: Side, b: Side) -> Accuracies:
    """Of two models that ran over the same pictures."""
    if a.dataset is None or b.dataset is None:
        without = " and ".join(dict.fromkeys(s.name for s in (a, b) if s.dataset is None))
        return Accuracies(problem=f"no pictures were run by {without}")
    if other := other_pictures(a.dataset, b.dataset):
        return Accuracies(problem=other, other_pictures=True)
    try:
        ours, theirs = usable_of(a.run, a.dataset), usable_of(b.run, b.dataset)
    except (DataError, LabelsDisagree) as error:
        return Accuracies(problem=error.message)
    if ours is None or theirs is None:
        return Accuracies(problem="not both have detected anything on them")
    return _of(ours, theirs)


def other_pictures(a: Dataset, b: Dataset) -> str:
    """In which way the pictures or their labels are not the same; empty where they are."""
    if a is b:
        return ""
    seen = [{(p.id, p.path.name, p.width, p.height) for p in data.images} for data in (a, b)]
    if seen[0] != seen[1]:
        both = len(seen[0] & seen[1])
        return (
            f"not the same pictures: {len(a.images)} of {a.source} and {len(b.images)} of "
            f"{b.source}, {both} in both"
        )
    if a.boxes != b.boxes or a.categories != b.categories:
        return f"not the same labels: {len(a.boxes)} boxes and {len(b.boxes)} boxes"
    return ""


def _of(a: Usable, b: Usable) -> Accuracies:
    common = a.finished & b.finished
    agreed = agreement(a.dataset.only(common), a.found.on(common), b.found.on(common))
    share = points(agreed.ap) if agreed else None
    ours, theirs = (
        side.evaluated
        if side.finished == common
        else evaluated_on(side.dataset, side.found, common)
        for side in (a, b)
    )
    if ours is None or theirs is None:
        return Accuracies(agreement=share, problem="no ground truth: AP is unknown")
    found = Accuracies(
        points(ours.accuracy.ap),
        points(theirs.accuracy.ap),
        images=ours.accuracy.images,
        agreement=share,
    )
    interval = paired_interval(theirs, ours)
    if interval is None:
        return found
    return dataclasses.replace(found, low=100 * interval.low, high=100 * interval.high)
