"""A board's settings around its runs: asked for, in force, before and after.

    with around(board, asked) as settings:
        ...                       # `settings.lease` is renewed by whoever follows a run
    settings.told                 # what it was before, meanwhile and after

Without a profile nothing is changed and root is not used: what a benchmark would set is read all
the same, so that a report says what its figures were taken under.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from targets.deadline import Deadline
from targets.errors import BoardBusy, HalfbyteError, InputError
from targets.progress import SILENT, Progress
from toolchain.earlier import ENDED, Earlier, how_it_ended, joined
from toolchain.runmeta import BoardSettings
from toolchain.settingsseen import LOOK_S, Asked, place, seen

if TYPE_CHECKING:
    from targets.agent.wire import Envelope
    from targets.firmware.lease import Lease
    from targets.firmware.look import Board
    from targets.ssh import Connection
    from toolchain.recorded import Unfinished

_T = TypeVar("_T")
_ASK_AGAIN_S: Final = 5.0
LEASE_S: Final = 120.0
_log = logging.getLogger(__name__)


NOTHING: Final = Asked()


class Around:
    """Settings of one board for a while.

    earlier: those of runs that go on from before, by the name of their hold.
    """

    def __init__(
        self,
        told: BoardSettings | None,
        lease: Lease | None = None,
        earlier: Mapping[str, Earlier] | None = None,
    ) -> None:
        self.told = told
        self._lease = lease
        self._earlier = dict(earlier or {})

    def put_back(self) -> list[str]:
        """Everything as it was; sentences on what is odd about that."""
        if self._lease is None:
            return []
        done = self._lease.end()
        doubts = []
        if done.why not in ("", "over"):
            why = ENDED.get(done.why, done.why)
            doubts.append(f"its settings were not put back by this command, but before: {why}")
        if done.restarted:
            doubts.append("the board restarted, which undid its settings")
        return doubts

    def of(self, before: BoardSettings | None, kept: Sequence[Envelope]) -> BoardSettings | None:
        """What to tell of a run.  before: told already of a part of it that was before."""
        if self.told is None or before is None or before.hold is None:
            return self.told if self.told is not None else before
        same = Earlier(before, goes_on=before.hold == self.told.hold)
        return joined(self.told, self._earlier.get(before.hold, same), kept)

    @property
    def lease(self) -> str | None:
        """The file on the board that says by its time that somebody is still there."""
        return self._lease.path if self._lease is not None and self._lease.applied.held else None


@contextlib.contextmanager
def around(
    connection: Connection,
    asked: Asked,
    *,
    unfinished: Sequence[Unfinished] = (),
    busy_s: float = 0.0,
    progress: Progress = SILENT,
) -> Iterator[Around]:
    """Put a profile in force for the block, and everything back after it.

    unfinished: runs that this command goes on with.  busy_s: how long to wait for a board whose
    settings or runs are somebody else's.
    Raises InputError (no such profile), BoardBusy, BoardError, CommandFailed, LinkLost,
    DeadlineExceeded; not where nothing was asked for: then what cannot be read is not told.
    """
    found = _begun(connection, asked, unfinished, busy_s, progress)
    try:
        yield found
    finally:
        _end(connection, asked, found)


@contextlib.contextmanager
def taken_up(connection: Connection, before: BoardSettings | None) -> Iterator[Around]:
    """Settings that a run had when its host was cut off: held on to while they are in force.

    Everything goes back after the block; not after an error, which leaves the run and its settings
    to the board.
    """
    from targets.firmware.lease import Lease

    if before is None or before.hold is None:
        yield Around(None)
        return
    try:
        board, _, _ = seen(connection, NOTHING)
        within = Deadline.after(LOOK_S)
        lease = Lease.taken_up(board, None, before.hold, deadline=within, lease_s=lease_s())
        earlier = Earlier(before, goes_on=True) if lease else how_it_ended(board, before)
    except HalfbyteError as error:
        _log.warning("%s: %s", connection.name, error.message)
        lease, earlier = None, Earlier(before)
    found = Around(dataclasses.replace(before, doubts=()), lease, {before.hold: earlier})
    yield found
    _end(connection, NOTHING, found)


def lease_s() -> float:
    """As long as this the link may be gone before the board is put back as it was.

    Raises InputError.
    """
    given = os.environ.get("HALFBYTE_LEASE_S", "").strip()
    if not given:
        return LEASE_S
    if not re.fullmatch(r"[0-9]{1,5}", given) or not 2 <= int(given) <= 86400:
        raise InputError(
            f"HALFBYTE_LEASE_S is {given[:40]!r}, and no number of seconds.",
            hint=f"Give 2 to 86400, or nothing for {LEASE_S:.0f}.",
        )
    return float(given)


def _begun(
    connection: Connection,
    asked: Asked,
    unfinished: Sequence[Unfinished],
    busy_s: float,
    progress: Progress,
) -> Around:
    if asked.profile is None:
        try:
            _, _, rows = seen(connection, asked)
        except HalfbyteError as error:
            _log.info("settings of %s: %s", connection.name, error.message)
            return Around(None)
        return Around(rows)
    ours = [left.settings for left in unfinished if left.settings and left.settings.hold]
    found = _again(connection, asked, ours)
    return found or _taken(connection, asked, ours, unfinished, busy_s, progress)


def _again(connection: Connection, asked: Asked, ours: Sequence[BoardSettings]) -> Around | None:
    """Settings that this command began before it was cut off, if they are in force still."""
    from targets.firmware.lease import Lease

    for before in ours:
        board, settings, _ = seen(connection, asked)
        lease = Lease.taken_up(
            board, settings, before.hold or "", deadline=Deadline.after(LOOK_S), lease_s=lease_s()
        )
        if lease is not None:
            _log.info("%s: settings are in force since before", connection.name)
            earlier = {before.hold or "": Earlier(before, goes_on=True)}
            told = dataclasses.replace(
                before,
                settings=tuple(dataclasses.replace(row, after=None) for row in before.settings),
            )
            return Around(told, lease, earlier)
    return None


def _taken(
    connection: Connection,
    asked: Asked,
    ours: Sequence[BoardSettings],
    unfinished: Sequence[Unfinished],
    busy_s: float,
    progress: Progress,
) -> Around:
    """Settings put in force now; where the board is somebody else's, after a wait for its end."""
    from targets.firmware.apply import Ours
    from targets.firmware.lease import Lease

    names = Ours(
        tuple(before.hold for before in ours if before.hold),
        tuple(left.run_id for left in unfinished),
    )

    def take() -> tuple[Board, BoardSettings, Lease]:
        board, settings, rows = seen(connection, asked)
        within = Deadline.after(LOOK_S * 3)
        lease = Lease.take(board, settings, deadline=within, lease_s=lease_s(), ours=names)
        return board, rows, lease

    board, rows, lease = _when_free(connection, take, busy_s, progress)
    after = {place(item): item.row.now for item in lease.applied.after}
    before = {place(item): item.row.now for item in lease.applied.before}
    told = dataclasses.replace(
        rows,
        profile=asked.profile,
        settings=tuple(
            dataclasses.replace(
                row,
                before=before.get((row.key, row.where), row.before),
                during=after.get((row.key, row.where), row.before),
            )
            for row in rows.settings
        ),
        doubts=lease.doubts,
        permit=None if lease.applied.not_permitted is None else lease.applied.not_permitted.hint,
        hold=lease.applied.id if lease.applied.held else None,
    )
    return Around(told, lease, {one.hold or "": how_it_ended(board, one) for one in ours})


