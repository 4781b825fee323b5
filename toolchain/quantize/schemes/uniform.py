"""Symmetric uniform: w = scale * q, q in -(2**(b-1) - 1) .. 2**(b-1) - 1.

Jacob et al., arXiv 1712.05877, section 2; the narrow range is what TFLite asks of weights.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter, Nibbles, Plain
from toolchain.quantize.granularity import (
    Channel,
    FloatArray,
    Granularity,
    Group,
    Layer,
    Network,
    at,
    matrix,
    rows,
    spread,
)
from toolchain.quantize.schemes.checks import check, check_bits
from toolchain.quantize.schemes.either import library
from toolchain.quantize.search import SEARCHES, Search, importance, minimise, rms, unit

NAME: Final = "uniform"
GRANULARITIES: Final = (Network, Layer, Channel, Group)
FITTED_BY: Final = SEARCHES


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """scale: float32 [R, G], all above 0."""

    scale: FloatArray
    bits: int
    granularity: Granularity


def largest_code(bits: int) -> int:
    """127 for 8 bits, 7 for 4, 1 for 2."""
    return int(2 ** (bits - 1) - 1)


def fit(
    weights: FloatArray,
    bits: int,
    granularity: Granularity,
    *,
    energy: FloatArray | None = None,
    search: Search = "mse",
) -> Parameters:
    """Scales max|w| / (2**(b-1) - 1), or smaller ones where clipping a few weights costs less.

    weights: float32 [O, H, W, I].  energy: float [I], see search.importance.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    weight = importance(search, energy, weights.shape, granularity)
    relative, peak = unit(rows(weights, granularity))
    limit = largest_code(bits)
    high = np.full(peak.shape, 1 / limit, np.float32)
    ratio = high
    if search != "min-max":
        # No good scale clips below the root mean square.
        low = np.clip(rms(relative, weight) / limit, high / 256, high)
        ratio = minimise(partial(_restore, limit), relative, weight, low=low, high=high)
    scale = np.where(peak > 0, peak * ratio, 1).astype(np.float32)
    return Parameters(scale, bits, granularity)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (whole numbers in the values' type) and what they stand for."""
    scale = at(parameters.scale, columns, parameters.granularity)
    limit = largest_code(parameters.bits)
    codes = library(values).round(values / scale).clip(-limit, limit)
    return codes, codes * scale


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.int8]:
    """Nearest codes, int8 [O, H, W, I]."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.astype(np.int8).reshape(weights.shape))


def decode(codes: NDArray[np.int8], parameters: Parameters) -> FloatArray:
    """scale * code, float32 [O, H, W, I]."""
    flat = matrix(codes)
    scale = spread(parameters.scale, flat.shape[1], parameters.granularity)
    return np.asarray(flat * scale).reshape(codes.shape)


def stored_bits(codes: NDArray[np.int8], parameters: Parameters) -> float:
    """b a weight and 32 a scale."""
    return float(parameters.bits * codes.size + 32 * parameters.scale.size)


def coded(codes: NDArray[np.int8], parameters: Parameters) -> tuple[CodedFilter, FloatArray] | None:
    """Nibbles up to 4 bits, else Plain, with scales [O]; None for groups of real-valued scales."""
    if isinstance(parameters.granularity, Group):
        return None
    scale = np.broadcast_to(parameters.scale[:, 0], len(codes)).copy()
    return (Nibbles(codes) if parameters.bits <= 4 else Plain(codes)), scale


def _restore(limit: int, rows: FloatArray, scale: FloatArray) -> FloatArray:
    codes = rows / scale
    np.rint(codes, out=codes)
    np.clip(codes, -limit, limit, out=codes)
    return np.multiply(codes, scale, out=codes)
