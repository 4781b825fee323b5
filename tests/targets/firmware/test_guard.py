"""The programs of the board at work on its files: whose hold it is, and that nothing is lost."""

from __future__ import annotations

import configparser
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.firmware import diff
from targets.firmware.resolve import Library, resolve, shipped
from tests.targets.firmware import played
from tests.targets.firmware.played import GOVERNOR, Played

SWAPS = "Filename Type Size Used Priority\n/swap file 100 0 -2\n"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Played]:
    with played.board(tmp_path / "board") as found:
        yield found


def request(board: Played, number: int, *changes: tuple[str, str, str], **more: Any) -> Any:
    """To apply `changes` as the hold of that number, whose lease is there."""
    hold = f"{number:016x}"
    lease = board.folder / "user" / f"lease-{hold}"
    lease.parent.mkdir(exist_ok=True)
    lease.touch()
    return {
        "do": "apply",
        "id": hold,
        "label": f"hold {number}",
        "folder": str(lease.parent),
        "changes": [{"knob": [kind, path], "value": value} for kind, path, value in changes],
        "snapshot": [],
        "lease": str(lease),
        "lease_s": 600.0,
        "holder": {"user": "ada", "host": "desk", "since": "today"},
        "ours": [],
        "runs": [],
        "run_lock": str(board.folder / "run-lock"),
        "look": {"files": [GOVERNOR], "commands": []},
        **more,
    }


PERFORMANCE = ("file", GOVERNOR, "performance")


def looked(board: Played, number: int) -> Any:
    asked = {"do": "look", "folder": str(board.folder / "user"), "hold": f"{number:016x}"}
    answer = board.ask({**asked, "look": {"files": [], "commands": []}})
    return answer["held"]["root" if os.geteuid() == 0 else "user"]


def end(board: Played, number: int) -> Any:
    """As the host ends its hold; how it ended."""
    (board.folder / "user" / f"lease-{number:016x}").unlink()
    played.wait("the guard's end", lambda: looked(board, number)["outcome"] is not None)
    return looked(board, number)["outcome"]


def test_somebody_elses_hold_is_not_undone_and_named(board: Played) -> None:
    assert board.ask(request(board, 1, PERFORMANCE))["held"]
    answer = board.ask(request(board, 2, ("file", GOVERNOR, "ondemand")))
    assert answer == {
        "busy": {"label": "hold 1", "holder": {"user": "ada", "host": "desk", "since": "today"}}
    }
    assert board.read(GOVERNOR).strip() == "performance"
    assert end(board, 1)["why"] == "over"
    assert board.read(GOVERNOR) == "ondemand\n"


def test_one_holds_end_does_not_end_the_next(board: Played) -> None:
    board.ask(request(board, 1, PERFORMANCE))
    board.ask(request(board, 2, PERFORMANCE, ours=[f"{1:016x}"]))
    assert looked(board, 1)["outcome"]["why"] == "replaced"
    (board.folder / "user" / f"lease-{1:016x}").unlink()
    time.sleep(1.5)  # longer than a guard's pause
    assert board.read(GOVERNOR).strip() == "performance"
    assert end(board, 2)["why"] == "over"
    assert looked(board, 1)["outcome"]["why"] == "replaced"  # both are known still


def test_a_hold_whose_lease_is_gone_makes_way(board: Played) -> None:
    first = request(board, 1, PERFORMANCE)
    board.ask(first)
    Path(first["lease"]).unlink()
    assert board.ask(request(board, 2, PERFORMANCE))["held"]
    assert looked(board, 1)["outcome"]["why"] == "over"
    assert end(board, 2)["restored"] == 1


def test_nothing_is_set_while_somebodys_run_is_on(board: Played) -> None:
    lock = board.folder / "run-lock"
    holder = {"user": "ada", "host": "desk", "since": "today", "pid": 1, "run": "0" * 16}
    lock.write_text(json.dumps(holder))
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        answer = board.ask(request(board, 1, PERFORMANCE))
        assert answer == {"busy": {"label": None, "holder": holder}}
        assert board.ask(request(board, 2, PERFORMANCE, runs=["0" * 16]))["held"]


PWM = "/sys/class/hwmon/hwmon2/pwm1"
FULL = ("file", PWM, "255")


def fan(board: Played, pwm: str) -> None:
    """A fan of the board's, at that duty cycle."""
    board.write("/sys/class/hwmon/hwmon2/name", "pwmfan\n")
    board.write(PWM, pwm)


def test_a_fan_that_is_kept_is_not_slowed_at_the_end(board: Played) -> None:
    """Its own control has raised it meanwhile, because the board became hot."""
    fan(board, "0\n")
    asked = resolve(Library(shipped()), "raspberry-pi-5", "field")
    assert asked["fan.pwm"].value == "keep"
    answer = board.ask(request(board, 1, PERFORMANCE, snapshot=diff.snapshot(asked)))
    assert GOVERNOR in {path for _, path, _ in answer["backup"]["before"]}
    board.write(PWM, "175\n")
    assert end(board, 1)["left"] == []
    assert board.read(PWM) == "175\n"
    assert board.read(GOVERNOR) == "ondemand\n"


