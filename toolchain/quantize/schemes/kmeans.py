"""One-dimensional k-means of many rows at once, deterministic and close to the optimum.

Sorted rows with running sums make the error of any run of values a few look-ups.  Three steps:

1. Candidates for the limits between clusters, as dense as the cube root of the weights' density,
   which is optimal for many levels (Panter and Dite, "Quantization distortion in pulse-count
   modulation with nonuniform spacing of levels", 1951).
2. The best limits among them by dynamic programming (Wang and Song, "Ckmeans.1d.dp", R Journal
   3/2, 2011; there every value is a candidate).
3. Lloyd's iteration from there (Lloyd, "Least squares quantization in PCM", 1982).
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.granularity import FloatArray
from toolchain.quantize.search import blocks

Doubles = NDArray[np.float64]
Places = NDArray[np.intp]

ITERATIONS: Final = 100
"""At most; rows have settled well before."""

CANDIDATES: Final = 128
"""Limits that the dynamic programme chooses from; time grows with the square."""

SCRATCH: Final = CANDIDATES**2 // 2

FEW: Final = 16
"""Up to so many levels the dynamic programme pays; beyond, the start is good and it is slow."""

APART: Final = 4.0
"""Rows in -1..1 that lie so far apart are one sorted array."""


@dataclasses.dataclass(frozen=True)
class _Sorted:
    """values: float64 [R, n], ascending in each row.

    mass, moment, square: float64 [R, n + 1], running sums of importance, of importance x value
    and of importance x value^2.
    """

    values: Doubles
    mass: Doubles
    moment: Doubles
    square: Doubles

    def up_to(self, ends: Places) -> tuple[Doubles, Doubles]:
        """Mass and moment of each run between neighbours of ends [R, m]: float64 [R, m - 1]."""
        mass = np.take_along_axis(self.mass, ends, axis=1)
        moment = np.take_along_axis(self.moment, ends, axis=1)
        return np.diff(mass, axis=1), np.diff(moment, axis=1)


def kmeans(rows: FloatArray, weight: FloatArray | None, count: int) -> FloatArray:
    """`count` levels for each row, ascending: float32 [R, count].

    rows: float32 [R, n] in -1..1.  weight: importance, float32 [R, n] or [1, n], none below 0.
    A row of fewer values than levels repeats some.
    """
    parts = []
    for block in blocks(rows, scratch=SCRATCH):
        here = weight if weight is None or len(weight) == 1 else weight[block]
        found = _sorted(rows[block], here)
        parts.append(_lloyd(found, _start(found, count)))
    return np.sort(np.concatenate(parts).astype(np.float32), axis=1)


def _sorted(rows: FloatArray, weight: FloatArray | None) -> _Sorted:
    if weight is None:
        values, mass = np.sort(rows, axis=1), np.ones(1, np.float32)
    else:
        values, mass = _sorted_pairs(rows, np.broadcast_to(weight, rows.shape))
    exact = values.astype(np.float64)
    wide = np.broadcast_to(mass, rows.shape).astype(np.float64)
    moment = wide * exact
    return _Sorted(exact, _running(wide), _running(moment), _running(moment * exact))


def _sorted_pairs(values: FloatArray, mass: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pairs by value, then by mass, so that the order in which they came leaves no trace.

    The bits of a float32 of 0 or more are ordered as it is; below 0 they are turned round.  Both
    fit in one number of 64 bits, which sorts faster than an index does.
    """
    bits = values.view(np.uint32)
    ordered = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    pairs = ordered.astype(np.uint64) << np.uint64(32)
    pairs |= np.ascontiguousarray(mass).view(np.uint32)
    pairs.sort(axis=1)
    ordered = (pairs >> np.uint64(32)).astype(np.uint32)
    bits = ordered ^ np.where(ordered >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return bits.view(np.float32), (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)


def _running(values: Doubles) -> Doubles:
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _start(found: _Sorted, count: int) -> Doubles:
    rows, length = found.values.shape
    if count > FEW:
        return _means(found, _dense(found, count))
    if length > CANDIDATES:
        ends = _dense(found, CANDIDATES)
    else:
        ends = np.tile(np.arange(length + 1), (rows, 1))
    return _means(found, np.take_along_axis(ends, _best_limits(found, ends, count), axis=1))


def _dense(found: _Sorted, count: int) -> Places:
    """Limits [R, count + 1] from 0 to n with equal shares of the cube root of the density.

    A density f spends f^(1/3) dx on dx; between neighbours f is importance / dx.
    """
    rows, length = found.values.shape
    gaps = np.diff(found.values, axis=1, prepend=found.values[:, :1])
    spent = _running(np.cbrt(gaps * gaps * np.diff(found.mass, axis=1)))
    total = spent[:, -1:]
    shares = np.linspace(0, 1, count + 1)
    ends = _search(spent / np.where(total > 0, total, 1), np.tile(shares, (rows, 1)))
    ends[:, 0], ends[:, -1] = 0, length
    return np.minimum(ends, length)


def _best_limits(found: _Sorted, ends: Places, count: int) -> Places:
    """Which of ends [R, m] bound `count` clusters with the least error: [R, count + 1]."""
    sums = (np.take_along_axis(s, ends, axis=1) for s in (found.mass, found.moment, found.square))
    mass, moment, square = (s[:, :, None] - s[:, None, :] for s in sums)
    # A run of one value costs nothing, whatever rounding says.
    cost = np.maximum(square - moment * moment / np.where(mass > 0, mass, 1), 0)
    impossible = np.triu(np.ones(cost.shape[1:], bool), 1)
    cost = np.where(impossible, np.inf, cost).astype(np.float32)
    best, choices = cost[:, :, 0], []
    for _ in range(count - 1):
        through = cost + best[:, None, :]
        choices.append(through.argmin(axis=2))
        best = np.take_along_axis(through, choices[-1][..., None], axis=2)[..., 0]
    limits = [np.full((len(ends), 1), ends.shape[1] - 1, np.intp)]
    for choice in reversed(choices):
        limits.append(np.take_along_axis(choice, limits[-1], axis=1))
    limits.append(np.zeros((len(ends), 1), np.intp))
    return np.concatenate(limits[::-1], axis=1)


def _means(found: _Sorted, ends: Places) -> Doubles:
    """The mean of each run; of an empty one the value where it lies."""
    mass, moment = found.up_to(ends)
    there = np.minimum(ends[:, :-1], found.values.shape[1] - 1)
    value = np.take_along_axis(found.values, there, axis=1)
    return np.where(mass > 0, moment / np.where(mass > 0, mass, 1), value)


def _lloyd(found: _Sorted, levels: Doubles) -> Doubles:
    rows, length = found.values.shape
    ends = np.zeros((rows, levels.shape[1] + 1), np.intp)
    ends[:, -1] = length
    for _ in range(ITERATIONS):
        inside = _search(found.values, (levels[:, 1:] + levels[:, :-1]) / 2)
        if np.array_equal(inside, ends[:, 1:-1]):
            break
        ends[:, 1:-1] = inside
        mass, moment = found.up_to(ends)
        levels = np.where(mass > 0, moment / np.where(mass > 0, mass, 1), levels)
    return levels


def _search(values: Doubles, keys: Doubles) -> Places:
    """How many values [R, n], ascending within -1..1, are at most each key: [R, m]."""
    rows, length = values.shape
    offset = APART * np.arange(rows)[:, None]
    flat = np.searchsorted((values + offset).ravel(), (keys + offset).ravel(), side="right")
    return flat.reshape(keys.shape) - length * np.arange(rows)[:, None]
