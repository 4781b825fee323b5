"""The few shapes that charts are made of, as inline SVG, and an SVG as a file of its own.

All texts are escaped here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

from toolchain.report import text

WIDTH: Final = 380
MOST_LETTERS: Final = 24  # of a name beside figures
_STYLE: Final = """<style>
text { font: 11.5px system-ui, sans-serif; fill: #596273 }
text.name { font-size: 12.5px; font-weight: 600; fill: #161a22 }
.grid { stroke: #e2e6ec; fill: none } .line { stroke: #596273; fill: none }
.limit { stroke: #b42318; fill: none; stroke-dasharray: 4 3 }
.whisker { fill: none; stroke: var(--s); stroke-width: 1.5 } circle { fill: var(--s) }
.s0 { --s: #64748b } .s1 { --s: #12897b } .s2 { --s: #d9730d } .s3 { --s: #b42318 }
</style><rect width="100%" height="100%" fill="#ffffff"/>"""
_CHART: Final = re.compile(r'<svg class="chart"([^>]*)>(.*?)</svg>', re.S)


class Scale:
    """Values from low to high laid on pixels from start to end."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        """Where a value lies, in pixels."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Round values inside, about as many as wanted."""
        rough = (self.high - self.low) / wanted or 1
        magnitude = 10 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
        first = math.ceil(self.low / step)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def rectangle(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    """A filled bar."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1"/>').format(
        kind, number(x), number(y), number(width), number(height)
    )


def path(kind: str, outline: str) -> Markup:
    """A line; outline: SVG path data."""
    return Markup('<path class="{}" d="{}"/>').format(kind, outline)


def circle(kind: str, x: float, y: float, radius: float) -> Markup:
    """A filled point."""
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(
        kind, number(x), number(y), number(radius)
    )


def words(x: float, y: float, said: str, kind: str, anchor: str = "start") -> Markup:
    """Text on a line; names are cut short."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, number(x), number(y), anchor, shortened(said) if kind == "name" else text.clean(said)
    )


def shortened(name: str) -> str:
    """A name that fits beside figures."""
    name = text.clean(name)
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"


def chart(height: float, parts: Iterable[Markup], title: str, *, width: float = WIDTH) -> Markup:
    """The whole, for a page whose style gives the colours."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(number(width), number(height), title, Markup("").join(parts))


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


def standalone(page: str) -> str:
    """The first chart on a page, as a file of its own with its style inside."""
    found = _CHART.search(page)
    assert found is not None
    return f'<svg xmlns="http://www.w3.org/2000/svg"{found[1]}>{_STYLE}{found[2]}</svg>\n'
