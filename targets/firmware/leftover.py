"""Settings that nobody on the board will put back any more, because the power was cut or the guard
was killed: found by whoever comes next, told, and put back.

Most settings are the kernel's, and gone after a power cut; for the rest there is a unit of
systemd's (`provision/on_board/at_start.py`) where there can be one.
"""

from __future__ import annotations

import logging
from typing import Final

from targets.deadline import Deadline
from targets.errors import BoardError, NotRestored
from targets.firmware import program
from targets.firmware.look import ROOTS_FOLDER, Board, look
from targets.firmware.restore import RESTORE_S, outcome_of
from targets.privilege import Privilege
from targets.ssh import Connection
from targets.transfer import open_store

log = logging.getLogger(__name__)
_LOOK_S: Final = 30.0


def put_back(connection: Connection, *, deadline: Deadline) -> str | None:
    """One sentence on what was found and done; None where there was nothing.

    Costs one short command where there is nothing.
    Raises BoardError, CommandFailed, LinkLost, DeadlineExceeded.
    """
    root = open_store(connection, deadline=deadline).root
    there = '[ -e "$1/firmware/backup.json" ] || [ -e "$2/backup.json" ]'
    if not connection.run(there, root, ROOTS_FOLDER, deadline=deadline.sooner(_LOOK_S)).ok:
        return None
    board = look(connection, Privilege.of(connection, deadline=deadline), deadline=deadline)
    if board.held is None or not board.held.is_left_over:
        return None
    found = f"{connection.name} still had settings for {board.held.label}, which nobody guarded: "
    try:
        return found + _put_back(board, deadline)
    except BoardError as error:
        return f"{found}{error.message} {error.hint}".strip()


def _put_back(board: Board, deadline: Deadline) -> str:
    assert board.held is not None
    name = board.connection.name
    answer = program.ask(
        board.connection,
        {"do": "leftover", "folder": board.folder, "run_lock": board.run_lock},
        python=board.python,
        privilege=board.privilege if board.held.by_root else None,
        deadline=deadline.sooner(RESTORE_S),
    )
    by_hand = f"`halfbyte firmware restore {name} --ask-sudo` puts them back."
    if answer.refused is not None:
        return f"putting them back needs root ({answer.refused}). {by_hand}"
    if answer.problem:
        raise NotRestored(f"{answer.problem}.", hint=by_hand)
    if not answer.value["held"]:
        return "they are put back."
    if answer.value["outcome"] is None:
        return f"a run is on, so they stay for now. {by_hand}"
    done = outcome_of(name, answer.value["outcome"], by_hand)
    changed = [f"{path} was {was} and is {now}" for path, was, now in done.differs]
    more = f" The board restarted, and {'; '.join(changed)}." if changed else ""
    return f"they were put back now.{more}"
