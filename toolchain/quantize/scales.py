"""Scale and zero point: real = scale * (code - zero_point)  (Jacob et al., arXiv 1712.05877)."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import NotFinite

LOWEST: Final = -128
HIGHEST: Final = 127
STEPS: Final = HIGHEST - LOWEST


@dataclasses.dataclass(frozen=True)
class Scale:
    """How one int8 tensor means real numbers; `scale` is a float32 value above 0."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(np.float32(self.scale)))

    @property
    def low(self) -> float:
        """The real number of code -128."""
        return self.scale * (LOWEST - self.zero_point)

    @property
    def high(self) -> float:
        """The real number of code 127."""
        return self.scale * (HIGHEST - self.zero_point)

    def levels(self) -> NDArray[np.float64]:
        """The real numbers of all codes, -128 first: float64 [256]."""
        return self.scale * (np.arange(LOWEST, HIGHEST + 1) - self.zero_point)

    def encode(self, values: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.int8]:
        """Nearest codes, saturating; int8 of the same shape."""
        codes = np.rint(values / self.scale) + self.zero_point
        return np.asarray(np.clip(codes, LOWEST, HIGHEST), np.int8)

    def decode(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """What the codes mean; float32 of the same shape."""
        real = self.scale * (codes.astype(np.int32) - self.zero_point)
        return real.astype(np.float32)


def covering(low: float, high: float) -> Scale:
    """The int8 scale over [low, high], widened to hold 0 and moved so that 0 is a code.

    Zero must be exact: PAD and SAME padding write it.  A range of no width (a tensor that is
    always 0) gets scale 1.  Raises NotFinite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotFinite(
            f"a range from {low} to {high}", hint="Look for NaN in the weights or the images."
        )
    scale, zero_point = affine(np.array([[low, high]]))
    return Scale(float(scale[0]), int(zero_point[0]))


def affine(ranges: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`covering` of many finite ranges [n, 2] at once: scales (float32 values) and zero points."""
    low, high = np.minimum(ranges[:, 0], 0.0), np.maximum(ranges[:, 1], 0.0)
    limits = np.finfo(np.float32)
    scale = (high / STEPS - low / STEPS).astype(np.float32).astype(np.float64)
    usable = (scale >= limits.tiny) & (scale <= limits.max)
    scale, low = np.where(usable, scale, 1.0), np.where(usable, low, float(LOWEST))
    zero_point = np.rint(LOWEST - low / scale).astype(np.int64)
    return scale, np.clip(zero_point, LOWEST, HIGHEST)


def decibels(signal: float, noise: float) -> float | None:
    """10 log10 of two energies' ratio; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
