"""What disturbed any of the runs whose times are put together is a doubt about the figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from targets.agent import wire
from targets.errors import CheckFailed
from tests.report.folders import Outcome, create, dataset, keep, meta, records, sample
from toolchain.compare.sides import Named
from toolchain.gates import Limits, check
from toolchain.pipeline import Measured, check_measured
from toolchain.report.figures import Report
from toolchain.report.json_report import as_json
from toolchain.report.summarise import summarise
from toolchain.runmeta import BoardSettings, SettingMeta
from toolchain.runs import RunFolder

WHOLE = Outcome(whole=True)
THROTTLED = [wire.ToolSaid("throttled", f"throttled={bits}\n", 0) for bits in ("0x0", "0x50005")]
FALLING = [sample(cpu_khz={"policy0": 2_400_000 if n < 6 else 1_500_000}) for n in range(12)]
HELD = [sample(cooling={"cpu-throttle-alert": int(n > 9)}) for n in range(12)]
SURGES = [sample(alerts={"oc1_event_cnt": n // 6}) for n in range(12)]
MODE = SettingMeta("jetson.power_mode", "", "MAXN", None, "MAXN", "MAXN")
FAN = SettingMeta("fan.pwm", "pwmfan pwm1", "80", None, "120", "255")


def folder_of(tmp_path: Path, *readings: Sequence[object]) -> RunFolder:
    """Runs that repeat each other, each with its own readings while it was timed."""
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    for number, between in enumerate(readings, start=1):
        sent = records()
        place = next(n for n, record in enumerate(sent) if isinstance(record, wire.Timed)) + 20
        key = f"a.{number}" if number > 1 else "a"
        keep(folder, key, meta(), [*sent[:place], *between, *sent[place:]], WHOLE)
    return folder


def warnings(report: Report) -> dict[str, str]:
    return {doubt.code: doubt.text for doubt in report.doubts if doubt.level == "warning"}


@pytest.mark.parametrize(
    ("code", "between"),
    [
        ("throttled", THROTTLED),
        ("clock-drop", FALLING),
        ("held-back", HELD),
        ("over-current", SURGES),
    ],
)
def test_what_held_back_a_repeat_alone_is_a_doubt_and_fails_strict_checks(
    tmp_path: Path, code: str, between: Sequence[object]
) -> None:
    quiet = [sample() for _ in range(12)]
    folder = folder_of(tmp_path, quiet, between)
    report = summarise(folder.load())
    assert warnings(report)[code].startswith("Its repeat a.2: ")
    with pytest.raises(CheckFailed):
        check_measured(Measured(folder.path, report, ()), strict=True)
    [gate] = check(Named(folder.path), Limits(strict=True)).failed
    assert code in gate.figure
    assert code not in warnings(summarise(folder_of(tmp_path / "b", quiet, quiet).load()))


def test_what_held_back_both_is_told_once_and_of_the_first(tmp_path: Path) -> None:
    report = summarise(folder_of(tmp_path, THROTTLED, THROTTLED).load())
    [told] = [doubt for doubt in report.doubts if doubt.code == "throttled"]
    assert not told.text.startswith("Its repeat")


def test_telemetry_tells_what_held_back_any_of_the_runs(tmp_path: Path) -> None:
    [run] = as_json(summarise(folder_of(tmp_path, HELD, [*THROTTLED, *SURGES]).load()))["runs"]
    assert "under-voltage" in run["telemetry"]["throttling"]
    assert run["telemetry"]["held_back"] == {"cpu-throttle-alert": 2}
    assert run["telemetry"]["over_current"] == 1


def settled(tmp_path: Path, *told: BoardSettings) -> Report:
    folder = folder_of(tmp_path, *([],) * len(told))
    for key, one in zip(folder.run_keys, told, strict=True):
        folder.settled(key, one)
    return summarise(folder.load())


def test_repeats_under_another_power_mode_are_doubted(tmp_path: Path) -> None:
    less = dataclasses.replace(MODE, before="7W", during="7W", after="7W")
    boards = [BoardSettings("jetson-orin-nano", None, (mode,)) for mode in (MODE, less)]
    found = warnings(settled(tmp_path / "a", *boards))
    assert "jetson.power_mode: MAXN and 7W" in found["settings-differ"]
    assert "settings-differ" not in warnings(settled(tmp_path / "b", boards[0], boards[0]))


def test_each_setting_that_was_not_in_force_in_a_repeat_is_told(tmp_path: Path) -> None:
    boards = [BoardSettings("generic", "benchmark", (), (said,)) for said in ("one", "other")]
    texts = [d.text for d in settled(tmp_path, *boards).doubts if d.code == "settings"]
    assert texts == ["Settings: one.", "Its repeat a.2: Settings: other."]


def test_a_fan_that_follows_the_heat_is_no_setting_that_somebody_changed(tmp_path: Path) -> None:
    faster = dataclasses.replace(FAN, before="90", during="255", after="100")
    boards = [BoardSettings("raspberry-pi-5", None, (fan,)) for fan in (FAN, faster)]
    assert not {c for c in warnings(settled(tmp_path, *boards)) if c.startswith("settings")}


def test_lines_of_a_boot_file_are_all_compared(tmp_path: Path) -> None:
    lines = [SettingMeta("pi.config", "/boot/config.txt", during=line) for line in ("a=1", "b=1")]
    other = [lines[0], dataclasses.replace(lines[1], during="b=2")]
    last = [dataclasses.replace(lines[0], during="a=2"), lines[1]]
    for number, changed in enumerate((other, last)):
        boards = [BoardSettings("pi", "quiet", tuple(rows)) for rows in (lines, changed)]
        assert "settings-differ" in warnings(settled(tmp_path / str(number), *boards))
