"""How fast a model runs at first, how fast for long, and whether it had come to rest.

A cool board runs at its highest clock until it is warm.  `burst` is the first BURST_S seconds of
work, the first inference left out (it is cold in another sense: caches, pages).  `sustained` are
the timed inferences after a warm-up that waited for a steady state and reached it (agent.steady);
without such a wait the later half of those of a run that worked for SUSTAINED_S seconds or more: a
small board takes minutes to warm through, so that this is the least, and the slope says whether it
was enough.  Such a run has come to rest where, over that half, latency changes by less than
STEADY_PERCENT a minute and temperature by less than STEADY_C a minute.

A board that restarted in a run is cold again, and has another clock: each start is looked at by
itself.  Burst is of the first.  Sustained times of all starts, and of runs that repeat each other,
are put together; slopes and rest are those of the worst.

Slopes are Theil and Sen's (the median of those between pairs), so that single slow inferences and
readings do not tilt them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.agent import wire
from toolchain.recorded import Run
from toolchain.report.timeline import starts

BURST_S: Final = 10.0
SUSTAINED_S: Final = 60.0
STEADY_PERCENT: Final = 1.0  # of latency, a minute
STEADY_C: Final = 0.5  # a minute
_FEWEST: Final = 5
_MOST_POINTS: Final = 300  # of which all pairs are taken
_NS_PER_S: Final = 1e9

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Pace:
    """burst_ns, sustained_ns: times of inferences; empty where the run was too short.

    worked_s: from the first inference to the last timed one.  latency_slope: percent a minute.
    temperature_slope: of the sensor that changed most, °C a minute.  None where unknown.
    reached: whether a warm-up that waited for a steady state had found it; None: it did not wait.
    """

    burst_ns: tuple[int, ...]
    sustained_ns: tuple[int, ...]
    worked_s: float
    latency_slope: float | None = None
    temperature_slope: float | None = None
    reached: bool | None = None

    @property
    def steady(self) -> bool | None:
        """Whether it had come to rest; None where it did not run for long enough to say."""
        if self.latency_slope is None:
            return self.reached
        warming = self.temperature_slope is not None and abs(self.temperature_slope) > STEADY_C
        return abs(self.latency_slope) <= STEADY_PERCENT and not warming


def pace(run: Run) -> Pace:
    """From the warm-up and timed inferences, by the board's clock, start by start."""
    parts = starts(run.records)
    timed = [part for part in parts if any(isinstance(e.record, wire.Timed) for e in part)]
    found = pooled([_of_start(part) for part in timed or parts])
    every = (_of_start(part).burst_ns for part in parts)
    return dataclasses.replace(found, burst_ns=next((burst for burst in every if burst), ()))


def pooled(paces: Sequence[Pace]) -> Pace:
    """Of several: all times and the work of all, and how it came to rest of the worst of them."""
    if not paces:
        return Pace((), (), 0.0)
    worst = min(paces, key=_rest)
    return dataclasses.replace(
        worst,
        burst_ns=tuple(ns for one in paces for ns in one.burst_ns),
        sustained_ns=tuple(ns for one in paces for ns in one.sustained_ns),
        worked_s=sum(one.worked_s for one in paces),
    )


def steadiness(run: Run) -> list[wire.Steady]:
    """How the wait for a steady state ended, for each start in which times were taken."""
    return [
        steady
        for part in starts(run.records)
        if any(isinstance(envelope.record, wire.Timed) for envelope in part)
        if (steady := _waited(part)) is not None
    ]


def _rest(pace: Pace) -> tuple[int, float, float]:
    """The less, the further from rest."""
    rank = {False: 0, None: 1, True: 2}[pace.steady]
    return rank, -abs(pace.latency_slope or 0.0), -abs(pace.temperature_slope or 0.0)


def _waited(records: Sequence[wire.Envelope]) -> wire.Steady | None:
    told = [e.record for e in records if isinstance(e.record, wire.Steady)]
    return told[-1] if told else None


def _of_start(records: Sequence[wire.Envelope]) -> Pace:
    done = [
        (
            envelope.monotonic_ns,
            envelope.record.inference_ns,
            isinstance(envelope.record, wire.Timed),
        )
        for envelope in records
        if isinstance(envelope.record, wire.Warmed | wire.Timed)
    ]
    if len(done) < 2:
        return Pace((), (), 0.0)
    began = done[0][0] - done[0][1]
    burst = tuple(ns for at, ns, _ in done[1:] if at - began <= BURST_S * _NS_PER_S)
    timed = [(at, ns) for at, ns, is_timed in done if is_timed]
    worked_s = (done[-1][0] - began) / _NS_PER_S
    waited = _waited(records)
    reached = waited.reached if waited else None
    late = timed[len(timed) // 2 :]
    sustained = tuple(ns for _, ns in (timed if reached else late))
    if worked_s < SUSTAINED_S or len(late) < _FEWEST or min(ns for _, ns in late) <= 0:
        return Pace(burst, sustained if reached else (), worked_s, reached=reached)
    if reached is False:  # the wait says what still moved
        return Pace(burst, sustained, worked_s, reached=reached)
    at_min = np.array([at for at, _ in late], np.float64) / (60 * _NS_PER_S)
    slope = theil_sen(at_min, np.log([ns for _, ns in late]))
    return Pace(
        burst,
        sustained,
        worked_s,
        None if slope is None else 100 * slope,
        _temperature_slope(records, late[0][0]),
        reached,
    )


def theil_sen(x: Floats, y: Floats) -> float | None:
    """The median of the slopes between all pairs of points; None where all x are the same.

    x, y: float64 [n].  Of many points an even choice is taken.
    """
    chosen = np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(np.intp)
    first, second = np.triu_indices(len(chosen), 1)
    across = x[chosen][second] - x[chosen][first]
    up = y[chosen][second] - y[chosen][first]
    apart = across != 0
    return float(np.median(up[apart] / across[apart])) if apart.any() else None


def _temperature_slope(records: Sequence[wire.Envelope], since_ns: int) -> float | None:
    readings: dict[str, list[tuple[float, float]]] = {}
    for envelope in records:
        if isinstance(envelope.record, wire.Sample) and envelope.monotonic_ns >= since_ns:
            for sensor, celsius in envelope.record.temps_c.items():
                if celsius is not None:
                    at_min = envelope.monotonic_ns / (60 * _NS_PER_S)
                    readings.setdefault(sensor, []).append((at_min, celsius))
    slopes = [_slope(points) for points in readings.values() if len(points) >= _FEWEST]
    known = [slope for slope in slopes if slope is not None]
    return max(known, key=abs, default=None)


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    x, y = np.array(points, np.float64).T
    return theil_sen(x, y)