@pytest.mark.parametrize(
    ("meanwhile", "millidegrees", "after"),
    [(None, "55000\n", "75\n"), ("175\n", "55000\n", "175\n"), (None, "78000\n", "255\n")],
    ids=["cool", "moved by the kernel", "hot"],
)
def test_a_fan_at_full_goes_back_unless_its_control_needs_more(
    board: Played, meanwhile: str | None, millidegrees: str, after: str
) -> None:
    fan(board, "75\n")
    board.write("/sys/class/thermal/cooling_device0/type", "pwm-fan\n")
    board.write("/sys/class/thermal/thermal_zone0/temp", "100000\n")  # a Jetson's PMIC
    board.write("/sys/class/thermal/thermal_zone1/temp", millidegrees)
    assert board.ask(request(board, 1, FULL))["held"]
    assert board.read(PWM).strip() == "255"
    if meanwhile is not None:
        board.write(PWM, meanwhile)
    assert end(board, 1)["left"] == []
    assert board.read(PWM).strip() == after.strip()


def test_a_service_that_moves_the_fan_as_it_starts_is_no_failure(board: Played) -> None:
    fan(board, "75\n")
    board.write("/service", "active")
    board.tool(
        "systemctl",
        'case $1 in is-active) cat "$HERE/service" ;;\n'
        'stop) printf inactive >"$HERE/service" ;;\n'
        f'start) printf active >"$HERE/service"; echo 141 >"$HERE{PWM}" ;;\nesac\n',
    )
    assert board.ask(request(board, 1, ("service", "nvfancontrol", "inactive"), FULL))["held"]
    assert board.read("/service") == "inactive"
    outcome = end(board, 1)
    assert (outcome["left"], outcome["restored"]) == ([], 2)
    assert board.read("/service") == "active"
    assert board.read(PWM) == "141\n"


NVPMODEL = (
    '[ "$1" = -q ] && { echo "NV Power Mode: M"; cat "$HERE/mode"; exit; }\n'
    'printf %s "$2" >"$HERE/mode"; touch "$HERE/changing"; [ "$2" = 0 ] || sleep 2\n'
)
UNIT = "/etc/systemd/system/halfbyte-at-start.service"


@pytest.mark.parametrize("dies", ["at once", "in the change"])
def test_what_a_killed_change_left_is_put_back(board: Played, dies: str) -> None:
    """A power mode takes seconds to set; whoever sets it may be killed meanwhile."""
    board.write("/mode", "0")
    board.tool("nvpmodel", NVPMODEL)
    process = board.start(request(board, 1, ("mode", "", "3"), PERFORMANCE, lease_s=1.0))
    played.wait("the change", (board.folder / "changing").exists)
    if dies == "in the change":
        time.sleep(1.5)  # longer than the lease, whose time does not run yet
        assert board.read("/mode") == "3"
    process.send_signal(signal.SIGKILL)
    process.wait()
    played.wait("the guard", lambda: looked(board, 1)["outcome"] is not None)
    assert looked(board, 1)["outcome"]["why"] == "silence"
    assert board.read("/mode") == "0"
    assert board.read(GOVERNOR) == "ondemand\n"


def test_what_could_not_be_put_back_is_never_forgotten(board: Played) -> None:
    board.ask(request(board, 1, PERFORMANCE))
    for pid in board.guards():
        os.kill(pid, signal.SIGKILL)
    away = board.path(GOVERNOR).rename(board.folder / "away")
    for number in (2, 3):
        answer = board.ask(request(board, number, ("file", "/proc/sys/vm/swappiness", "1")))
        assert [entry[1] for entry in answer["left"]["left"]] == [GOVERNOR]
    assert board.read("/proc/sys/vm/swappiness") == "60\n"
    assert looked(board, 1)["backup"]["before"] == [["file", GOVERNOR, "ondemand\n"]]
    away.rename(board.path(GOVERNOR))
    assert board.ask(
        {
            "do": "restore",
            "folder": str(board.folder / "user"),
            "why": "asked",
            "only": None,
        }
    )["held"]
    assert board.read(GOVERNOR) == "ondemand\n"


