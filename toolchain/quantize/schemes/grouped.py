"""Groups with integer multipliers: w = scale * multiplier * q, scale a channel, multiplier a group.

Two-level scales as in VS-Quant (Dai et al., arXiv 2102.04503, section 5), with multipliers so small
that multiplier x q is an int8: at 4 bits q in -8 .. 7 and multipliers 1 .. 15.  Above 4 bits q is
symmetric and multipliers end where their product with it would leave -127 .. 127.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import MAX_MULTIPLIER, CodedFilter, Grouped, Plain
from toolchain.quantize.granularity import (
    FloatArray,
    Granularity,
    Group,
    at,
    matrix,
    rows,
    spread,
)
from toolchain.quantize.schemes.checks import check, check_bits
from toolchain.quantize.schemes.either import library
from toolchain.quantize.search import SEARCHES, Search, choose, importance, minimise, rms, unit

NAME: Final = "grouped"
GRANULARITIES: Final = (Group,)
FITTED_BY: Final = SEARCHES


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """scale: float32 [O, 1], all above 0.  multipliers: uint8 [O, G] in 1 .. 15."""

    scale: FloatArray
    multipliers: NDArray[np.uint8]
    bits: int
    granularity: Granularity


def code_range(bits: int) -> tuple[int, int]:
    """Lowest and highest code: two's complement up to 4 bits, symmetric above."""
    high = 2 ** (bits - 1) - 1
    return (-high - 1 if bits <= 4 else -high), high


def largest_multiplier(bits: int) -> int:
    """15 up to 4 bits, then 8, 4, 2 and 1: what keeps multiplier x code in -127 .. 127."""
    return min(MAX_MULTIPLIER, 127 // -code_range(bits)[0])


def fit(
    weights: FloatArray,
    bits: int,
    granularity: Granularity,
    *,
    energy: FloatArray | None = None,
    search: Search = "mse",
) -> Parameters:
    """The step that each group would have by itself, then whole multiples of a fraction of the
    channel's largest; of three neighbouring multiples the one with the smallest error.

    weights: float32 [O, H, W, I].  energy: float [I], see search.importance.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    weight = importance(search, energy, weights.shape, granularity)
    relative, peak = _by_channel(rows(weights, granularity))
    covering = _covering(relative, bits)
    own = covering if search == "min-max" else _own_steps(relative, weight, covering, bits)
    most = largest_multiplier(bits)
    base = np.maximum(own.max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / np.float32(most)
    if search == "min-max":
        # A quotient that is a whole number but for rounding is that number.
        multipliers = np.ceil(own / base - np.float32(1e-5)).clip(1, most)
    else:
        multipliers = _best_multipliers(relative, weight, own, base, bits)
    scale = np.where(peak > 0, peak * base, 1).astype(np.float32)
    return Parameters(scale, multipliers.astype(np.uint8), bits, granularity)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (whole numbers in the values' type) and what they stand for."""
    multiplier = at(parameters.multipliers, columns, parameters.granularity)
    scale = parameters.scale[:, 0] if values.ndim == 1 else parameters.scale
    low, high = code_range(parameters.bits)
    codes = library(values).round(values / (scale * multiplier)).clip(low, high)
    return codes, codes * multiplier * scale


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.int8]:
    """Nearest codes, int8 [O, H, W, I]."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.astype(np.int8).reshape(weights.shape))


def decode(codes: NDArray[np.int8], parameters: Parameters) -> FloatArray:
    """scale * multiplier * code, float32 [O, H, W, I]."""
    return np.asarray(_expanded(codes, parameters) * parameters.scale).reshape(codes.shape)


def stored_bits(codes: NDArray[np.int8], parameters: Parameters) -> float:
    """b a weight, 4 a multiplier and 32 a scale."""
    side = 4 * parameters.multipliers.size + 32 * parameters.scale.size
    return float(parameters.bits * codes.size + side)


def coded(codes: NDArray[np.int8], parameters: Parameters) -> tuple[CodedFilter, FloatArray] | None:
    """Grouped up to 4 bits, Plain above."""
    scale = parameters.scale[:, 0]
    if parameters.bits > 4:
        return Plain(_expanded(codes, parameters).reshape(codes.shape)), scale
    assert isinstance(parameters.granularity, Group)
    return Grouped(codes, parameters.multipliers, parameters.granularity.size), scale


def _by_channel(groups: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Groups [O, G, n] over their channel's largest absolute weight [O, 1]."""
    relative, peak = unit(groups.reshape(len(groups), 1, -1))
    return relative.reshape(groups.shape), peak


def _covering(relative: FloatArray, bits: int) -> FloatArray:
    """The smallest step of each group [O, G] that clips nothing; 0 for zeros."""
    low, high = code_range(bits)
    steps = np.maximum(relative.max(axis=-1) / high, relative.min(axis=-1) / low)
    return np.asarray(np.maximum(steps, 0), np.float32)


def _own_steps(
    relative: FloatArray, weight: FloatArray | None, covering: FloatArray, bits: int
) -> FloatArray:
    high = np.maximum(covering, np.finfo(np.float32).eps)
    low = np.clip(rms(relative, weight) / code_range(bits)[1], high / 256, high)
    steps = minimise(partial(_restore, bits), relative, weight, low=low, high=high)
    return np.where(covering > 0, steps, 0).astype(np.float32)


def _best_multipliers(
    relative: FloatArray, weight: FloatArray | None, own: FloatArray, base: FloatArray, bits: int
) -> FloatArray:
    most = largest_multiplier(bits)
    close = np.rint(own / base).clip(1, most)
    tried = [close, np.maximum(close - 1, 1), np.minimum(close + 1, most)]
    steps = choose(partial(_restore, bits), relative, weight, [m * base for m in tried])
    return np.asarray(np.rint(steps / base))


def _expanded(codes: NDArray[np.int8], parameters: Parameters) -> NDArray[np.int8]:
    flat = matrix(codes)
    wide = spread(parameters.multipliers.view(np.int8), flat.shape[1], parameters.granularity)
    return np.asarray(flat * wide)


def _restore(bits: int, rows: FloatArray, step: FloatArray) -> FloatArray:
    low, high = code_range(bits)
    codes = rows / step
    np.rint(codes, out=codes)
    np.clip(codes, low, high, out=codes)
    return np.multiply(codes, step, out=codes)
