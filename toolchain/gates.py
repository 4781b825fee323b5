"""`halfbyte check`: limits on the figures of a run, for people who build on them.

A gate whose figure is unknown fails: what nobody measured is not within a limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from toolchain.compare.accuracy import accuracies
from toolchain.compare.conditions import reasons
from toolchain.compare.sides import Named, Side, sides
from toolchain.compare.verdicts import latency_verdict
from toolchain.report import text
from toolchain.report.figures import Latency

_MB = 1_000_000
# Codes of `compare.conditions`: without these the same, a difference is not the models' alone.
_OF_ACCURACY: Final = frozenset(("confidence", "iou", "boxes", "multi-label"))
_OF_TIME: Final = frozenset(
    ("target", "board", "threads", "placement", "image-size", "governor", "profile", "overrides",
     "config", "cpus", "fed", "in-force", "power-mode")
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Limits:
    """None: no limit.  max_ap_drop in points, fps end to end, memory VmHWM, times in milliseconds.

    max_slowdown_percent: of the lower quartile of the times of the model alone, against the
    baseline's (`compare.spans` says why).
    strict: a doubt of the report, other than a note, fails too.
    """

    max_ap_drop: float | None = None
    min_ap: float | None = None
    min_fps: float | None = None
    max_memory_bytes: int | None = None
    max_latency_p50_ms: float | None = None
    max_latency_p95_ms: float | None = None
    max_file_bytes: int | None = None
    max_slowdown_percent: float | None = None
    strict: bool = False

    @property
    def any(self) -> bool:
        """Whether there is something to check."""
        return self != Limits()


@dataclasses.dataclass(frozen=True)
class Gate:
    """One limit on one model.  figure, limit: with their units, for people; value, bound: bare,
    in the units of `Limits`.

    why: what there is to say beside; where it failed for want of a figure, why there is none.
    spans: the limit lies inside the figure's 95 % interval, so that another run may end otherwise.
    """

    model: str
    name: str
    limit: str
    figure: str
    passed: bool
    why: str = ""
    spans: bool = False
    value: float | None = None
    bound: float | None = None


@dataclasses.dataclass(frozen=True)
class Checked:
    """All gates of a run folder.  against: what AP drops are measured against."""

    folder: str
    against: str
    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether all did."""
        return all(gate.passed for gate in self.gates)

    @property
    def failed(self) -> tuple[Gate, ...]:
        """Those that did not."""
        return tuple(gate for gate in self.gates if not gate.passed)


def check(run: Named, limits: Limits, *, against: Named | None = None) -> Checked:
    """The gates of one model, or of all models of a folder but the float one.

    AP drops are measured against `against`, or else the float model of the same folder.
    Raises RunFolderError, InputError.
    """
    every = sides(Named(run.folder))
    chosen = sides(run)
    quantized = [side for side in chosen if not side.figures.is_float]
    checked = quantized if run.key is None and quantized else chosen
    baseline = sides(against) if against is not None else every
    gates = [
        gate
        for side in checked
        for gate in _gates(side, limits, _reference(side, baseline, against))
    ]
    return Checked(
        str(run.folder), str(against.folder) if against else "its float model", tuple(gates)
    )


def _reference(side: Side, baseline: Sequence[Side], against: Named | None) -> Side | None:
    """The one that was named; else, on the same target, in the same folder the float model and
    elsewhere the same model, or the only one.
    """
    if against is not None and against.key is not None:
        return baseline[0]
    here = [s for s in baseline if s.run.meta.target.name == side.run.meta.target.name]
    if against is None:
        alike = [s for s in here if s.figures.is_float and _made(s) == _made(side)]
        return alike[0] if alike else None
    kind = (*_made(side), side.run.meta.model.recipe)
    alike = [s for s in here if (*_made(s), s.run.meta.model.recipe) == kind]
    if alike:
        return alike[0]
    return here[0] if len(here) == 1 else None


def _made(side: Side) -> tuple[object, ...]:
    model = side.run.meta.model
    return model.source_sha256 or model.weights, model.imgsz


def _gates(side: Side, limits: Limits, reference: Side | None) -> Iterator[Gate]:
    figures = side.figures
    if figures.partial:
        why = text.clean(figures.reason)
        yield Gate(side.name, "run", "whole", "partial", passed=False, why=why)
    speed, latency = figures.speed, figures.speed.inference
    if limits.max_ap_drop is not None:
        yield _ap_drop(side, limits.max_ap_drop, reference)
    if limits.min_ap is not None:
        ap = figures.accuracy.ap
        yield _at_least(side, "AP", limits.min_ap, ap, text.number, "no ground truth")
    if limits.min_fps is not None:
        fps = speed.fps_end_to_end
        why = "" if fps is not None else "no pictures ran end to end"
        yield _at_least(side, "FPS end to end", limits.min_fps, fps, text.per_second, why)
    if limits.max_memory_bytes is not None:
        peak = figures.memory.peak_rss_bytes
        why = "the board did not say how much it took"
        yield _at_most(side, "peak memory", limits.max_memory_bytes, peak, _bytes, why)
    for share, limit in ((50, limits.max_latency_p50_ms), (95, limits.max_latency_p95_ms)):
        if limit is not None:
            yield _latency(side, share, limit, latency)
    if limits.max_slowdown_percent is not None:
        yield _slowdown(side, limits.max_slowdown_percent, reference)
    if limits.max_file_bytes is not None:
        yield _at_most(side, "file", limits.max_file_bytes, figures.model.file_bytes, _bytes, "")
    if limits.strict:
        yield _doubts(side)