STANDS = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print(flush=True)
time.sleep(1.0)
os.write(lock, (sys.argv[2] if len(sys.argv) > 2 else str(os.getpid())).encode())
time.sleep(60)
"""
STOPS = """
import sys
from targets.provision.on_board import keeping
from targets.provision.on_board.place import Place
keeping._SAY_S = 3.0
keeping.stop_guard(Place(sys.argv[1], as_root=False))
"""


@pytest.mark.parametrize("says", ["", "0", "one"])
def test_a_guard_that_has_yet_to_say_who_it_is_is_waited_for(tmp_path: Path, says: str) -> None:
    """Its file is empty at first; `kill 0` would end whoever wanted to stop it."""
    words = [sys.executable, "-c", STANDS, str(tmp_path / "guard"), *([says] if says else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as guard:
        assert guard.stdout is not None
        guard.stdout.readline()
        stopped = subprocess.run(
            [sys.executable, "-c", STOPS, str(tmp_path)],
            start_new_session=True,  # so that a failure ends nothing else
            capture_output=True,
            text=True,
            timeout=30,
        )
        if not says:
            assert (stopped.returncode, guard.wait(timeout=10)) == (0, -signal.SIGKILL)
        else:
            assert stopped.returncode == 1
            assert "does not say which process it is" in stopped.stderr
            guard.kill()


def test_nothing_is_left_where_nothing_could_be_set(board: Played) -> None:
    board.path(GOVERNOR).unlink()
    answer = board.ask(request(board, 1, PERFORMANCE))
    assert answer["problems"] == ["No such file or directory"]
    assert not answer["held"]
    assert board.guards() == []
    assert looked(board, 1)["backup"] is None


def test_nothing_is_held_where_only_what_was_so_already_could_be_set(board: Played) -> None:
    same = ("file", "/proc/sys/vm/swappiness", "60")
    gone = ("file", GOVERNOR.replace("policy0", "policy9"), "performance")
    assert not board.ask(request(board, 1, same, gone))["held"]
    assert board.guards() == []
    assert board.ask(request(board, 2, same))["held"]  # all that was asked for, so nobody else may


def test_an_area_of_an_odd_name_is_refused_by_itself(board: Played) -> None:
    """A space in its name is written \\040 in /proc/swaps."""
    board.write("/proc/swaps", SWAPS.replace("/swap ", "/swap\\040area "))
    answer = board.ask(request(board, 1, ("swap", "/swap\\040area", "off"), PERFORMANCE))
    refused, set_ = answer["problems"]
    assert "none of the settings that may be changed" in refused
    assert set_ is None
    assert answer["held"]
    assert board.read(GOVERNOR).strip() == "performance"
    assert end(board, 1)["left"] == []
    assert board.read(GOVERNOR) == "ondemand\n"


def test_nothing_is_done_of_what_may_not_be_changed(board: Played) -> None:
    board.write("/etc-crontab", "")
    odd = ("file", str(board.path("/etc-crontab")), "x")
    answer = board.ask(request(board, 1, odd))
    assert (answer["held"], board.guards()) == (False, [])
    assert board.read("/etc-crontab") == ""


def test_an_area_whose_priority_the_kernel_chose_may_get_another(board: Played) -> None:
    board.write("/proc/swaps", SWAPS)
    board.tool("swapoff", 'sed -i 2d "$HERE/proc/swaps"\n')
    board.tool("swapon", 'echo "$1 file 100 0 -3" >>"$HERE/proc/swaps"\n')
    assert board.ask(request(board, 1, ("swap", "/swap", "off")))["held"]
    assert "/swap" not in board.read("/proc/swaps")
    outcome = end(board, 1)
    assert (outcome["left"], outcome["restored"]) == ([], 1)
    assert board.read("/proc/swaps").endswith("/swap file 100 0 -3\n")


@pytest.mark.parametrize("works", [True, False])
def test_a_login_s_end_is_not_the_guards_where_systemd_is(board: Played, works: bool) -> None:
    """By a scope of its own, and where that does not come up, without."""
    if os.geteuid() != 0:
        pytest.skip("a user's own scope is for those who linger")
    board.path("/run/systemd/system").mkdir(parents=True)
    board.tool(
        "systemd-run",
        f'echo "$@" >"$HERE/asked"\n{"shift 3; exec" if works else "exit 1; :"} "$@"\n',
    )
    assert board.ask(request(board, 1, PERFORMANCE))["held"]
    assert board.read("asked").startswith("--scope --quiet --collect ")
    assert board.read(GOVERNOR).strip() == "performance"
    assert end(board, 1)["why"] == "over"


def test_no_restart_ends_what_somebody_is_at(board: Played) -> None:
    board.tool("reboot", "")  # never this machine's
    asked = {**request(board, 2), "do": "boot-restart", "trial": False}
    board.ask(request(board, 1, PERFORMANCE))
    assert board.ask(asked) == {"problem": "it would end settings of ada@desk, since today"}
    end(board, 1)
    lock = board.folder / "run-lock"
    lock.write_text(json.dumps({"user": "ada", "host": "desk", "since": "today", "run": "0"}))
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert board.ask(asked) == {"problem": "it would end a run of ada@desk, since today"}


def test_leftovers_are_put_back_only_where_nobody_stands_for_them(board: Played) -> None:
    board.ask(request(board, 1, PERFORMANCE))
    asked = {
        "do": "leftover",
        "folder": str(board.folder / "user"),
        "run_lock": str(board.folder / "run-lock"),
    }
    assert board.ask(asked) == {"held": False, "outcome": None}
    for pid in board.guards():
        os.kill(pid, signal.SIGKILL)
    assert board.ask(asked)["outcome"]["why"] == "leftover"
    assert board.read(GOVERNOR) == "ondemand\n"


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
