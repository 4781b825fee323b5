"""Codebook: w = scale * levels[q], q in 0 .. 2**b - 1, levels whole numbers in -127 .. 127.

Levels by k-means, each weight by the second moment of its input (Han et al., "Deep Compression",
arXiv 1510.00149, section 3, weighted as in Choi et al., "Towards the Limit of Network
Quantization", arXiv 1612.01543).  The levels of a channel are fitted as real numbers, then put on
127ths of the largest, which is what lets the filter expand to int8.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import LEVELS, Codebook, CodedFilter, Plain
from toolchain.quantize.granularity import (
    Channel,
    FloatArray,
    Granularity,
    Layer,
    Network,
    at,
    matrix,
    rows,
)
from toolchain.quantize.schemes.checks import check, check_bits
from toolchain.quantize.schemes.either import as_index, library
from toolchain.quantize.schemes.kmeans import kmeans
from toolchain.quantize.search import Search, choose, importance, minimise, unit

NAME: Final = "codebook"
GRANULARITIES: Final = (Network, Layer, Channel)
FITTED_BY: Final[tuple[Search, ...]] = ("mse", "weighted")


_ALL: Final = np.maximum(np.arange(-128, 128, dtype=np.float32), -127) / 127
"""At 8 bits there is nothing to choose: every whole number is a level."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """levels: int8 [R, 2**b], ascending.  scale: float32 [O, 1], or [1, 1] for a network, above 0.

    table: uint8 [R, 512], the code of each half step of `scale` from -128 on.
    """

    levels: NDArray[np.int8]
    table: NDArray[np.uint8]
    scale: FloatArray
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
    """Levels of each channel, of a whole network, or of a layer with a scale for each channel.

    (An int8 filter has a scale a channel anyway; a layer's levels are fitted to weights over their
    channel's largest, then each scale to the levels.)  weights: float32 [O, H, W, I].  energy:
    float [I], see search.importance.  Raises NotFinite, OutOfRange, RecipeError.
    """
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    view = Channel() if isinstance(granularity, Layer) else granularity
    weight = importance(search, energy, weights.shape, view)
    relative, peak = unit(rows(weights, view))
    if bits == 8:
        real = np.tile(_ALL, (len(relative), 1))
    elif isinstance(granularity, Layer):
        real = _shared_levels(relative, peak, weight, 2**bits)
    else:
        real = kmeans(relative[:, 0], None if weight is None else weight[:, 0], 2**bits)
    largest = np.abs(real).max(axis=1, keepdims=True)
    step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    levels = np.rint(real / step).astype(np.int8)
    if isinstance(granularity, Layer):
        levels = levels[:1]
    if isinstance(granularity, Layer) or bits == 8:
        step = _fitted_steps(relative, weight, levels, step)
    scale = np.where(peak > 0, peak * step, 1).astype(np.float32)
    return Parameters(levels, _table(levels), scale, bits, granularity)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (unsigned bytes) and what they stand for."""
    scale = at(parameters.scale, columns, parameters.granularity)
    row: Any = 0
    if len(parameters.levels) > 1:
        row = np.arange(len(parameters.levels))
        row = library(values).asarray(row if values.ndim == 1 else row[:, None])
    half_steps = library(values).ceil(values / scale * 2) - 1
    codes = parameters.table[row, as_index(half_steps.clip(-256, 255) + 256)]
    return codes, parameters.levels[row, as_index(codes)] * scale


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.uint8]:
    """Nearest codes, uint8 [O, H, W, I]; of equal levels the first."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.reshape(weights.shape))


def decode(codes: NDArray[np.uint8], parameters: Parameters) -> FloatArray:
    """scale * levels[code], float32 [O, H, W, I]."""
    return np.asarray(_levels_of(codes, parameters) * parameters.scale).reshape(codes.shape)


def stored_bits(codes: NDArray[np.uint8], parameters: Parameters) -> float:
    """b a weight, 8 a level and 32 a scale."""
    side = 8 * parameters.levels.size + 32 * parameters.scale.size
    return float(parameters.bits * codes.size + side)


def coded(
    codes: NDArray[np.uint8], parameters: Parameters
) -> tuple[CodedFilter, FloatArray] | None:
    """A Codebook up to 4 bits, Plain above."""
    scale = np.broadcast_to(parameters.scale[:, 0], len(codes)).copy()
    if parameters.bits > 4:
        return Plain(_levels_of(codes, parameters).reshape(codes.shape)), scale
    spare = LEVELS - parameters.levels.shape[1]
    return Codebook(codes, np.pad(parameters.levels, ((0, 0), (0, spare)), mode="edge")), scale


def _shared_levels(
    relative: FloatArray, peak: FloatArray, weight: FloatArray | None, count: int
) -> FloatArray:
    """K-means over all channels [O, 1, n]; errors count in the weights' own units."""
    size = np.square(peak / max(float(peak.max()), float(np.finfo(np.float32).tiny)))[..., None]
    mass = np.broadcast_to(size if weight is None else size * weight, relative.shape)
    levels = kmeans(relative.reshape(1, -1), mass.reshape(1, -1), count)
    if not peak.all():
        # A channel of zeros must stay one.
        levels[0, np.abs(levels[0]).argmin()] = 0
    return np.sort(levels)


def _fitted_steps(
    relative: FloatArray, weight: FloatArray | None, levels: NDArray[np.int8], step: FloatArray
) -> FloatArray:
    """The best multiple of levels that all channels share, for each channel: [O, 1]."""
    values = levels[0].astype(np.float32)[_table(levels)[0]]

    def restore(rows: FloatArray, step: FloatArray) -> FloatArray:
        half_steps = np.ceil(rows * (2 / step)) + 255
        np.clip(half_steps, 0, 511, out=half_steps)
        return np.asarray(values[half_steps.astype(np.intp)] * step)

    same = np.full((len(relative), 1), step[0, 0])
    best = minimise(restore, relative, weight, low=same * 0.5, high=same * 1.5)
    # Many levels fit the channel that they were made for only as they are.
    return choose(restore, relative, weight, [same, best])


def _table(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Nearest of levels [R, n] for values v from -128 to 128, at ceil(2 v) + 255: uint8 [R, 512].

    Levels are whole, so the middle of two is a multiple of a half, and one look-up finds it.
    """
    wide = levels.astype(np.int16)
    middles = wide[:, 1:] + wide[:, :-1]
    table = np.zeros((len(levels), 512), np.intp)
    half_steps = np.arange(-256, 256)
    for column in middles.T:
        table += half_steps >= column[:, None]
    first = np.array([np.searchsorted(row, row) for row in levels])
    return np.take_along_axis(first, table, axis=1).astype(np.uint8)


def _levels_of(codes: NDArray[np.uint8], parameters: Parameters) -> NDArray[np.int8]:
    row = 0 if len(parameters.levels) == 1 else np.arange(len(codes))[:, None]
    return np.asarray(parameters.levels[row, matrix(codes)])
