"""Put back what a board's settings were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import BoardError, NotRestored
from targets.firmware import backup, program
from targets.firmware.look import Board

RESTORE_S: Final = 300.0


@dataclass(frozen=True)
class Restored:
    """How a hold ended.

    why: "asked", "over", "silence", "signal", "replaced", "leftover" (nobody guarded it any more);
    "gone" where the board knows nothing of it; "" where nothing was held.
    restarted: the board was restarted meanwhile, which undid most of it.  count: of values that
    are as they were.  differs: those that a restart left otherwise than they were (kind and path,
    before, now): the board's own doing at its start, and not undone.
    """

    why: str
    restarted: bool = False
    count: int = 0
    differs: tuple[tuple[str, str, str], ...] = ()


def restore(
    board: Board, *, deadline: Deadline, why: str = "asked", any_hold: bool = True
) -> Restored:
    """Put back what is held, whoever left it; the guard ends.

    why: what the hold's host will be told.  any_hold: another one too, that began meanwhile.
    Raises NotRestored with what is left, BoardError where root is needed and not to be had,
    CommandFailed, LinkLost, DeadlineExceeded.
    """
    if board.held is None:
        return Restored("")
    answer = program.ask(
        board.connection,
        {
            "do": "restore",
            "folder": board.folder,
            "why": why,
            "only": None if any_hold else board.held.id,
        },
        python=board.python,
        privilege=board.privilege if board.held.by_root else None,
        deadline=deadline.sooner(RESTORE_S),
    )
    if answer.refused is not None:
        raise BoardError(
            f"The settings of {board.connection.name} were changed as root, and {answer.refused}.",
            hint=answer.refused.hint,
        )
    if not any_hold and not answer.problem and answer.value["outcome"] is None:
        return Restored("")
    if answer.problem or answer.value["outcome"] is None:
        why = answer.problem or "nothing is held any more"
        raise NotRestored(f"{board.connection.name}: {why}.", hint=by_hand(board))
    return outcome_of(board.connection.name, answer.value["outcome"], by_hand(board))


def outcome_of(target: str, outcome: Mapping[str, Any], hint: str = "") -> Restored:
    """From what the program on the board said.  Raises NotRestored with what is left."""
    left = [f"{path or kind}: {problem}" for kind, path, problem in outcome["left"]]
    if left:
        raise NotRestored(f"{target}: not all was put back: {'; '.join(left)}.", hint=hint)
    backup.forget(target, outcome["id"])
    return Restored(
        why=outcome["why"],
        restarted=outcome["restarted"],
        count=outcome["restored"],
        differs=tuple(
            (path or kind, was.strip(), now.strip()) for kind, path, was, now in outcome["differs"]
        ),
    )


def by_hand(board: Board) -> str:
    """A hint: where what is held is kept, and what else undoes it."""
    kept = backup.path_of(board.connection.name, board.held.id) if board.held else None
    where = f"{kept}" if kept is not None and kept.exists() else f"backup.json in {board.kept_in}"
    return f"What they were is in {where}; a restart of the board undoes all but a power mode."
