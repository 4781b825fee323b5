"""What every scheme asks of its arguments."""

from __future__ import annotations

from typing import Final

import numpy as np

from toolchain.errors import NotFinite, OutOfRange, RecipeError
from toolchain.quantize.granularity import FloatArray, Granularity
from toolchain.quantize.search import Search

BITS: Final = range(2, 9)


def check(
    scheme: str,
    weights: FloatArray,
    granularity: Granularity,
    search: Search,
    *,
    granularities: tuple[type, ...],
    searches: tuple[Search, ...],
) -> None:
    """Raises NotFinite, OutOfRange (no filter), RecipeError (what the scheme has no form for)."""
    check_weights(weights)
    if not isinstance(granularity, granularities):
        known = ", ".join(kind.__name__ for kind in granularities)
        raise RecipeError(f"{scheme} has no form for {granularity}", hint=f"It has: {known}.")
    if search not in searches:
        raise RecipeError(
            f"{scheme} cannot be fitted by {search!r}", hint=f"It can by: {', '.join(searches)}."
        )


def check_bits(bits: int) -> None:
    """Raises OutOfRange."""
    if bits not in BITS:
        raise OutOfRange(f"{bits} bits a weight", hint=f"Use {BITS[0]} to {BITS[-1]}.")


def check_weights(weights: FloatArray) -> None:
    """Raises NotFinite with count and first channel, OutOfRange (not a filter)."""
    if weights.ndim != 4 or not weights.size:
        raise OutOfRange(
            f"weights of shape {list(weights.shape)}", hint="Wanted: [O, H, W, I], none empty."
        )
    bad = ~np.isfinite(weights)
    if bad.any():
        channel = int(np.argwhere(bad)[0][0])
        raise NotFinite(
            f"{int(bad.sum())} of {weights.size} weights are NaN or infinite, the first in output "
            f"channel {channel}",
            hint="The checkpoint is damaged, or training diverged; use an earlier one.",
        )
