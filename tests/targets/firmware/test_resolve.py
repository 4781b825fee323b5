from __future__ import annotations

from pathlib import Path

import pytest

from targets.errors import FirmwareConfigError
from targets.firmware.resolve import Library, library, override, resolve

HEAD = 'schema = "halfbyte.firmware"\nversion = 1\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "firmware"
    folder.mkdir()
    return folder


def test_each_value_says_which_file_it_is_from(own: Path, tmp_path: Path) -> None:
    mine, named = own / "mine.toml", tmp_path / "named.toml"
    text = HEAD + 'name = "raspberry-pi-4"\n[profiles.benchmark]\n'
    mine.write_text(text + '"swap.swappiness" = 10\n"cpu.governor" = "ondemand"\n')
    named.write_text(text + '"cpu.governor" = "powersave"\n')
    known = library(own, named)
    found = resolve(known, "raspberry-pi-4", "benchmark", dict([override("fan.pwm=keep")]))
    assert {value.key: value.origin for value in found.values} == {
        "cpu.max_khz": "generic.toml",
        "cpu.min_khz": "generic.toml",
        "cpu.governor": str(named),
        "fan.pwm": "--set fan.pwm=keep",
        "swap.swappiness": str(mine),
        "swap.disk": "generic.toml",
        "swap.zram": "generic.toml",
        "pi.config": "raspberry-pi-4.toml",
    }
    assert found["swap.swappiness"].value == 10
    assert found["cpu.governor"].value == "powersave"


def test_a_profile_and_a_board_of_ones_own(own: Path) -> None:
    text = HEAD + 'name = "shed"\nbase = "generic"\ncompatible = ["acme,*"]\n'
    (own / "shed.toml").write_text(text + '[profiles.night]\n"cpu.max_khz" = "30%"\n')
    known = library(own)
    assert known.profiles("shed") == ["benchmark", "field", "quiet", "night"]
    assert [v.key for v in resolve(known, "shed", "night").values] == ["cpu.max_khz"]


@pytest.mark.parametrize(("text", "hint"), [("cpu.govenor=x", "cpu.governor"), ("x", "There are")])
def test_a_mistyped_override_names_the_nearest_key(text: str, hint: str) -> None:
    with pytest.raises(FirmwareConfigError) as caught:
        override(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cpu.governor=performance", "performance"),
        ("cpu.governor.policy4=powersave", "powersave"),
        ("cpu.max_khz=1200000", 1200000),
        ("cpu.max_khz=60%", "60%"),
        ("jetson.clocks=true", True),
        ('jetson.power_mode=["A", "B"]', ("A", "B")),
        ("pi.config=gpu_mem=64", ("gpu_mem=64",)),
    ],
)
def test_an_override_is_read_as_what_its_key_takes(text: str, value: object) -> None:
    assert override(text)[1] == value


def test_unknown_names_get_the_nearest(own: Path) -> None:
    known = library(own)
    with pytest.raises(FirmwareConfigError) as board:
        resolve(known, "raspbery-pi-5", "benchmark")
    assert "raspberry-pi-5" in board.value.hint
    with pytest.raises(FirmwareConfigError) as profile:
        resolve(known, "raspberry-pi-5", "benchmrk")
    assert "'benchmark'" in profile.value.hint


def test_files_that_build_on_each_other_in_a_circle_are_refused(own: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (own / f"{name}.toml").write_text(HEAD + f'name = "{name}"\nbase = "{base}"\n')
    for name in "abc":
        with pytest.raises(FirmwareConfigError, match="leads back"):
            library(own).layers(name)


def test_an_empty_library_knows_no_board() -> None:
    with pytest.raises(FirmwareConfigError, match="no firmware settings"):
        Library(()).layers("generic")
