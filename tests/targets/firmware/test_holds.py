"""Holds of several hosts on one board, over a real link to files of a test."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.deadline import Deadline
from targets.errors import BoardBusy, InputError, NotRestored
from targets.firmware import backup, leftover
from targets.firmware.apply import Ours
from targets.firmware.lease import Lease, standing_of
from targets.firmware.resolve import Library, Settings, resolve, shipped
from targets.firmware.restore import Restored, restore
from targets.privilege import Privilege
from targets.provision import environment
from targets.ssh import Connection, connect
from targets.target import Target
from tests.targets.firmware import played
from tests.targets.firmware.played import GOVERNOR, Played, seen
from toolchain import boardsettings
from toolchain.boardsettings import around, taken_up
from toolchain.cli import options
from toolchain.cli.main import _run
from toolchain.recorded import Unfinished
from toolchain.runmeta import BoardSettings
from toolchain.settingsseen import Asked

KEEP = {"swap.swappiness": "keep", "swap.disk": "keep", "swap.zram": "keep"}
ASKED = Asked(profile="benchmark", overrides=tuple(KEEP.items()))
PERFORMANCE = "performance"


@pytest.fixture
def board(tmp_path: Path, own_settings: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    with played.board(tmp_path / "board") as found:
        played.reached(found, monkeypatch)
        yield found


@pytest.fixture
def link(embedded: Target, board: Played, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    def of(connection: Connection, ask: Any = None, *, deadline: Deadline) -> Privilege:
        del ask, deadline
        return Privilege(connection, "tester", is_root=os.geteuid() == 0, sudo=None)

    monkeypatch.setattr(Privilege, "of", of)
    with connect(embedded, deadline=Deadline.after(30)) as connection:
        yield connection


def soon() -> Deadline:
    return Deadline.after(60)


def settings(governor: str = PERFORMANCE) -> Settings:
    return resolve(Library(shipped()), "generic", "benchmark", {**KEEP, "cpu.governor": governor})


def unfinished(told: BoardSettings | None) -> Unfinished:
    return Unfinished("0" * 16, None, (), told)  # type: ignore[arg-type]


def kill_guards(board: Played) -> None:
    for pid in board.guards():
        os.kill(pid, signal.SIGKILL)


def test_a_board_with_somebody_elses_settings_is_busy(board: Played, link: Connection) -> None:
    first = Lease.take(seen(link), settings(), deadline=soon())
    with pytest.raises(BoardBusy, match="generic, benchmark") as caught:
        Lease.take(seen(link), settings("ondemand"), deadline=soon())
    assert "@" in caught.value.message
    assert f"firmware restore {link.name}" in caught.value.hint
    assert board.read(GOVERNOR).strip() == PERFORMANCE
    assert first.renew()
    assert first.end().why == "over"
    assert board.read(GOVERNOR) == "ondemand\n"


def test_a_person_may_end_any_hold_and_its_host_is_told(board: Played, link: Connection) -> None:
    lease = Lease.take(seen(link), settings(), deadline=soon())
    assert restore(seen(link), deadline=soon()).why == "asked"
    assert not lease.renew()
    assert lease.end().why == "asked"


def test_a_lease_that_somebody_removed_is_not_our_own_end(board: Played, link: Connection) -> None:
    lease = Lease.take(seen(link), settings(), deadline=soon())
    Path(lease.path).unlink()
    assert lease.end().why == "gone"


def test_a_host_waits_for_settings_as_for_a_run(
    board: Played, link: Connection, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(boardsettings, "_ASK_AGAIN_S", 0.2)
    first = Lease.take(seen(link), settings(), deadline=soon())
    with pytest.raises(BoardBusy), around(link, ASKED):
        pass
    timer = threading.Timer(1.0, lambda: Path(first.path).unlink())
    timer.start()
    with around(link, ASKED, busy_s=30) as held:
        assert board.read(GOVERNOR).strip() == PERFORMANCE
        assert held.told is not None
        assert held.told.hold not in (None, first.applied.id)
    assert "Waiting for its end" in caplog.text
    assert held.told.doubts == ()
    assert {(row.before, row.after) for row in held.told.settings if row.key == "cpu.governor"} == {
        ("ondemand", "ondemand")
    }
    assert board.read(GOVERNOR) == "ondemand\n"


def test_who_comes_next_is_not_taken_for_settings_not_put_back(
    board: Played, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host takes the board between our end and our look at it."""
    later: list[Lease] = []
    end = Lease.end

    def ended(self: Lease, **more: Any) -> Restored:
        done = end(self, **more)
        if not later:
            later.append(Lease.take(seen(link), settings(), deadline=soon()))
        return done

    with around(link, ASKED) as held:
        monkeypatch.setattr(Lease, "end", ended)
    assert held.told is not None
    assert board.read(GOVERNOR).strip() == PERFORMANCE
    assert all(row.before == row.after for row in held.told.settings)
    later[0].end()


