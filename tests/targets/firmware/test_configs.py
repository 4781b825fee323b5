"""Every value that is shipped says where it comes from, and can be verified on a board."""

from __future__ import annotations

import re

import pytest

from targets.firmware import resolve
from targets.firmware.resolve import Settings, board_of, shipped
from targets.firmware.settings import KINDS, kind_of
from tests.targets.firmware.boards import everything

KNOWN = resolve.Library(shipped())
BOARDS = {
    "generic": "any,board",
    "raspberry-pi-zero-2-w": "raspberrypi,model-zero-2-w",
    "raspberry-pi-3": "raspberrypi,3-model-b-plus",
    "raspberry-pi-4": "raspberrypi,4-compute-module",
    "raspberry-pi-5": "raspberrypi,5-model-b",
    "jetson-nano": "nvidia,jetson-nano",
    "jetson-xavier-nx": "nvidia,p3509-0000+p3668-0001",
    "jetson-agx-xavier": "nvidia,p2972-0000",
    "jetson-orin-nano": "nvidia,p3768-0000+p3767-0005-super",
    "jetson-orin-nx": "nvidia,p3768-0000+p3767-0000",
    "jetson-agx-orin": "nvidia,p3737-0000+p3701-0005",
}
ALL = [(board, profile) for board in KNOWN.boards() for profile in KNOWN.profiles(board)]


def settings(board: str, profile: str) -> Settings:
    return resolve.resolve(KNOWN, board, profile)


def test_each_board_has_a_file_and_the_three_profiles() -> None:
    assert set(KNOWN.boards()) == set(BOARDS)
    assert {profile for _, profile in ALL} == {"benchmark", "field", "quiet"}
    assert len(ALL) == 3 * len(BOARDS)


@pytest.mark.parametrize(("board", "word"), BOARDS.items())
def test_a_board_is_found_by_its_device_tree(board: str, word: str) -> None:
    assert board_of((word, "vendor,other"), KNOWN) == board


@pytest.mark.parametrize(("board", "profile"), ALL)
def test_each_value_has_source_reason_unit_and_a_reader(board: str, profile: str) -> None:
    seen = everything()
    found = settings(board, profile)
    assert found.about
    for value in (*found.values, *found.expect):
        assert value.source is not None
        assert value.source.document
        assert value.source.section
        assert value.unit
        assert value.reason
        assert value.origin.endswith(".toml")
        kind = kind_of(value.key)
        assert kind is not None
        wanted = value.value if value in found.values else "highest"
        rows = kind.rows(value.key, wanted, seen)
        assert rows
        assert all(row.now is not None or kind.key == "pi.config" for row in rows), value


def test_every_kind_of_setting_is_asked_for_by_some_profile() -> None:
    asked = {value.key for board, profile in ALL for value in settings(board, profile).values}
    assert asked == set(KINDS)


def test_nothing_is_overclocked_and_nobody_is_locked_out() -> None:
    for board, profile in ALL:
        for value in settings(board, profile).values:
            assert not re.search(
                r"over_voltage|arm_freq|force_turbo|cmdline|kernel", str(value.value)
            )
