"""How far apart the times of two models are, and how sure that is: a ratio with its interval.

Runs are compared by the logarithm of the lower quartile of their times: what disturbs a run can
only slow it down, so that its quicker half says more of the model (Chen and Revels, arXiv
1608.04295, go as far as the minimum); on a quiet board quartile and median are alike.

What a run cannot show of itself is the drift from one run to the next (other work on the machine,
heat, where memory came to lie: Mytkowicz and others, ASPLOS 2009; Kalibera and Jones, ISMM 2013).
So there are two ways.

Runs are the blocks where there are three or more of each model: Student's interval of the mean
log ratio, over the rounds of A B A B where they ran in turn, else of two samples (Welch).

Of one run each the drift is estimated from inside the run, from three parts:

- its slow part: how much the quartiles of SEGMENTS stretches of the run differ.  Not divided by
  their number: for noise whose power goes with 1/f two neighbouring stretches differ as much as
  two neighbouring runs do, however long they are (Allan, Proceedings of the IEEE 54, 1966);
- its disturbance: how far the quartile is above the quickest inference.  It can only slow a run
  down, so that it widens the interval on one side: another run might have had none of it;
- SETTLED: by how much two runs of one model differ on a machine that does nothing else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.compare import student

LEVEL: Final = 0.95
CENTRE: Final = 0.25
SETTLED: Final = 0.02  # standard deviation of the log of one run's quartile
SEGMENTS: Final = 6
FEWEST_TIMES: Final = 12  # of a run: two for each segment
ENOUGH_RUNS: Final = 3
_NORMAL: Final = 1.96  # |z| <= 1.96 with 95 %
_MOST: Final = 700.0  # a logarithm beyond which a double ends
_TAIL: Final = 0.1  # of the images: with fewer, what is odd about single ones decides

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Span:
    """B's time as a multiple of A's, its 95 % interval, and how it was come to in words."""

    ratio: float
    low: float
    high: float
    how: str

    @property
    def real(self) -> bool:
        """Whether 1 lies outside."""
        return not self.low <= 1 <= self.high


@dataclasses.dataclass(frozen=True, eq=False)
class Timed:
    """The times of one run in the order measured, any unit; began: orders runs of one boot."""

    times: Floats
    boot: str | None = None
    began: int = 0


def span(a: Sequence[Timed], b: Sequence[Timed]) -> Span | None:
    """From runs of A and runs of B; None with fewer than FEWEST_TIMES times on a side."""
    if not a or not b or any(np.min(run.times, initial=1) <= 0 for run in (*a, *b)):
        return None  # a clock that stood still
    a, b = (sorted(side, key=lambda run: run.began) for side in (a, b))
    if min(len(a), len(b)) >= ENOUGH_RUNS:
        ours, theirs = (np.log([centre(run.times) for run in side]) for side in (a, b))
        if in_turn(a, b):
            return of_rounds(theirs - ours)
        return of_samples(ours, theirs)
    ours, theirs = (np.concatenate([run.times for run in side]) for side in (a, b))
    if min(len(ours), len(theirs)) < FEWEST_TIMES:
        return None
    return of_one_each(np.log(ours), np.log(theirs))


def centre(times: Floats) -> float:
    """What a run is compared by: the lower quartile of its times."""
    return float(np.quantile(times, CENTRE))


def in_turn(a: Sequence[Timed], b: Sequence[Timed]) -> bool:
    """Whether the runs, in the order of time, are rounds of one A and one B, in one boot."""
    boots = {run.boot for run in (*a, *b)}
    if len(a) != len(b) or len(boots) != 1 or None in boots:
        return False
    order = sorted([(run.began, "a") for run in a] + [(run.began, "b") for run in b])
    return all(one[1] != other[1] for one, other in zip(order[::2], order[1::2], strict=True))


def of_rounds(logs: Floats) -> Span:
    """From the log ratios of rounds, two or more: Student's interval of their mean."""
    half = student.quantile(len(logs) - 1, LEVEL) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    how = f"{len(logs)} rounds in turn, each run counted once"
    return _around(float(logs.mean()), half, half, how)


def of_samples(a: Floats, b: Floats) -> Span:
    """From the log quartiles of runs that were not in turn: Welch's interval, SETTLED added.

    What drifts between the two groups is in none of the two, so that it cannot be narrower than
    runs on an idle machine are.
    """
    parts = [float(side.var(ddof=1)) / len(side) for side in (a, b)]
    total = sum(parts)
    under = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True))
    freedom = max(1, int(total**2 / under)) if under > 0 else len(a) + len(b) - 2
    squares = student.quantile(freedom, LEVEL) ** 2 * total + 2 * (_NORMAL * SETTLED) ** 2
    half = math.sqrt(squares)
    how = f"{len(a)} and {len(b)} runs, not in turn, each counted once"
    return _around(float(b.mean() - a.mean()), half, half, how)


def of_one_each(a: Floats, b: Floats) -> Span:
    """From the logs of the times of one run each."""
    squares = slow_variance(a, CENTRE) + slow_variance(b, CENTRE)
    below, above = (centre(side) - float(side.min()) for side in (b, a))
    how = "one run each: drift between runs is estimated from inside them"
    difference = centre(b) - centre(a)
    return _around(difference, _widened(squares, below), _widened(squares, above), how)


def of_images(a: Floats, b: Floats, drift: float = 0.0) -> Span | None:
    """From the times of the same images in one run each, in the order run.

    The images' own differences cancel in each ratio; what disturbed a run shows in their tails.
    drift: by how much more one side's inferences slowed down than the other's, from when the model
    alone was timed to the images, as a logarithm: a few images are over too soon to show it.
    """
    if len(a) < FEWEST_TIMES or min(np.min(a, initial=1), np.min(b, initial=1)) <= 0:
        return None
    logs = np.log(b) - np.log(a)
    low, middle, high = np.quantile(logs, [_TAIL, 0.5, 1 - _TAIL])
    slow = slow_variance(logs, 0.5)
    how = "one run each, over the same images: drift between runs is estimated from inside them"
    return _around(
        float(middle),
        math.hypot(_widened(slow, middle - low), _NORMAL * drift),
        math.hypot(_widened(slow, high - middle), _NORMAL * drift),
        how,
    )


def slow_variance(logs: Floats, share: float) -> float:
    """Of that quantile of SEGMENTS stretches, in turn."""
    found = [float(np.quantile(stretch, share)) for stretch in np.array_split(logs, SEGMENTS)]
    return float(np.var(found, ddof=1))


def _widened(slow: float, disturbed: float) -> float:
    t = student.quantile(SEGMENTS - 1, LEVEL)
    settled = 2 * (_NORMAL * SETTLED) ** 2
    return math.sqrt(t * t * slow + (_NORMAL * float(disturbed)) ** 2 + settled)


def _around(difference: float, below: float, above: float, how: str) -> Span:
    ends = (difference, difference - below, difference + above)
    ratio, low, high = (math.exp(min(max(end, -_MOST), _MOST)) for end in ends)
    return Span(ratio, low, high, how)
