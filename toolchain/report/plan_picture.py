"""The plan of a quantization as a picture: bits of each layer, and how much it matters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from toolchain.quantize.layertable import LayerRow, LayerTable
from toolchain.report import svg, text
from toolchain.report.svg import number as n

WIDTH: Final = 960
HEIGHT: Final = 430
_LEFT, _RIGHT = 50, 16
_TOP, _MIDDLE, _LOWER, _BOTTOM = 68, 264, 302, 396
_SHARES: Final = (0.001, 0.01, 0.03)
"""Of all weights: where the shades of bars change."""

_WORDS: Final = ("under 0.1 % of the weights", "to 1 %", "to 3 %", "more")
_GAP: Final = 0.2  # of a bar's place
_STYLE: Final = Markup(
    "<style>.w0 {{ fill: #c7dedb }} .w1 {{ fill: #7dbdb4 }} .w2 {{ fill: #2f9689 }} "
    ".w3 {{ fill: #0b5249 }} .mean {{ stroke: #161a22; fill: none; stroke-dasharray: 4 3 }}</style>"
).format()


def picture(table: LayerTable) -> str:
    """`chart` as an SVG file of its own."""
    return svg.standalone(chart(table))


def chart(table: LayerTable) -> Markup:
    """Above a bar a layer in order, as high as its bits and darker the more weights it has; below
    its sensitivity, on a scale of tenfold steps.  A circle on a bar: its output is float32.
    """
    rows = table.layers
    xs = svg.Scale(0, len(rows), _LEFT, WIDTH - _RIGHT)
    most = max((row.packed_bits or row.bits or 0 for row in rows), default=0)
    ys = svg.Scale(0, max(8.0, min(most, 10.0)), _MIDDLE, _TOP)
    parts = [_STYLE, _title(table), _legend(), _bits_grid(ys)]
    parts += [_bar(place, row, xs, ys) for place, row in enumerate(rows)]
    parts += [_mean(rows, ys), _layer_numbers(xs), _sensitivities(rows, xs)]
    return svg.chart(
        HEIGHT, parts, text.clean(f"Bits of each layer of {table.source}"), width=WIDTH
    )


def _title(table: LayerTable) -> Markup:
    size = "" if table.file_bytes is None else f", {table.file_bytes / 1e6:.2f} MB"
    bits = "" if table.bits_per_weight is None else f", {table.bits_per_weight:.3f} bits per weight"
    said = f"{table.source}: {table.recipe}{size}{bits}"
    return svg.words(_LEFT - 36, 18, said, "title")


def _legend() -> Markup:
    parts, x = [], float(_LEFT - 36)
    for shade, said in enumerate(_WORDS):
        parts.append(svg.rectangle(f"w{shade}", x, 31, 10, 10))
        parts.append(svg.words(x + 15, 40, said, "tick"))
        x += 34 + 6.1 * len(said)
    parts.append(svg.circle("s2", x + 5, 36, 3.5))
    parts.append(svg.words(x + 15, 40, "float32 output", "tick"))
    return Markup("").join(parts)


def _bits_grid(ys: svg.Scale) -> Markup:
    parts = [svg.words(_LEFT - 36, _TOP - 6, "bits a weight", "axis")]
    for value in ys.ticks(5):
        parts.append(svg.path("grid", f"M{_LEFT} {n(ys(value))}H{WIDTH - _RIGHT}"))
        parts.append(svg.words(_LEFT - 6, ys(value) + 4, f"{value:g}", "tick", anchor="end"))
    return Markup("").join(parts)


def _bar(place: int, row: LayerRow, xs: svg.Scale, ys: svg.Scale) -> Markup:
    bits = row.packed_bits or row.bits
    if bits is None:
        return Markup("")
    left, right = xs(place + _GAP / 2), xs(place + 1 - _GAP / 2)
    top = ys(min(bits, ys.high))
    shade = sum((row.weight_share or 0) >= share for share in _SHARES)
    bar = svg.rectangle(f"w{shade}", left, top, right - left, _MIDDLE - top)
    mark = svg.circle("s2", (left + right) / 2, top - 6, 3.5) if row.float_output else Markup("")
    title = text.clean(f"{row.layer}: {row.stored_as}, {bits:.2f} bits")
    return Markup("<g><title>{}</title>{}{}</g>").format(title, bar, mark)


def _mean(rows: Sequence[LayerRow], ys: svg.Scale) -> Markup:
    """A line at the mean over all weights, where that is known."""
    known = [(row.packed_bits, row.weight_share) for row in rows]
    bits = sum(b * share for b, share in known if b is not None and share is not None)
    if not bits or any(b is None or share is None for b, share in known):
        return Markup("")
    y = ys(min(bits, ys.high))
    return svg.path("mean", f"M{_LEFT} {n(y)}H{WIDTH - _RIGHT}") + svg.words(
        WIDTH - _RIGHT, y - 4, f"mean {bits:.2f}", "axis", anchor="end"
    )


def _layer_numbers(xs: svg.Scale) -> Markup:
    parts = [svg.path("line", f"M{_LEFT} {_MIDDLE}H{WIDTH - _RIGHT}")]
    for value in xs.ticks(10):
        place = int(value)
        if place < xs.high:
            middle = xs(place + 0.5)
            parts.append(svg.words(middle, _MIDDLE + 15, f"{place}", "tick", anchor="middle"))
    parts.append(
        svg.words((WIDTH + _LEFT) / 2, HEIGHT - 8, "layer, in order of execution", "axis", "middle")
    )
    return Markup("").join(parts)


def _sensitivities(rows: Sequence[LayerRow], xs: svg.Scale) -> Markup:
    known = [
        (place, math.log10(row.sensitivity))
        for place, row in enumerate(rows)
        if row.sensitivity is not None and row.sensitivity > 0
    ]
    if not known:
        return Markup("")
    low = math.floor(min(value for _, value in known))
    high = max(math.ceil(max(value for _, value in known)), low + 1)
    ys = svg.Scale(low, high, _BOTTOM, _LOWER)
    parts = [svg.words(_LEFT - 36, _LOWER - 8, "sensitivity of a weight", "axis")]
    step = max(1, math.ceil((high - low) / 6))
    for power in range(low, high + 1, step):
        parts.append(svg.path("grid", f"M{_LEFT} {n(ys(power))}H{WIDTH - _RIGHT}"))
        parts.append(svg.words(_LEFT - 6, ys(power) + 4, f"1e{power}", "tick", anchor="end"))
    parts += [svg.circle("s3", xs(place + 0.5), ys(value), 2.6) for place, value in known]
    return Markup("").join(parts)
