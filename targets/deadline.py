"""One point in time that nested waits share: no wait is forever, and none adds to another."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from targets.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """Made once by who gives the time, handed down to everything that waits meanwhile."""

    budget_s: float
    ends_at_s: float  # time.monotonic()

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """`seconds` from now."""
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"a deadline after {seconds} s")
        return cls(seconds, time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Time left, never below 0."""
        return max(0.0, self.ends_at_s - time.monotonic())

    @property
    def expired(self) -> bool:
        """No time is left."""
        return self.remaining_s() == 0.0

    def sooner(self, seconds: float) -> Deadline:
        """The earlier of this one and `seconds` from now: a step's own limit inside the whole."""
        step = Deadline.after(seconds)
        return step if step.ends_at_s < self.ends_at_s else self

    def extended(self, seconds: float) -> Deadline:
        """Later by `seconds`: for time that was not ours to spend, such as a person's answer."""
        return Deadline(self.budget_s + seconds, self.ends_at_s + seconds)

    def wait_s(self, awaited: str) -> float:
        """Time left, for a call that takes a timeout.  Raises DeadlineExceeded if there is none."""
        remaining = self.remaining_s()
        if remaining == 0.0:
            raise self.exceeded(awaited)
        return remaining

    def exceeded(self, awaited: str) -> DeadlineExceeded:
        """The error to raise; `awaited` completes "waited for"."""
        return DeadlineExceeded(
            f"Waited {_seconds(self.budget_s)} for {awaited}, in vain.",
            hint="The board may be busy, asleep or far away: try again, or allow more time.",
        )


def _seconds(amount: float) -> str:
    return f"{amount:.1f} s" if amount < 10 else f"{amount:.0f} s"


@contextlib.contextmanager
def enforced(deadline: Deadline, awaited: str, abort: Callable[[], None]) -> Iterator[None]:
    """Around calls that take no timeout: `abort` (close a socket, say) makes them fail in time.

    Whatever then leaves the block, or if nothing does, becomes DeadlineExceeded.
    """
    fired = threading.Event()

    def expire() -> None:
        fired.set()
        abort()

    timer = threading.Timer(deadline.wait_s(awaited), expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if fired.is_set():
            raise deadline.exceeded(awaited) from error
        raise
    finally:
        timer.cancel()
    if fired.is_set():
        raise deadline.exceeded(awaited)
