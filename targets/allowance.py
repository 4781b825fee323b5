"""The most that a board may tell of a run, by what was asked of it: more is broken or hostile.

No honest run comes near it, however slow its board, however often it restarted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from targets.agent.wire import MAX_ITEMS
from targets.errors import StreamBroken

if TYPE_CHECKING:
    from targets.agent.plan import Plan
    from targets.ended import Seen

LIMIT_S: Final = 24 * 3600.0
"""After this a run ends, whoever still wants it."""
JOURNAL_BYTES: Final = 512 * 1024 * 1024
"""On the board; a run that tells more is ended there."""
RECORDS_BYTES: Final = JOURNAL_BYTES + 128 * 1024 * 1024
"""Of one run's records on the host: a full journal, and what was told after it was found full."""
_LATE_BYTES: Final = 64 * 1024 * 1024  # the supervisor looks once a second, then gives 8 s
_STARTS: Final = 5  # the one at hand, three restarts of the board, one that nobody followed
_START_RECORDS: Final = 256  # the facts, the model, up to 100 readings that are not to be had
_START_BYTES: Final = 4 * 1024 * 1024
_INFERENCE_BYTES: Final = 512
_INFERENCES_PER_S: Final = 50_000  # encoding and writing a record takes longer than 20 us
_TICK_RECORDS: Final = 4  # the sample, and three tools at most
_TICK_BYTES: Final = 32 * 1024  # a sample of 256 cores and all sensors
_PSS_PERIOD_S: Final = 5.0
_IMAGE_BYTES: Final = 64 * 1024  # a name of 4096 characters, each as twelve of ASCII
_DETECTION_BYTES: Final = 160  # six numbers in full


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much a run was asked to do; the fields are those of `Plan`, `images` their number."""

    warmup: int = 0
    timed_runs: int = 0
    images: int = 0
    steady_s: float = 0.0
    sample_period_s: float = 0.5
    max_detections: int = 300
    probe_values: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Extent:
        """Of a whole plan, not of the rest of one."""
        return cls(
            warmup=plan.warmup,
            timed_runs=plan.timed_runs,
            images=len(plan.images),
            steady_s=plan.steady_s,
            sample_period_s=plan.sample_period_s,
            max_detections=plan.max_detections,
            probe_values=plan.probe_values,
        )

    @property
    def _warmed(self) -> int:
        return _STARTS * (self.warmup + math.ceil(self.steady_s * _INFERENCES_PER_S))

    def _ticks(self, duration_s: float) -> int:
        """Readings of the sensors, with one more at the begin and at the end of each start."""
        return math.ceil(duration_s / self.sample_period_s) + 2 * _STARTS

    def most_records(self, duration_s: float) -> int:
        """Of a run, or the rest of one, that lasts so long."""
        of_image = 1 + (MAX_ITEMS if self.probe_values else 0)
        return (
            _STARTS * _START_RECORDS
            + self._warmed
            + self.timed_runs
            + self.images * of_image
            + self._ticks(duration_s) * _TICK_RECORDS
            + math.ceil(duration_s / _PSS_PERIOD_S)
        )

    def most_bytes(self, duration_s: float) -> int:
        """The same in bytes; never more than a journal may have."""
        if self.probe_values:  # as large as the outputs are
            return JOURNAL_BYTES + _LATE_BYTES
        asked = (
            _STARTS * _START_BYTES
            + (self._warmed + self.timed_runs) * _INFERENCE_BYTES
            + self.images * (_IMAGE_BYTES + self.max_detections * _DETECTION_BYTES)
            + (self._ticks(duration_s) + math.ceil(duration_s / _PSS_PERIOD_S)) * _TICK_BYTES
        )
        return min(asked, JOURNAL_BYTES) + _LATE_BYTES


class Meter:
    """Counts what comes of one run, and ends it where that is more than can be."""

    def __init__(self, name: str, extent: Extent, duration_s: float) -> None:
        self._name = name
        self._extent = extent
        duration_s = min(duration_s, 2 * LIMIT_S)
        self._records_left = extent.most_records(duration_s)
        self._bytes_left = extent.most_bytes(duration_s)

    def lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines.  Raises StreamBroken."""
        for line in lines:
            self._records_left -= 1
            self._bytes_left -= len(line)
            if self._records_left < 0:
                raise self._too_much("more records")
            if self._bytes_left < 0:
                raise self._too_much("more bytes")
            yield line

    def check(self, seen: Seen) -> None:
        """What was counted of the whole run.  Raises StreamBroken."""
        if seen.timed > self._extent.timed_runs:
            raise self._too_much(f"{seen.timed} timed inferences, more")
        if seen.images > self._extent.images:
            raise self._too_much(f"{seen.images} images, more")

    def _too_much(self, what: str) -> StreamBroken:
        return too_much(self._name, what)


def too_much(name: str, what: str) -> StreamBroken:
    """The error for a board that does not stop talking."""
    return StreamBroken(
        f"{name} tells {what} than the run that was asked for can have.",
        hint="Its agent or the board is broken or hostile. What came before is kept; check it by "
        "`halfbyte target check`.",
    )
