"""Boxes over an example picture, as SVG in the picture's own pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from toolchain.evaluate.detections import Detections
from toolchain.report.figures import Example
from toolchain.report.text import clean

_MOST_BOXES = 60
_Edges = tuple[float, float, float, float]  # left, top, right, bottom


@dataclasses.dataclass(frozen=True)
class _Seen:
    """One box to draw.  x, y, width, height in pixels; hue in degrees."""

    label: str
    hue: int
    x: float
    y: float
    width: float
    height: float


def overlay(found: Detections, categories: Mapping[int, str], example: Example) -> Markup:
    """The boxes with label and score, best on top.  The same category has the same colour.

    A label lies at its box where it hides no label of a better one; where there is no such place,
    it shows when the box is pointed at.
    """
    unit = example.width / 100  # pictures are shown equally wide: texts keep their size
    order = found.scores.argsort(kind="stable")[-_MOST_BOXES:]
    seen = [
        _Seen(
            f"{clean(categories.get(category, str(category)))} {score:.2f}",
            category * 137 % 360,  # golden angle: neighbours differ
            *box,
        )
        for category, box, score in zip(
            found.category_ids[order].tolist(),
            found.boxes[order].tolist(),
            found.scores[order].tolist(),
            strict=True,
        )
    ]
    boxes = [_box(one, unit) for one in seen]
    return Markup("").join([*boxes, *_labels(seen[::-1], example, unit)])


def _box(one: _Seen, unit: float) -> Markup:
    return Markup(
        '<g style="--hue:{}"><title>{}</title><rect class="box" x="{:.1f}" y="{:.1f}" '
        'width="{:.1f}" height="{:.1f}" stroke-width="{:.1f}"/></g>'
    ).format(one.hue, one.label, one.x, one.y, one.width, one.height, 0.5 * unit)


def _labels(best_first: Sequence[_Seen], example: Example, unit: float) -> Iterator[Markup]:
    taken: list[_Edges] = []
    for one in best_first:
        place = next(
            (p for p in _places(one, example, unit) if not any(_overlap(p, t) for t in taken)), None
        )
        if place is None:
            continue
        taken.append(place)
        left, top, right, bottom = place
        yield Markup(
            '<g style="--hue:{}"><rect class="tab" x="{:.1f}" y="{:.1f}" width="{:.1f}" '
            'height="{:.1f}"/><text x="{:.1f}" y="{:.1f}" font-size="{:.1f}">{}</text></g>'
        ).format(
            one.hue, left, top, right - left, bottom - top,
            left + 0.5 * unit, top + 2.7 * unit, 2.9 * unit, one.label,
        )  # fmt: skip


def _places(one: _Seen, example: Example, unit: float) -> Iterator[_Edges]:
    """Where a label may lie, the best place first: above, inside, below; at the left, the right."""
    wide, tall = 1.62 * unit * len(one.label) + unit, 3.6 * unit
    for top in (one.y - tall, one.y, one.y + one.height, one.y + one.height - tall):
        for left in (one.x, one.x + one.width - wide):
            x = min(max(left, 0), max(example.width - wide, 0))
            y = min(max(top, 0), max(example.height - tall, 0))
            yield x, y, x + wide, y + tall


def _overlap(one: _Edges, other: _Edges) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