def _ap_drop(side: Side, limit: float, reference: Side | None) -> Gate:
    said = f"at most {text.number(limit, 2)} points"
    if reference is None:
        return _unknown(side, "AP drop", said, limit, _no_baseline(side))
    if reference.run.key == side.run.key and reference.folder == side.folder:
        return _unknown(side, "AP drop", said, limit, "it is the float model itself")
    if apart := _apart(reference, side, _OF_ACCURACY):
        return _unknown(side, "AP drop", said, limit, apart)
    found = accuracies(reference, side)
    if found.problem or found.a is None or found.b is None:
        return _unknown(
            side, "AP drop", said, limit, found.problem or "no object to find on these images"
        )
    drop = found.a - found.b
    low, high = (None, None) if found.low is None else (-(found.high or 0.0), -found.low)
    bounds = f" ({text.interval((low, high))})" if low is not None and high is not None else ""
    spans = low is not None and high is not None and low <= limit <= high
    why = f"against {reference.name}, {text.counted(found.images, 'image')}"
    if spans:
        why += "; the limit lies inside the interval: these images cannot tell for sure"
    figure = f"{text.signed(drop, 2)}{bounds}"
    return Gate(side.name, "AP drop", said, figure, _no_more(drop, limit), why, spans, drop, limit)


def _latency(side: Side, share: int, limit: float, latency: Latency | None) -> Gate:
    name, said = f"latency p{share}", f"at most {text.milliseconds(limit)}"
    if latency is None:
        return _unknown(side, name, said, limit, "the model alone was not timed")
    value = latency.p50_ms if share == 50 else latency.p95_ms
    low, high = latency.bounds_ms[share]
    highest = latency.max_ms if high is None else high
    spans = (low is None or low <= limit) and limit <= highest
    figure = f"{text.milliseconds(value)} ({text.range_ms((low, high))})"
    why = text.counted(latency.samples, "inference")
    if spans:
        why += "; the limit lies inside the interval: more inferences would tell"
    return Gate(side.name, name, said, figure, _no_more(value, limit), why, spans, value, limit)


def _slowdown(side: Side, limit: float, reference: Side | None) -> Gate:
    name, said = "slowdown", f"at most {limit:g} %"
    if reference is None:
        return _unknown(side, name, said, limit, _no_baseline(side))
    if apart := _apart(reference, side, _OF_TIME):
        return _unknown(side, name, said, limit, apart)
    verdict = latency_verdict(reference, side)
    if verdict.difference is None or verdict.low is None or verdict.high is None:
        return _unknown(side, name, said, limit, verdict.why)
    slower, low, high = (100 * (end - 1) for end in (verdict.difference, verdict.low, verdict.high))
    spans = low <= limit <= high
    why = f"against {reference.name}, {verdict.why}"
    if spans:
        why += "; the limit lies inside the interval: repeated runs would tell"
    if others := [reason.text for reason in reasons(reference, side) if reason.of_settings]:
        why += f"; not under the same conditions: {' '.join(others)}"
    figure = f"{text.signed(slower)} % ({text.signed(low)} to {text.signed(high)})"
    return Gate(side.name, name, said, figure, _no_more(slower, limit), why, spans, slower, limit)


def _no_baseline(side: Side) -> str:
    target = text.clean(side.run.meta.target.name)
    return f"there is no model on {target} to measure it against"


def _apart(reference: Side, side: Side, codes: Container[str]) -> str:
    """What the two do not have in common, of these; empty where they do."""
    found = [r.text for r in reasons(reference, side) if r.of_settings and r.code in codes]
    return f"not under the same conditions as {reference.name}: {' '.join(found)}" if found else ""


def _doubts(side: Side) -> Gate:
    found = [doubt for doubt in side.doubts if doubt.level == "warning"]
    codes = ", ".join(dict.fromkeys(doubt.code for doubt in found))
    why = " ".join(text.clean(doubt.text) for doubt in found)
    return Gate(side.name, "doubts", "none", codes or "none", not found, why)


def _at_least(
    side: Side,
    name: str,
    limit: float,
    value: float | None,
    written: Callable[[float], str],
    missing: str,
) -> Gate:
    said = f"at least {written(limit)}"
    return _kept(side, name, said, limit, value, written, missing, lambda v: _no_more(limit, v))


def _at_most(
    side: Side,
    name: str,
    limit: float,
    value: float | None,
    written: Callable[[float], str],
    missing: str,
) -> Gate:
    said = f"at most {written(limit)}"
    return _kept(side, name, said, limit, value, written, missing, lambda v: _no_more(v, limit))


def _kept(
    side: Side,
    name: str,
    said: str,
    limit: float,
    value: float | None,
    written: Callable[[float], str],
    missing: str,
    keeps: Callable[[float], bool],
) -> Gate:
    """A gate of one figure; one that is unknown never passes."""
    if value is None:
        return _unknown(side, name, said, limit, missing)
    return Gate(side.name, name, said, written(value), keeps(value), value=value, bound=limit)


def _no_more(value: float, limit: float) -> bool:
    """As written, not as rounded: a drop of exactly the limit passes."""
    return value <= limit + 1e-9


def _unknown(side: Side, name: str, limit: str, bound: float, why: str) -> Gate:
    said = f"unknown: {why}"
    return Gate(side.name, name, limit, text.UNKNOWN, passed=False, why=said, bound=bound)


def _bytes(value: float) -> str:
    return f"{value / _MB:.1f} MB"
