"""How long the rest will take, from what has been done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from toolchain.study.work import Done, Job

SECOND_ORDER: Final = 4.0
"""So many times as long as rounding to nearest, until one has been seen."""


class Remaining:
    """Means by kind of work."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, done: Done) -> None:
        """Learn from it."""
        making, running = _kinds(done.job)
        if done.make_seconds:
            self._seen[making].append(done.make_seconds)
        if done.records:
            self._seen[running].append(done.run_seconds / len(done.records))

    def seconds(self, jobs: Sequence[Job], made: Sequence[Job] = ()) -> float | None:
        """Of all these one after the other; None where nothing like them has been seen.

        made: more jobs, whose models will be there.
        """
        parts = [self._making(_kinds(job)[0]) for job in jobs if job.cell is not None]
        parts += [self._running(job) for job in (*jobs, *made) if job.images]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def _running(self, job: Job) -> float | None:
        own = _kinds(job)[1]
        each = self._mean([own, ("run", "float"), ("run", "int8")])
        return None if each is None else each * len(job.images)

    def _making(self, kind: tuple[str, str]) -> float | None:
        own = self._mean([kind])
        if own is not None:
            return own
        other = "nearest" if kind[1] == "second-order" else "second-order"
        known = self._mean([("make", other)])
        if known is None:
            return None
        return known * SECOND_ORDER if other == "nearest" else known / SECOND_ORDER

    def _mean(self, kinds: Sequence[tuple[str, str]]) -> float | None:
        seen = next((self._seen[kind] for kind in kinds if self._seen.get(kind)), None)
        return None if seen is None else sum(seen) / len(seen)


def words(seconds: float | None) -> str:
    """ "about 1 h 20 min left"; empty where it is not known."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    hours, minutes = divmod(minutes, 60)
    return f"about {f'{hours} h ' if hours else ''}{minutes} min left"


def _kinds(job: Job) -> tuple[tuple[str, str], tuple[str, str]]:
    if job.cell is None:
        return ("make", ""), ("run", "float")
    return ("make", job.cell.recovery), ("run", job.cell.activations)
