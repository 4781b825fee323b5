"""Asymmetric uniform: w = scale * (q - zero), q and zero in 0 .. 2**b - 1.

Jacob et al., arXiv 1712.05877, section 2.1 (zero is a code, so that zeros stay zeros).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import LEVELS, Codebook, CodedFilter, Plain
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

NAME: Final = "affine"
GRANULARITIES: Final = (Network, Layer, Channel, Group)
FITTED_BY: Final = SEARCHES


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """scale: float32 [R, G], all above 0.  zero: uint8 [R, G], the code of 0."""

    scale: FloatArray
    zero: NDArray[np.uint8]
    bits: int
    granularity: Granularity


def fit(
    weights: FloatArray,
    bits: int,
    granularity: Granularity,
    *,
    energy: FloatArray | None = None,
    search: Search = "mse",
) -> Parameters:
    """Scales (max(w, 0) - min(w, 0)) / (2**b - 1), or smaller ones with the same zero point.

    weights: float32 [O, H, W, I].  energy: float [I], see search.importance.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    weight = importance(search, energy, weights.shape, granularity)
    relative, peak = unit(rows(weights, granularity))
    top, bottom = np.maximum(relative.max(axis=-1), 0), np.minimum(relative.min(axis=-1), 0)
    steps = 2**bits - 1
    width = np.where(peak > 0, top - bottom, 1).astype(np.float32)
    high = width / np.float32(steps)
    zero = np.rint(-bottom / high).astype(np.float32)
    ratio = high
    if search != "min-max":
        low = np.clip(rms(relative, weight) / steps, high / 256, high)
        ratio = minimise(partial(_restore, steps), relative, weight, zero, low=low, high=high)
    scale = np.where(peak > 0, peak * ratio, 1).astype(np.float32)
    return Parameters(scale, zero.astype(np.uint8), bits, granularity)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (whole numbers in the values' type) and what they stand for."""
    scale = at(parameters.scale, columns, parameters.granularity)
    zero = at(parameters.zero, columns, parameters.granularity)
    codes = (library(values).round(values / scale) + zero).clip(0, 2**parameters.bits - 1)
    return codes, (codes - zero) * scale


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.uint8]:
    """Nearest codes, uint8 [O, H, W, I]."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.astype(np.uint8).reshape(weights.shape))


def decode(codes: NDArray[np.uint8], parameters: Parameters) -> FloatArray:
    """scale * (code - zero), float32 [O, H, W, I]."""
    scale = spread(parameters.scale, matrix(codes).shape[1], parameters.granularity)
    return np.asarray(_centred(codes, parameters) * scale).reshape(codes.shape)


def stored_bits(codes: NDArray[np.uint8], parameters: Parameters) -> float:
    """b a weight, and b a zero point and 32 a scale."""
    return float(parameters.bits * codes.size + (parameters.bits + 32) * parameters.scale.size)


def coded(
    codes: NDArray[np.uint8], parameters: Parameters
) -> tuple[CodedFilter, FloatArray] | None:
    """A Codebook of the levels q - zero up to 4 bits, Plain up to 7; else None.

    TFLite wants zero point 0 of weights, but code - zero is a whole number too.
    """
    if isinstance(parameters.granularity, Group) or parameters.bits == 8:
        return None
    scale = np.broadcast_to(parameters.scale[:, 0], len(codes)).copy()
    if parameters.bits > 4:
        return Plain(_centred(codes, parameters).astype(np.int8).reshape(codes.shape)), scale
    steps = np.minimum(np.arange(LEVELS), 2**parameters.bits - 1)
    return Codebook(codes, (steps - parameters.zero.astype(int)).astype(np.int8)), scale


def _centred(codes: NDArray[np.uint8], parameters: Parameters) -> NDArray[np.int16]:
    flat = matrix(codes)
    zero = spread(parameters.zero, flat.shape[1], parameters.granularity)
    return np.asarray(flat.astype(np.int16) - zero)


def _restore(steps: int, rows: FloatArray, scale: FloatArray, zero: FloatArray) -> FloatArray:
    codes = rows / scale
    np.rint(codes, out=codes)
    np.clip(codes, -zero, steps - zero, out=codes)
    return np.multiply(codes, scale, out=codes)
