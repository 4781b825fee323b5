"""Piecewise linear (PWLQ): fine steps up to a break point, coarse ones from there to the end.

Fang et al., "Post-Training Piecewise Linear Quantization for Deep Neural Networks", ECCV 2020,
arXiv 2002.00104, section 3, non-overlapping regions.  Of |w| in [0, m], with n = 2**(b-1) - 1:

    |w| <= p    p / n * q              q in 0 .. n
    |w| > p     p + (m - p) / n * q    q in 0 .. n

The paper calls this b bits, each region being a b-bit quantizer with its sign; which region a
weight lies in is one bit more, so b + 1 are stored.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter
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
from toolchain.quantize.search import Search, importance, minimise, unit

NAME: Final = "piecewise"
GRANULARITIES: Final = (Network, Layer, Channel, Group)
FITTED_BY: Final[tuple[Search, ...]] = ("mse", "weighted")


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """fine, coarse: float32 [R, G], steps below and above the break point, all above 0."""

    fine: FloatArray
    coarse: FloatArray
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
    """m = max|w|, and the break point of the smallest error.

    weights: float32 [O, H, W, I].  energy: float [I], see search.importance.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    weight = importance(search, energy, weights.shape, granularity)
    relative, peak = unit(rows(weights, granularity))
    count = steps(bits)
    # Both ends keep both steps above 0; a layer's peak may be a hundred times its usual weight.
    low = np.full(peak.shape, 1 / 256, np.float32)
    high = np.full(peak.shape, 0.9, np.float32)
    share = minimise(partial(_restore, count), relative, weight, low=low, high=high)
    reach = np.where(peak > 0, peak, np.float32(1))
    fine = (reach * share / count).astype(np.float32)
    coarse = (reach * (1 - share) / count).astype(np.float32)
    return Parameters(fine, coarse, bits, granularity)


def steps(bits: int) -> int:
    """Steps from 0 to the break point, and from there to the end."""
    return int(2 ** (bits - 1) - 1)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (whole numbers in the values' type) and what they stand for."""
    fine = at(parameters.fine, columns, parameters.granularity)
    coarse = at(parameters.coarse, columns, parameters.granularity)
    codes = _encode(library(values), values, fine, coarse, steps(parameters.bits))
    return codes, _decode(library(values), codes, fine, coarse, steps(parameters.bits))


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.int16]:
    """Nearest codes, int16 [O, H, W, I] in -2n .. 2n: steps from 0, whatever their width."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.astype(np.int16).reshape(weights.shape))


def decode(codes: NDArray[np.int16], parameters: Parameters) -> FloatArray:
    """What the codes stand for, float32 [O, H, W, I]."""
    flat = matrix(codes).astype(np.float32)
    fine = spread(parameters.fine, flat.shape[1], parameters.granularity)
    coarse = spread(parameters.coarse, flat.shape[1], parameters.granularity)
    return np.asarray(_decode(np, flat, fine, coarse, steps(parameters.bits))).reshape(codes.shape)


def stored_bits(codes: NDArray[np.int16], parameters: Parameters) -> float:
    """b + 1 a weight, and 64 for each pair of steps."""
    return float((parameters.bits + 1) * codes.size + 64 * parameters.fine.size)


def coded(
    codes: NDArray[np.int16],  # noqa: ARG001  # the protocol's
    parameters: Parameters,  # noqa: ARG001
) -> tuple[CodedFilter, FloatArray] | None:
    """None: two steps that are no multiples of each other are no int8 filter of one scale."""
    return None


def _encode(xp: Any, values: Any, fine: Any, coarse: Any, count: int) -> Any:
    size = abs(values)
    inner = xp.round(size / fine).clip(0, count)
    outer = xp.round(size / coarse - fine * count / coarse).clip(0, count)
    # The break point belongs to both regions: counted as the last of the inner one.
    return xp.sign(values) * xp.where(size > fine * count, count + outer, inner)


def _decode(xp: Any, codes: Any, fine: Any, coarse: Any, count: int) -> Any:
    size = abs(codes)
    return xp.sign(codes) * (size.clip(0, count) * fine + (size - count).clip(0, None) * coarse)


def _restore(count: int, rows: FloatArray, share: FloatArray) -> FloatArray:
    fine, coarse = share / np.float32(count), (1 - share) / np.float32(count)
    codes = _encode(np, rows, fine, coarse, count)
    return np.asarray(_decode(np, codes, fine, coarse, count))
