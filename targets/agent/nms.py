"""Greedy non-maximum suppression, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_first(scores: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """Indices of the `limit` highest scores, highest first; of equal scores the earlier first.

    scores: float32 [M], no NaN.
    """
    chosen = np.arange(scores.size)
    if scores.size > limit:
        # A full sort of millions is what makes a bad model slow: cut first, ties by position.
        last = np.partition(scores, scores.size - limit)[scores.size - limit]
        above = scores > last
        ties = np.flatnonzero(scores == last)[: limit - int(above.sum())]
        above[ties] = True
        chosen = np.flatnonzero(above)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def suppress(
    boxes: NDArray[Any], classes: NDArray[Any], *, iou: float, max_kept: int
) -> NDArray[np.intp]:
    """Indices of the boxes that survive, best first, `max_kept` at most.

    boxes: float [M, 4] x1, y1, x2, y2, best first.  classes: int [M].  A box goes when a better
    one of its own class overlaps it by more than `iou` (intersection over union; a box without
    area overlaps nothing).
    """
    # Each class lies in one stretch, best first inside it, so that one vector operation a kept
    # box is enough, on the rest of its stretch only.
    grouped = np.argsort(classes, kind="stable")
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[grouped].T, dtype=np.float64)
    areas = (x2 - x1) * (y2 - y1)
    place = np.empty_like(grouped)
    place[grouped] = np.arange(grouped.size)
    ends = np.searchsorted(classes[grouped], classes, side="right").tolist()
    alive = np.ones(grouped.size, dtype=bool)
    kept = []
    for index, at in enumerate(place.tolist()):
        if not alive[at]:
            continue
        kept.append(index)
        if len(kept) >= max_kept:
            break
        rest = slice(at + 1, ends[index])
        width = np.minimum(x2[at], x2[rest]) - np.maximum(x1[at], x1[rest])
        height = np.minimum(y2[at], y2[rest]) - np.maximum(y1[at], y1[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        alive[rest] &= ~(shared > iou * (areas[at] + areas[rest] - shared))
    return np.array(kept, dtype=np.intp)
