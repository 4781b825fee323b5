import csv
import io
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from targets.agent import wire
from tests.report.folders import create, dataset, facts, keep, meta, perfect, records, three_runs
from toolchain.report import text
from toolchain.report.csv_table import CsvWriter
from toolchain.report.html import HtmlWriter
from toolchain.report.json_report import JsonWriter
from toolchain.report.summarise import summarise
from toolchain.report.terminal import TerminalWriter
from toolchain.report.writer import make
from toolchain.runmeta import Outcome
from toolchain.runs import RunFolder

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))
HOSTILE = '<script>alert("x")</script>\x1b[31m\u202egnp.\x07'


def strict(encoded: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(encoded, parse_constant=refuse)


def empty(tmp_path: Path) -> RunFolder:
    return create(tmp_path / "run", dataset(tmp_path / "set"))


def silent(tmp_path: Path) -> RunFolder:
    """A board of which nothing is known, stopped at once."""
    folder = empty(tmp_path)
    unknown = meta(None, None, parameters=None, imgsz=None, source_sha256=None, licence=None)
    keep(folder, "a", unknown, [wire.Hello()], Outcome(whole=False, reason="Killed."))
    return folder


def hostile(tmp_path: Path) -> RunFolder:
    """Labels, board and reasons that try to be something else."""
    folder = empty(tmp_path)
    board = facts(board_model=HOSTILE, cpu_model=HOSTILE, runtime=HOSTILE, os_name=HOSTILE)
    keep(
        folder,
        "a",
        meta(weights=HOSTILE, licence=HOSTILE, names=("person", HOSTILE)),
        records(board=board),
    )
    skipped = [wire.Skipped(1, "2", HOSTILE)]
    keep(
        folder,
        "b",
        meta(HOSTILE, 8, weights=HOSTILE),
        records({1: perfect(1)}, skipped=skipped)[:-1],
        Outcome(whole=False, reason=HOSTILE),
    )
    return folder


KINDS = {"three": three_runs, "empty": empty, "silent": silent, "hostile": hostile}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return KINDS[request.param](tmp_path)


def test_the_json_is_strict_and_fits_its_schema(folder: RunFolder) -> None:
    report = strict(JsonWriter().render(summarise(folder.load())))
    jsonschema.Draft202012Validator(SCHEMA).validate(report)


def test_the_schema_itself_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_names_that_other_tools_read_are_there(tmp_path: Path) -> None:
    report = strict(JsonWriter().render(summarise(three_runs(tmp_path).load())))
    assert (report["schema"], report["version"], report["partial"]) == ("halfbyte.report", 1, False)
    float32, _, int4 = report["runs"]
    assert float32["model"]["recipe"] == "float32"
    assert int4["model"].items() >= {
        "weights": "tiny", "recipe": "w4c-a8", "bits": 4, "file_bytes": 510_000,
        "bits_per_weight": 4.08, "sha256": f"{4:064x}",
    }.items()  # fmt: skip
    assert int4["target"].items() >= {
        "name": "shed", "board": "Raspberry Pi 5 Model B Rev 1.0", "emulated": None,
        "runtime": "ai-edge-litert 2.3.0",
    }.items()  # fmt: skip
    assert float32["accuracy"]["ap_float"] == float32["accuracy"]["ap"] == 100
    assert {"ap", "ap50", "ap_float", "ap_lost", "ap_lost_ci95", "agreement", "images"} <= int4[
        "accuracy"
    ].keys()
    assert int4["speed"]["fps_model"] == 200
    assert int4["speed"]["imgsz"] == [320, 320]
    assert int4["speed"]["inference_ms"].items() >= {"p50": 5.0, "p90": 5.0, "p99": 5.0}.items()
    assert int4["speed"].keys() >= {"fps_end_to_end", "threads"}
    assert int4["memory"].keys() >= {"load_rss_bytes", "peak_rss_bytes", "peak_pss_bytes"}
    assert report["units"]["ap"].startswith("points")


def test_a_number_that_is_none_is_null_and_never_nan(tmp_path: Path) -> None:
    from toolchain.report import json_report

    report = summarise(three_runs(tmp_path).load())
    object.__setattr__(report.runs[0].accuracy, "ap50", math.nan)
    object.__setattr__(report.runs[0].speed, "fps_model", math.inf)
    again = strict(json_report.JsonWriter().render(report))
    assert again["runs"][0]["accuracy"]["ap50"] is None
    assert again["runs"][0]["speed"]["fps_model"] is None


def test_nothing_detected_is_written_whole_with_an_ap_of_zero(tmp_path: Path) -> None:
    folder = empty(tmp_path)
    keep(folder, "a", meta(), records({1: (), 2: ()}))
    report = strict(JsonWriter().render(summarise(folder.load())))
    assert report["nothing_detected"] is True
    assert report["runs"][0]["accuracy"]["ap"] == 0
    assert report["runs"][0]["accuracy"]["ap_small"] is None
    assert [d["code"] for d in report["doubts"]].count("nothing-detected") == 1


def test_a_partial_run_is_marked_everywhere(tmp_path: Path) -> None:
    folder = empty(tmp_path)
    keep(folder, "a", meta(), records()[:-1], Outcome(whole=False, reason="Killed (signal 9)."))
    report = summarise(folder.load())
    as_json = strict(JsonWriter().render(report))
    assert as_json["partial"] is True
    assert as_json["runs"][0]["partial"] is True
    assert as_json["runs"][0]["reason"] == "Killed (signal 9)."
    for writer in (HtmlWriter(), TerminalWriter(), TerminalWriter(width=40)):
        page = writer.render(report)
        assert "artial: " in page or "PARTIAL" in page
        assert "Killed (signal 9)." in " ".join(page.split())
    assert CsvWriter().render(report).splitlines()[1].startswith("true,")


def test_made_again_from_the_folder_it_is_the_same_to_the_byte(tmp_path: Path) -> None:
    folder = three_runs(tmp_path)
    _, paths = make(folder.path)
    before = {path.name: path.read_bytes() for path in paths}
    assert before.keys() == {"report.json", "report.html", "report.csv"}
    for path in (tmp_path / "set").iterdir():
        path.unlink()  # the user's pictures and labels are not needed any more
    for path in paths:
        path.unlink()
    make(folder.path)
    assert {path.name: path.read_bytes() for path in paths} == before


def test_detections_are_kept_in_a_form_that_others_read(tmp_path: Path) -> None:
    folder = three_runs(tmp_path)
    make(folder.path)
    found = json.loads((folder.path / "detections" / "float.json").read_text())
    assert found[0] == {
        "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.9,
    }  # fmt: skip


class Page(HTMLParser):
    """What a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "action", "data", "srcset", "poster", "xlink:href"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def test_the_page_fetches_nothing_and_runs_nothing(folder: RunFolder) -> None:
    page = HtmlWriter().render(summarise(folder.load()))
    parsed = Page()
    parsed.feed(page)
    assert all(a.startswith(("data:image/jpeg;base64,", "#")) for a in parsed.addresses)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {*parsed.elements}
    assert not parsed.handlers
    for word in ("http:", "https:", "url(", "@import", "javascript:"):
        assert word not in page
    assert parsed.elements.count("main") == 1


def test_foreign_text_is_shown_as_text(tmp_path: Path) -> None:
    report = summarise(hostile(tmp_path).load())
    page = HtmlWriter().render(report)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page
    for output in (page, TerminalWriter().render(report), CsvWriter().render(report)):
        assert not {"\x1b", "\x07", "\u202e"} & {*output}


def test_the_page_shows_doubts_before_figures(tmp_path: Path) -> None:
    page = HtmlWriter().render(summarise(three_runs(tmp_path).load()))
    assert page.index("a check, not a benchmark") < page.index('class="chart"')
    assert page.index("a check, not a benchmark") < page.index("<table")


def test_the_page_says_how_to_repeat(tmp_path: Path) -> None:
    page = HtmlWriter().render(summarise(three_runs(tmp_path).load()))
    assert "halfbyte run --bits &#39;4 8&#39;" in page
    assert f"{4:064x}" in page
    assert "numpy 1.26.4" in page
    assert "20 November 2026, 14:03 UTC" in page


def test_unknown_is_a_dash_in_what_people_read(tmp_path: Path) -> None:
    report = summarise(silent(tmp_path).load())
    for page in (HtmlWriter().render(report), TerminalWriter().render(report)):
        assert text.UNKNOWN in page
        words = page.replace(">", " ").replace("<", " ").split()
        assert not {"None", "nan", "NaN", "inf", "null"} & {*words}


def test_examples_are_in_the_page_once_with_boxes_of_each_model_over_them(tmp_path: Path) -> None:
    page = HtmlWriter().render(summarise(three_runs(tmp_path).load()))
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count('href="#picture-1"') == 3
    assert page.count(">person 0.90</text>") == 2 * 3  # not the faint ones of int4


def test_the_csv_has_a_line_a_run_with_units_in_its_names(tmp_path: Path) -> None:
    rows = list(
        csv.DictReader(io.StringIO(CsvWriter().render(summarise(three_runs(tmp_path).load()))))
    )
    assert [row["model_recipe"] for row in rows] == ["float32", "w8c-a8", "w4c-a8"]
    assert rows[2]["speed_inference_ms_p50"] == "5.0"
    assert rows[0]["accuracy_ap_lost"] == ""
    assert rows[0]["memory_peak_rss_bytes"] == str(150 * 2**20)


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path: Path) -> None:
    folder = empty(tmp_path)
    keep(folder, "a", meta(weights="=cmd|'/c calc'!A1"), records())
    [row] = csv.DictReader(io.StringIO(CsvWriter().render(summarise(folder.load()))))
    assert row["model_weights"].startswith("'=")


@pytest.mark.parametrize("width", [200, 120, 90, 60, 40])
def test_the_table_fits_the_terminal_and_loses_nothing(tmp_path: Path, width: int) -> None:
    shown = TerminalWriter(width=width).render(summarise(three_runs(tmp_path).load()))
    assert max(map(len, shown.splitlines())) <= width
    for figure in ("100.0", "4.08", "200.0", "150 MiB", "5.00 / 5.00 / 5.00"):
        assert figure in shown
    assert "…" not in shown


def test_without_colour_there_is_not_one_escape(tmp_path: Path) -> None:
    report = summarise(three_runs(tmp_path).load())
    assert "\x1b" not in TerminalWriter().render(report)
    assert "\x1b[" in TerminalWriter(colour=True).render(report)


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "no-such-encoding"])
def test_a_terminal_that_cannot_show_it_gets_plain_characters(
    tmp_path: Path, encoding: str
) -> None:
    shown = TerminalWriter(encoding=encoding).render(summarise(three_runs(tmp_path).load()))
    assert "320 x 320" in shown or "320 \xd7 320" in shown
    shown.encode("iso-8859-1" if encoding == "iso-8859-1" else "ascii")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.number(None), "–"),
        (text.number(-0.01), "0.0"),
        (text.signed(1.26), "+1.3"),
        (text.signed(-1.26), "−1.3"),
        (text.signed(-0.01), "0.0"),
        (text.mib(18_912_880), "18.0 MiB"),
        (text.mib(0), "0.00 MiB"),
        (text.milliseconds(145.23), "145.2 ms"),
        (text.milliseconds(0.123), "0.12 ms"),
        (text.size((320, 544)), "height 320 × width 544"),
        (text.interval((-0.2, 1.9)), "−0.2 to +1.9"),
        (text.interval((-0.032, 0.892)), "−0.03 to +0.89"),
        (text.interval((0.0, 0.04)), "0.00 to +0.04"),
        (text.interval((0.0, 0.0)), "0.0 to 0.0"),
        (text.between((-3e-9, 0.9)), "between 0.000000 and +0.900000"),
        (text.listed(["a", "b", "c"]), "a, b and c"),
        (text.day("not a day"), "not a day"),
        (text.clean("a\tb\n\x1b[2Jc\udc80"), "a b [2Jc"),
    ],
)
def test_values_read_well(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats(-100, 100), st.floats(0, 100))
def test_an_interval_around_zero_is_seen_to_be_around_it(low: float, width: float) -> None:
    high = low + width
    assume(all(end == 0 or abs(end) > 1e-5 for end in (low, high)))
    first, second = text.interval((low, high)).replace("−", "-").split(" to ")
    assert (float(first) <= 0 <= float(second)) == (low <= 0 <= high)
