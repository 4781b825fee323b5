"""Filters as few-bit codes that expand exactly to ordinary int8 filters.

    Plain       int8 codes
    Nibbles     4-bit codes that are the int8 codes themselves
    Grouped     int8 = multiplier of the group x 4-bit code
    Codebook    int8 = levels[row][4-bit index]
    Entropy     int8 codes of few distinct values, entropy-coded where they are stored

Each has a float32 scale [O] beside it: real weight = scale[o] * int8[o, ...].  All arrays have at
least one element and all values are checked when a filter is made, so that whoever holds one may
expand it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import OutOfRange

Int8Array = NDArray[np.int8]
UInt8Array = NDArray[np.uint8]

LEVELS: Final = 16
"""Values of a 4-bit code."""

MAX_MULTIPLIER: Final = 15
"""15 x -8 = -120 is an int8, and 1..15 fits in 4 bits."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plain:
    """codes: int8 [O, H, W, I], the filter itself.  Raises OutOfRange."""

    codes: Int8Array

    def __post_init__(self) -> None:
        _check(self.codes, "codes", np.int8)


@dataclasses.dataclass(frozen=True, eq=False)
class Nibbles:
    """codes: int8 [O, H, W, I] in -8..7, the filter itself.  Raises OutOfRange."""

    codes: Int8Array

    def __post_init__(self) -> None:
        _check(self.codes, "codes", np.int8, low=-8, high=7)


@dataclasses.dataclass(frozen=True, eq=False)
class Grouped:
    """A small integer for each run of `size` weights of an output channel.

    codes: int8 [O, H, W, I] in -8..7.  multipliers: uint8 [O, ceil(H * W * I / size)] in 1..15.
    Groups run along the flattened H * W * I axis; the last one of a channel may be short.
    Raises OutOfRange.
    """

    codes: Int8Array
    multipliers: UInt8Array
    size: int

    def __post_init__(self) -> None:
        _check(self.codes, "codes", np.int8, low=-8, high=7)
        if self.size < 1:
            raise OutOfRange(f"groups of {self.size} weights", hint="A group has at least one.")
        channels = len(self.codes)
        groups = -(-(self.codes.size // channels) // self.size)
        _check(self.multipliers, "multipliers", np.uint8, low=1, high=MAX_MULTIPLIER)
        _check_shape(self.multipliers, "multipliers", (channels, groups))


@dataclasses.dataclass(frozen=True, eq=False)
class Codebook:
    """Sixteen int8 levels for the layer or for each output channel.

    indices: uint8 [O, H, W, I] in 0..15.  levels: int8 [1, 16] or [O, 16].  Raises OutOfRange.
    """

    indices: UInt8Array
    levels: Int8Array

    def __post_init__(self) -> None:
        _check(self.indices, "indices", np.uint8, low=0, high=LEVELS - 1)
        _check(self.levels, "levels", np.int8)
        _check_shape(self.levels, "levels", (1, LEVELS), (len(self.indices), LEVELS))


@dataclasses.dataclass(frozen=True, eq=False)
class Entropy:
    """codes: int8 [O, H, W, I], the filter itself; only its storage differs.  Raises OutOfRange."""

    codes: Int8Array

    def __post_init__(self) -> None:
        _check(self.codes, "codes", np.int8)


CodedFilter = Plain | Nibbles | Grouped | Codebook | Entropy


def expand(filter: CodedFilter) -> Int8Array:  # noqa: A002  # TFLite's own word
    """The ordinary int8 filter [O, H, W, I] that the codes stand for."""
    match filter:
        case Grouped(codes, multipliers, size):
            flat = codes.reshape(len(codes), -1)
            wide = np.repeat(multipliers.view(np.int8), min(size, flat.shape[1]), axis=1)[
                :, : flat.shape[1]
            ]
            return (flat * wide).reshape(codes.shape)
        case Codebook(indices, levels):
            row = np.arange(len(indices), dtype=np.int32) if len(levels) > 1 else np.int32(0)
            places = indices.reshape(len(indices), -1) + np.atleast_1d(row)[:, None] * LEVELS
            return levels.ravel().take(places).reshape(indices.shape)
        case _:
            return filter.codes


def payload_bits(filter: CodedFilter) -> float:  # noqa: A002
    """Bits of codes and side data: what a filter costs, its scales apart.

    Grouped: 4 a weight and 4 a multiplier.  Codebook: 4 a weight and 8 a level.  Entropy: the
    order-0 entropy of the layer's codes times their number, a bound that coders come near to;
    their tables and padding are not in it.
    """
    match filter:
        case Plain(codes):
            return 8.0 * codes.size
        case Nibbles(codes):
            return 4.0 * codes.size
        case Grouped(codes, multipliers, _):
            return 4.0 * codes.size + 4.0 * multipliers.size
        case Codebook(indices, levels):
            return 4.0 * indices.size + 8.0 * levels.size
        case Entropy(codes):
            return entropy_bits(codes)


def entropy_bits(codes: Int8Array) -> float:
    """-sum n_v log2(n_v / n): order-0 entropy of all codes together, in bits (Shannon, 1948).

    codes: int8, any shape, read as one memoryless source.
    """
    counts = np.bincount(codes.ravel().view(np.uint8), minlength=256)
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float(total * np.log2(total) - counts @ np.log2(counts)) if total else 0.0


def _check(
    values: NDArray[Any], what: str, dtype: type[np.generic], *, low: int = -128, high: int = 127
) -> None:
    dimensions = 4 if what in ("codes", "indices") else 2
    if values.dtype != dtype or values.ndim != dimensions or not values.size:
        raise OutOfRange(
            f"{what} of type {values.dtype} and shape {list(values.shape)}",
            hint=f"Wanted: {np.dtype(dtype)} with {dimensions} dimensions, none of them empty.",
        )
    least, most = int(values.min()), int(values.max())
    if least < low or most > high:
        raise OutOfRange(f"{what} from {least} to {most}", hint=f"This form holds {low} to {high}.")


def _check_shape(values: NDArray[Any], what: str, *shapes: tuple[int, int]) -> None:
    if values.shape not in shapes:
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        raise OutOfRange(f"{what} of shape {list(values.shape)}", hint=f"Wanted: {wanted}.")
