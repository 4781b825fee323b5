"""Codebook: w = scale * levels[q], q in 0 .. 2**b - 1, levels whole numbers in -127 .. 127.

Levels by k-means, each weight by the second moment of its input (Han et al., "Deep Compression",
arXiv 1510.00149, section 3, weighted as in Choi et al., "Towards the Limit of Network
Quantization", arXiv 1612.01543).  They are fitted as real numbers to weights over their channel's
largest, then put on 127ths of the largest level, which is what lets the filter expand to int8.
Channels may share levels; each still has a scale of its own, as every int8 filter has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from toolchain.quantize.schemes.either import as_index, beside, library
from toolchain.quantize.schemes.kmeans import kmeans
from toolchain.quantize.search import DEAD, Search, choose, importance, minimise, unit

NAME: Final = "codebook"
GRANULARITIES: Final = (Network, Layer, Channel)
FITTED_BY: Final[tuple[Search, ...]] = ("mse", "weighted")


_ALL: Final = np.maximum(np.arange(-128, 128), -127).astype(np.int8)[None]
"""At 8 bits there is nothing to choose: every whole number is a level."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """levels: int8 [R, 2**b], ascending.  scale: float32 [O, 1], all above 0.

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
    """Levels of each channel, or shared by the layer; for a network see `fit_network`.

    weights: float32 [O, H, W, I].  energy: float [I], see search.importance.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    if not isinstance(granularity, Channel):
        return _fit_shared([weights], [energy], bits, granularity, search)[0]
    view = _viewed(weights, energy, bits, granularity, search)
    if bits == 8:
        levels = _ALL.repeat(len(weights), axis=0)
        step = _fitted_steps(view, levels, np.float32(1 / 127))
    else:
        weight = None if view.weight is None else view.weight[:, 0]
        levels, step = _whole(kmeans(view.relative[:, 0], weight, 2**bits))
    return _parameters(view, levels, step, bits, granularity)


def fit_network(
    filters: Sequence[FloatArray],
    bits: int,
    *,
    energies: Sequence[FloatArray] | None = None,
    search: Search = "mse",
) -> list[Parameters]:
    """Levels that all filters of a network share.

    filters: float32 [O, H, W, I] each.  energies: float [I] each.  Takes some 70 bytes a weight
    meanwhile.  Raises NotFinite, OutOfRange, RecipeError.
    """
    known = [None] * len(filters) if energies is None else energies
    return _fit_shared(filters, known, bits, Network(), search)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (unsigned bytes) and what they stand for."""
    scale = at(parameters.scale, columns, parameters.granularity)
    row: Any = 0
    if len(parameters.levels) > 1:
        row = np.arange(len(parameters.levels))
        row = beside(row if values.ndim == 1 else row[:, None], values)
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


@dataclasses.dataclass(frozen=True)
class _View:
    """relative: float32 [O, 1, K] in -1..1.  peak: float32 [O, 1].  weight: see importance."""

    relative: FloatArray
    peak: FloatArray
    weight: FloatArray | None

    def mass(self, largest: float) -> FloatArray:
        """What an error at each relative weight counts in the weights' own units: [O, 1, K]."""
        size = np.square(self.peak / np.float32(largest))[..., None]
        mass = size if self.weight is None else size * self.weight
        return np.broadcast_to(mass, self.relative.shape)


def _viewed(
    weights: FloatArray,
    energy: FloatArray | None,
    bits: int,
    granularity: Granularity,
    search: Search,
) -> _View:
    check_bits(bits)
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    weight = importance(search, energy, weights.shape, Channel())
    return _View(*unit(rows(weights, Channel())), weight)


def _fit_shared(
    filters: Sequence[FloatArray],
    energies: Sequence[FloatArray | None],
    bits: int,
    granularity: Granularity,
    search: Search,
) -> list[Parameters]:
    views = [
        _viewed(weights, energy, bits, granularity, search)
        for weights, energy in zip(filters, energies, strict=True)
    ]
    levels, step = (_ALL, np.float32(1 / 127)) if bits == 8 else _shared_levels(views, 2**bits)
    return [
        _parameters(view, levels, _fitted_steps(view, levels, step), bits, granularity)
        for view in views
    ]


def _shared_levels(views: Sequence[_View], count: int) -> tuple[NDArray[np.int8], np.float32]:
    largest = max([float(view.peak.max()) for view in views] + [DEAD])
    values = np.concatenate([view.relative.ravel() for view in views])
    mass = np.concatenate([view.mass(largest).ravel() for view in views])
    levels = kmeans(values[None], mass[None], count)
    if not all(view.peak.all() for view in views):
        # A channel of zeros must stay one.
        levels[0, np.abs(levels[0]).argmin()] = 0
    whole, step = _whole(np.sort(levels))
    return whole, step[0, 0]


def _whole(levels: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Levels [R, n] as 127ths of the largest, and what a 127th is: [R, 1]."""
    largest = np.abs(levels).max(axis=1, keepdims=True)
    step = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(levels / step).astype(np.int8), step


def _fitted_steps(view: _View, levels: NDArray[np.int8], step: np.float32) -> FloatArray:
    """The best multiple of levels that all channels share, for each channel: [O, 1]."""
    values = levels[0].astype(np.float32)[_table(levels[:1])[0]]

    def restore(rows: FloatArray, step: FloatArray) -> FloatArray:
        half_steps = np.ceil(rows * (2 / step)) + 255
        np.clip(half_steps, 0, 511, out=half_steps)
        return np.asarray(values[half_steps.astype(np.intp)] * step)

    same = np.full(view.peak.shape, step, np.float32)
    best = minimise(restore, view.relative, view.weight, low=same * 0.5, high=same * 1.5)
    # Many levels fit the channel that they were made for only as they are.
    return choose(restore, view.relative, view.weight, [same, best])


def _parameters(
    view: _View, levels: NDArray[np.int8], step: FloatArray, bits: int, granularity: Granularity
) -> Parameters:
    scale = np.where(view.peak > 0, view.peak * step, 1).astype(np.float32)
    return Parameters(levels, _table(levels), scale, bits, granularity)


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
