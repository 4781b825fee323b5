"""Uniform steps so coarse that their int8 codes take few bits once entropy-coded; nothing clips.

If rounding noise is independent, a network's loss grows with sum_c G_c X_c step_c^2 / 12, and the
bits of a channel fall by one where its step doubles.  All channels then lie at the same slope of
distortion against rate where

    step_c = kappa / sqrt(G_c X_c)

with X the mean square of the convolution's input and G_c the mean square of the loss's gradient
by the channel's output (Gish and Pierce, "Asymptotically efficient quantizing", 1968: uniform
steps with entropy coding; Lagrangian allocation as in Shoham and Gersho, 1988).  kappa, one
number, sets the bits.  A step is never below max|w| / 127, so that codes are int8, and never above
max|w|.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import NotFinite, OutOfRange
from toolchain.quantize.coded import CodedFilter, Entropy, entropy_bits
from toolchain.quantize.granularity import Channel, FloatArray, Granularity, Layer, at, matrix, rows
from toolchain.quantize.schemes.checks import check, check_weights
from toolchain.quantize.schemes.either import as_index, library
from toolchain.quantize.search import DEAD, Search

NAME: Final = "entropy"
GRANULARITIES: Final = (Layer, Channel)
FITTED_BY: Final[tuple[Search, ...]] = ("mse", "weighted")

LARGEST: Final = 127
TOLERANCE_BITS: Final = 0.001
"""How near the rate comes to what was wanted, in bits a weight."""

TRIES: Final = 60
GUESSES: Final = 8
"""Tries that a guess is trusted in all alone: it is nearly always right by then."""

SLOPE: Final = math.log(2) / 6
"""What a bit is worth in squared steps: distortion step^2 / 12 falls by a factor of 4 a bit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """step: float32 [R, 1], all above 0.  bits: of entropy a weight that it was fitted to."""

    step: FloatArray
    bits: float
    granularity: Granularity


def fit(
    weights: FloatArray,
    bits: float,
    granularity: Granularity,
    *,
    energy: FloatArray | None = None,  # noqa: ARG001  # weighs all channels of a layer alike
    search: Search = "mse",
) -> Parameters:
    """One step for a layer, as near to `bits` of entropy as it comes, or for each channel.

    A channel's own step differs from the layer's only by its limits max|w| / 127 and max|w|; see
    `fit_network` for several layers and for sensitivities.  A layer whose int8 codes have less
    entropy than `bits` keeps those.  weights: float32 [O, H, W, I].
    Raises NotFinite, OutOfRange, RecipeError.
    """
    check(NAME, weights, granularity, search, granularities=GRANULARITIES, searches=FITTED_BY)
    if not 0 < bits <= 8:
        raise OutOfRange(f"{bits} bits a weight", hint="Ask for more than 0 and at most 8.")
    limits = np.abs(rows(weights, granularity)).max(axis=(1, 2))
    relative = np.full_like(limits, limits.max())
    return _fitted([weights], [limits], [relative], bits, granularity)[0]


def fit_network(
    filters: Sequence[FloatArray], relative: Sequence[FloatArray], bits: float
) -> list[Parameters]:
    """Steps kappa x relative of all channels of a network, kappa so that they take `bits`.

    filters: float32 [O, H, W, I] each.  relative: float [O] each, as from `relative_steps`.
    bits: order-0 entropy a weight over all layers, each layer's codes counted by themselves.
    Raises NotFinite, OutOfRange (no steps are coarse enough).
    """
    for values in filters:
        check_weights(values)
    limits = [np.abs(matrix(values)).max(axis=1) for values in filters]
    return _fitted(filters, limits, relative, bits, Channel())


def relative_steps(sensitivity: NDArray[Any], energy: float) -> FloatArray:
    """1 / sqrt(G_c X): float32 [O]; infinite where nothing depends on a channel.

    sensitivity: G, float [O], none below 0.  energy: X, mean E[x_i^2] of the layer's input.
    Raises NotFinite, OutOfRange.
    """
    product = np.asarray(sensitivity, np.float64) * energy
    if not np.isfinite(product).all():
        raise NotFinite("sensitivities that are NaN or infinite", hint="Calibrate again.")
    if (product < 0).any():
        raise OutOfRange("sensitivities below 0", hint="Give mean squares.")
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.sqrt(product), np.float32)


def nearest(values: Any, parameters: Parameters, columns: Any) -> tuple[Any, Any]:
    """Codes (whole numbers in the values' type) and what they stand for."""
    step = at(parameters.step, columns, parameters.granularity)
    codes = library(values).round(values / step).clip(-LARGEST, LARGEST)
    return codes, codes * step


