"""Boxes over an example picture, as SVG in the picture's own pixels."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from toolchain.evaluate.detections import Detections
from toolchain.report.figures import Example
from toolchain.report.text import clean

_MOST_BOXES = 60


def overlay(found: Detections, categories: Mapping[int, str], example: Example) -> Markup:
    """The boxes with label and score, best on top.  The same category has the same colour."""
    unit = example.width / 100  # pictures are shown equally wide: texts keep their size
    order = found.scores.argsort(kind="stable")[-_MOST_BOXES:]
    parts = []
    for category, (x, y, width, height), score in zip(
        found.category_ids[order].tolist(),
        found.boxes[order].tolist(),
        found.scores[order].tolist(),
        strict=True,
    ):
        label = f"{clean(categories.get(category, str(category)))} {score:.2f}"
        hue = category * 137 % 360  # golden angle: neighbours differ
        wide = 1.62 * unit * len(label) + unit
        top = max(y - 3.6 * unit, 0)
        left = min(max(x, 0), max(example.width - wide, 0))
        parts.append(
            Markup(
                '<g style="--hue:{}"><rect class="box" x="{:.1f}" y="{:.1f}" width="{:.1f}" '
                'height="{:.1f}" stroke-width="{:.1f}"/><rect class="tab" x="{:.1f}" y="{:.1f}" '
                'width="{:.1f}" height="{:.1f}"/><text x="{:.1f}" y="{:.1f}" '
                'font-size="{:.1f}">{}</text></g>'
            ).format(
                hue, x, y, width, height, 0.5 * unit,
                left, top, wide, 3.6 * unit,
                left + 0.5 * unit, top + 2.7 * unit, 2.9 * unit, label,
            )
        )  # fmt: skip
    return Markup("").join(parts)
