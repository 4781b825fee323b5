"""Tables, files and the picture: what they say, and what they never mix."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from tests.study import made_up
from toolchain.quantize.granularity import Channel
from toolchain.study import written
from toolchain.study.cell import Cell
from toolchain.study.folder import State
from toolchain.study.picture import picture
from toolchain.study.results import Results
from toolchain.study.tables import Table, drawn, markdown, notes, tables


def table_of(results: Results, title: str) -> Table:
    [found] = [table for table in tables(results) if table.title.startswith(title)]
    return found


def test_the_papers_lines_come_first_with_ours_below_counted_alike() -> None:
    paper = tables(made_up.results())[0]
    assert [row[1:4] for row in paper.rows[:2]] == [
        ("4.08", "3.92x", "2.5"),
        ("4.15", "3.86x", "1.0"),
    ]
    ours = dict(zip(paper.header, paper.rows[2], strict=True))
    assert ours["weights"] == "uniform, 4 bits, channel, mse, nearest"
    assert (ours["bits"], ours["vs fp16"]) == ("4.04", "3.96x")
    assert ours["lost, % of AP"] == "5.0"  # 2.5 points of 50
    assert ours["AP lost (95 %)"] == "2.50 (2.00 to 3.00)"


def test_the_best_within_the_papers_bits_has_float_activations_as_the_paper_has() -> None:
    better = State(
        Cell("entropy", 4.03, Channel(), recovery="second-order"),
        made_up.made(4.08, 4.15),
        final=made_up.figures(0.5),
    )
    larger = State(
        Cell("uniform", 8, Channel()), made_up.made(8.1, 8.2), final=made_up.figures(0.1)
    )
    results = made_up.results(*made_up.usual(), better, larger)
    best = results.within(4.08)
    assert best is not None
    assert best.cell == better.cell
    assert any("best within 4.08 bits: entropy" in row[0] for row in tables(results)[0].rows)


def test_stored_bits_and_file_bits_stand_in_columns_of_their_own() -> None:
    final = table_of(made_up.results(), "On all 300 images")
    rows = [row[1:5] for row in final.rows]
    assert final.header[1:5] == ("bits", "fp16 / fp32", "file bits", "fp16 / fp32")
    assert rows[0] == ("4.04", "3.96x / 7.92x", "4.20", "3.81x / 7.62x")
    left = table_of(made_up.results(), "Left by the proxy")
    assert left.rows[0][3:5] == ("–", "–")


def test_screened_cells_never_stand_among_those_of_all_images() -> None:
    results = made_up.results()
    screened = table_of(results, "Screened on 60 images")
    final = table_of(results, "On all 300 images")
    assert [row[0].split(",")[0] for row in screened.rows] == ["piecewise"]
    assert [row[0].split(",")[0] for row in final.rows] == ["uniform", "entropy"]
    assert "AP 50.0 and 878 boxes" in final.title
    assert table_of(results, "Could not").rows[0][1] == "no room | none"


def test_markdown_has_as_many_fields_in_each_line_of_a_table() -> None:
    page = markdown(made_up.results())
    blocks = [
        [line for line in block.splitlines() if line.startswith("|")]
        for block in page.split("\n\n")
        if block.startswith("|")
    ]
    assert len(blocks) == 5
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "no room \\| none" in page


def test_the_terminals_tables_show_every_row_at_any_width() -> None:
    for width in (60, 200):
        console = Console(width=width, record=True, file=io.StringIO())
        for table in tables(made_up.results()):
            console.print(drawn(table, console))
        shown = console.export_text()
        assert "piecewise, 4 bits, layer, mse, nearest" in shown
        assert "2.50 (2.00 to 3.00)" in shown
        assert max(map(len, shown.splitlines())) <= width
    assert any("b + 1" in note for note in notes(made_up.results()))


def test_json_is_strict_and_says_what_is_not_known() -> None:
    document = json.loads(json.dumps(written.as_json(made_up.results()), allow_nan=False))
    assert (document["schema"], document["version"]) == ("halfbyte.study", 1)
    assert document["paper"][0]["bits_per_weight"] == pytest.approx(4.0816, abs=1e-4)
    uniform, _, piecewise, affine, codebook = document["cells"]
    assert uniform["ratio_fp32"] == pytest.approx(32 / 4.04)
    assert uniform["file_ratio_fp16"] == pytest.approx(16 / 4.2)
    assert uniform["final"]["ap_lost_ci95"] == [2.0, 3.0]
    assert piecewise["final"] is None
    assert piecewise["file_bytes"] is None
    assert affine["screened"] is None
    assert codebook["bits_per_weight"] is None
    assert codebook["refused"] == "no room | none"


def test_csv_has_a_line_a_cell_and_empty_fields_for_what_is_not_known() -> None:
    rows = list(csv.DictReader(io.StringIO(written.as_csv(made_up.results()))))
    assert len(rows) == 5
    assert float(rows[0]["final_ap_lost_low"]) == 2.0
    assert rows[2]["final_ap"] == ""
    assert float(rows[2]["screened_ap"]) == 49.0
    assert rows[4]["bits_per_weight"] == ""


def test_the_picture_has_a_mark_for_each_final_cell_and_the_papers_two() -> None:
    root = ET.fromstring(picture(made_up.results()))
    marks = [e for e in root.iter() if e.tag.endswith("}g")]
    assert len(marks) == 2
    titles = [e.text for e in root.iter() if e.tag.endswith("title")]
    assert titles[0] == "uniform, 4 bits, channel, mse, nearest: 4.04 bits, AP 47.5"
    crosses = [e for e in root.iter() if e.get("class") == "paper"]
    assert len(crosses) == 2 + 1  # and the legend's


def test_cells_far_below_the_picture_are_counted_in_words() -> None:
    lost = State(Cell("affine", 4, Channel()), made_up.made(4.1, None), final=made_up.figures(49.0))
    shown = picture(made_up.results(*made_up.usual(), lost))
    assert "(1 cell below the picture)" in shown
    assert picture(made_up.results(lost)).count("<g>") == 0


def test_calibration_images_that_are_scored_are_told() -> None:
    results = made_up.results()
    assert not any("scored too" in note for note in notes(results))
    flattered = dataclasses.replace(results, scored_too=3)
    assert any(note.startswith("3 of the calibration images") for note in notes(flattered))


def test_names_from_outside_are_shown_as_text(tmp_path: Path) -> None:
    results = made_up.results(weights="<b>&\x1b[31m")
    root = ET.fromstring(picture(results))
    assert root.get("aria-label") == "AP of <b>&[31m over bits a weight"
    assert "\x1b" not in markdown(results)
    written.write(results, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "study.csv", "study.json", "study.md", "study.svg"
    ]  # fmt: skip
