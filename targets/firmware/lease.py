"""Settings held for as long as a run lasts.

    lease = Lease.take(board, settings, deadline=Deadline.after(300))
    ...                        # every few seconds, by the host or by who runs on the board:
    lease.renew()
    ...
    lease.end()

Whoever runs on the board may renew it too: touching the file `lease.path` there is all it takes.
When nobody does for `lease_s`, the guard on the board puts everything back.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import BoardError, DeadlineExceeded, NotRestored
from targets.firmware import diff, program
from targets.firmware.apply import NOBODYS, Applied, Ours, apply
from targets.firmware.look import Board, look
from targets.firmware.resolve import Settings
from targets.firmware.restore import Restored, outcome_of, restore

LEASE_S: Final = 60.0
RENEW_S: Final = 15.0
"""How often to renew: four tries within a lease."""
_POLL_S: Final = 0.5
_TRIES: Final = 3


@dataclass(frozen=True)
class Standing:
    """guard: one stands for this hold.  outcome: how the hold ended; None while it has not, or
    where the board does not know.  boot_id: of the board now.
    """

    guard: bool
    outcome: dict[str, Any] | None
    boot_id: str


class Lease:
    """A hold on a board's settings."""

    def __init__(self, board: Board, applied: Applied) -> None:
        self.board = board
        self.applied = applied
        self.path = applied.lease
        self._renewed_at_s = time.monotonic()

    @classmethod
    def take(
        cls,
        board: Board,
        settings: Settings,
        *,
        deadline: Deadline,
        lease_s: float = LEASE_S,
        ours: Ours = NOBODYS,
    ) -> Lease:
        """Put the settings in force.  Raises the errors of `targets.firmware.apply.apply`."""
        return cls(board, apply(board, settings, deadline=deadline, lease_s=lease_s, ours=ours))

    @classmethod
    def taken_up(
        cls,
        board: Board,
        settings: Settings | None,
        hold: str,
        *,
        deadline: Deadline,
        lease_s: float = LEASE_S,
    ) -> Lease | None:
        """A hold that this host began before it was cut off, if it still stands and all that
        `settings` ask for is in force (None: whatever it is).

        `applied.before` is what is in force now: what it was before, who began the hold knows.
        Raises LinkLost, DeadlineExceeded, CommandFailed.
        """
        held = board.held
        if held is None or held.id != hold or not held.guard or held.lease is None:
            return None
        rows = () if settings is None else diff.compare(settings, board.seen)
        if any(item.changes and not item.needs_reboot for item in rows):
            return None
        applied = Applied(
            id=hold,
            board=settings.board if settings is not None else "",
            profile=settings.profile if settings is not None else "",
            before=rows,
            after=rows,
            held=True,
            lease=held.lease,
            lease_s=lease_s,
            doubts=(),
            not_permitted=board.not_permitted,
            kept_at=None,
        )
        lease = cls(board, applied)
        return lease if lease.renew(deadline=deadline) else None

    @property
    def doubts(self) -> tuple[str, ...]:
        """What was asked for and is not in force."""
        return self.applied.doubts

    @property
    def is_due(self) -> bool:
        """It should be renewed now."""
        return time.monotonic() - self._renewed_at_s > min(RENEW_S, self.applied.lease_s / 4)

    def renew(self, *, deadline: Deadline | None = None) -> bool:
        """Say that the run goes on; False where everything has been put back already.

        Raises LinkLost, DeadlineExceeded.
        """
        deadline = deadline or Deadline.after(30)
        if self.applied.held:
            # Not made anew: where the file is gone, the lease is.
            words = 'if [ -e "$1" ]; then touch "$1"; fi'
            self.board.connection.run(words, self.path, deadline=deadline)
        self._renewed_at_s = time.monotonic()
        if not self.applied.held:
            return False
        standing = self._standing(deadline)
        return standing.guard and standing.outcome is None

    def end(self, *, deadline: Deadline | None = None) -> Restored:
        """The run is over: the guard puts everything back; no root is needed for that.

        Its `why` is "over" where that was our asking; else everything was put back before.
        Raises NotRestored with what is left, LinkLost, DeadlineExceeded.
        """
        if not self.applied.held:
            return Restored("")
        deadline = deadline or Deadline.after(120)
        connection = self.board.connection
        words = 'if [ -e "$1" ]; then echo there; fi; rm -f "$1"'
        done = connection.run(words, self.path, deadline=deadline, check=True)
        there = done.stdout.strip() == b"there"
        alone = 0
        while (outcome := (standing := self._standing(deadline)).outcome) is None:
            alone = 0 if standing.guard else alone + 1
            if alone > _TRIES:
                return self._end_unguarded(deadline)
            if deadline.remaining_s() < _POLL_S:
                raise DeadlineExceeded(
                    f"{connection.name} has not put its settings back.",
                    hint=f"`halfbyte firmware restore {connection.name}` does it.",
                )
            time.sleep(_POLL_S)
        found = outcome_of(connection.name, outcome)
        return found if there or found.why != "over" else dataclasses.replace(found, why="gone")

    def _end_unguarded(self, deadline: Deadline) -> Restored:
        """The guard was killed, and left the backup; or nothing is known of the hold."""
        board = look(self.board.connection, self.board.privilege, deadline=deadline)
        if board.held is None or board.held.id != self.applied.id:
            return Restored("gone")
        try:
            return dataclasses.replace(restore(board, deadline=deadline), why="leftover")
        except NotRestored:
            outcome = self._standing(deadline).outcome  # somebody was quicker
            if outcome is None:
                raise
            return outcome_of(self.board.connection.name, outcome)

    def _standing(self, deadline: Deadline) -> Standing:
        """How this hold stands."""
        return standing_of(self.board, self.applied.id, deadline=deadline)


def standing_of(board: Board, hold: str, *, deadline: Deadline) -> Standing:
    """How the hold of that name stands.  Raises BoardError, CommandFailed and of the link."""
    answer = program.ask(
        board.connection,
        {
            "do": "look",
            "folder": board.folder,
            "hold": hold,
            "look": {"files": [], "commands": []},
        },
        python=board.python,
        privilege=None,
        deadline=deadline,
    )
    if answer.problem:
        raise BoardError(
            f"The settings of {board.connection.name} cannot be read: {answer.problem}.",
            hint=f"`halfbyte firmware restore {board.connection.name}` puts back what is held.",
        )
    held = [answer.value["held"][who] for who in ("root", "user")]
    outcomes = [one["outcome"] for one in held if one["outcome"] is not None]
    mine = [outcome for outcome in outcomes if outcome["id"] == hold]
    mine_stands = any(
        one["guard"] is not None and one["backup"] is not None and one["backup"]["id"] == hold
        for one in held
    )
    return Standing(mine_stands, mine[0] if mine else None, held[0]["boot_id"])
