"""What the board's sensors and tools said while a run was on, as figures.

The records hold plain numbers and tools' own words; the tools' parsers are those of
`targets.readings`, so that an old run can be read again.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from targets.agent import wire
from targets.boards import Kind, recognise
from targets.readings import READINGS
from targets.readings.tegrastats import Tegrastats
from targets.readings.vcgencmd import FLAGS, Pmic, Throttled
from toolchain.recorded import Run
from toolchain.report.telemetry import Power, Series, Watched
from toolchain.report.timeline import Moment, timed_spans, timeline

MOST_POINTS: Final = 240
MOST_SERIES: Final = 200  # of one quantity
_SENSIBLE: Final = 1e7  # no board is that hot, fast or hungry: a broken sensor, or a lie
_MIB: Final = 2**20
_Points = dict[tuple[str, str], list[tuple[float, float | None]]]


def watched(run: Run) -> Watched | None:
    """All of it; None where no sensor was read at all."""
    moments = list(timeline(run.records))
    samples = [(m.at_s, m.record) for m in moments if isinstance(m.record, wire.Sample)]
    said = [
        (m.at_s, READINGS[m.record.tool].parse(m.record.text))
        for m in moments
        if isinstance(m.record, wire.ToolSaid) and m.record.tool in READINGS
    ]
    if not samples and not said:
        return None
    points = _of_samples(samples)
    _of_tools(said, points)
    kind = recognise(run.last(wire.Facts) or wire.Facts()).kind
    throttled = [told for _, told in said if isinstance(told, Throttled) and told.bits is not None]
    costs = [cost for cost in run.of(wire.Sampled) if cost.wall_ns > 0]  # one a start
    return Watched(
        readings=sum(1 for _, sample in samples if sample.load_1min is not None),
        series=tuple(_series(key, points[key]) for key in _kept(points)),
        throttling=_throttling(throttled),
        throttled_before=throttled[0].since_boot if throttled else (),
        knows_throttling=bool(throttled),
        held_back=_held_back([sample for _, sample in samples]),
        over_current=_over_current([sample for _, sample in samples]),
        power=_power(points, moments, kind),
        sampler_share=sum(cost.cpu_ns + cost.tools_cpu_ns for cost in costs)
        / sum(cost.wall_ns for cost in costs)
        if costs
        else None,
        period_s=costs[-1].period_ns / 1e9 if costs and costs[-1].period_ns > 0 else None,
        slows_c=kind.slows_c,
        notes=tuple((note.about, note.reason) for note in run.of(wire.Noted)),
    )


def together(every: Sequence[Watched | None]) -> Watched | None:
    """Of runs that repeat each other: the first one's series and power, and whatever held any of
    them back.
    """
    known = [one for one in every if one is not None]
    if not known:
        return None
    held: dict[str, int] = {}
    for one in known:
        for name, count in one.held_back.items():
            held[name] = held.get(name, 0) + count
    return dataclasses.replace(
        known[0],
        readings=sum(one.readings for one in known),
        throttling=_flags(one.throttling for one in known),
        throttled_before=_flags(one.throttled_before for one in known),
        knows_throttling=any(one.knows_throttling for one in known),
        held_back=held,
        over_current=sum(one.over_current for one in known),
    )


def _kept(points: _Points) -> list[tuple[str, str]]:
    counts: dict[str, int] = {}
    kept = []
    for quantity, name in points:
        counts[quantity] = counts.get(quantity, 0) + 1
        if counts[quantity] <= MOST_SERIES or name == "all cores":
            kept.append((quantity, name))
    return kept


def _of_samples(samples: Sequence[tuple[float, wire.Sample]]) -> _Points:
    points: _Points = {}
    for at_s, sample in samples:
        for zone, celsius in sample.temps_c.items():
            _put(points, ("temperature", zone), at_s, celsius)
        for policy, khz in sample.cpu_khz.items():
            _put(points, ("clock", policy), at_s, _scaled(khz, 1e-3))
        for core, share in sample.cpu_load.items():
            _put(points, ("load", core), at_s, _scaled(share, 100))
        known = [share for share in sample.cpu_load.values() if share is not None]
        if known:
            _put(points, ("load", "all cores"), at_s, 100 * statistics.fmean(known))
        if sample.gpu_load is not None:
            _put(points, ("load", "GPU"), at_s, 100 * sample.gpu_load)
        if sample.gpu_hz is not None:
            _put(points, ("clock", "GPU"), at_s, sample.gpu_hz / 1e6)
        for rail, mv in sample.rail_mv.items():
            ma = sample.rail_ma.get(rail)
            known_both = mv is not None and ma is not None
            _put(points, ("power", rail), at_s, mv * ma / 1e6 if known_both else None)  # type: ignore[operator]
        for name, value in (
            ("resident", sample.memory.rss_bytes),
            ("proportional share", sample.memory.pss_bytes),
            ("swapped out", sample.memory.swap_bytes or None),
            ("available on the board", sample.mem_available_bytes),
            ("swap free on the board", sample.swap_free_bytes or None),
        ):
            if value is not None:
                _put(points, ("memory", name), at_s, value / _MIB)
    return points


def _of_tools(said: Sequence[tuple[float, Any]], points: _Points) -> None:
    """What tools tell beside the files: a quantity that files told is left to them.

    Files that were there and could not be read told nothing.
    """
    told = {
        quantity
        for (quantity, _), values in points.items()
        if any(value is not None for _, value in values)
    }
    lines = [value for _, value in said if isinstance(value, Tegrastats)]
    for quantity, tells in (
        ("power", any(line.rails_mw for line in lines)),
        ("temperature", any(line.temps_c for line in lines)),
    ):
        if tells and quantity not in told:
            for key in [key for key in points if key[0] == quantity]:
                del points[key]
    for at_s, value in said:
        if isinstance(value, Tegrastats):
            for rail, mw in value.rails_mw.items() if "power" not in told else ():
                _put(points, ("power", rail), at_s, mw / 1000)
            for zone, celsius in value.temps_c.items() if "temperature" not in told else ():
                _put(points, ("temperature", zone), at_s, celsius)
            if value.gpu_load_percent is not None:
                _put(points, ("load", "GPU"), at_s, value.gpu_load_percent)
            for mhz in value.gpu_mhz[:1]:
                _put(points, ("clock", "GPU"), at_s, float(mhz))
        elif isinstance(value, Pmic) and value.sum_mw is not None:
            _put(points, ("power", "PMIC"), at_s, value.sum_mw / 1000)
        elif isinstance(value, Throttled) and value.bits is not None:
            for name in FLAGS.values():
                _put(points, ("throttling", name), at_s, float(name in value.now))


def _series(key: tuple[str, str], points: Sequence[tuple[float, float | None]]) -> Series:
    quantity, name = key
    known = [value for _, value in points if value is not None]
    return Series(
        quantity=quantity,
        name=name,
        unit={"temperature": "°C", "clock": "MHz", "load": "%", "power": "W", "memory": "MiB"}.get(
            quantity, ""
        ),
        low=min(known, default=None),
        mean=statistics.fmean(known) if known else None,
        high=max(known, default=None),
        points=thinned(points),
    )


def thinned(
    points: Sequence[tuple[float, float | None]], most: int = MOST_POINTS
) -> tuple[tuple[float, float | None], ...]:
    """At most that many points: means over equal numbers of them; a mean of nothing is None."""
    if len(points) <= most:
        return tuple(points)
    found = []
    for index in range(most):
        part = points[index * len(points) // most : (index + 1) * len(points) // most]
        known = [value for _, value in part if value is not None]
        time_s = statistics.fmean(at_s for at_s, _ in part)
        found.append((time_s, statistics.fmean(known) if known else None))
    return tuple(found)


def _power(points: _Points, moments: Sequence[Moment], kind: Kind) -> Power | None:
    """Mean power while the model alone was timed, of the rails that are all of the board.

    Each reading in that time counts alike.  Energy: mean power x mean latency.
    """
    spans = timed_spans(moments)
    if not spans:
        return None
    start_s, end_s = spans[0][0], spans[-1][1]
    rails = {
        name: {at_s: watt for at_s, watt in values if start_s <= at_s <= end_s and watt is not None}
        for (quantity, name), values in points.items()
        if quantity == "power"
    }
    for wanted in kind.power:
        if all(rails.get(rail) for rail in wanted):
            times = set.intersection(*(set(rails[rail]) for rail in wanted))
            sums = [sum(rails[rail][at_s] for rail in wanted) for at_s in sorted(times)]
            latency_s = statistics.fmean(end - start for start, end in spans)
            if sums and latency_s > 0:
                mean_w = statistics.fmean(sums)
                return Power(
                    rails=wanted,
                    meaning=kind.power_is,
                    mean_w=mean_w,
                    energy_j=mean_w * latency_s,
                    readings=len(sums),
                )
    return None


def _held_back(samples: Sequence[wire.Sample]) -> dict[str, int]:
    """In how many readings each cooling device held a clock back; those that did."""
    counts: dict[str, int] = {}
    for sample in samples:
        for name, state in sample.cooling.items():
            if state is not None and state > 0:
                counts[name] = counts.get(name, 0) + 1
    return counts


def _over_current(samples: Sequence[wire.Sample]) -> int:
    """How many over-current events a Jetson counted from the first reading to the last."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for sample in samples:
        for name, count in sample.alerts.items():
            if count is not None:
                first.setdefault(name, count)
                last[name] = count
    return sum(max(0, last[name] - first[name]) for name in first)


