"""Quantiles of Student's t for whole degrees of freedom, where SciPy is not to be had."""

from __future__ import annotations

import math
from typing import Final

_STEPS: Final = 200  # of bisection: far below a double's last digit
_MOST: Final = 1e9


def within(t: float, freedom: int) -> float:
    """Probability that |T| <= `t`, by finite sums (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom % 2:
        term, total = cosine, 0.0
        for k in range(1, freedom, 2):
            total += term
            term *= cosine * cosine * (k + 1) / (k + 2)
        return (angle + sine * total) * 2 / math.pi
    term, total = 1.0, 0.0
    for k in range(0, freedom, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return sine * total


def quantile(freedom: int, level: float = 0.95) -> float:
    """The t for which |T| <= t with probability `level` (0 to 1), `freedom` 1 or more."""
    if freedom < 1 or not 0 < level < 1:
        raise ValueError("a t quantile needs a degree of freedom and a level between 0 and 1")
    low, high = 0.0, _MOST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if within(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high
