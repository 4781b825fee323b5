"""Put a profile in force on a board, with a guard that puts everything back."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.detached import holder
from targets.errors import BoardError, NotRestored
from targets.firmware import backup, diff, program
from targets.firmware.look import Board, look, seen_of, wanted
from targets.firmware.resolve import Settings
from targets.firmware.restore import by_hand, outcome_of, restore
from targets.firmware.settings.kind import Knob, Row
from targets.privilege import NotPermitted
from targets.provision import refusals

log = logging.getLogger(__name__)
APPLY_S: Final = 300.0
HOLD_S: Final = 24 * 3600.0
NOT_PERMITTED: Final = "not permitted"


@dataclass(frozen=True)
class Ours:
    """Holds and runs on a board that this command began, or goes on with: their names."""

    holds: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


NOBODYS: Final = Ours()


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


def apply(
    board: Board,
    settings: Settings,
    *,
    deadline: Deadline,
    lease_s: float,
    ours: Ours = NOBODYS,
) -> Applied:
    """Put the runtime settings in force; a guard puts them back when `lease_s` pass in silence.

    ours: holds that may be replaced, and runs that may be on.

    What needs a restart is left alone (`targets.firmware.boot`).  What could not be set is a doubt,
    and everything else goes on.
    Raises BoardBusy (somebody else's settings are in force, or somebody's run is on), NotRestored
    (what was held before cannot be put back), BoardError, CommandFailed, LinkLost,
    DeadlineExceeded.
    """
    board, other = _without_others(board, deadline, ours)
    before = diff.compare(settings, board.seen)
    todo = _todo([d.row for d in before if not d.needs_reboot])
    hold = secrets.token_hex(8)
    lease = f"{board.folder}/lease-{hold}"
    if todo:
        make_lease(board, lease, deadline)
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
        "holder": holder(),
        "ours": list(ours.holds),
        "runs": list(ours.runs),
        "run_lock": board.run_lock,
        "look": wanted(),
    }
    answer = program.ask(
        board.connection,
        request,
        python=board.python,
        privilege=board.privilege,
        deadline=deadline.sooner(APPLY_S),
    )
    name = board.connection.name
    if answer.problem or "problems" not in answer.value:
        board.connection.run(["rm", "-f", "--", lease], deadline=deadline)
        raise _refusal(board, answer)
    if not answer.value["held"]:
        board.connection.run(["rm", "-f", "--", lease], deadline=deadline)
    after = _explained(diff.compare(settings, seen_of(answer.value["look"])), todo, answer.value)
    kept = backup.keep(name, answer.value["backup"]) if answer.value["held"] else None
    if isinstance(answer.value["replaced"], dict):
        backup.forget(name, answer.value["replaced"]["id"])
    return Applied(
        id=hold,
        board=settings.board,
        profile=settings.profile,
        before=before,
        after=after,
        held=answer.value["held"],
        lease=lease,
        lease_s=lease_s,
        doubts=(
            *other,
            *diff.unexpected(settings, board.seen),
            *diff.doubts([d.row for d in after if not d.needs_reboot]),
        ),
        not_permitted=answer.refused,
        kept_at=None if kept is None else str(kept),
    )


def _refusal(board: Board, answer: program.Answer) -> BoardError:
    """Why nothing was changed."""
    name = board.connection.name
    if "busy" in answer.value:
        busy = answer.value["busy"]
        return refusals.held(name, busy["label"], busy["holder"])
    if "left" in answer.value:
        try:
            outcome_of(name, answer.value["left"], by_hand(board))
        except NotRestored as error:
            return NotRestored(f"{error.message} So nothing new was set.", hint=error.hint)
    hint = answer.refused.hint if answer.refused else f"`halfbyte firmware diff {name}` shows it."
    return BoardError(f"The settings of {name} were not changed: {answer.problem}.", hint=hint)


def _without_others(board: Board, deadline: Deadline, ours: Ours) -> tuple[Board, list[str]]:
    """The board once what somebody left over is put back; a doubt if it is not.

    Raises BoardBusy where somebody's guard stands: what was seen of the board is his settings.
    """
    if board.held is None:
        return board, []
    if board.held.guard and board.held.id not in ours.holds:
        raise refusals.held(board.connection.name, board.held.label, board.held.holder)
    label = board.held.label
    log.warning("%s: settings for %s were in force", board.connection.name, label)
    try:
        why = "replaced" if board.held.guard else "leftover"
        restore(board, deadline=deadline, why=why, any_hold=False)
    except NotRestored:
        raise
    except BoardError as error:
        return board, [f"settings for {label} stay in force: {error.message}"]
    return look(board.connection, board.privilege, deadline=deadline), []


def _todo(rows: list[Row]) -> list[Row]:
    """Rows to write, in order.  A file is written anew where a power mode has changed it meanwhile;
    clocks are unpinned before such a change, and pinned after it.
    """
    todo = [row for row in rows if row.knob and (row.knob.kind == "file" or not row.in_force)]
    return sorted(todo, key=lambda row: row.knob != Knob("clocks") or row.value != "off")


def make_lease(board: Board, lease: str, deadline: Deadline) -> None:
    """The file whose touching renews the lease; the logged-in user's, in a folder of ours.

    Those of a week ago are nobody's any more: a host that was killed left them.
    """
    script = (
        'umask 077; mkdir -p "$1" && : > "$2" && '
        'find "$1" -maxdepth 1 -name "lease*" -mtime +7 -exec rm -f {} + 2>/dev/null; [ -e "$2" ]'
    )
    board.connection.run(script, board.folder, lease, deadline=deadline.sooner(30), check=True)


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
