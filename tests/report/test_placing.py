"""Names and labels in charts and on pictures lie where they hide no other."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from toolchain.evaluate.detections import from_rows
from toolchain.report import charts
from toolchain.report.figures import Example
from toolchain.report.overlay import overlay


def test_labels_of_examples_hide_no_other_label(tmp_path: Path) -> None:
    example = Example(1, "a.jpg", tmp_path / "a.jpg", 400, 300)
    crowd = from_rows([(1, 1, 200 + 3 * n, 100 + 2 * n, 20, 15, 0.3 + n / 100) for n in range(40)])
    shown = str(overlay(crowd, {1: "book"}, example))
    number = r'="([-\d.]+)"'
    tabs = [
        tuple(map(float, found))
        for found in re.findall(
            f'class="tab" x{number} y{number} width{number} height{number}', shown
        )
    ]
    assert 3 < len(tabs) < 40
    for (x, y, wide, tall), (left, top, width, height) in itertools.combinations(tabs, 2):
        apart = x + wide <= left + 0.1 or left + width <= x + 0.1
        assert apart or y + tall <= top + 0.1 or top + height <= y + 0.1
    assert shown.count('class="box"') == shown.count("<title>book 0.") == 40
    assert ">book 0.69</text>" in shown  # the best has its label


def test_names_in_a_crowded_plane_cover_no_other_name() -> None:
    points = [charts.Point(f"4-bit w4e-a{n}", n, 3 + n / 10, 35 + n / 10) for n in range(6)]
    points.append(charts.Point("float32", 0, 28.0, 36.0))
    drawn = str(charts.plane(points, x_label="file", y_label="AP"))
    places = re.findall(
        r'<text class="name" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)<', drawn
    )
    assert len(places) == 7
    extents = []
    for x, y, anchor, name in places:
        wide = 6.6 * len(name)
        left = float(x) - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        extents.append((left, left + wide, float(y)))
    for (left, right, y), (other, end, line) in itertools.combinations(extents, 2):
        assert right <= other + 1 or end <= left + 1 or abs(y - line) >= 11