@pytest.mark.parametrize("who", ["silence", "asked", "leftover", "replaced"])
def test_every_end_that_was_not_ours_is_a_doubt(
    board: Played, link: Connection, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if who == "silence":
        monkeypatch.setenv("HALFBYTE_LEASE_S", "2")
    with around(link, ASKED) as held:
        assert held.told is not None
        assert held.told.doubts == ()
        assert held.told.hold is not None
        if who == "silence":
            played.wait("the end", lambda: board.read(GOVERNOR) == "ondemand\n")
        elif who == "asked":
            restore(seen(link), deadline=soon())
        elif who == "leftover":
            kill_guards(board)
        else:
            other = Ours(holds=(held.told.hold,))
            later = Lease.take(seen(link), settings(), deadline=soon(), ours=other)
    (doubt,) = held.told.doubts
    assert boardsettings.ENDED[who] in doubt
    if who == "replaced":
        later.end()
    assert board.read(GOVERNOR) == "ondemand\n"


def test_a_host_that_was_killed_goes_on_under_the_same_hold(
    board: Played, link: Connection
) -> None:
    lease = Lease.take(seen(link), settings(), deadline=soon())
    before = BoardSettings("generic", "benchmark", hold=lease.applied.id)
    with around(link, ASKED, unfinished=[unfinished(before)]) as held:
        assert held.lease == lease.path
        told = held.of(before, ())
        assert told is not None
        assert (told.hold, told.doubts) == (lease.applied.id, ())
    assert standing_of(seen(link), lease.applied.id, deadline=soon()).outcome is not None
    assert board.read(GOVERNOR) == "ondemand\n"


@pytest.mark.parametrize("ended", ["silence", "unknown"])
def test_settings_of_an_earlier_part_that_ended_are_told(
    board: Played, link: Connection, ended: str
) -> None:
    before = BoardSettings("generic", "benchmark", hold="f" * 16, doubts=("it was odd",))
    if ended == "silence":
        lease = Lease.take(seen(link), settings(), deadline=soon(), lease_s=1)
        before = BoardSettings("generic", "benchmark", hold=lease.applied.id)
        played.wait("the end", lambda: board.read(GOVERNOR) == "ondemand\n")
    with around(link, ASKED, unfinished=[unfinished(before)]) as held:
        told = held.of(before, ())
    assert told is not None
    assert told.hold not in (None, before.hold)
    assert told.doubts[: len(before.doubts)] == before.doubts
    words = "put back in mid-run" if ended == "silence" else "is not known"
    assert words in told.doubts[-1]
    with taken_up(link, before) as again:
        assert again.lease is None
    later = again.of(before, ())
    assert later is not None
    assert later.hold == before.hold
    assert words in later.doubts[-1]


def test_who_attaches_holds_on_to_settings_and_puts_them_back(
    board: Played, link: Connection
) -> None:
    lease = Lease.take(seen(link), settings(), deadline=soon())
    before = BoardSettings("generic", "benchmark", hold=lease.applied.id)
    with taken_up(link, before) as held:
        assert held.lease == lease.path
        assert board.read(GOVERNOR).strip() == PERFORMANCE
    told = held.of(before, ())
    assert told is not None
    assert told.doubts == ()
    assert board.read(GOVERNOR) == "ondemand\n"


def test_settings_that_cannot_be_put_back_keep_both_backups(
    board: Played, link: Connection
) -> None:
    lease = Lease.take(seen(link), settings(), deadline=soon())
    kill_guards(board)
    away = board.path(GOVERNOR).rename(board.folder / "away")
    with pytest.raises(NotRestored, match="scaling_governor") as caught:
        Lease.take(seen(link), settings(), deadline=soon())
    assert "a restart" in caught.value.hint
    (copy,) = backup.folder().iterdir()
    assert copy == backup.path_of(link.name, lease.applied.id)
    assert ["file", GOVERNOR, "ondemand\n"] in json.loads(copy.read_text())["before"]
    away.rename(board.path(GOVERNOR))
    assert restore(seen(link), deadline=soon()).count >= 1
    assert board.read(GOVERNOR) == "ondemand\n"
    assert list(backup.folder().iterdir()) == []


def test_a_leftover_is_told_and_put_back(
    board: Played, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = str(board.path(leftover.ROOTS_FOLDER))
    monkeypatch.setattr(leftover, "ROOTS_FOLDER", roots)
    assert leftover.put_back(link, deadline=soon()) is None
    lease = Lease.take(seen(link), settings(), deadline=soon())
    assert leftover.put_back(link, deadline=soon()) is None  # somebody stands for it
    kill_guards(board)
    told = leftover.put_back(link, deadline=soon())
    assert told is not None
    assert "they were put back now" in told
    assert board.read(GOVERNOR) == "ondemand\n"
    assert lease.end().why == "leftover"


def test_cleaning_ends_no_hold_and_puts_back_what_is_left_of_one(
    board: Played, link: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = str(board.path(leftover.ROOTS_FOLDER))
    monkeypatch.setattr(leftover, "ROOTS_FOLDER", roots)
    monkeypatch.setattr(environment, "ROOTS_FOLDER", roots)
    monkeypatch.setattr(options, "targets_of", lambda _: [link.target])
    lease = Lease.take(seen(link), settings(), deadline=soon())
    assert _run(["target", "clean", "board"]) == BoardBusy.exit_code
    assert board.read(GOVERNOR).strip() == PERFORMANCE
    assert len(board.guards()) == 1
    kill_guards(board)
    assert _run(["target", "clean", "board"]) == 0
    assert board.read(GOVERNOR) == "ondemand\n"
    assert not Path(lease.applied.lease).parent.exists()
    assert not Path(roots).exists()


@pytest.mark.parametrize("given", ["soon", "1", "1e9", "-5"])
def test_a_lease_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_LEASE_S", given)
    with pytest.raises(InputError, match="HALFBYTE_LEASE_S"):
        boardsettings.lease_s()
