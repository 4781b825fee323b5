"""Every value that is shipped says where it comes from, and can be verified on a board."""

from __future__ import annotations

import re

import pytest

from targets.boards import Kind, jetson, raspberry_pi
from targets.firmware import resolve
from targets.firmware.diff import compare
from targets.firmware.resolve import Settings, board_of, shipped
from targets.firmware.settings import KINDS, kind_of
from targets.firmware.settings.kind import Knob, Said, Seen
from tests.targets.firmware.boards import CPU, everything, policy

KNOWN = resolve.Library(shipped())
BOARDS = {
    "generic": "any,board",
    "raspberry-pi-zero-2-w": "raspberrypi,model-zero-2-w",
    "raspberry-pi-3": "raspberrypi,3-model-b-plus",
    "raspberry-pi-4": "raspberrypi,4-compute-module",
    "raspberry-pi-5": "raspberrypi,5-model-b",
    "jetson": "nvidia,p2771-0000+p3310-1000",
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


OTHERS = {
    ("nvidia,p2771-0000+p3310-1000", "nvidia,quill", "nvidia,tegra186"): "jetson",
    ("nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"): "jetson",
    ("nvidia,p3971-0089+p3834-0008", "nvidia,tegra264"): "jetson",
    ("vendor,carrier", "nvidia,tegra194"): "jetson",
    ("nvidia,p3768-0000+p3767", "nvidia,tegra234"): "jetson",
    ("nvidia,p3768-0000+p3767-0002", "nvidia,tegra234"): "jetson-orin-nx",
    ("nvidia,p3737-0000+p3701-0000-as-p3767-0000", "nvidia,tegra234"): "jetson-agx-orin",
    ("raspberrypi,5-compute-module-lite", "brcm,bcm2712"): "raspberry-pi-5",
    ("raspberrypi,4-compute-module-s", "brcm,bcm2711"): "raspberry-pi-4",
    ("raspberrypi,model-b", "brcm,bcm2835"): "generic",
}


@pytest.mark.parametrize(("compatible", "board"), OTHERS.items())
def test_settings_are_of_the_board_that_a_check_recognises(
    compatible: tuple[str, ...], board: str
) -> None:
    assert board_of(compatible, KNOWN) == board


@pytest.mark.parametrize("kind", [*jetson.KINDS, *raspberry_pi.KINDS, jetson.UNNAMED])
def test_every_kind_of_board_has_settings_that_are_shipped(kind: Kind) -> None:
    assert kind.settings in KNOWN.boards()
    assert kind.family != "Jetson" or kind.settings != "generic"


def test_a_module_without_its_variant_is_told_by_the_model() -> None:
    words = ("nvidia,p3768-0000+p3767", "nvidia,tegra234")
    assert board_of(words, KNOWN, "NVIDIA Jetson Orin NX Developer Kit") == "jetson-orin-nx"
    assert board_of(words, KNOWN, "NVIDIA Jetson Orin Nano Developer Kit") == "jetson-orin-nano"


@pytest.mark.parametrize("board", [board for board in BOARDS if board.startswith("jetson")])
@pytest.mark.parametrize("profile", ["benchmark", "field", "quiet"])
def test_no_limit_of_a_power_mode_is_lifted(board: str, profile: str) -> None:
    seen = Seen(
        {
            **policy(0, "0 1 2 3 4 5", 345600, 2035200),
            f"{CPU}/cpufreq/policy0/scaling_max_freq": "1190400\n",
            "/etc/nvpmodel.conf": "< POWER_MODEL ID=1 NAME=MAXQ >\n",
        },
        {"nvpmodel -q": Said(0, "NV Power Mode: MAXN\n0")},
    )
    asked = resolve.resolve(KNOWN, board, profile, {"jetson.power_mode": ("MAXQ",)})
    written = [d.row.knob for d in compare(asked, seen) if d.row.knob is not None]
    assert Knob("mode") in written
    assert not [knob for knob in written if re.search("scaling_(max|min)_freq", knob.path)]


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
