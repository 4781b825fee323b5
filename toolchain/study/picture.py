"""AP against bits, one point a cell, as an SVG file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from toolchain.quantize.schemes import SCHEMES
from toolchain.report import svg, text
from toolchain.report.svg import number as n
from toolchain.study.folder import State
from toolchain.study.results import PAPER, Results

WIDTH: Final = 760
HEIGHT: Final = 440
SHOWN: Final = 14.0
"""Points of AP below the float model that the picture reaches down to; the rest is counted."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 170, 34, 44
_COLOURS: Final = ("#64748b", "#d9730d", "#7c3aed", "#12897b", "#2563eb", "#b42318")
_STYLE: Final = (
    """<style>
text { font: 11.5px system-ui, sans-serif; fill: #596273 }
.grid { stroke: #e2e6ec; fill: none } .float { stroke: #161a22; fill: none }
.paper { stroke: #161a22; fill: none; stroke-width: 1.8 } .whisker { fill: none; opacity: 0.5 }
"""
    + "".join(
        f".c{i} {{ stroke: {c}; fill: {c} }}\n"
        f".h{i} {{ stroke: {c}; fill: #ffffff; stroke-width: 2 }}\n"
        for i, c in enumerate(_COLOURS)
    )
    + '</style><rect width="100%" height="100%" fill="#ffffff"/>'
)


def picture(results: Results) -> str:
    """x: bits of codes, side data and biases.  Circles: float activations; squares: int8 ones;
    filled: second-order rounding.  The paper's lines as crosses at their share of float AP."""
    shown, below = _shown(results)
    xs = svg.Scale(*_bits(results, shown), _LEFT, WIDTH - _RIGHT)
    ys = svg.Scale(*_points(results, shown), HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(xs, ys), _float(results.float_ap, xs, ys)]
    parts += [_cell(state, xs, ys) for state in shown]
    parts += [_cross(xs(bits), ys(ap)) for bits, ap in _paper(results)]
    parts += _legend(shown)
    title = f"AP of {text.clean(results.weights)} over bits a weight"
    parts.append(svg.words(_LEFT - 36, 16, f"AP, {results.images} images", "axis"))
    middle = (WIDTH + _LEFT - _RIGHT) / 2
    axis = "bits a weight: codes, side data and biases"
    if below:
        axis += f" ({text.counted(below, 'cell')} below the picture)"
    parts.append(svg.words(middle, HEIGHT - 6, axis, "axis", anchor="middle"))
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" '
            'aria-label="{}">{}{}</svg>\n'
        ).format(WIDTH, HEIGHT, title, Markup(_STYLE), Markup("").join(parts))  # noqa: S704
    )


def _shown(results: Results) -> tuple[list[State], int]:
    states = [state for state in results.finals if state.made is not None]
    shown = [s for s in states if s.final and s.final.ap > results.float_ap - SHOWN]
    return shown, len(states) - len(shown)


def _paper(results: Results) -> list[tuple[float, float]]:
    return [(p.bits_per_weight, results.float_ap * (1 - p.lost_percent / 100)) for p in PAPER]


def _bits(results: Results, shown: Sequence[State]) -> tuple[float, float]:
    found = [s.made.bits_per_weight for s in shown if s.made] + [b for b, _ in _paper(results)]
    return min(found) - 0.3, max(found) + 0.3


def _points(results: Results, shown: Sequence[State]) -> tuple[float, float]:
    found = [s.final.ap for s in shown if s.final] + [ap for _, ap in _paper(results)]
    high = max(*found, results.float_ap)
    return min(found) - 0.5, high + 0.5


def _cell(state: State, xs: svg.Scale, ys: svg.Scale) -> Markup:
    assert state.made is not None
    assert state.final is not None
    x, y = xs(state.made.bits_per_weight), ys(state.final.ap)
    colour = list(SCHEMES).index(state.cell.scheme)
    kind = f"{'c' if state.cell.recovery == 'second-order' else 'h'}{colour}"
    parts = []
    if state.final.ap_lost_ci95 is not None:
        float_ap = state.final.ap + state.final.ap_lost
        low, high = (
            min(max(ys(float_ap - lost), _TOP), HEIGHT - _BOTTOM)
            for lost in reversed(state.final.ap_lost_ci95)
        )
        parts.append(svg.path(f"whisker c{colour}", f"M{n(x)} {n(low)}V{n(high)}"))
    parts.append(_mark(state.cell.activations, kind, x, y))
    title = Markup("<title>{}: {} bits, AP {}</title>").format(
        state.cell.name, f"{state.made.bits_per_weight:.2f}", f"{state.final.ap:.1f}"
    )
    return Markup("<g>{}{}</g>").format(title, Markup("").join(parts))


def _mark(activations: str, kind: str, x: float, y: float) -> Markup:
    if activations == "int8":
        return svg.rectangle(kind, x - 4.5, y - 4.5, 9, 9)
    return svg.circle(kind, x, y, 5)


def _cross(x: float, y: float) -> Markup:
    return svg.path("paper", f"M{n(x - 5)} {n(y - 5)}l10 10m0 -10l-10 10")


def _float(ap: float, xs: svg.Scale, ys: svg.Scale) -> Markup:
    line = svg.path("float", f"M{_LEFT} {n(ys(ap))}H{WIDTH - _RIGHT}")
    return line + svg.words(xs.end + 6, ys(ap) + 4, f"float {ap:.1f}", "tick")


def _legend(shown: Sequence[State]) -> list[Markup]:
    left, y = WIDTH - _RIGHT + 24, _TOP + 44.0
    used = {state.cell.scheme for state in shown}
    parts = []
    for place, name in enumerate(SCHEMES):
        if name in used:
            parts += [
                svg.circle(f"c{place}", left, y - 4, 5),
                svg.words(left + 14, y, name, "tick"),
            ]
            y += 20
    rest = [
        (_mark("float", "c0", left, y + 10), "second order"),
        (_mark("float", "h0", left, y + 30), "to nearest"),
        (_mark("int8", "c0", left, y + 50), "int8 activations"),
        (_cross(left, y + 70), "paper"),
    ]
    for place, (mark, words) in enumerate(rest):
        parts += [mark, svg.words(left + 14, y + 14 + 20 * place, words, "tick")]
    return parts


def _grid(xs: svg.Scale, ys: svg.Scale) -> Markup:
    parts = []
    for value in ys.ticks(7):
        parts.append(svg.path("grid", f"M{_LEFT} {n(ys(value))}H{WIDTH - _RIGHT}"))
        parts.append(svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end"))
    for value in xs.ticks(7):
        x = xs(value)
        parts.append(svg.path("grid", f"M{n(x)} {_TOP}V{HEIGHT - _BOTTOM}"))
        parts.append(svg.words(x, HEIGHT - _BOTTOM + 16, f"{value:g}", "tick", anchor="middle"))
    return Markup("").join(parts)
