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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from targets.deadline import Deadline
from targets.errors import HalfbyteError
from toolchain.runmeta import BoardSettings, SettingMeta

if TYPE_CHECKING:
    from targets.firmware.diff import Difference
    from targets.firmware.lease import Lease
    from targets.firmware.look import Board
    from targets.firmware.resolve import Settings
    from targets.ssh import Connection

LOOK_S: Final = 120.0
LEASE_S: Final = 120.0
"""As long as this the link may be gone before the board is put back as it was."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user wants in force.  profile None: nothing is changed.

    config: a file of settings laid over all others.  overrides: key and value.  password: asks for
    sudo's, None where nobody should be asked.
    """

    profile: str | None = None
    config: Path | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    password: Any = None


NOTHING: Final = Asked()


class Around:
    """Settings of one board for a while."""

    def __init__(self, told: BoardSettings | None, lease: Lease | None = None) -> None:
        self.told = told
        self._lease = lease

    def put_back(self) -> list[str]:
        """Everything as it was; sentences on what is odd about that."""
        if self._lease is None:
            return []
        done = self._lease.end()
        doubts = []
        if done.why == "silence":
            doubts.append("its settings were put back in the run: the link was gone for too long")
        if done.restarted:
            doubts.append("the board restarted, which undid its settings")
        return doubts

    @property
    def lease(self) -> str | None:
        """The file on the board that says by its time that somebody is still there."""
        return self._lease.path if self._lease is not None and self._lease.applied.held else None


@contextlib.contextmanager
def around(connection: Connection, asked: Asked) -> Iterator[Around]:
    """Put a profile in force for the block, and everything back after it.

    Raises InputError (no such profile), BoardError, CommandFailed, LinkLost, DeadlineExceeded; not
    where nothing was asked for: then what cannot be read is not told.
    """
    found = _begun(connection, asked)
    try:
        yield found
    finally:
        _end(connection, asked, found)


def _begun(connection: Connection, asked: Asked) -> Around:
    from targets.firmware.lease import Lease

    if asked.profile is None:
        try:
            _, _, rows = _seen(connection, asked)
        except HalfbyteError as error:
            _log.info("settings of %s: %s", connection.name, error.message)
            return Around(None)
        return Around(rows)
    board, settings, rows = _seen(connection, asked)
    lease = Lease.take(board, settings, deadline=Deadline.after(LOOK_S * 3), lease_s=LEASE_S)
    after = {_place(item): item.row.now for item in lease.applied.after}
    before = {_place(item): item.row.now for item in lease.applied.before}
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
    )
    return Around(told, lease)


def _end(connection: Connection, asked: Asked, found: Around) -> None:
    """Everything back, and what it is now; a link that is gone leaves both to the guard there."""
    if found.told is None:
        return
    doubts: list[str] = []
    try:
        doubts = found.put_back()
        _, _, now = _seen(connection, dataclasses.replace(asked, profile=None))
    except HalfbyteError as error:
        _log.warning("%s: %s", connection.name, error.message)
        if found.lease is not None:
            doubts.append(f"whether the settings were put back is not known: {error.message}")
        now = None
    after = {} if now is None else {(row.key, row.where): row.before for row in now.settings}
    found.told = dataclasses.replace(
        found.told,
        settings=tuple(
            dataclasses.replace(row, after=after.get((row.key, row.where)))
            for row in found.told.settings
        ),
        doubts=(*found.told.doubts, *doubts),
    )


def _seen(connection: Connection, asked: Asked) -> tuple[Board, Settings, BoardSettings]:
    """The board as it is, by the settings of its profile, or of a benchmark's."""
    from targets.firmware.diff import compare
    from targets.firmware.look import look
    from targets.firmware.resolve import board_of, library, resolve
    from targets.privilege import Privilege

    deadline = Deadline.after(LOOK_S)
    privilege = Privilege.of(connection, asked.password, deadline=deadline)
    if asked.profile is None:
        privilege = dataclasses.replace(privilege, sudo=None)
    board = look(connection, privilege, deadline=deadline)
    known = library(named=asked.config)
    name = board_of(board.compatible, known)
    settings = resolve(known, name, asked.profile or "benchmark", dict(asked.overrides))
    return board, settings, _told(name, compare(settings, board.seen), asked.profile is not None)


def _told(board: str, items: Sequence[Difference], asked: bool) -> BoardSettings:
    return BoardSettings(
        board=board,
        settings=tuple(
            SettingMeta(
                key=item.row.key,
                where=item.row.where,
                before=item.row.now,
                wanted=item.row.wanted if asked else None,
                during=item.row.now,
                origin=item.origin if asked else "",
                note=item.row.note,
            )
            for item in items
            if asked or item.row.now is not None
        ),
    )


def _place(item: Difference) -> tuple[str, str]:
    return item.row.key, item.row.where
