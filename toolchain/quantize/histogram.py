"""Counts of float32 values in bins of constant relative width, in memory that never grows.

A bin is what is left of a float32 when all but the sign, the exponent and the first 10 bits of the
fraction are dropped: no range has to be known beforehand, one pass is enough, counts of several
images simply add up, and every bin is at most 1/1024 of its value wide.  At the end of an 8-bit
range that is a quarter of a step.  Values below 2**-24 count as 0, those of 2**16 and more as the
largest bin.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS: Final = 10
_SHIFT: Final = 23 - FRACTION_BITS
_LOWEST_EXPONENT: Final = -24
_EXPONENTS: Final = 40
_FIRST: Final = (127 + _LOWEST_EXPONENT) << FRACTION_BITS
_SIDE: Final = _EXPONENTS << FRACTION_BITS

BINS: Final = 2 * _SIDE + 1
"""Negative values first, the most negative in bin 0; 0 in the middle: 81,921 bins."""


def count(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of the values fall in each bin: int64 [BINS].

    values: float32 of any shape, finite.
    """
    return np.bincount(place(values), minlength=BINS)


def place(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bin of each value: int32, flat."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).ravel()
    side = (bits & np.uint32(0x7FFFFFFF)) >> np.uint32(_SHIFT)
    steps = np.clip(side.astype(np.int32) - (_FIRST - 1), 0, _SIDE)
    return np.asarray(np.where(bits >> np.uint32(31), -steps, steps) + _SIDE, np.int32)


def centres() -> NDArray[np.float64]:
    """The real number that stands for each bin, ascending: float64 [BINS]."""
    codes = np.arange(_FIRST, _FIRST + _SIDE, dtype=np.uint32)
    lower = (codes << np.uint32(_SHIFT)).view(np.float32).astype(np.float64)
    upper = ((codes + np.uint32(1)) << np.uint32(_SHIFT)).view(np.float32).astype(np.float64)
    positive = (lower + upper) / 2
    return np.concatenate([-positive[::-1], [0.0], positive])
