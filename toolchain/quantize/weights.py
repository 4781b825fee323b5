"""Filters as few-bit codes with one scale an output channel, and biases as int32.

Arrays in, arrays out: nothing here knows of files or graphs.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import NotFinite

FloatArray = NDArray[np.float32]

MAX_BIAS: Final = float(2**30)
"""Largest bias in steps: an int32 accumulator keeps as much again for the sum of products."""

MIN_MULTIPLIER: Final = 2.0**-30
"""Smallest input scale x weight scale / output scale; below 2**-32 XNNPACK refuses the operator."""


@dataclasses.dataclass(frozen=True)
class Filter:
    """codes: int8 [O, H, W, I], in +-(2**(bits-1) - 1).  scale: float32 [O], all above 0."""

    codes: NDArray[np.int8]
    scale: FloatArray
    bits: int

    def decode(self) -> FloatArray:
        """The weights that the codes stand for: float32 [O, H, W, I]."""
        return self.codes * self.scale[:, None, None, None]


def largest_code(bits: int) -> int:
    """Narrow range, as TFLite asks of weights: 127 for 8 bits, 7 for 4."""
    return int(2 ** (bits - 1) - 1)


def floor_of_scale(
    bias: FloatArray, *, input_scale: float, output_scale: float
) -> NDArray[np.float64]:
    """The smallest weight scale that each channel's int32 bias and multiplier allow: [O].

    Almost dead channels have a bias but hardly a weight; a scale fitted to the weight alone would
    push the bias out of int32.
    """
    by_bias = np.abs(bias.astype(np.float64)) / (MAX_BIAS * input_scale)
    return np.maximum(by_bias, MIN_MULTIPLIER * output_scale / input_scale)


def fit_scale(
    weights: FloatArray,
    bits: int,
    *,
    floor: NDArray[np.float64] | float = 0.0,
    dead: float = 1.0,
) -> FloatArray:
    """Smallest symmetric scale that clips nothing: max|w| / (2**(bits-1) - 1).

    weights: float32 [O, H, W, I].  floor: smallest scale allowed, [O] or one number.  dead: scale
    of a channel of zeros.  Returns float32 [O], all above 0.  Narrow range (Jacob et al.,
    arXiv 1712.05877).  Raises NotFinite.
    """
    if not np.isfinite(weights).all():
        raise NotFinite("weights that are NaN or infinite", hint="Check the checkpoint.")
    scale = np.abs(weights).max(axis=(1, 2, 3)).astype(np.float64) / largest_code(bits)
    # A dead channel has no range of its own: any positive scale keeps its zeros exact.
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, dead)
    return np.maximum(scale, floor).astype(np.float32)


def encode(weights: FloatArray, scale: FloatArray, bits: int) -> Filter:
    """Round to nearest.  weights: float32 [O, H, W, I].  scale: float32 [O]."""
    limit = largest_code(bits)
    codes = np.rint(weights / scale[:, None, None, None])
    return Filter(np.clip(codes, -limit, limit).astype(np.int8), scale, bits)


def encode_bias(bias: FloatArray, scale: FloatArray, input_scale: float) -> NDArray[np.int32]:
    """int32 [O] at input scale x weight scale, where the products' sum is added.

    Scales as from `fit_scale` with `floor_of_scale` keep it in range.
    """
    steps = np.rint(bias.astype(np.float64) / (scale.astype(np.float64) * input_scale))
    limit = np.iinfo(np.int32)
    return np.clip(steps, limit.min, limit.max).astype(np.int32)


def expected_shift(
    weights: FloatArray, approximation: FloatArray, input_mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far rounding the weights moves each output channel on average: float64 [O].

    sum_hwi (w' - w) E[x_i]; taking it off the bias makes the layer unbiased (Nagel et al.,
    arXiv 1906.04721, section 4.2).  input_mean: float64 [I].
    """
    difference = (approximation.astype(np.float64) - weights).sum(axis=(1, 2))
    return np.asarray(difference @ input_mean)


def output_energy(weights: FloatArray, input_mean_square: NDArray[np.float64]) -> float:
    """Sum over channels of a layer's mean squared output, inputs taken as uncorrelated.

    weights: float32 [O, H, W, I].  input_mean_square: float64 [I].
    """
    return float((weights.astype(np.float64) ** 2).sum(axis=(0, 1, 2)) @ input_mean_square)
