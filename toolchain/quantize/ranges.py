"""The int8 range that keeps most of what a tensor says, by the histogram of its values.

Minimises the sum of squared differences between what the float tensor and its quantized self
become in the eyes of their reader, over tensors that share one scale.  For a code k that stands
for the values of an interval, and with f the reader,

    sum_k sum_{x in interval k} n(x) (f(x) - f(level_k))^2
        = sum_k  S2_k - 2 f(level_k) S1_k + f(level_k)^2 S0_k

where S0, S1, S2 are sums of n, n f and n f^2: differences of running sums at the intervals' ends,
so that a candidate costs 255 look-ups whatever the histogram's size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.histogram import centres
from toolchain.quantize.scales import HIGHEST, LOWEST, STEPS, Scale, affine, covering, decibels

FloatArray = NDArray[np.float64]
Reader = Literal["value", "silu", "logit"]

SILENT_LOGIT: Final = -8.0
"""A score is a product of two sigmoids: at a logit below -8 it is under 0.0004, never reported."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """A histogram of one tensor, and the eyes that read it.

    counts: float64 [histogram.BINS], of values in all of the tensor.
    low, high: extremes of the values.
    reader "value": the number itself.  "silu": x * sigmoid(x), as the runtime computes it in int8.
    "logit": the number, but all that is below SILENT_LOGIT is one.
    """

    counts: FloatArray
    low: float
    high: float
    reader: Reader = "value"


@dataclasses.dataclass(frozen=True)
class Choice:
    """A range and what it costs.

    sqnr_db: signal to quantization noise of the sources together, as their readers see them;
    None where there is no signal or no noise.
    """

    scale: Scale
    sqnr_db: float | None


def choose(sources: Sequence[Seen]) -> Choice:
    """One range for all sources.  Raises NotFinite."""
    low = min(0.0, *(source.low for source in sources))
    high = max(0.0, *(source.high for source in sources))
    widest = covering(low, high)
    sums = [_Sums(source) for source in sources]
    best = (low, high)
    lows, highs = _fractions(low), _fractions(high)
    for _ in range(_ROUNDS):
        pairs = np.array([(a, b) for a in lows for b in highs])
        pairs = pairs[pairs[:, 1] > pairs[:, 0]]
        if not len(pairs):  # always 0: nothing to choose
            return Choice(widest, None)
        errors = _errors(sums, pairs)
        best = tuple(pairs[int(np.argmin(errors))].tolist())
        lows, highs = _around(lows, best[0]), _around(highs, best[1])
    scale = covering(*best)
    noise = float(_errors(sums, np.array([best]))[0])
    signal = sum(float(part.squares[-1]) for part in sums)
    return Choice(scale, decibels(signal, noise))


_ROUNDS: Final = 4
_GRID: Final = 32
_FINE: Final = 9
_SMALLEST: Final = 1 / 64


def _fractions(extreme: float) -> FloatArray:
    """Candidates from the extreme itself to a 64th of it, evenly in ratio."""
    if extreme == 0:
        return np.zeros(1)
    return extreme * np.geomspace(1.0, _SMALLEST, _GRID)


def _around(candidates: FloatArray, best: float) -> FloatArray:
    """A finer grid between the best candidate's neighbours."""
    place = int(np.argmin(np.abs(candidates - best)))
    first, last = candidates[max(place - 1, 0)], candidates[min(place + 1, len(candidates) - 1)]
    return np.asarray(np.unique(np.append(np.linspace(first, last, _FINE), best)))


class _Sums:
    """Running sums of one source: over bins 0 to i-1 at index i."""

    def __init__(self, source: Seen) -> None:
        kept = np.flatnonzero(source.counts)
        values = np.clip(centres()[kept], source.low, source.high)
        n, f = source.counts[kept], read(values, source.reader, exact=True)
        self.values = values
        self.reader = source.reader
        self.count, self.sum, self.squares = (_running(n * f**power) for power in (0, 1, 2))


def _running(terms: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(terms)])


def _errors(sources: Sequence[_Sums], pairs: FloatArray) -> FloatArray:
    """Sum of squared errors of each (low, high): float64 [candidates]."""
    scale, zero = affine(pairs)
    codes = np.arange(LOWEST, HIGHEST + 1)
    levels = scale[:, None] * (codes[None, :] - zero[:, None])
    edges = (levels[:, 1:] + levels[:, :-1]) / 2
    total = np.zeros(len(pairs))
    for source in sources:
        inner = np.searchsorted(source.values, edges)
        ends = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, len(source.values))))
        f = read(levels, source.reader, exact=False)
        s0, s1, s2 = (np.diff(sums[ends]) for sums in (source.count, source.sum, source.squares))
        total += (s2 - 2 * f * s1 + f**2 * s0).sum(axis=1)
    return np.maximum(total, 0.0)


def read(values: FloatArray, reader: Reader, *, exact: bool) -> FloatArray:
    """What a reader makes of values; not exact: as the int8 kernels make it.

    There SiLU is LOGISTIC, which gives 256 steps over 0..1, times the value.
    """
    if reader == "logit":
        return np.asarray(np.maximum(values, SILENT_LOGIT))
    if reader == "silu":
        gate = 1 / (1 + np.exp(-np.clip(values, -80, 80)))
        return values * (gate if exact else np.minimum(np.rint(gate * 256), STEPS) / 256)
    return values
