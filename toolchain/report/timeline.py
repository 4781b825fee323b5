"""When a run's records and readings happened, on one clock that starts with the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from targets.agent import wire

_NS = 1e9


@dataclass(frozen=True)
class Moment:
    """A record at `at_s` seconds from the run's first one."""

    at_s: float
    record: Any


def timeline(records: Sequence[wire.Envelope]) -> Iterator[Moment]:
    """Each record at its own time: a reading's is when it was taken, not when it was told.

    A board that was restarted begins a new clock; its time is put after what was before.
    """
    boot, start_ns, before_s, last_s = None, None, 0.0, 0.0
    for envelope in records:
        if start_ns is None or envelope.boot != boot:
            boot, start_ns, before_s = envelope.boot, envelope.monotonic_ns, last_s
        taken_ns = getattr(envelope.record, "at_ns", None)
        at_ns = envelope.monotonic_ns if taken_ns is None else taken_ns
        # A reading is told soon after it was taken, or its time is not to be believed.
        at_s = before_s + max(0.0, min(at_ns, envelope.monotonic_ns) - start_ns) / _NS
        last_s = max(last_s, before_s + (envelope.monotonic_ns - start_ns) / _NS)
        yield Moment(at_s, envelope.record)


def starts(records: Sequence[wire.Envelope]) -> list[tuple[wire.Envelope, ...]]:
    """The records of each start of the agent: only within one do their clocks go together.

    A start begins with a Hello; where that was lost, with another boot or a clock that goes back.
    """
    found: list[list[wire.Envelope]] = []
    for envelope in records:
        last = found[-1][-1] if found else None
        if (
            last is None
            or isinstance(envelope.record, wire.Hello)
            or envelope.boot != last.boot
            or envelope.monotonic_ns < last.monotonic_ns
        ):
            found.append([])
        found[-1].append(envelope)
    return [tuple(start) for start in found]


def timed_spans(moments: Sequence[Moment]) -> list[tuple[float, float]]:
    """(start, end) of each timed inference, in seconds."""
    return [
        (moment.at_s - moment.record.inference_ns / _NS, moment.at_s)
        for moment in moments
        if isinstance(moment.record, wire.Timed)
    ]
