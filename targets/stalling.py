"""Many steps that take no timeout: each has its time, and all together have theirs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from targets.deadline import Deadline

_LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def unstalled(
    deadline: Deadline, stall_s: float, awaited: str, abort: Callable[[], None]
) -> Iterator[Callable[[], None]]:
    """Yields what is to be called after each step; when none ends in time, `abort` makes it fail.

    As `deadline.enforced`, at the price of one thread for all steps.  Whatever then leaves the
    block becomes DeadlineExceeded.
    """
    step = deadline.sooner(stall_s)
    fired, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(min(_LOOK_EVERY_S, step.remaining_s())):
            if step.expired:
                fired.set()
                abort()
                return

    def progressed() -> None:
        nonlocal step
        step = deadline.sooner(stall_s)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield progressed
    except Exception as error:
        if fired.is_set():
            raise step.exceeded(awaited) from error
        raise
    finally:
        ended.set()
    if fired.is_set():
        raise step.exceeded(awaited)