def _throttling(told: Sequence[Throttled]) -> tuple[str, ...]:
    """What held at a reading, or at some time between two: then only the word on all the time since
    the board started has changed.
    """
    between = (
        tuple(name for name in later.since_boot if name not in earlier.since_boot)
        for earlier, later in itertools.pairwise(told)
    )
    return _flags([*(one.now for one in told), *between])


def _flags(every: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in every for name in names))


def _put(points: _Points, key: tuple[str, str], at_s: float, value: float | None) -> None:
    sensible = value is not None and abs(value) < _SENSIBLE
    points.setdefault(key, []).append((at_s, value if sensible else None))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def by_quantity(series: Iterable[Series]) -> Mapping[str, list[Series]]:
    """Series with a known value, in groups that a chart can show."""
    found: dict[str, list[Series]] = {}
    for one in series:
        if one.mean is not None:
            found.setdefault(one.quantity, []).append(one)
    return found


def clock_drops(found: Watched) -> list[tuple[str, float, float]]:
    """(policy, at first, at last) in MHz, where a CPU clock ended well below where it began.

    Medians of the first and last quarter, of eight readings or more.
    """
    drops = []
    for one in found.series:
        known = [value for _, value in one.points if value is not None]
        if one.quantity != "clock" or one.name == "GPU" or len(known) < 8:
            continue
        quarter = len(known) // 4
        first, last = statistics.median(known[:quarter]), statistics.median(known[-quarter:])
        if last < 0.95 * first:
            drops.append((one.name, first, last))
    return drops