def _when_free(
    connection: Connection, take: Callable[[], _T], busy_s: float, progress: Progress
) -> _T:
    """As a run waits for a board that another one holds (`targets.session`)."""
    end = Deadline.after(busy_s)
    try:
        return take()
    except BoardBusy as busy:
        if end.remaining_s() <= 0:
            raise
        _log.warning("%s Waiting for its end.", busy.message)
    with progress.task(f"waiting for {connection.name}"):
        while True:
            time.sleep(min(_ASK_AGAIN_S, end.remaining_s()))
            try:
                return take()
            except BoardBusy:
                if end.remaining_s() <= 0:
                    raise


def _end(connection: Connection, asked: Asked, found: Around) -> None:
    """Everything back, and what it is now; a link that is gone leaves both to the guard there."""
    if found.told is None:
        return
    doubts: list[str] = []
    after: dict[tuple[str, str], str | None] = {}
    now: BoardSettings | None = None
    try:
        doubts = found.put_back()
        board, _, now = seen(connection, dataclasses.replace(asked, profile=None))
        if found.lease is not None and _is_anothers(board, found.told):
            after = {(row.key, row.where): row.before for row in found.told.settings}
            now = None  # the guard has read back what it put back, and somebody came after it
    except HalfbyteError as error:
        _log.warning("%s: %s", connection.name, error.message)
        if found.lease is not None:
            doubts.append(f"whether the settings were put back is not known: {error.message}")
    if now is not None:
        after = {(row.key, row.where): row.before for row in now.settings}
    found.told = dataclasses.replace(
        found.told,
        settings=tuple(
            dataclasses.replace(row, after=after.get((row.key, row.where)))
            for row in found.told.settings
        ),
        doubts=(*found.told.doubts, *doubts),
    )


def _is_anothers(board: Board, told: BoardSettings) -> bool:
    """Whether somebody else's settings are in force already."""
    return board.held is not None and board.held.guard and board.held.id != told.hold