def cheapest(
    values: Any, parameters: Parameters, columns: Any, lengths: Any, price: Any = SLOPE
) -> tuple[Any, Any]:
    """As `nearest`, or one step towards zero where that saves more bits than its error is worth.

    Least (w / step - q)^2 + price x lengths[q] of the two.  lengths: float [256], bits of each
    code from -128 on, as from `code_lengths`.  price: squared steps a bit, a number or [O].
    """
    step = at(parameters.step, columns, parameters.granularity)
    exact = values / step
    close = library(values).round(exact).clip(-LARGEST, LARGEST)
    low = close - library(values).sign(close)
    cost, less = ((exact - q) ** 2 + price * lengths[as_index(q + 128)] for q in (close, low))
    codes = library(values).where(less < cost, low, close)
    return codes, codes * step


def code_lengths(codes: NDArray[np.int8]) -> FloatArray:
    """-log2 p of each code from -128 on: float32 [256]; unseen ones as if seen half a time."""
    counts = np.bincount((codes.ravel().view(np.uint8) ^ 0x80), minlength=256) + 0.5
    return np.asarray(np.log2(counts.sum() / counts), np.float32)


def encode(weights: FloatArray, parameters: Parameters) -> NDArray[np.int8]:
    """Nearest codes, int8 [O, H, W, I]."""
    flat = matrix(weights)
    codes, _ = nearest(flat, parameters, np.arange(flat.shape[1]))
    return np.asarray(codes.astype(np.int8).reshape(weights.shape))


def decode(codes: NDArray[np.int8], parameters: Parameters) -> FloatArray:
    """step * code, float32 [O, H, W, I]."""
    return np.asarray(matrix(codes) * parameters.step).reshape(codes.shape)


def stored_bits(codes: NDArray[np.int8], parameters: Parameters) -> float:
    """The order-0 entropy of the layer's codes, and 32 a step; a coder adds its tables."""
    return entropy_bits(codes) + 32.0 * parameters.step.size


def coded(codes: NDArray[np.int8], parameters: Parameters) -> tuple[CodedFilter, FloatArray] | None:
    """Entropy, its steps as scales [O]."""
    return Entropy(codes), np.broadcast_to(parameters.step[:, 0], len(codes)).copy()


def _fitted(
    filters: Sequence[FloatArray],
    limits: Sequence[FloatArray],
    relative: Sequence[FloatArray],
    bits: float,
    granularity: Granularity,
) -> list[Parameters]:
    def at_kappa(kappa: float) -> list[Parameters]:
        return [
            Parameters(_steps(kappa * own, limit), bits, granularity)
            for own, limit in zip(relative, limits, strict=True)
        ]

    def rate(kappa: float) -> float:
        fitted = zip(filters, at_kappa(kappa), strict=True)
        total = sum(entropy_bits(encode(values, parameters)) for values, parameters in fitted)
        return total / sum(values.size for values in filters)

    least, most = _range(np.concatenate(relative), np.concatenate(limits))
    return at_kappa(_solve(rate, bits, least, most))


def _steps(wanted: FloatArray, limit: FloatArray) -> FloatArray:
    steps = np.clip(wanted, limit / LARGEST, limit)
    return np.where(limit >= DEAD, steps, 1).astype(np.float32)[:, None]


def _range(relative: FloatArray, limits: FloatArray) -> tuple[float, float]:
    """The kappa at which all steps are as fine as they get, and as coarse."""
    counts = (limits >= DEAD) & np.isfinite(relative)
    if not counts.any():
        return 1.0, 1.0
    ends = limits[counts].astype(np.float64) / relative[counts]
    return float(ends.min() / LARGEST), float(ends.max())


def _solve(rate: Callable[[float], float], bits: float, least: float, most: float) -> float:
    """The kappa in [least, most] whose falling `rate` is `bits`, or the next one below.

    A step twice as large takes a bit less: that guess, kept inside a bracket.  Where it does not
    hold, since steps of most channels are at a limit, every other try halves the bracket.
    """
    low, high, found = 0.0, math.log2(most / least), rate(least)
    if found <= bits:
        return least
    lowest = rate(most)
    if lowest > bits:
        raise OutOfRange(
            f"{bits} bits a weight: with the coarsest steps there are {lowest:.3f}",
            hint=f"Ask for {math.ceil(lowest * 100) / 100} or more.",
        )
    tried = 0.0
    for turn in range(TRIES):
        guess = tried + found - bits
        trusted = low < guess < high and (turn < GUESSES or turn % 2 == 0)
        tried = guess if trusted else (low + high) / 2
        found = rate(least * 2**tried)
        if abs(found - bits) <= TOLERANCE_BITS:
            return least * 2**tried
        low, high = (tried, high) if found > bits else (low, tried)
    return least * 2**high
