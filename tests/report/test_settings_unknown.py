"""What nobody read after a run is told, where the run changed it."""

from __future__ import annotations

from toolchain.report.settings import doubts
from toolchain.runmeta import BoardSettings, SettingMeta


def told(profile: str | None, after: str | None, during: str | None = "performance") -> list[str]:
    row = SettingMeta("cpu.governor", "policy0", "ondemand", "performance", during, after)
    return [doubt.code for doubt in doubts(BoardSettings("generic", profile, (row,)))]


def test_under_a_profile_what_is_not_known_afterwards_is_a_doubt() -> None:
    assert told("benchmark", None) == ["settings-unknown"]
    assert told("benchmark", "ondemand") == []
    assert told("benchmark", "performance") == ["settings-not-put-back"]


def test_what_the_board_does_not_have_is_none() -> None:
    assert told("benchmark", None, during=None) == []


def test_without_a_profile_nothing_was_changed() -> None:
    assert told(None, None) == []
