"""What else was not the same: it stands above figures that differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from targets.agent import wire
from tests.report import folders as made
from toolchain.compare.pairs import compare
from toolchain.compare.sides import Named, boot_of
from toolchain.compare.verdicts import Outcome, Pair
from toolchain.gates import Limits, check
from toolchain.runmeta import BoardSettings, RunMeta, SettingMeta

MODE = SettingMeta("jetson.power_mode", "", "MAXN", None, "MAXN", "MAXN")
SECOND = 10**9


def one_run(
    path: Path,
    ms: float = 10.0,
    told: BoardSettings | None = None,
    about: RunMeta | None = None,
    sent: list[object] | None = None,
) -> Named:
    folder = made.create(path)
    made.keep(folder, "a", about or made.meta(), sent or made.records({}, times_ms=[ms] * 40))
    if told is not None:
        folder.settled("a", told)
    return Named(path)


def pair(a: Named, b: Named) -> Pair:
    [found] = compare(a, b).pairs
    return found


def texts(found: Pair) -> dict[str, str]:
    return {reason.code: reason.text for reason in found.reasons}


def in_mode(mode: str, profile: str | None = None) -> BoardSettings:
    row = dataclasses.replace(MODE, before=mode, during=mode, after=mode)
    return BoardSettings("jetson-orin-nano", profile, (row,))


def test_another_power_mode_is_told_where_latency_is_different(tmp_path: Path) -> None:
    slow, fast = (
        one_run(tmp_path / mode, ms, in_mode(mode)) for mode, ms in (("7W", 30.0), ("MAXN", 10.0))
    )
    found = pair(slow, fast)
    assert found.verdict("latency").outcome is Outcome.DIFFERENT
    assert texts(found)["power-mode"] == "Different jetson.power_mode: A 7W, B MAXN."
    [gate] = check(slow, Limits(max_slowdown_percent=5), against=fast).failed
    assert gate.why.startswith("unknown: not under the same conditions as tiny float32 on shed")
    assert "Different jetson.power_mode" in gate.why
    alike = pair(slow, one_run(tmp_path / "again", 30.0, in_mode("7W")))
    assert not {"power-mode", "in-force"} & texts(alike).keys()


def test_settings_that_nobody_read_on_one_side_are_told(tmp_path: Path) -> None:
    found = pair(one_run(tmp_path / "a"), one_run(tmp_path / "b", 10.0, in_mode("7W")))
    assert texts(found)["in-force"] == "Different settings in force: A not read, B read."


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("profile", {"profile": "quiet"}),
        ("overrides", {"profile": "benchmark", "overrides": ("cpu.max_khz=600000",)}),
        ("config", {"profile": "benchmark", "config_sha256": "a" * 64}),
    ],
)
def test_what_was_asked_of_the_board_is_compared(
    tmp_path: Path, code: str, changed: dict[str, object]
) -> None:
    asked = dataclasses.replace(made.meta(), profile="benchmark")
    other = dataclasses.replace(asked, **changed)  # type: ignore[arg-type]
    found = pair(one_run(tmp_path / "a", about=asked), one_run(tmp_path / "b", about=other))
    assert [reason.code for reason in found.reasons if not reason.side] == [code]


def test_a_governor_is_told_once(tmp_path: Path) -> None:
    sides = []
    for name in ("performance", "schedutil"):
        row = SettingMeta("cpu.governor", "policy0", name, None, name, name)
        sent = made.records({}, board=made.facts(governors={"policy0": name}))
        told = BoardSettings("generic", None, (row,))
        sides.append(one_run(tmp_path / name, told=told, sent=sent))
    assert [r.code for r in pair(*sides).reasons if not r.side] == ["governor"]


def test_doubts_about_settings_and_rest_stand_above_a_comparison(tmp_path: Path) -> None:
    changed = dataclasses.replace(MODE, after="7W")
    told = BoardSettings("jetson-orin-nano", None, (changed,), ("fan.pwm: not permitted",))
    sent = made.records({})
    sent.insert(6, wire.Steady(reached=False, window_ns=SECOND))
    sent.insert(2, wire.Hello())
    found = pair(one_run(tmp_path / "a"), one_run(tmp_path / "b", told=told, sent=sent))
    ours = {reason.code for reason in found.reasons if reason.side == "b"}
    assert {"settings", "settings-changed", "not-steady", "restarted"} <= ours


def test_runs_named_as_more_of_one_side_are_held_against_it(tmp_path: Path) -> None:
    first = one_run(tmp_path / "a", told=in_mode("MAXN"))
    second = one_run(tmp_path / "b", told=in_mode("7W"))
    hot = made.records({}, samples=[made.sample(temps_c={"cpu": 95.0})])
    third = one_run(tmp_path / "c", told=in_mode("MAXN"), sent=hot)
    [found] = compare(first, first, [second], [third]).pairs
    assert ("power-mode", "a") in {(reason.code, reason.side) for reason in found.reasons}
    assert ("hot", "b") in {(reason.code, reason.side) for reason in found.reasons}


def test_a_run_is_of_the_boot_in_which_its_times_were_taken(tmp_path: Path) -> None:
    folder = made.create(tmp_path)
    folder.start("a", made.meta())
    told = [
        (900, wire.Hello(boot_id="aaaaaaaa-1"), "aaaaaaaa"),
        (901, wire.Timed(0, 10**7), "aaaaaaaa"),
        (20, wire.Hello(boot_id="bbbbbbbb-2"), "bbbbbbbb"),
        (25, wire.Detected(image="1", inference_ns=1), "bbbbbbbb"),
    ]
    for seq, (at_s, record, boot) in enumerate(told):
        folder.append("a", wire.encode(record, seq, at_s * SECOND, boot))
    [run] = folder.load().runs
    assert boot_of(run, wire.Timed) == ("aaaaaaaa-1", 900 * SECOND)
    assert boot_of(run, wire.Detected) == ("bbbbbbbb-2", 20 * SECOND)
    folder.append("a", wire.encode(wire.Timed(1, 10**7), len(told), 26 * SECOND, "bbbbbbbb"))
    [run] = folder.load().runs
    assert boot_of(run, wire.Timed) == (None, 900 * SECOND)
