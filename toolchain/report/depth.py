"""SQNR of each layer over its depth, as a chart."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from toolchain.report import svg
from toolchain.report.svg import number as n
from toolchain.tflite.layerwise.results import Layer, Verification

WIDTH = 760
HEIGHT = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 30, 42
_CEILING_DB = 60.0  # above it nothing is to be seen


def picture(found: Verification) -> str:
    """`chart` as an SVG file of its own."""
    return svg.standalone(chart(found))


def chart(found: Verification) -> Markup:
    """A point for each tensor, those of layers with weights large; the limit as a line.

    Layers without any noise lie at the upper edge.
    """
    xs = svg.Scale(0, max(1, found.layers[-1].operator), _LEFT, WIDTH - _RIGHT)
    known = [layer.sqnr_db for layer in found.layers if layer.sqnr_db is not None]
    low = min([0.0, *known, found.rule.limit_db]) - 2
    ys = svg.Scale(
        max(low, -30.0), min(_CEILING_DB, max([20.0, *known])) + 3, HEIGHT - _BOTTOM, _TOP
    )
    parts = [_grid(xs, ys), _limit(found.rule.limit_db, ys)]
    parts += [_point(layer, found.first, xs, ys) for layer in found.layers]
    parts += _names(_named(found), xs, ys)
    title = f"{found.model}: SQNR in dB, large points for layers with weights"
    parts += [
        svg.words(_LEFT - 36, 16, title, "axis"),
        svg.words((WIDTH + _LEFT) / 2, HEIGHT - 6, "operator", "axis", anchor="middle"),
    ]
    return svg.chart(HEIGHT, parts, title, width=WIDTH)


def _height(layer: Layer, ys: svg.Scale) -> float:
    value = ys.high if layer.sqnr_db is None else layer.sqnr_db
    return ys(min(max(value, ys.low), ys.high))


def _point(layer: Layer, first: Layer | None, xs: svg.Scale, ys: svg.Scale) -> Markup:
    series = 3 if layer is first else 2 if layer.diverges else 1 if layer.has_weights else 0
    radius = 5.5 if layer is first else 3.2 if layer.has_weights else 1.6
    return svg.circle(f"s{series}", xs(layer.operator), _height(layer, ys), radius)


def _named(found: Verification) -> list[Layer]:
    """The first that diverges, and the lowest where that is another."""
    chosen = [found.lowest] if found.first is None else [found.first, found.lowest]
    return list(dict.fromkeys(chosen))


def _names(layers: Sequence[Layer], xs: svg.Scale, ys: svg.Scale) -> list[Markup]:
    parts, lines = [], [0.0]
    for layer in layers:
        x, y = xs(layer.operator), _height(layer, ys)
        anchor = "start" if x < WIDTH / 2 else "end"
        line = y + 18 if y + 22 < HEIGHT - _BOTTOM else y - 10
        while any(abs(line - taken) < 14 for taken in lines):
            line -= 14
        lines.append(line)
        parts.append(
            svg.words(x + (8 if anchor == "start" else -8), line, layer.layer, "name", anchor)
        )
    return parts


def _limit(limit_db: float, ys: svg.Scale) -> Markup:
    y = ys(limit_db)
    line = svg.path("limit", f"M{_LEFT} {n(y)}H{WIDTH - _RIGHT}")
    return line + svg.words(_LEFT + 4, y + 13, f"limit {limit_db:g} dB", "tick")


def _grid(xs: svg.Scale, ys: svg.Scale) -> Markup:
    parts = []
    for value in ys.ticks(6):
        parts.append(svg.path("grid", f"M{_LEFT} {n(ys(value))}H{WIDTH - _RIGHT}"))
        parts.append(svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end"))
    for value in xs.ticks(8):
        parts.append(
            svg.words(xs(value), HEIGHT - _BOTTOM + 16, f"{value:g}", "tick", anchor="middle")
        )
    return Markup("").join(parts)
