"""What is on the front, what the files hold, and that the picture is one."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sweep.rows import model, row
from toolchain.sweep.grid import Combination, LeftOut
from toolchain.sweep.picture import picture
from toolchain.sweep.results import Results, Row, front
from toolchain.sweep.terminal import drawn
from toolchain.sweep.written import to_csv, to_json

SVG = "{http://www.w3.org/2000/svg}"
known = st.floats(0.1, 1000)
ROWS = st.lists(st.builds(row, known | st.none(), known | st.none(), known | st.none()), min_size=1)


def made(*rows: Row) -> Results:
    return Results("shed", "Jetson Orin Nano", "ai-edge-litert 2.3.0", rows, 100, "AP")


def fps(one: Row) -> float | None:
    return one.fps_model


def test_the_front_is_what_nothing_is_better_than() -> None:
    slow, same, fast, worse = row(40, 5), row(40, 8), row(30, 20), row(29, 19)
    assert front([slow, same, fast, worse], fps) == [fast, same]
    watts = [row(40, 5, 6.0), row(40, 5, 5.0), row(30, 20, 7.0)]
    assert front(watts, lambda one: one.watts, less=True) == [watts[1]]


@given(ROWS)
def test_nothing_beats_a_row_on_the_front_and_something_every_other(rows: list[Row]) -> None:
    best = front(rows, fps)

    def beats(one: Row, other: Row) -> bool:
        a, b = (one.ap, one.fps_model), (other.ap, other.fps_model)
        return a != b and None not in (*a, *b) and all(x >= y for x, y in zip(a, b, strict=True))  # type: ignore[operator]

    for one in rows:
        if one.ap is None or one.fps_model is None:
            assert not any(one is b for b in best)
        elif any(one is b for b in best):
            assert not any(beats(other, one) for other in rows)
        else:
            twins = [b for b in best if (b.ap, b.fps_model) == (one.ap, one.fps_model)]
            assert twins or any(beats(b, one) for b in best)


@given(ROWS)
def test_the_picture_is_well_formed_and_its_marks_lie_inside(rows: list[Row]) -> None:
    text = picture(made(*rows))
    shown = [r for r in rows if r.ap is not None and r.fps_model is not None]
    if text is None:
        assert not shown
        return
    root = ET.fromstring(text)
    width, height = (float(word) for word in root.attrib["viewBox"].split()[2:])
    groups = root.findall(f"{SVG}g")
    panels = 3 if any(r.watts is not None for r in shown) else 1
    both = [r for r in shown if r.watts is not None]
    assert len(groups) == len(shown) + (panels - 1) * len(both)
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height


def test_names_from_models_and_boards_are_escaped() -> None:
    hostile = '<script>alert("&")</script>\x00\u202e'
    one = row(of=model(hostile), mode="<b>", watts=3.0)
    text = picture(Results(hostile, hostile, None, (one,), 5, "AP"))
    assert text is not None
    root = ET.fromstring(text)
    assert root.find(f".//{SVG}script") is None


def test_modes_have_forms_and_models_colours() -> None:
    models = (model("float32"), model("w8c-a8"))
    rows = [row(40 - i, 5 + i, of=m, mode=mode) for i, m in enumerate(models) for mode in "abcde"]
    text = picture(made(*rows))
    assert text is not None
    root = ET.fromstring(text)
    for mode in "abcde":
        assert any(word.text == mode for word in root.iter(f"{SVG}text"))
    marks = {tuple(g[1].attrib["class"] for g in root.findall(f"{SVG}g"))}
    assert {kind for kinds in marks for kind in kinds} == {"c0", "c1"}


def test_the_json_is_strict_and_tells_what_was_left_out() -> None:
    left = LeftOut(Combination(2, "MAXN"), "this power mode needs a restart of the board")
    text = to_json(made(row(watts=4.5), row(None, None)), [left], ["halfbyte", "sweep"])
    document = json.loads(text, parse_constant=pytest.fail)
    assert (document["schema"], document["version"]) == ("halfbyte.sweep", 1)
    assert [r["watts"] for r in document["rows"]] == [4.5, None]
    assert document["rows"][0]["p50_ci95_ms"] == [1.0, None]
    assert document["left_out"] == [
        {"power_mode": "MAXN", "threads": 2, "reason": left.reason},
    ]


def test_the_csv_has_a_line_a_row_and_no_formula() -> None:
    rows = (row(of=model("=1+1"), doubts=("hot", "busy")), row(None, None))
    lines = list(csv.DictReader(io.StringIO(to_csv(made(*rows)))))
    assert len(lines) == 2
    assert lines[0]["model"] == "'=1+1"
    assert lines[0]["doubts"] == "hot busy"
    assert lines[0]["imgsz_height"] == "640"
    assert lines[1]["ap"] == ""


def test_the_table_has_a_line_a_row() -> None:
    table = drawn(made(row(40, 10), row(30, 20, of=model("w8c-a8")), row(None, None)))
    assert table.row_count == 3
