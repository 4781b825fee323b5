"""What int8 kernels ask of filters and biases beside them.

Arrays in, arrays out: nothing here knows of files or graphs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

MAX_BIAS: Final = float(2**30)
"""Largest bias in steps: an int32 accumulator keeps as much again for the sum of products."""

MIN_MULTIPLIER: Final = 2.0**-30
"""Smallest input scale x weight scale / output scale; below 2**-32 XNNPACK refuses the operator."""


def floor_of_scale(
    bias: FloatArray, *, input_scale: float, output_scale: float
) -> NDArray[np.float64]:
    """The smallest weight scale that each channel's int32 bias and multiplier allow: [O].

    Almost dead channels have a bias but hardly a weight; a scale fitted to the weight alone would
    push the bias out of int32.
    """
    by_bias = np.abs(bias.astype(np.float64)) / (MAX_BIAS * input_scale)
    return np.maximum(by_bias, MIN_MULTIPLIER * output_scale / input_scale)


def encode_bias(bias: FloatArray, scale: FloatArray, input_scale: float) -> NDArray[np.int32]:
    """int32 [O] at input scale x weight scale, where the products' sum is added.

    Scales not below `floor_of_scale` keep it in range.
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
