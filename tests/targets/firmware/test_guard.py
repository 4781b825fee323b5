"""The programs of the board at work on its files: whose hold it is, and that nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.targets.firmware.asked import PERFORMANCE, end, looked, request
from tests.targets.firmware.played import GOVERNOR, Played


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


def test_nothing_is_done_of_what_may_not_be_changed(board: Played) -> None:
    board.write("/etc-crontab", "")
    odd = ("file", str(board.path("/etc-crontab")), "x")
    answer = board.ask(request(board, 1, odd))
    assert (answer["held"], board.guards()) == (False, [])
    assert board.read("/etc-crontab") == ""


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
