"""Charts as inline SVG; colours come from the page's style, so they follow light and dark.

Widths are in the pixels of a phone, so that texts stay readable where a chart fills the screen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from toolchain.report import svg, text
from toolchain.report.figures import Latency
from toolchain.report.svg import number as n

WIDTH = svg.WIDTH
_LEFT, _RIGHT = 40, 14


@dataclasses.dataclass(frozen=True)
class Point:
    """A model in the plane of size and accuracy.  low, high: where its accuracy lies (95 %)."""

    name: str
    series: int
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Bar:
    """A row of `bars` or `stacked`; None is left out."""

    name: str
    series: int
    values: tuple[float | None, ...]
    label: str


@dataclasses.dataclass(frozen=True)
class Times:
    """A row of `histograms`."""

    name: str
    series: int
    latency: Latency


def plane(points: Sequence[Point], *, x_label: str, y_label: str) -> Markup:
    """Accuracy over file size, x from 0, y as close as the points allow."""
    height, top, bottom = 250, 26, 42
    xs = svg.Scale(0, max(p.x for p in points) * 1.12, _LEFT, WIDTH - _RIGHT)
    ends = [value for p in points for value in (p.y, p.low, p.high) if value is not None]
    margin = max((max(ends) - min(ends)) * 0.18, 0.5)
    ys = svg.Scale(min(ends) - margin, max(ends) + margin, height - bottom, top)
    parts = [_grid_y(ys), _grid_x(xs, height - bottom)]
    parts += [svg.words(_LEFT - 30, 14, y_label, "axis"), _middle(height - 6, x_label)]
    names = _names([(xs(p.x), ys(p.y), p.name) for p in points], top, height - bottom)
    parts += [*names, *(_point(point, xs, ys) for point in points)]
    return svg.chart(height, parts, f"{y_label} over {x_label}")


def bars(rows: Sequence[Bar], *, unit: str, shades: Sequence[str]) -> Markup:
    """Horizontal bars from 0 on one scale, each in shades that end at the values of its row.

    shades: what the values are, first the darkest.
    """
    step, top = 44, 24
    height = top + step * len(rows) + 22
    longest = max((v for row in rows for v in row.values if v is not None), default=1)
    xs = svg.Scale(0, longest * 1.02, 4, WIDTH - _RIGHT)
    parts = [_grid_x(xs, top + step * len(rows), top=top, unit=unit), _legend(shades, "shade")]
    for index, row in enumerate(rows):
        y = top + step * index
        parts.append(svg.words(4, y + 14, row.name, "name"))
        parts.append(svg.words(WIDTH - _RIGHT, y + 14, row.label, "value", anchor="end"))
        known = sorted((v, shade) for shade, v in enumerate(row.values) if v is not None)
        start = xs.start
        for value, shade in known:
            parts.append(
                svg.rectangle(f"s{row.series} shade{shade}", start, y + 20, xs(value) - start, 14)
            )
            start = xs(value)
    return svg.chart(height, parts, ", ".join(shades))


def histograms(rows: Sequence[Times]) -> Markup:
    """How the times of each model scatter, each around its own median, p50, p90 and p99 marked."""
    step, bins = 96, 48
    parts = []
    for index, row in enumerate(rows):
        parts.append(_histogram(row, step * index, bins))
    return svg.chart(step * len(rows), parts, "Latency of the model alone")


def stacked(rows: Sequence[Bar], *, shades: Sequence[str]) -> Markup:
    """Horizontal bars, each as long as all others, cut by the shares of its values."""
    step, top = 44, 24
    parts = [_legend(shades, "part")]
    for index, row in enumerate(rows):
        y = top + step * index
        parts.append(svg.words(4, y + 14, row.name, "name"))
        parts.append(svg.words(WIDTH - _RIGHT, y + 14, row.label, "value", anchor="end"))
        values = [value or 0 for value in row.values]
        xs = svg.Scale(0, sum(values) or 1, 4, WIDTH - _RIGHT)
        start = 0.0
        for shade, value in enumerate(values):
            kind = f"s{row.series} part{shade}"
            parts.append(svg.rectangle(kind, xs(start), y + 20, xs(value) - xs.start, 14))
            start += value
    return svg.chart(top + step * len(rows), parts, "Share of each stage")


def _point(point: Point, xs: svg.Scale, ys: svg.Scale) -> Markup:
    x, y = xs(point.x), ys(point.y)
    parts = []
    if point.low is not None and point.high is not None:
        low, high = ys(point.low), ys(point.high)
        left = n(x - 4)
        ends = f"M{n(x)} {n(low)}V{n(high)}M{left} {n(low)}h8M{left} {n(high)}h8"
        parts.append(svg.path(f"whisker s{point.series}", ends))
    parts.append(svg.circle(f"s{point.series}", x, y, 5.5))
    return Markup("").join(parts)


# Where a name may stand from its point: anchor, across, down.  First beside it, then further away.
_BESIDE: Final = (
    ("start", 10.0, 4.0),
    ("end", -10.0, 4.0),
    ("middle", 0.0, -12.0),
    ("middle", 0.0, 20.0),
)
_AWAY: Final = tuple(
    (anchor, across * (1 if anchor == "start" else -1), down)
    for across in (24.0, 60.0, 110.0)
    for down in (4.0, -18.0, 26.0, -36.0, 44.0, -56.0, 64.0, -76.0, 84.0)
    for anchor in ("start", "end")
)


def _names(points: Sequence[tuple[float, float, str]], low: float, high: float) -> list[Markup]:
    """Names at their points, where they cover neither a point nor another name.

    Those that have no room beside theirs stand further away, with a line to it.  low, high: the
    lines that names stay between.
    """
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y, _ in points]
    parts = []
    for x, y, name in points:
        wide = 6.6 * len(svg.shortened(name))
        places = [(anchor, x + across, y + down) for anchor, across, down in (*_BESIDE, *_AWAY)]
        boxes = [_extent(anchor, at, line, wide) for anchor, at, line in places]
        free = [
            index
            for index, box in enumerate(boxes)
            if box[0] >= _LEFT
            and box[2] <= WIDTH
            and low <= box[1]
            and box[3] <= high
            and not any(_overlap(box, t) for t in taken)
        ]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        anchor, at, line = places[chosen]
        if chosen >= len(_BESIDE):
            end = at - 2 if anchor == "start" else at + 2
            parts.append(svg.path("line", f"M{n(x)} {n(y)}L{n(end)} {n(line - 4)}"))
        parts.append(svg.words(at, line, name, "name", anchor))
    return parts


def _extent(anchor: str, at: float, line: float, wide: float) -> tuple[float, float, float, float]:
    left = at - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
    return left, line - 10, left + wide, line + 2


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _histogram(row: Times, y: float, bins: int) -> Markup:
    latency, base = row.latency, y + 74
    low = min(latency.min_ms, 0.97 * latency.p50_ms)
    high = max(latency.max_ms, 1.10 * latency.p50_ms)
    xs = svg.Scale(low, high, 4, WIDTH - _RIGHT)
    counts = [0] * bins
    for value in latency.values_ms:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    width = (xs.end - xs.start) / bins
    parts = [
        svg.words(4, y + 14, row.name, "name"),
        svg.words(
            WIDTH - _RIGHT,
            y + 14,
            f"p50 {text.milliseconds(latency.p50_ms)} · p90 {text.milliseconds(latency.p90_ms)} · "
            f"p99 {text.milliseconds(latency.p99_ms)}",
            "value",
            anchor="end",
        ),
        svg.path("line", f"M4 {n(base)}H{WIDTH - _RIGHT}"),
    ]
    for index, count in enumerate(counts):
        if count:
            tall = max(2.0, 44 * count / max(counts))
            left = xs.start + index * width
            parts.append(svg.rectangle(f"s{row.series}", left, base - tall, width - 1, tall))
    for value, name in ((latency.p50_ms, "p50"), (latency.p90_ms, "p90"), (latency.p99_ms, "p99")):
        parts.append(svg.path(f"mark {name}", f"M{n(xs(value))} {n(base - 48)}V{n(base + 4)}"))
    parts += [
        svg.words(4, base + 15, text.milliseconds(low), "tick"),
        svg.words(WIDTH - _RIGHT, base + 15, text.milliseconds(high), "tick", anchor="end"),
    ]
    return Markup("").join(parts)


def _grid_y(ys: svg.Scale) -> Markup:
    parts = []
    for value in ys.ticks(5):
        parts.append(svg.path("grid", f"M{_LEFT} {n(ys(value))}H{WIDTH - _RIGHT}"))
        parts.append(svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end"))
    return Markup("").join(parts)


def _grid_x(xs: svg.Scale, bottom: float, *, top: float = 26, unit: str = "") -> Markup:
    parts = []
    for value in xs.ticks(5):
        x = xs(value)
        parts.append(svg.path("grid", f"M{n(x)} {n(top)}V{n(bottom)}"))
        anchor = "start" if x < 12 else "middle"
        parts.append(svg.words(x, bottom + 15, f"{value:g} {unit}".strip(), "tick", anchor=anchor))
    return Markup("").join(parts)


def _legend(names: Sequence[str], kind: str) -> Markup:
    """In greys: the shades mean the same in every colour."""
    parts, x = [], 4.0
    for shade, name in enumerate(names):
        parts.append(svg.rectangle(f"key {kind}{shade}", x, 3, 10, 10))
        parts.append(svg.words(x + 15, 12, name, "tick"))
        x += 30 + 6.1 * len(name)
    return Markup("").join(parts)


def _middle(y: float, words: str) -> Markup:
    return svg.words((WIDTH + _LEFT - _RIGHT) / 2, y, words, "axis", anchor="middle")
