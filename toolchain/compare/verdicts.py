"""Figure by figure: is B really different from A, or is that noise?

Every interval is of 95 %: of twenty comparisons of a model with itself about one says "different"
for a figure that scatters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np

from targets.agent import wire
from toolchain.compare import spans, student
from toolchain.compare.accuracy import FEWEST_IMAGES, Accuracies, accuracies
from toolchain.compare.conditions import Reason, reasons
from toolchain.compare.sides import Side, boot_of
from toolchain.recorded import Run

MEMORY_BYTES: Final = 2 * 2**20  # by which the peak of one model differs from run to run, at most
MEMORY_SHARE: Final = 0.02
BLUNT: Final = 1.25  # half an interval of a ratio that is told to be too wide


class Outcome(StrEnum):
    """What can be said of one figure."""

    DIFFERENT = "different"
    SAME = "no difference"
    UNKNOWN = "unknown"
    ERROR = "error"  # the two cannot be compared in this


class Unit(StrEnum):
    """Of the two figures.  A difference of times is a ratio, B / A; others are B - A."""

    POINTS = "points"
    MS = "ms"
    BYTES = "bytes"

    @property
    def by_ratio(self) -> bool:
        """Whether differences are ratios."""
        return self is Unit.MS


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One figure of both.  difference, low, high: B - A, or B / A (`unit.by_ratio`).

    None where it is unknown; low and high are None too where the figure is exact.  why: how the
    outcome was come to, or why there is none.
    """

    figure: str
    unit: Unit
    outcome: Outcome
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def blunt(self) -> bool:
        """Whether no difference was seen that is not large: the runs were too noisy for more."""
        if self.outcome is not Outcome.SAME or not self.unit.by_ratio:
            return False
        return bool(self.low and self.high and (self.high / self.low) ** 0.5 > BLUNT)

    @property
    def better(self) -> bool | None:
        """Whether B is the better one; None where no difference is real."""
        if self.outcome is not Outcome.DIFFERENT or self.difference is None:
            return None
        if self.unit is Unit.POINTS:
            return self.difference > 0
        return self.difference < (1 if self.unit.by_ratio else 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two models compared.  reasons: not to compare their figures, or to trust them."""

    a: Side
    b: Side
    reasons: tuple[Reason, ...]
    verdicts: tuple[Verdict, ...]
    agreement: float | None = None

    @property
    def different(self) -> tuple[Verdict, ...]:
        """The figures in which the two really differ."""
        return tuple(v for v in self.verdicts if v.outcome is Outcome.DIFFERENT)

    @property
    def same_file(self) -> bool:
        """Whether both ran the same model file."""
        return self.a.figures.model.sha256 == self.b.figures.model.sha256

    def verdict(self, figure: str) -> Verdict:
        """That of one figure."""
        return next(v for v in self.verdicts if v.figure == figure)


def judge(a: Side, b: Side) -> Pair:
    """All that can be said of two models."""
    accuracy = accuracies(a, b)
    return Pair(
        a,
        b,
        reasons(a, b),
        (_ap(accuracy), latency_verdict(a, b), _end_to_end(a, b), _memory(a, b), _file(a, b)),
        accuracy.agreement,
    )


def _ap(found: Accuracies) -> Verdict:
    if found.problem:
        outcome = Outcome.ERROR if found.other_pictures else Outcome.UNKNOWN
        return Verdict("AP", Unit.POINTS, outcome, why=found.problem)
    if found.a is None or found.b is None:
        return Verdict("AP", Unit.POINTS, Outcome.UNKNOWN, why="no object to find on these images")
    images = f"{found.images} images"
    verdict = Verdict(
        "AP",
        Unit.POINTS,
        Outcome.UNKNOWN,
        found.a,
        found.b,
        found.b - found.a,
        found.low,
        found.high,
        f"paired bootstrap over {images}",
    )
    if found.low is None or found.high is None or found.images < FEWEST_IMAGES:
        why = f"{images} are too few to tell: {FEWEST_IMAGES} or more"
        return dataclasses.replace(verdict, why=why)
    within = found.low <= 0 <= found.high
    return dataclasses.replace(verdict, outcome=Outcome.SAME if within else Outcome.DIFFERENT)


def latency_verdict(a: Side, b: Side) -> Verdict:
    """On the model alone: the ratio of lower quartiles (`spans` says why)."""
    ours, theirs = ([_timed(run) for run in side.runs] for side in (a, b))
    span = spans.span([t for t in ours if t.times.size], [t for t in theirs if t.times.size])
    return _of_span("latency", span, _quartile_ms(ours), _quartile_ms(theirs))


def _end_to_end(a: Side, b: Side) -> Verdict:
    shared = set.intersection(*(set(_totals(run)) for side in (a, b) for run in side.runs))
    common = [image for image in _totals(a.run) if image in shared]
    ours, theirs = ([_over(run, common) for run in side.runs] for side in (a, b))
    if common and min(len(ours), len(theirs)) >= spans.ENOUGH_RUNS:
        span = spans.span(*_beside_typical(ours, theirs))
    else:
        drift = abs(_slowed_down(a.run, common) - _slowed_down(b.run, common))
        span = spans.of_images(ours[0].times, theirs[0].times, drift)
    return _of_span("end to end", span, _mean_ms(ours), _mean_ms(theirs))


def _slowed_down(run: Run, images: Sequence[str]) -> float:
    """Logarithm of the median inference over images as a multiple of that of the model alone."""
    chosen = set(images)
    over = [r.inference_ns for r in run.of(wire.Detected) if r.image in chosen]
    alone = _timed(run).times
    if not over or not alone.size or min(np.min(over), alone.min()) <= 0:
        return 0.0
    return float(np.log(np.median(over) / np.median(alone)))


def _beside_typical(
    a: Sequence[spans.Timed], b: Sequence[spans.Timed]
) -> tuple[list[spans.Timed], list[spans.Timed]]:
    """Times as multiples of what each image takes on average: images differ, which is no noise."""
    every = np.array([run.times for run in (*a, *b)])
    with np.errstate(divide="ignore", invalid="ignore"):
        typical = np.exp(np.log(every).mean(axis=0))
        scaled = [np.nan_to_num(run.times / typical) for run in (*a, *b)]
    runs = [dataclasses.replace(r, times=t) for r, t in zip((*a, *b), scaled, strict=True)]
    return runs[: len(a)], runs[len(a) :]


def _of_span(figure: str, span: spans.Span | None, a: float | None, b: float | None) -> Verdict:
    if span is None:
        why = f"not timed by both, or less than {spans.FEWEST_TIMES} times"
        return Verdict(figure, Unit.MS, Outcome.UNKNOWN, a, b, why=why)
    outcome = Outcome.DIFFERENT if span.real else Outcome.SAME
    return Verdict(figure, Unit.MS, outcome, a, b, span.ratio, span.low, span.high, span.how)


def _memory(a: Side, b: Side) -> Verdict:
    """Peaks of one run each are told apart beyond a stated resolution, which repeats refine."""
    ours, theirs = (
        np.array([peak for run in side.runs if (peak := _peak(run))], np.float64) for side in (a, b)
    )
    if not (ours.size and theirs.size):
        why = "the board did not say how much memory both took"
        return Verdict("peak memory", Unit.BYTES, Outcome.UNKNOWN, why=why)
    one, other = float(np.median(ours)), float(np.median(theirs))
    half = max(MEMORY_BYTES, MEMORY_SHARE * max(one, other))
    why = "VmHWM; one model's own differs by up to 2 MiB or 2 % from run to run"
    if min(ours.size, theirs.size) >= spans.ENOUGH_RUNS:
        half = max(half, _welch(ours, theirs))
        why = f"VmHWM of {ours.size} and {theirs.size} runs; less than 2 MiB or 2 % is not told"
    difference = other - one
    outcome = Outcome.DIFFERENT if abs(difference) > half else Outcome.SAME
    low, high = difference - half, difference + half
    return Verdict("peak memory", Unit.BYTES, outcome, one, other, difference, low, high, why)


def _file(a: Side, b: Side) -> Verdict:
    one, other = a.figures.model, b.figures.model
    outcome = Outcome.SAME if one.file_bytes == other.file_bytes else Outcome.DIFFERENT
    same = one.sha256 == other.sha256
    return Verdict(
        "file",
        Unit.BYTES,
        outcome,
        one.file_bytes,
        other.file_bytes,
        other.file_bytes - one.file_bytes,
        why="exact; the same file" if same else "exact; another file",
    )


def _welch(a: spans.Floats, b: spans.Floats) -> float:
    """Half a 95 % interval of the difference of means, with the fewer degrees of freedom."""
    squares = sum(float(side.var(ddof=1)) / len(side) for side in (a, b))
    return student.quantile(min(len(a), len(b)) - 1, spans.LEVEL) * float(np.sqrt(squares))


def _timed(run: Run) -> spans.Timed:
    times = np.array([record.inference_ns for record in run.of(wire.Timed)], np.float64)
    return spans.Timed(times, *boot_of(run, wire.Timed))


def _totals(run: Run) -> dict[str, int]:
    """Nanoseconds of each image, end to end."""
    return {
        r.image: r.decode_ns + r.letterbox_ns + r.inference_ns + r.boxes_ns
        for r in run.of(wire.Detected)
        if r.boxes_ns is not None
    }


def _over(run: Run, images: Sequence[str]) -> spans.Timed:
    """Its times of these images, in their order."""
    totals = _totals(run)
    times = [totals[image] for image in images]
    return spans.Timed(np.array(times, np.float64), *boot_of(run, wire.Detected))


def _peak(run: Run) -> int | None:
    peak = run.last(wire.Peak)
    return peak.memory.hwm_bytes if peak else None


def _quartile_ms(runs: Sequence[spans.Timed]) -> float | None:
    """Of each run, and of several the geometric mean."""
    found = [spans.centre(run.times) for run in runs if run.times.size]
    return float(np.exp(np.mean(np.log(found)))) / 1e6 if found and min(found) > 0 else None


def _mean_ms(runs: Sequence[spans.Timed]) -> float | None:
    means = [float(run.times.mean()) for run in runs if run.times.size]
    return float(np.mean(means)) / 1e6 if means else None
