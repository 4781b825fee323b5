"""A sweep over power modes of an emulated Jetson: each in force for its runs, all put back."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.lab import hosts
from tests.lab.boards import Board
from tests.lab.cli import Host
from tests.lab.test_firmware import (  # noqa: F401
    NOT_THE_BOARDS,
    furnished,
    state,
)
from toolchain import demo

STUBBORN = "40W"  # in the board's list of modes, and refused by its tool


@pytest.fixture
def root(tmp_path: Path) -> Host:
    """A user who is root on the boards."""
    host = Host.made(tmp_path)
    targets = tmp_path / "targets.toml"
    targets.write_text(targets.read_text().replace('user = "pi"', 'user = "root"'))
    return host


def words(model: Path, board: Board, modes: str) -> list[str]:
    """A short sweep that changes nothing of this machine's own kernel."""
    data = demo.material()
    asked = ["--target", board.name, "--accept-new", "--threads", "1,64", "--power-mode", modes]
    asked += ["--images", str(data.images), "--annotations", str(data.annotations)]
    asked += ["--limit", "2", "--runs", "3", "--warmup", "1", "--out", "swept", "--json"]
    asked += [word for key in NOT_THE_BOARDS for word in ("--set", f"{key}=keep")]
    return ["sweep", str(model), *asked]


@pytest.mark.parametrize("furnished", ["jetson"], indirect=True)
def test_power_modes_are_swept_and_put_back(
    furnished: Board,  # noqa: F811
    root: Host,
    model: Path,
) -> None:
    hosts.run_as_root(
        furnished, f"echo '< POWER_MODEL ID=9 NAME={STUBBORN} >' >> /etc/nvpmodel.conf"
    )
    before = state(furnished)
    done = root.halfbyte(*words(model, furnished, f"7W,15W,{STUBBORN},NONE"))
    assert done.status == 0, done.stderr
    assert state(furnished) == before
    rows = done.value["rows"]
    assert [(row["power_mode"], row["threads"]) for row in rows] == [("7W", 1), ("15W", 1)]
    for row in rows:
        assert row["ap"] is not None
        assert row["watts"] == pytest.approx(5.072 * 1.035, rel=0.01)
        report = json.loads((root.home / "swept" / row["folder"] / "report.json").read_text())
        settings = report["runs"][0]["board_settings"]["settings"]
        [mode] = [one for one in settings if one["key"] == "jetson.power_mode"]
        assert (mode["before"], mode["during"], mode["after"]) == (
            "MAXN_SUPER",
            row["power_mode"],
            "MAXN_SUPER",
        )
    reasons = {one["power_mode"]: one["reason"] for one in done.value["left_out"]}
    assert reasons.keys() == {"7W", "15W", STUBBORN, "NONE"}
    assert reasons["7W"].startswith("the board has ")  # so many CPUs
    assert f"not {STUBBORN}" in reasons[STUBBORN]
    assert "the board has 15W" in reasons["NONE"]
    svg = ET.parse(root.home / "swept" / "sweep.svg")
    said = {word.text for word in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert "watts (the module's input)" in said


@pytest.mark.parametrize("furnished", ["jetson"], indirect=True)
def test_without_root_no_power_mode_is_measured_and_the_reason_is_told(
    furnished: Board,  # noqa: F811
    root: Host,
    model: Path,
) -> None:
    targets = root.home / "targets.toml"
    targets.write_text(targets.read_text().replace('user = "root"', 'user = "pi"'))
    before = state(furnished)
    done = root.halfbyte(*words(model, furnished, "7W"))
    assert done.status == 8
    assert "not permitted" in done.error["message"]
    assert state(furnished) == before
