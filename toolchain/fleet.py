"""Several boards side by side: what stops one stops none of the others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from targets.errors import HalfbyteError
from targets.target import Target

log = logging.getLogger(__name__)
MOST: Final = 64

Work = Callable[[Target, threading.Event], Sequence[HalfbyteError]]


def over(targets: Sequence[Target], work: Work) -> list[HalfbyteError]:
    """`work` for each target at the same time; what went wrong, in the order of the targets.

    work: gets an event that is set when all should end soon.  Its errors of ours are taken for
    the target's own and returned; of a single target they are raised.  Ctrl-C ends all.
    """
    stopping = threading.Event()
    if len(targets) == 1:
        return list(work(targets[0], stopping))
    with ThreadPoolExecutor(min(len(targets), MOST), thread_name_prefix="board") as pool:
        futures = [pool.submit(_guarded, work, target, stopping) for target in targets]
        try:
            wait(futures)
        except BaseException:
            stopping.set()
            for future in futures:
                future.cancel()
            raise
    return [fault for future in futures for fault in _faults(future)]


def _guarded(work: Work, target: Target, stopping: threading.Event) -> Sequence[HalfbyteError]:
    try:
        return work(target, stopping)
    except HalfbyteError as error:
        log.warning("%s: %s", target.name, error.message)
        return [error]


def _faults(future: Future[Sequence[HalfbyteError]]) -> Sequence[HalfbyteError]:
    return future.result()
