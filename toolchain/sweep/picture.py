"""AP against frames a second, and watts and joules where they are known, as an SVG of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from markupsafe import Markup

from toolchain.report import svg, text
from toolchain.report.svg import number as n
from toolchain.sweep.results import Model, Results, Row, front

PANEL: Final = 400
HEIGHT: Final = 420
_LEFT, _RIGHT, _TOP, _BOTTOM, _KEYS = 46, 20, 44, 46, 210
_COLOURS: Final = (
    "#64748b", "#12897b", "#d9730d", "#b42318", "#7c3aed", "#2563eb", "#65780b", "#a21a7a",
    "#0e7490", "#92400e", "#be185d", "#1e293b",
)  # fmt: skip
_STYLE: Final = (
    """<style>
text { font: 11.5px system-ui, sans-serif; fill: #596273 }
text.count { font-size: 11px; fill: #161a22 } text.head { font-weight: 600; fill: #161a22 }
.grid { stroke: #e2e6ec; fill: none } .whisker { fill: none; opacity: 0.55; stroke-width: 1.5 }
.front { stroke: #161a22; fill: none; stroke-dasharray: 4 3; opacity: 0.6 }
.row { fill: none; opacity: 0.45 } .mode { stroke: #596273; fill: #596273 }
"""
    + "".join(f".c{i} {{ stroke: {c}; fill: {c} }}\n" for i, c in enumerate(_COLOURS))
    + "".join(f".l{i} {{ stroke: {c} }}\n" for i, c in enumerate(_COLOURS))
    + '</style><rect width="100%" height="100%" fill="#ffffff"/>'
)
_NO_MARK: Final = Markup("")
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class _Panel:
    """One plane; left: where it begins."""

    left: float
    title: str
    value: Callable[[Row], float | None]
    unit: str
    less: bool


def picture(found: Results) -> str | None:
    """None where no row has both an accuracy and a speed.

    Colour: model.  Form: power mode.  The number beside a mark: threads.  Dashed: what nothing
    else is better than in both.
    """
    shown = [row for row in found.rows if row.height is not None and row.fps_model is not None]
    if not shown:
        return None
    panels = list(_panels(shown))
    models = list(dict.fromkeys(row.model for row in found.rows))
    modes = list(dict.fromkeys(row.combination.mode for row in found.rows))
    ys = svg.Scale(*_heights(shown), HEIGHT - _BOTTOM, _TOP)
    width = panels[-1].left + PANEL + _KEYS
    parts = [_panel(panel, shown, models, modes, ys) for panel in panels]
    parts += _keys(panels[-1].left + PANEL + 8, models, modes)
    where = text.clean(f"{found.target}" + (f", {found.board}" if found.board else ""))
    parts.append(svg.words(_LEFT - 36, 18, where, "head"))
    said = f"{found.by}, {text.counted(found.images, 'image')}"
    parts.append(svg.words(_LEFT - 36, _TOP - 9, said, "axis"))
    title = text.clean(f"{found.by} against speed of {where}")
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" '
            'aria-label="{}">{}{}</svg>\n'
        ).format(n(width), HEIGHT, title, Markup(_STYLE), Markup("").join(parts))  # noqa: S704
    )


def _panels(rows: Sequence[Row]) -> Iterator[_Panel]:
    frames = "frames a second, the model alone"
    yield _Panel(_LEFT, frames, lambda row: row.fps_model, "FPS", less=False)
    if any(row.watts is not None for row in rows):
        meaning = next((row.power_is for row in rows if row.power_is), None)
        title = f"watts ({text.clean(meaning)})" if meaning else "watts"
        yield _Panel(_LEFT + PANEL, title, lambda row: row.watts, "W", less=True)
        joules = "joules an inference"
        yield _Panel(_LEFT + 2 * PANEL, joules, lambda row: row.joule, "J", less=True)


def _heights(rows: Sequence[Row]) -> tuple[float, float]:
    found = [end for row in rows for end in (row.height, *_whisker(row)) if end is not None]
    margin = max(0.12 * (max(found) - min(found)), 0.5)
    return min(found) - margin, max(found) + margin


def _whisker(row: Row) -> tuple[float, ...]:
    """Where its AP lies against the float model's: that one less the interval of what is lost."""
    if row.ap is None or row.ap_lost is None or row.ap_lost_ci95 is None:
        return ()
    reference = row.ap + row.ap_lost
    return reference - row.ap_lost_ci95[1], reference - row.ap_lost_ci95[0]


def _panel(
    panel: _Panel,
    rows: Sequence[Row],
    models: Sequence[Model],
    modes: Sequence[str | None],
    ys: svg.Scale,
) -> Markup:
    known = [(row, value) for row in rows if (value := panel.value(row)) is not None]
    start, end = panel.left, panel.left + PANEL - _RIGHT
    xs = svg.Scale(0, max(value for _, value in known) * 1.08, start, end)
    parts = [_grid(xs, ys), svg.words((start + end) / 2, HEIGHT - 8, panel.title, "axis", "middle")]
    best = front(rows, panel.value, less=panel.less)
    parts.append(_front([(xs(v), ys(row.height or 0)) for row, v in known if row in best]))
    taken: list[Box] = []
    for model in models:
        colour = models.index(model) % len(_COLOURS)
        own = [(row, xs(value)) for row, value in known if row.model == model]
        parts.append(_line(own, ys, colour))
        taken += [
            (x - 6, ys(row.height or 0) - 6, x + 6, ys(row.height or 0) + 6) for row, x in own
        ]
    for row, value in known:
        colour = models.index(row.model) % len(_COLOURS)
        x, y = xs(value), ys(row.height or 0)
        mark = _mark(modes.index(row.combination.mode), f"c{colour}", x, y)
        title = Markup("<title>{}: {}, {} {}, {} {}</title>").format(
            text.clean(row.model.name),
            text.clean(str(row.combination)),
            text.number(row.height),
            "points",
            text.per_second(value),
            panel.unit,
        )
        parts.append(Markup("<g>{}{}</g>").format(title, mark))
    for row, value in sorted(known, key=lambda item: item[0] not in best):  # these have room first
        place = xs(value), ys(row.height or 0)
        parts.append(_count(*place, str(row.combination.threads), taken))
    return Markup("").join(parts)


def _line(own: Sequence[tuple[Row, float]], ys: svg.Scale, colour: int) -> Markup:
    """Through all marks of a model, with its whisker at the last: they have one accuracy."""
    if not own:
        return _NO_MARK
    row, y = own[0][0], ys(own[0][0].height or 0)
    first, last = min(x for _, x in own), max(x for _, x in own)
    parts = [svg.path(f"row l{colour}", f"M{n(first)} {n(y)}H{n(last)}")]
    if ends := _whisker(row):
        low, high = (ys(end) for end in ends)
        outline = (
            f"M{n(last)} {n(low)}V{n(high)}M{n(last - 4)} {n(low)}h8M{n(last - 4)} {n(high)}h8"
        )
        parts.append(svg.path(f"whisker l{colour}", outline))
    return Markup("").join(parts)


def _front(points: Sequence[tuple[float, float]]) -> Markup:
    """Steps from the most accurate to the fastest, or to the most frugal."""
    if len(points) < 2:
        return _NO_MARK
    ordered = sorted(points, key=lambda point: point[1])  # up is small
    x, y = ordered[0]
    outline = f"M{n(x)} {n(y)}"
    for x, y in ordered[1:]:
        # More of the one is had down to the accuracy of the next: first down, then along.
        outline += f"V{n(y)}H{n(x)}"
    return svg.path("front", outline)


def _count(x: float, y: float, said: str, taken: list[Box]) -> Markup:
    """The number of threads above or below its mark; nowhere if there is no room."""
    wide = 6.5 * len(said)
    for down in (-9, 18):
        box = (x - wide / 2, y + down - 9, x + wide / 2, y + down + 1)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return svg.words(x, y + down, said, "count", anchor="middle")
    return _NO_MARK


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _mark(form: int, kind: str, x: float, y: float) -> Markup:
    """A circle, square, diamond or triangle, and from the fifth mode on they begin again."""
    if form % 4 == 0:
        return svg.circle(kind, x, y, 4.5)
    if form % 4 == 1:
        return svg.rectangle(kind, x - 4, y - 4, 8, 8)
    if form % 4 == 2:
        return svg.path(kind, f"M{n(x)} {n(y - 5.5)}l5.5 5.5l-5.5 5.5l-5.5 -5.5z")
    return svg.path(kind, f"M{n(x)} {n(y - 5.5)}l5.2 9.5h-10.4z")


def _keys(left: float, models: Sequence[Model], modes: Sequence[str | None]) -> list[Markup]:
    parts, y = [], _TOP + 12.0
    for place, model in enumerate(models):
        parts.append(svg.circle(f"c{place % len(_COLOURS)}", left, y - 4, 4.5))
        parts.append(svg.words(left + 13, y, _fitting(model.name), "tick"))
        y += 19
    y += 8
    named = [(place, mode) for place, mode in enumerate(modes) if mode is not None]
    for place, mode in named:
        parts.append(_mark(place, "mode", left, y - 4))
        parts.append(svg.words(left + 13, y, _fitting(mode), "tick"))
        y += 19
    parts.append(svg.path("front", f"M{n(left - 6)} {n(y - 4)}h12"))
    parts.append(svg.words(left + 13, y, "nothing better in both", "tick"))
    parts.append(svg.words(left - 3, y + 19, "1", "count"))
    parts.append(svg.words(left + 13, y + 19, "threads", "tick"))
    return parts


def _fitting(name: str) -> str:
    return name if len(name) <= 30 else name[:29] + "…"


def _grid(xs: svg.Scale, ys: svg.Scale) -> Markup:
    parts = []
    for value in ys.ticks(7):
        parts.append(svg.path("grid", f"M{n(xs.start)} {n(ys(value))}H{n(xs.end)}"))
        if xs.start == _LEFT:
            parts.append(svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end"))
    for value in xs.ticks(6):
        x = xs(value)
        parts.append(svg.path("grid", f"M{n(x)} {_TOP}V{HEIGHT - _BOTTOM}"))
        parts.append(svg.words(x, HEIGHT - _BOTTOM + 16, f"{value:g}", "tick", anchor="middle"))
    return Markup("").join(parts)
