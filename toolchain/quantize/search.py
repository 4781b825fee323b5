"""Choosing scales: no clipping, or the smallest squared error, each weight by its importance.

    min-max     covers the largest weight
    mse         smallest sum of (w' - w)^2
    weighted    smallest sum of E[x_i^2] (w' - w)^2: the noise at the layer's output if its
                inputs are uncorrelated (the diagonal of GPTQ's Hessian)

Everything works on rows [R, G, n] (granularity.rows) and gives tables [R, G].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, get_args

import numpy as np

from toolchain.errors import NotFinite, OutOfRange, RecipeError
from toolchain.quantize.granularity import FloatArray, Granularity, Shape, rows_of_energy

Search = Literal["min-max", "mse", "weighted"]
SEARCHES: Final[tuple[Search, ...]] = get_args(Search)

Restore = Callable[..., FloatArray]
"""Rows [R, G, n], a candidate [R, G, 1], given tables [R, G, 1] -> the rows as they come back."""

BLOCK: Final = 1 << 17
"""Weights handled at a time: their temporaries stay in the cache."""

DEAD: Final = 2.0**-110
"""Rows that are nowhere larger count as zeros: a scale below 2**-126 would not be exact."""


def importance(
    search: Search, energy: FloatArray | None, shape: Shape, granularity: Granularity
) -> FloatArray | None:
    """What an error counts at each weight, [1 or R, G, n], its mean 1; None: all alike.

    energy: float [I], or broadcasting to the filter's shape; used by "weighted" only.  No weight
    counts less than a millionth of the mean, so that unused inputs do not leave scales undecided.
    Raises RecipeError ("weighted" without energy), NotFinite, OutOfRange (below 0, or a shape
    that is not the filter's).
    """
    if search != "weighted":
        return None
    if energy is None:
        raise RecipeError(
            "a weighted search needs second moments of the inputs",
            hint='Give a calibration, or search by "mse".',
        )
    if not np.isfinite(energy).all():
        raise NotFinite("second moments that are NaN or infinite", hint="Calibrate again.")
    if not _fits(energy.shape, shape) or energy.min() < 0:
        raise OutOfRange(
            f"second moments of shape {list(energy.shape)} that do not fit, or below 0",
            hint=f"Wanted: {shape[-1]} numbers, one an input channel, none below 0.",
        )
    mean = float(energy.mean(dtype=np.float64))
    relative = np.asarray(energy / mean if mean > 0 else np.ones_like(energy), np.float32)
    return rows_of_energy(np.maximum(relative, np.float32(1e-6)), shape, granularity)


def unit(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows over their largest absolute weight, and that: [R, G, n] in -1..1, and [R, G].

    A dead row comes back as zeros, its peak as 0.
    """
    peak = np.abs(rows).max(axis=-1)
    alive = peak >= DEAD
    divisor = np.where(alive, peak, np.float32(np.inf))
    return rows / divisor[..., None], np.where(alive, peak, np.float32(0))


def minimise(
    restore: Restore,
    rows: FloatArray,
    weight: FloatArray | None,
    *given: FloatArray,
    low: FloatArray,
    high: FloatArray,
    coarse: int = 16,
    fine: int = 8,
) -> FloatArray:
    """The candidate of each row with the smallest squared error: float32 [R, G].

    Looks at `coarse` candidates from `high` down to `low` in equal ratios, then at `fine` ones
    between the neighbours of the best; of equals the largest.  weight: as from `importance`.
    low, high: float32 [R, G], above 0.  given: more tables [R, G] for `restore`.
    """
    parts = []
    for block in blocks(rows):
        here = weight if weight is None or len(weight) == 1 else weight[block]
        tables = [table[block][..., None] for table in given]
        error = partial(_error, restore, rows[block], here, tables)
        parts.append(_minimise(error, low[block], high[block], coarse, fine))
    return np.concatenate(parts)


def choose(
    restore: Restore,
    rows: FloatArray,
    weight: FloatArray | None,
    candidates: list[FloatArray],
) -> FloatArray:
    """Of candidates [R, G] the one with the smallest squared error for each row; of equals the
    first."""
    parts = []
    for block in blocks(rows):
        here = weight if weight is None or len(weight) == 1 else weight[block]
        error = partial(_error, restore, rows[block], here, [])
        parts.append(_first_best(error, [candidate[block] for candidate in candidates]))
    return np.concatenate(parts)


def blocks(rows: FloatArray, *, scratch: int = 0) -> list[slice]:
    """Slices of the first axis, some `BLOCK` weights each.

    scratch: numbers that the work on a row needs where they are more than its weights.
    """
    step = max(1, BLOCK // max(1, rows[0].size, scratch))
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def squared_error(rows: FloatArray, restored: FloatArray, weight: FloatArray | None) -> FloatArray:
    """sum weight (restored - rows)^2 along the last axis."""
    difference = restored - rows
    np.multiply(difference, difference, out=difference)
    if weight is not None:
        np.multiply(difference, weight, out=difference)
    return np.asarray(difference.sum(axis=-1))


def rms(rows: FloatArray, weight: FloatArray | None) -> FloatArray:
    """Root of the mean square along the last axis, as `importance` weighs it: [R, G]."""
    if weight is None:
        return np.asarray(np.sqrt(np.square(rows).mean(axis=-1)))
    total = np.square(rows) * weight
    norm = np.maximum(weight.sum(axis=-1), np.finfo(np.float32).tiny)
    return np.asarray(np.sqrt(total.sum(axis=-1) / norm), np.float32)


def _fits(shape: Shape, filter_shape: Shape) -> bool:
    """Whether that broadcasts to the filter's shape."""
    pairs = zip(reversed(shape), reversed(filter_shape), strict=False)
    return 0 < len(shape) <= len(filter_shape) and all(own in (1, wanted) for own, wanted in pairs)


def _error(
    restore: Restore,
    rows: FloatArray,
    weight: FloatArray | None,
    tables: list[FloatArray],
    candidate: FloatArray,
) -> FloatArray:
    return squared_error(rows, restore(rows, candidate[..., None], *tables), weight)


def _minimise(
    error: Callable[[FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    coarse: int,
    fine: int,
) -> FloatArray:
    ratio = (low / high) ** (1 / (coarse - 1))
    best = _first_best(error, [high * ratio**step for step in range(coarse)])
    # The best may lie anywhere between its neighbours on the coarse grid.
    steps = np.linspace(-1, 1, fine + 2)[1:-1]
    return _first_best(error, [best, *(np.clip(best * ratio**s, low, high) for s in steps)])


def _first_best(
    error: Callable[[FloatArray], FloatArray], candidates: list[FloatArray]
) -> FloatArray:
    best, least = candidates[0], error(candidates[0])
    for candidate in candidates[1:]:
        found = error(candidate)
        better = found < least
        best, least = np.where(better, candidate, best), np.where(better, found, least)
    return best
