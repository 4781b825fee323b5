"""`halfbyte firmware` as far as it goes without a board."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from targets.provision import on_board
from toolchain.cli.main import _run


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path))
    (tmp_path / "firmware").mkdir()
    return tmp_path / "firmware"


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert _run(["firmware", *words]) == status
    return capsys.readouterr().out


def test_list_names_every_board(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, "list", "--json"))
    assert "jetson-orin-nano" in [row["board"] for row in rows]
    assert all(row["profiles"] == ["benchmark", "field", "quiet"] for row in rows)
    assert "Raspberry Pi Zero 2 W" in said(capsys, "list")


def test_show_says_where_each_value_is_from(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = 'schema = "halfbyte.firmware"\nversion = 1\nname = "raspberry-pi-5"\n'
    mine = own_folder / "mine.toml"
    mine.write_text(head + '[profiles.benchmark]\n"swap.swappiness" = 5\n')
    words = ["show", "raspberry-pi-5", "--set", "cpu.governor=ondemand", "--json"]
    found = {value["key"]: value for value in json.loads(said(capsys, *words))["values"]}
    assert found["swap.swappiness"]["origin"] == str(mine)
    assert found["cpu.governor"]["origin"] == "--set cpu.governor=ondemand"
    assert found["fan.pwm"]["origin"] == "generic.toml"
    assert str(mine) in said(capsys, "show", "raspberry-pi-5")


@pytest.mark.parametrize(
    ("words", "kind", "hint"),
    [
        (["show", "raspbery-pi-5"], "FirmwareConfigError", "raspberry-pi-5"),
        (["show", "generic", "--profile", "quite"], "FirmwareConfigError", "'quiet'"),
        (["show", "generic", "--set", "cpu.max_mhz=1"], "FirmwareConfigError", "cpu.max_khz"),
        (["show", "generic", "--set", "fan.pwm=0"], "FirmwareConfigError", "docs/firmware.md"),
    ],
)
def test_what_is_mistyped_gets_the_nearest(
    own_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], kind: str, hint: str
) -> None:
    error = json.loads(said(capsys, *words, "--json", status=3))["error"]
    assert error["kind"] == kind
    assert hint in error["hint"]


def test_a_time_that_is_none_is_refused_before_anything_is_reached(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no time such as 30m" in said(
        capsys, "apply", "nobody@127.0.0.1", "--for", "soon", "--json", status=2
    )


@pytest.mark.parametrize(
    "name",
    [
        *("trusted", "knobs", "boot_file", "place", "at_start", "fans"),
        *("keeping", "start", "standing", "guard", "environment"),
    ],
)
def test_programs_of_the_board_are_python_3_8(name: str) -> None:
    ast.parse(on_board.source(name), feature_version=(3, 8))
