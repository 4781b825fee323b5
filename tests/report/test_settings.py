"""What a board was set to around its runs: asked, in force, before and after, in every report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.report.folders import create, dataset, keep, meta, records
from toolchain.report import settings
from toolchain.report.html import HtmlWriter
from toolchain.report.json_report import JsonWriter
from toolchain.report.summarise import summarise
from toolchain.report.terminal import TerminalWriter
from toolchain.runmeta import BoardSettings, SettingMeta
from toolchain.runs import RunFolder

GOVERNOR = SettingMeta(
    "cpu.governor", "policy0", "ondemand", "performance", "performance", "ondemand", "pi.toml"
)
FAN = SettingMeta("fan.pwm", note="there is no fan that the kernel drives")
TOLD = BoardSettings("raspberry-pi-4", "benchmark", (GOVERNOR, FAN))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(made, "float", meta(), records())
    return made


def codes(folder: RunFolder, told: BoardSettings) -> dict[str, str]:
    folder.settled("float", told)
    return {doubt.code: doubt.text for doubt in summarise(folder.load()).doubts}


def test_settings_are_kept_with_their_run_and_shown_by_every_writer(folder: RunFolder) -> None:
    folder.settled("float", TOLD)
    report = summarise(RunFolder.open(folder.path).load())
    assert report.runs[0].board_settings == TOLD
    [run] = json.loads(JsonWriter().render(report))["runs"]
    assert run["board_settings"]["settings"][0]["during"] == "performance"
    page = HtmlWriter().render(report)
    assert "Settings of the board" in page
    assert "ondemand" in page
    assert "no fan" not in page  # what the board lacks is no setting of it
    text = TerminalWriter(width=200).render(report)
    assert (
        "profile benchmark of raspberry-pi-4: cpu.governor of policy0 performance "
        "(before: ondemand)" in text
    )


def test_without_a_profile_what_was_found_is_shown(folder: RunFolder) -> None:
    found = dataclasses.replace(GOVERNOR, wanted=None, during="ondemand", origin="")
    folder.settled("float", BoardSettings("raspberry-pi-4", None, (found,)))
    text = TerminalWriter(width=200).render(summarise(folder.load()))
    assert "settings as found: cpu.governor of policy0 ondemand" in text


def test_what_is_not_in_force_is_doubted_with_how_to_permit_it(folder: RunFolder) -> None:
    told = dataclasses.replace(
        TOLD, doubts=("cpu.governor of policy0 is ondemand",), permit="write: pi ALL=..."
    )
    found = codes(folder, told)
    assert found["settings"] == "Settings: cpu.governor of policy0 is ondemand."
    assert found["not-permitted"] == "write: pi ALL=..."


@pytest.mark.parametrize(
    ("profile", "code"), [("benchmark", "settings-not-put-back"), (None, "settings-changed")]
)
def test_a_setting_that_is_not_as_it_was_is_doubted(
    folder: RunFolder, profile: str | None, code: str
) -> None:
    changed = dataclasses.replace(GOVERNOR, after="powersave")
    found = codes(folder, BoardSettings("raspberry-pi-4", profile, (changed,)))
    assert "was ondemand before and is powersave after" in found[code]
    assert code not in codes(folder, BoardSettings("raspberry-pi-4", profile, (GOVERNOR,)))


def test_settings_that_differ_between_runs_are_two_tables(folder: RunFolder) -> None:
    keep(folder, "int8", meta("w8c-a8", 8), records())
    folder.settled("float", TOLD)
    folder.settled("int8", dataclasses.replace(TOLD, profile="quiet"))
    tables = settings.tables(summarise(folder.load()).runs)
    assert [told.profile for _, told, _ in tables] == ["benchmark", "quiet"]
    assert all(rows == [GOVERNOR] for _, _, rows in tables)
