"""When a working board is in a steady state: neither its times nor its temperature still move.

The rule looks at the last `WINDOW_S` of inferences, in two halves.  The state is steady when
- the median inference time of the later half differs from the earlier one's by less than
  `MOST_CHANGE` (or by less than the times' own scatter explains), and
- the hottest zone is, on average, less than `MOST_RISE_C` warmer in the later half, where the board
  has a zone at all.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
import time
from typing import Callable, Deque, List, Optional, Tuple

from .records import Steady

WINDOW_S = 20.0
MOST_CHANGE = 0.01
MOST_RISE_C = 0.3
_READ_S = 1.0
LEAST_INFERENCES = 5  # in each half; a slow model's window is longer


@dataclasses.dataclass(frozen=True)
class Movement:
    """What still moves.  latency_change: later median over earlier one, less 1.  scatter: of that
    figure, as the times alone explain it (two standard errors).  temp_change_c: None: no zone.
    """

    latency_change: float
    scatter: float
    temp_change_c: Optional[float]

    @property
    def is_steady(self) -> bool:
        """By the rule above."""
        still = abs(self.latency_change) < max(MOST_CHANGE, self.scatter)
        return still and (self.temp_change_c is None or self.temp_change_c < MOST_RISE_C)


class Steadiness:
    """Inferences as they come, and what they say."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: Deque[Tuple[float, int, Optional[float]]] = collections.deque()

    def note(self, at_s: float, inference_ns: int, temp_c: Optional[float]) -> None:
        """One inference that ended at `at_s` of a monotonic clock; the hottest zone then."""
        self._seen.append((at_s, inference_ns, temp_c))
        while len(self._seen) > 2 * LEAST_INFERENCES and self._full(at_s - self._seen[1][0]):
            self._seen.popleft()

    def movement(self) -> Optional[Movement]:
        """What the last window says; None while it is too short."""
        if len(self._seen) < 2 * LEAST_INFERENCES:
            return None
        start_s, end_s = self._seen[0][0], self._seen[-1][0]
        if not self._full(end_s - start_s):
            return None
        middle_s = (start_s + end_s) / 2
        earlier = [entry for entry in self._seen if entry[0] < middle_s]
        later = [entry for entry in self._seen if entry[0] >= middle_s]
        if min(len(earlier), len(later)) < LEAST_INFERENCES:
            return None
        times = [[float(entry[1]) for entry in half] for half in (earlier, later)]
        before, after = (statistics.median(half) for half in times)
        error = math.hypot(*(_standard_error(half) / before for half in times))
        return Movement(after / before - 1, 2 * error, _rise(earlier, later))

    def _full(self, spanned_s: float) -> bool:
        return spanned_s >= self._window_s


class Waiting:
    """A warm-up that goes on until nothing moves any more, or for `longest_s`.

    inferences: of the warm-up so far.  hottest_c: reads the hottest zone, which is done once a
    second.
    """

    def __init__(
        self, longest_s: float, inferences: int, hottest_c: Callable[[], Optional[float]]
    ) -> None:
        self.inferences = inferences
        self._longest_s = longest_s
        self._hottest_c = hottest_c
        self._state = Steadiness()
        self._movement: Optional[Movement] = None
        self._began_s = self._now_s = self._read_s = time.monotonic()
        self._temp_c = hottest_c()

    @property
    def is_over(self) -> bool:
        """Steady, or the time is up."""
        return self._is_steady or self._now_s - self._began_s >= self._longest_s

    def note(self, inference_ns: int) -> None:
        """One more inference, just ended."""
        self.inferences += 1
        self._now_s = time.monotonic()
        if self._now_s - self._read_s >= _READ_S:
            self._temp_c, self._read_s = self._hottest_c(), self._now_s
        self._state.note(self._now_s, inference_ns, self._temp_c)
        self._movement = self._state.movement()

    def end(self) -> Steady:
        """How it came out."""
        last = self._movement
        return Steady(
            reached=self._is_steady,
            waited_ns=int((self._now_s - self._began_s) * 1e9),
            inferences=self.inferences,
            window_ns=int(WINDOW_S * 1e9),
            latency_change=None if last is None else last.latency_change,
            temp_change_c=None if last is None else last.temp_change_c,
        )

    @property
    def _is_steady(self) -> bool:
        return self._movement is not None and self._movement.is_steady


def _standard_error(times: List[float]) -> float:
    """Of their median, from the median distance to it (normal: sigma = 1.4826 of that)."""
    middle = statistics.median(times)
    spread = 1.4826 * statistics.median(abs(time - middle) for time in times)
    return 1.2533 * spread / math.sqrt(len(times))


def _rise(
    earlier: List[Tuple[float, int, Optional[float]]],
    later: List[Tuple[float, int, Optional[float]]],
) -> Optional[float]:
    halves = [[temp for _, _, temp in half if temp is not None] for half in (earlier, later)]
    if not all(halves):
        return None
    return statistics.fmean(halves[1]) - statistics.fmean(halves[0])
