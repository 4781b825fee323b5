"""Small charts of what sensors said over a run: as SVG for a page, in one line for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from toolchain.report import svg, text
from toolchain.report.svg import number as n
from toolchain.report.telemetry import Series, Watched
from toolchain.report.watched import by_quantity

TITLES: Final = {
    "temperature": "Temperature, °C",
    "clock": "Clock, MHz",
    "load": "Load, %",
    "power": "Power, W",
    "memory": "Memory, MiB",
    "throttling": "Throttling",
}
MOST_LINES: Final = 6
_BARS: Final = "▁▂▃▄▅▆▇█"
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 26, 22
_TALL = 84


def charts(watched: Watched) -> Iterator[tuple[str, str, Markup]]:
    """Title, a word on what is left out, and the chart, of each quantity that is known."""
    groups = by_quantity(watched.series)
    end_s = max((one.points[-1][0] for group in groups.values() for one in group), default=0.0)
    for quantity, title in TITLES.items():
        chosen = _chosen(quantity, groups.get(quantity, []))
        if any(len(one.points) > 1 for one in chosen):
            left_out = len(groups[quantity]) - len(chosen)
            words = f"{left_out} more in report.json." if left_out else ""
            yield title, words, _chart(chosen, title, end_s)


def sparkline(one: Series, width: int = 10) -> str:
    """The series in that many blocks, from its lowest value to its highest; unknown is a blank.

    A load goes from 0 to 100.
    """
    if one.low is None or one.high is None:
        return ""
    low, high = (0.0, 100.0) if one.quantity == "load" else (one.low, one.high)
    blocks = []
    count = min(width, len(one.points))
    for index in range(count):
        part = one.points[index * len(one.points) // count : (index + 1) * len(one.points) // count]
        known = [value for _, value in part if value is not None]
        if not known:
            blocks.append(" ")
            continue
        share = (sum(known) / len(known) - low) / ((high - low) or 1)
        blocks.append(_BARS[max(0, min(len(_BARS) - 1, int(share * len(_BARS))))])
    return "".join(blocks)


def told(watched: Watched) -> Iterator[tuple[str, str, Series | None]]:
    """Name, figures and series of each quantity in few words, for a line of text."""
    groups = by_quantity(watched.series)
    if hottest := max(groups.get("temperature", []), key=lambda s: s.high or 0, default=None):
        yield "temperature", f"{_range(hottest, 0)} °C ({text.clean(hottest.name)})", hottest
    for one in [s for s in groups.get("clock", []) if s.name != "GPU"][:MOST_LINES]:
        yield "clock", f"{_range(one, 0)} MHz ({text.clean(one.name)})", one
    for one in groups.get("load", []):
        if one.name in ("all cores", "GPU"):
            name = "CPU load" if one.name == "all cores" else "GPU load"
            yield name, f"{text.number(one.mean, 0)} %", one
    if watched.power is not None:
        power = watched.power
        yield "power", f"{text.number(power.mean_w, 2)} W ({' + '.join(power.rails)})", None
        yield "energy", f"{text.joule(power.energy_j)} an inference", None
    if watched.knows_throttling:
        yield "throttling", ", ".join(watched.throttling) or "none", None


def _chosen(quantity: str, series: Sequence[Series]) -> list[Series]:
    """Those that tell most: of cores their mean, of flags those that ever held."""
    if quantity == "load":
        return [one for one in series if one.name in ("all cores", "GPU")]
    if quantity == "memory":  # the agent's own: the board's is on another scale
        return [one for one in series if not one.name.endswith(" on the board")]
    if quantity == "throttling":
        return [one for one in series if one.high]
    if len(series) <= MOST_LINES:
        return list(series)
    kept = sorted(series, key=lambda one: one.high or 0, reverse=True)[:MOST_LINES]
    return [one for one in series if one in kept]


def _chart(series: Sequence[Series], title: str, end_s: float) -> Markup:
    legend, rows = _legend(series)
    top = _TOP + 16 * rows
    height = top + _TALL + _BOTTOM
    low, high = _limits(series)
    xs = svg.Scale(0, end_s or 1, _LEFT, svg.WIDTH - _RIGHT)
    ys = svg.Scale(low, high, top + _TALL, top)
    parts = [*legend, *_grid(ys, xs, top + _TALL)]
    for index, one in enumerate(series):
        parts.append(svg.path(f"trace s{index % 6}", _outline(one, xs, ys)))
    return svg.chart(height, parts, f"{title} over the run")


def _outline(one: Series, xs: svg.Scale, ys: svg.Scale) -> str:
    """Lines between known values; where one is unknown the line is broken."""
    steps, pen_down = [], False
    for at_s, value in one.points:
        if value is None:
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{n(xs(at_s))} {n(ys(value))}")
        if not pen_down:
            steps.append("h0.1")  # a lone point shows too
        pen_down = True
    return "".join(steps)


def _limits(series: Sequence[Series]) -> tuple[float, float]:
    low = min(one.low for one in series if one.low is not None)
    high = max(one.high for one in series if one.high is not None)
    if series[0].quantity == "load":
        return 0.0, 100.0
    if series[0].quantity in ("throttling", "power"):
        low = 0.0
    margin = max((high - low) * 0.1, abs(high) * 0.02, 0.5 if high > 1 else 0.05)
    return (low if low == 0 else low - margin), high + margin


def _grid(ys: svg.Scale, xs: svg.Scale, bottom: float) -> Iterator[Markup]:
    for value in ys.ticks(3):
        yield svg.path("grid", f"M{_LEFT} {n(ys(value))}H{svg.WIDTH - _RIGHT}")
        yield svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end")
    for value in xs.ticks(4):
        anchor = "start" if value == 0 else "middle"
        yield svg.words(xs(value), bottom + 15, f"{value:g} s", "tick", anchor=anchor)


def _legend(series: Sequence[Series]) -> tuple[list[Markup], int]:
    parts: list[Markup] = []
    x, row = 4.0, 0
    for index, one in enumerate(series):
        label = svg.shortened(one.name)
        wide = 30 + 6.1 * len(label)
        if x > 4 and x + wide > svg.WIDTH - _RIGHT:
            x, row = 4.0, row + 1
        parts.append(svg.rectangle(f"s{index % 6}", x, 3 + 16 * row, 10, 10))
        parts.append(svg.words(x + 15, 12 + 16 * row, label, "tick"))
        x += wide
    return parts, row


def _range(one: Series, digits: int) -> str:
    low, high = text.number(one.low, digits), text.number(one.high, digits)
    return low if low == high else f"{low}–{high}"
