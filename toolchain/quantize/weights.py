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
