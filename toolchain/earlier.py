"""Settings of a run's earlier part: a host that was killed, or cut off, left them to their guard.

Their hold's name is in the run folder, and the board knows by it how they ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from targets.deadline import Deadline
from targets.errors import HalfbyteError
from toolchain.runmeta import BoardSettings

if TYPE_CHECKING:
    from targets.agent.wire import Envelope
    from targets.firmware.look import Board

ASK_S: Final = 60.0
ENDED: Final = {
    "silence": "the link or the host was gone for longer than the lease",
    "replaced": "somebody set others",
    "asked": "somebody asked for it (`halfbyte firmware restore`)",
    "signal": "their guard was told to end, as where the board shuts down",
    "leftover": "their guard had been killed, or the power was cut",
    "gone": "their lease was gone, and not by this host's doing",
    "over": "their host had ended them",
}
"""Why settings were put back, by what the board calls it."""


@dataclasses.dataclass(frozen=True)
class Earlier:
    """Settings of the part before, and how their hold ended (`targets.firmware.restore`'s words).

    outcome: None where the board does not say.  goes_on: they are still in force, and now ours.
    """

    told: BoardSettings
    outcome: dict[str, Any] | None = None
    goes_on: bool = False

    def doubts(self, kept: Sequence[Envelope]) -> tuple[str, ...]:
        """Sentences on the part of a run before.  kept: all its records."""
        if self.goes_on or self.told.hold is None:
            return self.told.doubts
        ended = "what became of the settings of the run's earlier part is not known"
        if self.outcome is not None:
            why = ENDED.get(self.outcome["why"], self.outcome["why"])
            ended = f"the settings of the run's earlier part were put back in mid-run: {why}"
            if self._came_after(kept):
                ended = ""
        left = self.outcome["left"] if self.outcome is not None else []
        more = [f"{path or kind} was not put back then: {problem}" for kind, path, problem in left]
        return (*self.told.doubts, *([ended] if ended else []), *more)

    def _came_after(self, kept: Sequence[Envelope]) -> bool:
        """Everything was put back only when the run had told its last record."""
        from targets.agent import wire

        assert self.outcome is not None
        at_ns = self.outcome.get("monotonic_ns")
        last = kept[-1] if kept else None
        finished = last is not None and isinstance(last.record, wire.Finished)
        same = {envelope.boot for envelope in kept} <= {None, self.outcome.get("boot_id")}
        return finished and same and at_ns is not None and last.monotonic_ns < at_ns  # type: ignore[union-attr]


def how_it_ended(board: Board, told: BoardSettings) -> Earlier:
    """Ask the board."""
    from targets.firmware.lease import standing_of

    if told.hold is None:
        return Earlier(told)
    try:
        standing = standing_of(board, told.hold, deadline=Deadline.after(ASK_S))
    except HalfbyteError:
        return Earlier(told)
    return Earlier(told, standing.outcome)


def joined(now: BoardSettings, before: Earlier, kept: Sequence[Envelope]) -> BoardSettings:
    """Settings of the part at hand, with what there is to say of the part before.

    What a setting was before is of the first part, where that is known.
    """
    first = {(row.key, row.where): row.before for row in before.told.settings}
    return dataclasses.replace(
        now,
        settings=tuple(
            dataclasses.replace(row, before=first.get((row.key, row.where)) or row.before)
            for row in now.settings
        ),
        doubts=tuple(dict.fromkeys((*before.doubts(kept), *now.doubts))),
    )
