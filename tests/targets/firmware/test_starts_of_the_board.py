"""What outlasts a restart is put back at the next start of the board."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.targets.firmware.asked import NVPMODEL, PERFORMANCE, end, looked, request
from tests.targets.firmware.played import GOVERNOR, Played

UNIT = "/etc/systemd/system/halfbyte-at-start.service"


@pytest.fixture
def jetson(board: Played) -> Played:
    """A board with systemd, in power mode 0."""
    board.path("/run/systemd/system").mkdir(parents=True)
    board.path("/etc/systemd/system").mkdir(parents=True)
    board.write("/mode", "0")
    board.tool("nvpmodel", NVPMODEL)
    return board


def start_of(board: Played) -> None:
    """A start of the board's, and what systemd does of the unit then."""
    board.restart()
    wanted = board.path("/etc/systemd/system/multi-user.target.wants") / Path(UNIT).name
    if not wanted.exists():
        return
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(wanted.read_text())
    if Path(unit["Unit"]["ConditionPathExists"]).exists():
        subprocess.run(shlex.split(unit["Service"]["ExecStart"]), check=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="units are root's")
def test_a_power_mode_is_put_back_at_the_next_start(jetson: Played) -> None:
    """It is on the board's disk, and so outlasts a power cut; what the kernel forgets does not."""
    assert jetson.ask(request(jetson, 1, ("mode", "", "3"), PERFORMANCE))["held"]
    assert jetson.read("/mode") == "3"
    jetson.write(GOVERNOR, "ondemand\n")
    start_of(jetson)
    assert jetson.read("/mode") == "0"
    outcome = looked(jetson, 1)["outcome"]
    assert (outcome["why"], outcome["restarted"], outcome["left"]) == ("leftover", True, [])
    assert looked(jetson, 1)["backup"] is None
    assert not jetson.path(UNIT).exists()
    assert list(jetson.path("/etc/systemd/system/multi-user.target.wants").iterdir()) == []
    assert not jetson.path("/var/lib/halfbyte").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="units are root's")
def test_nothing_starts_with_the_board_unless_it_must(jetson: Played) -> None:
    jetson.ask(request(jetson, 1, PERFORMANCE))
    assert not jetson.path(UNIT).exists(), "a restart undoes it anyway"
    jetson.ask(request(jetson, 2, ("mode", "", "3"), ours=[f"{1:016x}"]))
    assert jetson.path(UNIT).exists()
    assert end(jetson, 2)["left"] == []
    assert not jetson.path(UNIT).exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.skipif(os.geteuid() != 0, reason="units are root's")
def test_systemd_takes_the_unit(jetson: Played, tmp_path: Path) -> None:
    jetson.ask(request(jetson, 1, ("mode", "", "3")))
    unit = tmp_path / Path(UNIT).name
    shutil.copy(jetson.path(UNIT), unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr
