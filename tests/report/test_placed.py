"""How threads were chosen, in the report's words; and what to doubt about it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from targets.agent import wire
from tests.report import folders
from toolchain.report.html import HtmlWriter
from toolchain.report.json_report import as_json
from toolchain.report.summarise import summarise
from toolchain.report.terminal import TerminalWriter
from toolchain.runmeta import TriedMeta, TuningMeta
from toolchain.runs import RunFolder

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text("utf-8"))
TUNING = TuningMeta(
    threads=2,
    cpus=(4, 5),
    tried=(TriedMeta(1, (), 40.0, 1), TriedMeta(4, (), 12.0, 2), TriedMeta(2, (4, 5), 10.0, 2)),
    noise=0.012,
    measured="2026-01-02T03:04:05+00:00",
)


def kept(folder: RunFolder, key: str, bits: int, cpus: tuple[int, ...]) -> None:
    """A run of two threads on these CPUs."""
    meta = folders.meta(f"w{bits}c-a8", bits)
    settings = dataclasses.replace(meta.settings, threads=2, cpus=cpus)
    sent = [
        dataclasses.replace(record, cpus=cpus) if isinstance(record, wire.Loaded) else record
        for record in folders.records()
    ]
    folders.keep(folder, key, dataclasses.replace(meta, settings=settings), sent)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Two models: one whose threads were chosen, one with threads that were given."""
    made = folders.create(tmp_path / "run")
    kept(made, "tuned", 8, (4, 5))
    kept(made, "given", 4, ())
    return made


def report(folder: RunFolder, tuning: TuningMeta = TUNING) -> Any:
    folder.tuned("tuned", tuning)
    return summarise(RunFolder.open(folder.path).load())


def test_the_json_holds_what_was_tried_and_fits_its_schema(folder: RunFolder) -> None:
    document = wire.plain(as_json(report(folder)))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    tuned, given = document["runs"]
    assert tuned["tuning"] == wire.plain(TUNING)
    assert tuned["speed"]["cpus"] == [4, 5]
    assert given["tuning"] is None
    assert given["speed"]["cpus"] == []


def test_the_page_has_a_table_of_what_was_tried(folder: RunFolder) -> None:
    page = HtmlWriter().render(report(folder))
    assert "Threads and CPUs" in page
    assert "2 threads on CPUs 4-5 or 2 threads" in page
    assert page.count("chosen</td>") == 1


def test_the_terminal_says_what_was_chosen_of_what(folder: RunFolder) -> None:
    said = " ".join(TerminalWriter(width=300).render(report(folder)).split())
    assert "2 threads on CPUs 4-5 chosen of 1 thread 40.0 ms" in said
    assert "differences under 1.2 % are noise" in said


def test_a_choice_made_in_noise_is_doubted(folder: RunFolder) -> None:
    assert "tuned-in-noise" not in {doubt.code for doubt in report(folder).doubts}
    noisy = report(folder, dataclasses.replace(TUNING, noise=0.4))
    [doubt] = [doubt for doubt in noisy.doubts if doubt.code == "tuned-in-noise"]
    assert doubt.runs == ("tuned",)


def test_more_threads_than_the_cpus_that_they_keep_to_are_doubted(folder: RunFolder) -> None:
    assert "too-many-threads" not in {doubt.code for doubt in report(folder).doubts}
    kept(folder, "crowded", 8, (4,))
    [doubt] = [one for one in report(folder).doubts if one.code == "too-many-threads"]
    assert doubt.runs == ("crowded",)
    assert "2 threads on 1 CPU" in doubt.text
