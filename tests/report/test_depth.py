"""SQNR by depth as a picture."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from toolchain.report import depth
from toolchain.tflite.layerwise.results import Layer, Rule, Verification

PLAIN = Layer(
    operator=0,
    kind="CONV_2D",
    layer="a",
    tensor="a",
    reader="value",
    values=10,
    sqnr_db=30.0,
    input_sqnr_db=None,
    drop_db=None,
    mean_shift=0.0,
    diverges=False,
    has_weights=True,
)
SVG = "{http://www.w3.org/2000/svg}"


def found(*levels: float | None) -> Verification:
    """Layers at these SQNRs; those below 12 dB diverge."""
    layers = tuple(
        dataclasses.replace(
            PLAIN,
            operator=index,
            layer=f"layer <{index}>",
            sqnr_db=level,
            diverges=level is not None and level < 12,
        )
        for index, level in enumerate(levels)
    )
    return Verification("m.tflite", "0", "f.tflite", "0", 1, Rule(12.0, 3.0), layers)


def circles(picture: str) -> list[tuple[str, float]]:
    return [
        (c.attrib["class"], float(c.attrib["cy"]))
        for c in ET.fromstring(picture).iter(f"{SVG}circle")
    ]


def test_each_layer_is_a_point_the_first_that_diverges_is_red_and_named() -> None:
    picture = depth.picture(found(30, 20, 5, 8))
    points = circles(picture)
    assert [kind for kind, _ in points] == ["s1", "s1", "s3", "s2"]
    heights = [y for _, y in points]
    assert sorted(heights) == [heights[0], heights[1], heights[3], heights[2]]
    assert "layer &lt;2&gt;" in picture
    assert "limit 12 dB" in picture


@pytest.mark.parametrize(
    "levels", [(None,), (None, 40.0), (-100.0, 3.0), (0.0,) * 400, (90.0, 1.0)]
)
def test_any_levels_stay_inside_the_picture(levels: tuple[float | None, ...]) -> None:
    points = circles(depth.picture(found(*levels)))
    assert len(points) == len(levels)
    assert all(0 <= y <= depth.HEIGHT for _, y in points)
