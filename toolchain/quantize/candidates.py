"""What each way to store one filter costs: bits of the file, and error that the outputs feel.

    cost = sum_o E_o mean_k (X_k / mean X) (w'_ok - w_ok)^2

E_o is the sensitivity of an output channel (`LayerSensitivity.energy`: what an error of variance 1
in each of its weights adds to the squared error of scores and boxes), X_k the mean square of the
input that weight k multiplies, w' the weights rounded to nearest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.granularity import Channel, Granularity, Group, Layer, matrix
from toolchain.quantize.methods import EIGHT_BITS, Method
from toolchain.quantize.recovered import fit
from toolchain.quantize.schemes import SCHEMES, codebook, grouped, uniform

SAMPLE: Final = 1 << 17
"""Weights of a filter that are looked at: whole channels, evenly spread."""

LEAST_CHANNELS: Final = 16

FEWEST_BITS: Final = 2
GROUPS: Final = (128, 64, 32, 16, 8)

Array = NDArray[np.float32]
SizeOf = Callable[[CodedFilter], float]
"""Bits that a coded filter takes in the file."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """bits: of codes and of what decodes them, for the whole filter.  cost: see above."""

    method: Method
    bits: float
    cost: float


def few_levels(most_bits: int) -> list[Method]:
    """Ways to give each weight of a channel, layer or group one of 2**most_bits levels or fewer."""
    ways: list[tuple[str, int, Granularity]] = [
        *((codebook.NAME, bits, Channel()) for bits in range(FEWEST_BITS, most_bits + 1)),
        (codebook.NAME, most_bits, Layer()),
        *((grouped.NAME, most_bits, Group(size)) for size in GROUPS),
        (uniform.NAME, most_bits, Channel()),
    ]
    return [Method(*way, search="weighted") for way in ways]


def methods(most_bits: int) -> list[Method]:
    """Those, and int8."""
    return [*few_levels(most_bits), EIGHT_BITS]


def candidates(
    exact: Array,
    sensitivity: NDArray[np.float64],
    mean_square: NDArray[np.float64],
    floor: NDArray[np.float64],
    ways: list[Method],
    size_of: SizeOf,
) -> list[Candidate]:
    """Each of `ways`, on a sample of the filter's channels.

    exact: float32 [O, H, W, I].  sensitivity: E, float64 [O].  mean_square: of the input, float64
    [I].  floor: float64 [O], the smallest scale allowed.  Raises NotFinite.
    """
    rows = sample(exact)
    part, felt = exact[rows], sensitivity[rows]
    more = len(exact) / len(part)
    if not felt.any():
        # A sample that happens to miss what is felt must not make a layer look as if nothing were.
        felt = np.ones(len(part))
    weight = float(sensitivity.sum() / felt.sum())
    found = []
    for way in ways:
        scheme: Any = SCHEMES[way.scheme]
        parameters = fit(part, way, mean_square, floor[rows])
        codes = scheme.encode(part, parameters)
        cost = cost_of(part, scheme.decode(codes, parameters), felt, mean_square)
        coded = scheme.coded(codes, parameters)
        assert coded is not None, way
        found.append(Candidate(way, more * size_of(coded[0]), weight * cost))
    return found


def cost_of(
    exact: Array,
    stored: Array,
    sensitivity: NDArray[np.float64],
    mean_square: NDArray[np.float64],
) -> float:
    """What storing `exact` as `stored`, both [O, H, W, I], costs."""
    difference = matrix(stored).astype(np.float64) - matrix(exact)
    return float(sensitivity @ (np.square(difference) @ _relative(mean_square, exact.shape)))


def sample(exact: Array) -> slice:
    """Which channels are looked at: all, or every n-th."""
    wanted = max(LEAST_CHANNELS, SAMPLE // exact[0].size)
    return slice(None, None, max(1, len(exact) // wanted))


def _relative(mean_square: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What a squared error at each weight of a channel counts, sum 1: [K]."""
    taps = np.tile(mean_square, shape[1] * shape[2]).astype(np.float64)
    total = float(taps.sum())
    return taps / total if total > 0 else np.full(taps.shape, 1 / taps.size)
