"""Put a profile in force on a board, with a guard that puts everything back."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import BoardError
from targets.firmware import backup, diff, program
from targets.firmware.look import Board, look, seen_of, wanted
from targets.firmware.resolve import Settings
from targets.firmware.restore import restore
from targets.firmware.settings.kind import Knob, Row
from targets.privilege import NotPermitted

log = logging.getLogger(__name__)
APPLY_S: Final = 300.0
HOLD_S: Final = 24 * 3600.0
NOT_PERMITTED: Final = "not permitted"


@dataclass(frozen=True)
class Applied:
    """What came of it.

    before, after: rows read back from the board.  held: a guard stands, and will put back what was
    changed.  doubts: sentences on what was asked for and is not in force.  not_permitted: why root
    was not to be had, with the line of sudoers that would permit it.
    """

    id: str
    board: str
    profile: str
    before: tuple[diff.Difference, ...]
    after: tuple[diff.Difference, ...]
    held: bool
    lease: str
    lease_s: float
    doubts: tuple[str, ...]
    not_permitted: NotPermitted | None
    kept_at: str | None  # the copy of the backup on the host

    @property
    def in_force(self) -> bool:
        """All that was asked for, but for what needs a restart."""
        return not self.doubts


def apply(board: Board, settings: Settings, *, deadline: Deadline, lease_s: float) -> Applied:
    """Put the runtime settings in force; a guard puts them back when `lease_s` pass in silence.

    What needs a restart is left alone (`targets.firmware.boot`).  What could not be set is a doubt,
    and everything else goes on.
    Raises BoardError, CommandFailed, LinkLost, DeadlineExceeded.
    """
    board, other = _without_others(board, deadline)
    before = diff.compare(settings, board.seen)
    todo = _todo([d.row for d in before if not d.needs_reboot])
    hold = secrets.token_hex(8)
    lease = f"{board.folder}/lease"
    if todo:
        make_lease(board, deadline)
    request = {
        "do": "apply",
        "id": hold,
        "label": f"{settings.board}, {settings.profile}",
        "folder": board.folder,
        "changes": [
            {"knob": [row.knob.kind, row.knob.path], "value": row.value}
            for row in todo
            if row.knob is not None
        ],
        "snapshot": diff.snapshot(settings),
        "lease": lease,
        "lease_s": lease_s,
        "look": wanted(),
    }
    answer = program.ask(
        board.connection,
        request,
        python=board.python,
        privilege=board.privilege,
        deadline=deadline.sooner(APPLY_S),
    )
    if answer.problem:
        raise BoardError(
            f"The settings of {board.connection.name} were not changed: {answer.problem}.",
            hint=answer.refused.hint if answer.refused else "",
        )
    after = _explained(diff.compare(settings, seen_of(answer.value["look"])), todo, answer.value)
    kept = backup.keep(board.connection.name, answer.value["backup"])
    return Applied(
        id=hold,
        board=settings.board,
        profile=settings.profile,
        before=before,
        after=after,
        held=answer.value.get("held") is True,
        lease=lease,
        lease_s=lease_s,
        doubts=(
            *other,
            *diff.unexpected(settings, board.seen),
            *diff.doubts([d.row for d in after if not d.needs_reboot]),
        ),
        not_permitted=answer.refused,
        kept_at=str(kept) if answer.value.get("held") else None,
    )


def _without_others(board: Board, deadline: Deadline) -> tuple[Board, list[str]]:
    """The board once what somebody else left in force is put back; a doubt if it is not."""
    if board.held is None:
        return board, []
    label = board.held.label
    log.warning("%s: settings for %s were in force", board.connection.name, label)
    try:
        restore(board, deadline=deadline)
    except BoardError as error:
        return board, [f"settings for {label} stay in force: {error.message}"]
    return look(board.connection, board.privilege, deadline=deadline), []


def _todo(rows: list[Row]) -> list[Row]:
    """Rows to write, in order.  A file is written anew where a power mode has changed it meanwhile;
    clocks are unpinned before such a change, and pinned after it.
    """
    todo = [row for row in rows if row.knob and (row.knob.kind == "file" or not row.in_force)]
    return sorted(todo, key=lambda row: row.knob != Knob("clocks") or row.value != "off")


def make_lease(board: Board, deadline: Deadline) -> None:
    """The file whose touching renews the lease; the logged-in user's, in a folder of ours."""
    script = 'umask 077; mkdir -p "$1" && : > "$1/lease"'
    board.connection.run(script, board.folder, deadline=deadline.sooner(30), check=True)


def _explained(
    after: tuple[diff.Difference, ...], todo: list[Row], answer: Mapping[str, Any]
) -> tuple[diff.Difference, ...]:
    """With what the board said about those that could not be set."""
    problems = {
        (row.key, row.where): str(problem)
        for row, problem in zip(todo, answer["problems"], strict=True)
        if problem is not None
    }
    return tuple(
        dataclasses.replace(d, row=dataclasses.replace(d.row, note=problem))
        if (problem := problems.get((d.row.key, d.row.where))) and not d.row.in_force
        else d
        for d in after
    )
