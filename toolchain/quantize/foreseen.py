"""Rounding noise foretold from statistics of channels, to compare two forms of one network.

Arrays in, numbers out.  A convolution reads x and has weights w; errors of both are taken as
independent of everything, so that in one output channel o

    noise = sum_k w[o, k]^2 V[k]  +  sum_k e[o, k]^2 E[x_k^2]

with V[k] the variance of the rounding error of x_k, step^2 / 12 of an int8 tensor with one step for
all channels (Widrow, "Statistical analysis of amplitude-quantized sampled-data systems", 1961),
and e[o, k] what rounding to nearest does to a weight.  Recovery does better than nearest, and the
range search than the whole range: figures of this module compare, they do not predict.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import entropy_bits
from toolchain.quantize.granularity import Group
from toolchain.quantize.methods import Method
from toolchain.quantize.scales import STEPS
from toolchain.quantize.schemes import entropy

FloatArray = NDArray[np.float64]

_GAUSSIAN: Final = math.sqrt(2 * math.pi * math.e)
"""Steps of sigma x this / 2**bits give a normal source about so many bits of entropy."""


def step(low: FloatArray, high: FloatArray) -> float:
    """Of int8 codes over the whole range of all channels.  low, high: float64 [C], extremes."""
    return float(max(0.0, high.max()) - min(0.0, low.min())) / STEPS


def rounding(step: FloatArray, mean_square: FloatArray) -> FloatArray:
    """Variance of the rounding error in each channel: float64 [C].

    step^2 / 12, but never more than the signal: what is all 0 after rounding has lost no more.
    step: in units of each channel, float64 [C].  mean_square: E[x_k^2], float64 [C].
    """
    return np.minimum(step * step / 12, mean_square)


def activation_noise(weights: NDArray[np.float32], variance: FloatArray) -> float:
    """The first sum over all output channels.  weights: [O, H, W, I].  variance: V, [I]."""
    return float(_squares(weights) @ variance)


def signal(weights: NDArray[np.float32], mean_square: FloatArray) -> float:
    """Mean square of all outputs, were inputs uncorrelated: sum w^2 E[x_k^2]."""
    return float(_squares(weights) @ mean_square)


def weight_noise(
    weights: NDArray[np.float32], mean_square: FloatArray, method: Method | None
) -> float:
    """The second sum over all output channels.

    weights: float32 [O, H, W, I].  mean_square: E[x_k^2], float64 [I].  method: None where the
    filter stays float.  Sixteen-level codebooks count as uniform codes of as many bits.
    """
    if method is None:
        return 0.0
    if method.scheme == entropy.NAME:
        return _entropy_noise(weights, mean_square, method.bits)
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    size = method.granularity.size if isinstance(method.granularity, Group) else flat.shape[1]
    parts = np.pad(flat, ((0, 0), (0, -flat.shape[1] % size))).reshape(len(flat), -1, size)
    steps = np.abs(parts).max(axis=2, keepdims=True) / (2 ** (method.bits - 1) - 1)
    rounded = _nearest(parts, steps).reshape(len(flat), -1)[:, : flat.shape[1]]
    return _noise((rounded - flat).reshape(weights.shape), mean_square)


def _entropy_noise(weights: NDArray[np.float32], mean_square: FloatArray, bits: int) -> float:
    """Of steps that give all output channels the same share of noise, at `bits` of entropy.

    What the codes take beside `bits` is counted as noise, a factor of 4 a bit.
    """
    values = weights.astype(np.float64)
    energy = mean_square.sum()
    if not energy > 0:
        return 0.0
    signals = np.einsum("ohwi,i->o", values**2, mean_square)
    sizes = np.sqrt(signals / energy)[:, None, None, None]
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True)
    steps = np.clip(_GAUSSIAN / 2**bits * sizes, largest / entropy.LARGEST, largest)
    rounded = _nearest(values, steps)
    codes = np.divide(rounded, steps, out=np.zeros_like(values), where=steps > 0)
    rate = entropy_bits(np.rint(codes).astype(np.int8)) / values.size
    return _noise(rounded - values, mean_square) * float(4.0 ** (rate - bits))


def _nearest(values: FloatArray, steps: FloatArray) -> FloatArray:
    safe = np.where(steps > 0, steps, 1.0)
    return np.asarray(np.rint(values / safe) * safe)


def _noise(errors: FloatArray, mean_square: FloatArray) -> float:
    return float(_squares(errors) @ mean_square)


def _squares(weights: NDArray[Any]) -> FloatArray:
    return np.asarray(np.einsum("ohwi,ohwi->i", weights, weights, dtype=np.float64))
