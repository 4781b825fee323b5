"""Intervals beside each other: B's figure as a multiple of A's, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from toolchain.compare.verdicts import Outcome, Unit, Verdict
from toolchain.report import svg
from toolchain.report.svg import number as n

_LEFT, _RIGHT, _STEP, _TOP = 108, 16, 30, 10
_LEAST: Final = 0.05  # of the logarithm: half the width of the scale at least
_MOST: Final = 3.0  # beyond a factor of 20 a whisker leaves the picture
_SERIES = {Outcome.DIFFERENT: 2, Outcome.SAME: 1}


def intervals(verdicts: Sequence[Verdict]) -> Markup | None:
    """A row for each figure that is a multiple; None where there is none."""
    rows = [row for verdict in verdicts if (row := _multiple(verdict))]
    if not rows:
        return None
    widest = max(abs(end) for _, _, *ends in rows for end in ends)
    half = min(max(widest * 1.1, _LEAST), _MOST)
    xs = svg.Scale(-half, half, _LEFT, svg.WIDTH - _RIGHT)
    bottom = _TOP + _STEP * len(rows)
    parts = [*_grid(xs, bottom)]
    for index, (name, series, middle, low, high) in enumerate(rows):
        y = _TOP + _STEP * index + _STEP / 2
        parts.append(svg.words(4, y + 4, name, "name"))
        parts.append(_whisker(series, y, *(xs(_clipped(v, half)) for v in (low, high))))
        parts.append(svg.circle(f"s{series}", xs(_clipped(middle, half)), y, 5))
    return svg.chart(bottom + 24, parts, "B as a multiple of A, with 95 % intervals")


def _multiple(verdict: Verdict) -> tuple[str, int, float, float, float] | None:
    """Name, colour, and the logarithms of the multiple and of its ends."""
    a, b = verdict.a, verdict.b
    series = _SERIES.get(verdict.outcome)
    if series is None or not a or not b or a < 0 or b < 0 or verdict.difference is None:
        return None
    if verdict.unit is Unit.MS:
        ends = verdict.difference, verdict.low or 0, verdict.high or 0
    elif verdict.unit is Unit.BYTES:
        low, high = (
            verdict.difference if end is None else end for end in (verdict.low, verdict.high)
        )
        ends = b / a, (a + low) / a, (a + high) / a
    else:
        return None
    if min(ends) <= 0:
        return None
    middle, low, high = map(math.log, ends)
    return verdict.figure, series, middle, low, high


def _grid(xs: svg.Scale, bottom: float) -> Iterator[Markup]:
    for value in _ticks(xs.high):
        x = xs(math.log(value))
        yield svg.path("line" if value == 1 else "grid", f"M{n(x)} {_TOP}V{n(bottom)}")
        yield svg.words(x, bottom + 15, f"{value:g}×", "tick", anchor="middle")


def _ticks(half: float) -> list[float]:
    fine = (0.9, 0.95, 1, 1.05, 1.1) if half < 0.2 else (0.8, 0.9, 1, 1.1, 1.25)
    coarse = (0.5, 0.7, 1, 1.4, 2) if half < 1 else (0.1, 0.25, 0.5, 1, 2, 4, 10)
    return [value for value in (fine if half < 0.35 else coarse) if abs(math.log(value)) <= half]


def _clipped(value: float, half: float) -> float:
    return min(max(value, -half), half)


def _whisker(series: int, y: float, low: float, high: float) -> Markup:
    ends = "".join(f"M{n(x)} {n(y - 5)}v10" for x in (low, high))
    return svg.path(f"whisker s{series}", f"M{n(low)} {n(y)}H{n(high)}{ends}")
