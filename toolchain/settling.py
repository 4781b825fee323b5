"""A board's settings and the runs of a folder: what comes before them, and what is told after."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from targets.deadline import Deadline
from targets.errors import HalfbyteError
from targets.persisting import PATIENCE_S
from targets.progress import Progress
from toolchain.boardsettings import Around
from toolchain.keeping import RUN_S
from toolchain.recorded import Unfinished
from toolchain.runmeta import BoardSettings, RunMeta
from toolchain.runs import RunFolder
from toolchain.subject import Subject

if TYPE_CHECKING:
    from targets.ssh import Connection
    from toolchain.bundles import Bundles
    from toolchain.measuring import Board

LOOK_S: Final = 120.0
_log = logging.getLogger(__name__)


def send_all(
    todo: Sequence[tuple[Subject, str, RunMeta]], board: Board, bundles: Bundles, progress: Progress
) -> None:
    """All files: while settings are in force nobody should wait for an upload."""
    from targets.transfer import send

    items = [item for subject, _, meta in todo for item in bundles.of(subject, meta).items]
    send(
        board.connection,
        list(dict.fromkeys(items)),
        store=board.python.store,
        deadline=Deadline.after(RUN_S),
        patience_s=PATIENCE_S,
        progress=progress,
    )


def unfinished(
    todo: Sequence[tuple[Subject, str, RunMeta]], folder: RunFolder
) -> dict[str, Unfinished]:
    """Runs that were begun before, by key."""
    found = {key: folder.unfinished(key) for _, key, _ in todo}
    return {key: left for key, left in found.items() if left is not None}


@dataclasses.dataclass(frozen=True)
class Part:
    """An attempt at a run that is under way.  number: among all attempts at it.

    before: settings of the board in a part of this very attempt that was before.
    """

    number: int
    before: BoardSettings | None = None


def part_of(folder: RunFolder, key: str, left: Unfinished | None) -> Part:
    """What has just begun, or goes on.  left: what was there."""
    now = None if left is None else folder.unfinished(key)
    same = left is not None and now is not None and now.run_id == left.run_id
    return Part(folder.attempts(key), left.settings if left is not None and same else None)


def settle(folder: RunFolder, parts: Mapping[str, Part], held: Around | None) -> None:
    """Say in the folder what the board was set to; not of an attempt that was withdrawn."""
    if held is None:
        return
    for key, part in parts.items():
        if folder.attempts(key) != part.number:
            continue
        told = held.of(part.before, () if part.before is None else folder.records_of(key))
        if told is not None:
            folder.settled(key, told)


def put_back_left_over(connection: Connection) -> None:
    """Settings that nobody guards any more, as after a power cut."""
    from targets.firmware import leftover

    try:
        told = leftover.put_back(connection, deadline=Deadline.after(LOOK_S))
    except HalfbyteError as error:
        told = f"whether {connection.name} has settings left over is not known: {error.message}"
    if told is not None:
        _log.warning("%s", told)
