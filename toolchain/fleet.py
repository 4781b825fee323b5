"""Several boards side by side: what stops one stops none of the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from targets.errors import HalfbyteError
from targets.target import Target

log = logging.getLogger(__name__)
GRACE_S: Final = 20.0
"""For the inferences at hand, and to tell boards that all is over."""
_TICK_S: Final = 0.2

Work = Callable[[Target, threading.Event], Sequence[HalfbyteError]]


def over(targets: Sequence[Target], work: Work) -> list[HalfbyteError]:
    """`work` for each target at the same time; what went wrong, in the order of the targets.

    work: gets an event that is set when all should end soon.  Its errors of ours are taken for
    the target's own and returned; of a single target they are raised.  Ctrl-C ends all: runs that
    are followed are ended on their boards, and what waits for a board that does not answer is left.
    """
    stopping = threading.Event()
    if len(targets) == 1:
        return list(work(targets[0], stopping))
    boards = [_Board(target, work, stopping) for target in targets]
    for board in boards:
        board.start()
    try:
        _wait(boards)
    except BaseException:
        stopping.set()
        _wait(boards, GRACE_S)
        raise
    for board in boards:
        if board.crash is not None:
            raise board.crash
    return [fault for board in boards for fault in board.faults]


class _Board(threading.Thread):
    """One target's work.  crash: what no target explains."""

    def __init__(self, target: Target, work: Work, stopping: threading.Event) -> None:
        super().__init__(name=f"board-{target.name}", daemon=True)
        self._target, self._work, self._stopping = target, work, stopping
        self.faults: Sequence[HalfbyteError] = ()
        self.crash: BaseException | None = None

    def run(self) -> None:
        try:
            self.faults = self._work(self._target, self._stopping)
        except HalfbyteError as error:
            log.warning("%s: %s", self._target.name, error.message)
            self.faults = [error]
        except BaseException as error:  # noqa: BLE001  raised again where the others are waited for
            self.crash = error


def _wait(boards: Sequence[_Board], seconds: float = float("inf")) -> None:
    """Until all are done; in short steps, so that Ctrl-C comes through."""
    end_s = time.monotonic() + seconds
    while any(board.is_alive() for board in boards) and time.monotonic() < end_s:
        for board in boards:
            if board.is_alive():
                board.join(_TICK_S)
                break
