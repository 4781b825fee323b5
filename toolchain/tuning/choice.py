"""Which of several ways to place threads is the best, from short runs in turn.

Rounds are blocks: each way runs once in every round, so that what drifts from round to round
(heat, other work) disturbs all alike and is taken out.  What is left over between ways and rounds
is the noise; two ways really differ where their means are further apart than Fisher's least
significant difference (Montgomery, Design and Analysis of Experiments, randomized complete block
design).  Times are compared by their logarithms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.compare import student
from toolchain.tuning.candidates import Placement

ALIKE: Final = 0.02
"""A difference up to this is not worth more threads, however real."""
MOST_NOISE: Final = 0.10
"""A difference above this counts, however noisy the board is."""
HOPELESS: Final = 2.0
"""What takes so many times the best's time in its first run is not run again."""
_FREEDOM: Final = 3  # degrees of freedom that the noise is estimated with, at least
_LEVEL: Final = 0.95


@dataclasses.dataclass(frozen=True)
class Trial:
    """medians_ns: of each of its runs, one a round."""

    placement: Placement
    medians_ns: tuple[float, ...]

    @property
    def mean_ns(self) -> float:
        """Geometric mean."""
        return float(np.exp(np.mean(np.log(self.medians_ns))))


@dataclasses.dataclass(frozen=True)
class Choice:
    """noise: the share by which means must differ to differ really; None for a single way."""

    placement: Placement
    noise: float | None


def rounds(ways: int) -> int:
    """How many rounds tell so many ways apart: two, more where there are few ways."""
    return 1 if ways < 2 else max(2, 1 + math.ceil(_FREEDOM / (ways - 1)))


def contenders(trials: Sequence[Trial]) -> list[Trial]:
    """Those that are not hopeless after their first run."""
    best = min(trial.medians_ns[0] for trial in trials)
    return [trial for trial in trials if trial.medians_ns[0] <= HOPELESS * best]


def choose(trials: Sequence[Trial]) -> Choice:
    """The fastest, or one with fewer threads that is not worse by ALIKE or by more than noise.

    Of as many threads the one that binds to no CPUs, then the faster.  trials: one or more.
    """
    most = max(len(trial.medians_ns) for trial in trials)
    left = [trial for trial in trials if len(trial.medians_ns) == most]
    logs = np.log([trial.medians_ns for trial in left])
    noise = _least_difference(logs)
    allowed = math.log1p(max(ALIKE, min(noise or 0.0, MOST_NOISE)))
    means = logs.mean(axis=1)
    good = [index for index in range(len(left)) if means[index] - means.min() <= allowed]

    def cost(index: int) -> tuple[int, bool, float]:
        placement = left[index].placement
        return placement.threads, bool(placement.cpus), float(means[index])

    return Choice(left[min(good, key=cost)].placement, noise)


def _least_difference(logs: NDArray[np.float64]) -> float | None:
    """As a share.  logs: [ways, rounds]; None with one of either."""
    ways, count = logs.shape
    freedom = (ways - 1) * (count - 1)
    if freedom < 1:
        return None
    rest = logs - logs.mean(axis=1, keepdims=True) - logs.mean(axis=0, keepdims=True) + logs.mean()
    variance = float((rest**2).sum()) / freedom
    return math.expm1(student.quantile(freedom, _LEVEL) * math.sqrt(2 * variance / count))
