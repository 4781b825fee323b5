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

import time
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import DeadlineExceeded
from targets.firmware import program
from targets.firmware.apply import Applied, apply
from targets.firmware.look import Board, look
from targets.firmware.resolve import Settings
from targets.firmware.restore import Restored, outcome_of, restore

LEASE_S: Final = 60.0
RENEW_S: Final = 15.0
"""How often to renew: four tries within a lease."""
_POLL_S: Final = 0.5
_TRIES: Final = 3


@dataclass(frozen=True)
class _Standing:
    """guard: one stands.  outcome: how the hold ended; None while it has not."""

    guard: bool
    outcome: dict[str, Any] | None


class Lease:
    """A hold on a board's settings."""

    def __init__(self, board: Board, applied: Applied) -> None:
        self.board = board
        self.applied = applied
        self.path = applied.lease
        self._renewed_at_s = time.monotonic()

    @classmethod
    def take(
        cls, board: Board, settings: Settings, *, deadline: Deadline, lease_s: float = LEASE_S
    ) -> Lease:
        """Put the settings in force.  Raises the errors of `targets.firmware.apply.apply`."""
        return cls(board, apply(board, settings, deadline=deadline, lease_s=lease_s))

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
        return self.applied.held and self._standing(deadline).outcome is None

    def end(self, *, deadline: Deadline | None = None) -> Restored:
        """The run is over: the guard puts everything back; no root is needed for that.

        Raises NotRestored with what is left, LinkLost, DeadlineExceeded.
        """
        if not self.applied.held:
            return Restored("")
        deadline = deadline or Deadline.after(120)
        connection = self.board.connection
        connection.run('rm -f "$1"', self.path, deadline=deadline, check=True)
        alone = 0
        while (outcome := (standing := self._standing(deadline)).outcome) is None:
            alone = 0 if standing.guard else alone + 1
            if alone > _TRIES:  # it was killed, and left the backup
                board = look(connection, self.board.privilege, deadline=deadline)
                return restore(board, deadline=deadline)
            if deadline.remaining_s() < _POLL_S:
                raise DeadlineExceeded(
                    f"{connection.name} has not put its settings back.",
                    hint=f"`halfbyte firmware restore {connection.name}` does it.",
                )
            time.sleep(_POLL_S)
        return outcome_of(connection.name, outcome)

    def _standing(self, deadline: Deadline) -> _Standing:
        """How this hold stands."""
        answer = program.ask(
            self.board.connection,
            {"do": "look", "folder": self.board.folder, "look": {"files": [], "commands": []}},
            python=self.board.python,
            privilege=None,
            deadline=deadline,
        )
        held = [answer.value["held"][who] for who in ("root", "user")]
        outcomes = [h["outcome"] for h in held if isinstance(h["outcome"], dict)]
        mine = [outcome for outcome in outcomes if outcome.get("id") == self.applied.id]
        return _Standing(any(h["guard"] is not None for h in held), mine[0] if mine else None)
