"""Between which bounds a percentile lies: by order statistics, for times that hang together.

How many of n independent times lie below the true percentile is binomial, whatever the times'
distribution (Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2): two of the
sorted times are the bounds.  Times that follow each other are alike, so n is first divided by
their correlation time (Geyer, Statistical Science 7, 1992: sum of autocorrelations up to the
first pair that is not positive).  Where n is too small for a bound there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bounds = tuple[float | None, float | None]

LEVEL: Final = 0.95
_FEWEST = 8  # times in which a correlation can be looked for
_LONGEST = 1 / 4  # of all times: a longer correlation cannot be told from a trend
_TAILS = (0.1, 0.9)  # shares beyond which too few times are left to look for it


def interval(values: Sequence[float], share: float, level: float = LEVEL) -> Bounds:
    """Bounds of the percentile `share` (0 to 1) of what `values` were drawn from.

    values: in the order measured.  None for a bound that so many values cannot give.
    """
    times = np.asarray(values, np.float64)
    if not times.size:
        return None, None
    effective = max(1, int(times.size / correlation_time(times, share)))
    low, high = _ranks(effective, share, level)
    ordered = np.sort(times)
    return (
        None if low is None else float(ordered[(low - 1) * times.size // effective]),
        None if high is None else float(ordered[-(-high * times.size // effective) - 1]),
    )


def correlation_time(times: NDArray[np.float64], share: float = 0.5) -> float:
    """How many neighbours say as much as one independent value; 1 or more.

    Of being below the percentile `share`, so that single outliers do not decide.
    """
    if times.size < _FEWEST:
        return 1.0
    inner = min(max(share, _TAILS[0]), _TAILS[1])
    below = (times <= np.quantile(times, inner)).astype(np.float64)
    return _integrated(below - below.mean(), times.size * _LONGEST)


def _integrated(centred: NDArray[np.float64], longest: float) -> float:
    variance = float(centred @ centred)
    if variance <= 0:
        return 1.0
    size = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
    correlations = np.fft.irfft(spectrum)[:size] / variance
    pairs = correlations[: size - size % 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    kept = pairs[: negative[0]] if negative.size else pairs
    return float(min(max(1.0, 2 * kept.sum() - 1), longest))


def _ranks(count: int, share: float, level: float) -> tuple[int | None, int | None]:
    """Of the sorted values, from 1: the two that enclose the percentile at `level`."""
    below = np.cumsum([_binomial(count, k, share) for k in range(count + 1)])  # P(B <= k)
    tail = (1 - level) / 2
    low = int(np.searchsorted(below, tail, side="right"))  # P(B <= low - 1) <= tail
    high = int(np.searchsorted(below, 1 - tail, side="left")) + 1  # P(B >= high) <= tail
    return low or None, high if high <= count else None


def _binomial(count: int, k: int, share: float) -> float:
    ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
    return math.exp(ways + k * math.log(share) + (count - k) * math.log1p(-share))
