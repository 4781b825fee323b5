"""A board's settings as they are, in the words of a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from targets.deadline import Deadline
from toolchain.runmeta import BoardSettings, SettingMeta

if TYPE_CHECKING:
    from targets.firmware.diff import Difference
    from targets.firmware.look import Board
    from targets.firmware.resolve import Settings
    from targets.ssh import Connection

LOOK_S: Final = 120.0


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


def seen(connection: Connection, asked: Asked) -> tuple[Board, Settings, BoardSettings]:
    """The board as it is, by the settings of its profile, or of a benchmark's.

    Raises InputError (no such profile), BoardError, CommandFailed, LinkLost, DeadlineExceeded.
    """
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
    name = board_of(board.compatible, known, board.model)
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


def place(item: Difference) -> tuple[str, str]:
    """Key of a setting, and which of its files."""
    return item.row.key, item.row.where
