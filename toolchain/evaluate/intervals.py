"""How sure a difference of two APs is: a paired bootstrap over images.

Images are drawn with replacement, the same draw for both models, and AP is computed anew on each
draw (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile
interval).  Drawing an image k times is giving it weight k, so that nothing is matched twice.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from toolchain.evaluate.coco_ap import ClassMatches, Evaluated

_BATCH_CELLS = 4_000_000  # detections x resamples at a time: some 100 MB
_TINY = np.spacing(1)  # pycocotools' guard against 0 / 0


@dataclasses.dataclass(frozen=True)
class Interval:
    """Bounds of a difference as fractions of AP; `level` of the resamples lie between them."""

    low: float
    high: float
    level: float
    resamples: int


def paired_interval(
    reference: Evaluated,
    other: Evaluated,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 20240708,
) -> Interval | None:
    """Interval of AP(reference) - AP(other), both evaluated on the same images.

    None with fewer than two images, or where most draws hold no object.
    """
    images = reference.accuracy.images
    if images != other.accuracy.images:
        raise ValueError("a paired interval needs the same images on both sides")
    if images < 2:
        return None
    lost = _drawn_ap(reference, resamples, seed) - _drawn_ap(other, resamples, seed)
    lost = lost[np.isfinite(lost)]
    if len(lost) < resamples / 2:
        return None
    low, high = np.quantile(lost, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, len(lost))


@functools.lru_cache(maxsize=2)  # one reference after another, each compared with many
def _drawn_ap(evaluated: Evaluated, resamples: int, seed: int) -> NDArray[np.float64]:
    return weighted_ap(evaluated, draw(evaluated.accuracy.images, resamples, seed))


def draw(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each image is drawn: int64 [resamples, images], each row sums to `images`."""
    chosen = np.random.default_rng(seed).integers(0, images, (resamples, images))
    rows = np.arange(resamples)[:, np.newaxis] * images
    counts = np.bincount((chosen + rows).ravel(), minlength=resamples * images)
    return counts.reshape(resamples, images)


def weighted_ap(evaluated: Evaluated, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """AP with each image counted `weights` times: float64 [resamples]; NaN without an object.

    weights: int64 [resamples, images].  All weights 1 give COCO's AP.
    """
    total = np.zeros(len(weights))
    classes = np.zeros(len(weights))
    counts = weights.astype(np.float64)
    for matches in evaluated.matches:
        objects = counts @ matches.objects.astype(np.float64)
        total += np.where(objects > 0, _class_ap(matches, counts, objects, evaluated.recalls), 0)
        classes += objects > 0
    with np.errstate(invalid="ignore"):
        return total / classes


def _class_ap(
    matches: ClassMatches,
    weights: NDArray[np.float64],
    objects: NDArray[np.float64],
    recalls: NDArray[np.float64],
) -> NDArray[np.float64]:
    hits = np.flatnonzero(matches.found.any(axis=0))
    if not len(hits):
        return np.zeros(len(weights))
    # What comes after the last hit changes neither recall nor the best precision.
    image = matches.image[: hits[-1] + 1]
    batch = max(1, _BATCH_CELLS // len(image))
    parts = []
    for start in range(0, len(weights), batch):
        part, there = weights[start : start + batch], objects[start : start + batch]
        seen = part[:, image].cumsum(axis=1)
        by_threshold = [
            _threshold_ap(part, seen, there, matches.image, found, ignored, recalls)
            for found, ignored in zip(matches.found, matches.ignored, strict=True)
        ]
        parts.append(np.mean(by_threshold, axis=0))
    return np.concatenate(parts)


def _threshold_ap(
    weights: NDArray[np.float64],
    seen: NDArray[np.float64],
    objects: NDArray[np.float64],
    image: NDArray[np.intp],
    found: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    recalls: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Mean interpolated precision over the recalls, looked at where an object is found.

    Precision is highest, and recall rises, only there: the misses between need counting alone.
    """
    hits, crowds = np.flatnonzero(found), np.flatnonzero(ignored)
    if not len(hits):
        return np.zeros(len(weights))
    right = weights[:, image[hits]].cumsum(axis=1)
    passed = np.pad(weights[:, image[crowds]].cumsum(axis=1), ((0, 0), (1, 0)))
    counted = seen[:, hits] - passed[:, np.searchsorted(crowds, hits)]
    precision = right / (counted + _TINY)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / np.maximum(objects, 1)[:, np.newaxis]
    reached = np.searchsorted(recalls, recall.ravel(), side="right").reshape(recall.shape)
    share = np.diff(reached, axis=1, prepend=0)
    result: NDArray[np.float64] = (precision * share).sum(axis=1) / len(recalls)
    return result
