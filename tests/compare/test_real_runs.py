"""Run folders that real runs over the loopback target left, compared."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from targets.errors import InputError
from tests.compare.measured import Folders
from tests.report import folders as made
from toolchain.compare import written
from toolchain.compare.html import to_html
from toolchain.compare.pairs import compare, within
from toolchain.compare.sides import Named, named, sides
from toolchain.compare.terminal import drawn
from toolchain.compare.verdicts import Outcome, Pair
from toolchain.compare.words import headline, outcome
from toolchain.errors import RunFolderError
from toolchain.evaluate.truth import Box
from toolchain.runs import RunFolder

W8 = "yolov5s-seg-w8c-a8@loopback"
FLOAT = "yolov5s-seg-float32@loopback"


def pair(a: Named, b: Named) -> Pair:
    [found] = compare(a, b).pairs
    return found


def test_two_folders_are_compared_model_by_model(folders: Folders) -> None:
    found = compare(Named(folders.first), Named(folders.second))
    assert [(p.a.key, p.b.key) for p in found.pairs] == [(FLOAT, FLOAT), (W8, W8)]
    assert found.alone == ()


def test_the_same_model_run_twice_finds_the_same_and_weighs_the_same(folders: Folders) -> None:
    """Latency is judged by tests on simulated runs: what this machine does meanwhile is unknown."""
    for found in compare(Named(folders.first), Named(folders.second)).pairs:
        assert found.same_file
        assert found.verdict("file").outcome is Outcome.SAME
        assert found.verdict("peak memory").outcome is Outcome.SAME
        ap = found.verdict("AP")
        assert ap.difference == 0
        assert (ap.low, ap.high) == (0, 0)
        assert found.agreement == pytest.approx(100)
        assert "too few" in ap.why  # five labelled pictures
        assert ap.outcome is Outcome.UNKNOWN
        latency = found.verdict("latency")
        assert latency.low is not None
        assert latency.high is not None
        assert latency.low < latency.difference < latency.high  # type: ignore[operator]


def test_int8_differs_from_float_in_size_and_memory(folders: Folders) -> None:
    [found] = within(Named(folders.first)).pairs
    assert (found.a.key, found.b.key) == (FLOAT, W8)
    assert {"file", "peak memory"} <= {verdict.figure for verdict in found.different}
    assert found.verdict("file").better is True
    assert headline(found).startswith("Different: ")


def test_a_model_is_named_by_its_run_or_its_recipe(folders: Folders) -> None:
    by_recipe = pair(named(f"{folders.first}:float32"), named(f"{folders.second}:w8c-a8"))
    assert (by_recipe.a.key, by_recipe.b.key) == (FLOAT, W8)
    [side] = sides(named(f"{folders.first}:{W8}"))
    assert side.key == W8
    with pytest.raises(InputError) as caught:
        sides(named(f"{folders.first}:w8"))
    assert W8 in caught.value.hint


def test_other_pictures_are_an_error_for_ap_and_other_settings_are_told(folders: Folders) -> None:
    found = pair(named(f"{folders.first}:w8c-a8"), Named(folders.others))
    ap = found.verdict("AP")
    assert ap.outcome is Outcome.ERROR
    assert "not the same pictures" in ap.why
    assert found.verdict("end to end").outcome is Outcome.UNKNOWN
    assert {"warm-up", "images"} <= {reason.code for reason in found.reasons}
    assert found.verdict("file").outcome is Outcome.SAME


def test_runs_of_the_same_model_repeat_each_other_where_they_are_named(folders: Folders) -> None:
    both = compare(
        named(f"{folders.first}:float32"),
        named(f"{folders.first}:w8c-a8"),
        [named(f"{folders.second}:float32")] * 2,
        [named(f"{folders.second}:w8c-a8")] * 2,
    )
    assert [len(side.runs) for side in (both.pairs[0].a, both.pairs[0].b)] == [3, 3]
    assert "counted once" in both.pairs[0].verdict("latency").why
    with pytest.raises(InputError, match="another file"):
        compare(
            named(f"{folders.first}:float32"),
            named(f"{folders.first}:w8c-a8"),
            [named(f"{folders.second}:w8c-a8")],
        )


def test_runs_that_were_asked_the_same_in_one_folder_are_one_side(tmp_path: Path) -> None:
    folder = made.create(tmp_path, made.dataset(tmp_path / "set"))
    for at, (key, meta, ms) in enumerate(
        [("a", made.meta(), 10.0), ("b", made.meta("w8c-a8", 8), 9.0)] * 3
    ):
        wobble = 1 + 0.001 * at
        sent = made.records(times_ms=[ms * wobble] * 40)
        sent[0] = dataclasses.replace(sent[0], boot_id="one")  # type: ignore[type-var]
        folder.start(f"{key}{at}", meta)
        made_at = 10**12 * (at + 1)
        for seq, record in enumerate(sent):
            folder.append(f"{key}{at}", made.wire.encode(record, seq, made_at + seq))
        folder.finish(f"{key}{at}", made.Outcome(whole=True))
    [found] = within(Named(tmp_path)).pairs
    assert [len(side.runs) for side in (found.a, found.b)] == [3, 3]
    latency = found.verdict("latency")
    assert "3 rounds in turn" in latency.why
    assert latency.outcome is Outcome.DIFFERENT
    assert latency.difference == pytest.approx(0.9, abs=0.002)


def test_a_model_that_lost_much_is_different_in_ap_and_few_pictures_cannot_tell(
    tmp_path: Path,
) -> None:
    images = made.frames(tmp_path / "frames", 40)
    boxes = tuple(Box(p.id, p.id, 1, 10, 10, 40, 40, area=1600) for p in images.images)
    truth = dataclasses.replace(
        images, form="coco", boxes=boxes, categories=made.dataset(tmp_path / "set").categories
    )
    truth = dataclasses.replace(
        truth, images=tuple(dataclasses.replace(p, labelled=True) for p in truth.images)
    )
    folder = made.create(tmp_path / "run", truth)
    every = {p.id: _rows(0.9) for p in truth.images}
    half = {number: rows if number % 2 else () for number, rows in every.items()}
    for key, meta, found in (
        ("float", made.meta(), every),
        ("int8", made.meta("w8c-a8", 8), every),
        ("int4", made.meta("w4c-a8", 4), half),
    ):
        made.keep(folder, key, dataclasses.replace(meta, images=40), made.records(found))
    same, worse = within(Named(tmp_path / "run")).pairs
    assert same.verdict("AP").outcome is Outcome.SAME
    ap = worse.verdict("AP")
    assert ap.outcome is Outcome.DIFFERENT
    assert ap.better is False
    assert ap.low is not None
    assert ap.high is not None
    assert ap.low < -49.5 < ap.high < -30


def _rows(score: float) -> made.Rows:
    return ((10.0, 10.0, 50.0, 50.0, score, 0.0),)


def test_every_form_says_the_same_and_foreign_text_stays_text(
    folders: Folders, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(folders.first, evil)
    text = (evil / "run.json").read_text()
    (evil / "run.json").write_text(text.replace('"yolov5s-seg"', '"<script>|`x`"'))
    found = compare(named(f"{evil}:w8c-a8"), named(f"{folders.second}:w8c-a8"))
    page = to_html(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    table = written.to_markdown(found)
    assert "\\<script\\>\\|\\`x\\`" in table
    body = json.loads(written.to_json(found))
    assert body["schema"] == "halfbyte.comparison"
    [one] = body["pairs"]
    for verdict in one["verdicts"]:
        assert verdict["outcome"] in page
        assert verdict["outcome"] in table
    console = Console(width=200)
    with console.capture() as shown:
        console.print(drawn(found))
    assert headline(found.pairs[0]) in shown.get()


def test_what_is_no_run_folder_is_told(tmp_path: Path, folders: Folders) -> None:
    with pytest.raises(InputError, match="no run folder"):
        named(str(tmp_path / "nothing"))
    with pytest.raises(RunFolderError):
        compare(Named(tmp_path), Named(folders.first))
    RunFolder.create(tmp_path / "empty", command=[], versions={})
    with pytest.raises(InputError, match="holds no run"):
        compare(Named(tmp_path / "empty"), Named(folders.first))
    with pytest.raises(InputError, match="one model"):
        within(Named(folders.others))
    with pytest.raises(InputError, match="several models"):
        compare(Named(folders.first), Named(folders.others), [Named(folders.second)])


def test_a_comparison_of_noisy_runs_says_that_it_could_not_have_seen_much(tmp_path: Path) -> None:
    folder = made.create(tmp_path)
    times = [10.0, 40.0, 12.0, 90.0] * 10
    for key, bits in (("float", 32), ("int8", 8)):
        recipe = "float32" if bits == 32 else "w8c-a8"
        made.keep(folder, key, made.meta(recipe, bits), made.records({}, times_ms=times))
    latency = within(Named(tmp_path)).pairs[0].verdict("latency")
    assert latency.outcome is Outcome.SAME
    assert latency.blunt
    assert "repeat them" in outcome(latency)


def test_the_same_model_on_two_targets_is_compared_target_by_target(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = made.create(tmp_path / name)
        for target in ("shed", "attic") if name == "one" else ("attic", "shed"):
            about = dataclasses.replace(made.meta(), target=made.TargetMeta(target))
            made.keep(folder, f"float@{target}", about, made.records({}))
    found = compare(Named(tmp_path / "one"), Named(tmp_path / "two"))
    assert [p.a.key == p.b.key for p in found.pairs] == [True, True]
    folder = made.create(tmp_path / "three")
    for bits in (4, 8):
        made.keep(folder, f"w{bits}", made.meta(f"w{bits}c-a8", bits), made.records({}))
    with pytest.raises(InputError, match="no model is in both"):
        compare(Named(tmp_path / "one"), Named(tmp_path / "three"))
