"""How many bits entropy-coded filters may take, layer by layer.

One number, kappa, sets all steps (schemes.entropy).  It is solved for the wanted bits on codes
rounded to nearest; second-order rounding then changes the rate by a percent, so that what layers
really took is booked, and kappa solved again for what is left, several times along the way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter, entropy_bits
from toolchain.quantize.granularity import Channel
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.schemes import entropy
from toolchain.quantize.sensitivity import Sensitivity

SOLVES: Final = 8
"""How often kappa is solved again, after about equal shares of the weights."""

LEAST_BITS: Final = 0.05
"""What a layer gets at least when those before it took more than their share."""

SizeOf = Callable[[CodedFilter], float]
"""Bits that a coded filter takes in the file."""


class Pacing(Protocol):
    """What decides the steps of entropy-coded convolutions, one after another."""

    def steps(self, index: int) -> NDArray[np.float32]:
        """float32 [O, 1] of the convolution that is next, by operator index."""

    def spent(self, index: int, coded: CodedFilter | None) -> bool:
        """Told how it was coded; False asks for the same convolution again, with new steps."""


class Pace:
    """Steps of each convolution, so that all together take `bits` a weight.

    bits: of stored codes, as `size_of` counts them.  layers: operator indices; None for all.
    Raises OutOfRange where no steps do.
    """

    def __init__(
        self,
        graph: FloatGraph,
        sensitivity: Sensitivity,
        bits: float,
        size_of: SizeOf,
        layers: Collection[int] | None = None,
    ) -> None:
        self._size_of = size_of
        self._filters = {
            op.index: graph.constant(op.inputs[1]).astype(np.float32)
            for op in graph.convolutions
            if layers is None or op.index in layers
        }
        names = graph.layer_names()
        self._relative = {
            index: relative_steps(sensitivity.layers[names[index]].energy, values)
            for index, values in self._filters.items()
        }
        self._weights = sum(values.size for values in self._filters.values())
        self._bits = bits * self._weights
        self._left = list(self._filters)
        self._steps: dict[int, NDArray[np.float32]] = {}
        self._spent_bits = self._planned_bits = 0.0
        self._solved_at = 0
        self._solve()

    def steps(self, index: int) -> NDArray[np.float32]:
        """float32 [O, 1] of a convolution."""
        return self._steps[index]

    def spent(self, index: int, coded: CodedFilter | None) -> bool:
        """Books what a layer took; the others get the rest."""
        assert coded is not None
        nearest = entropy.encode(
            self._filters[index], entropy.Parameters(self._steps[index], 0, Channel())
        )
        self._left.remove(index)
        self._spent_bits += self._size_of(coded)
        self._planned_bits += entropy_bits(nearest)
        left = sum(self._filters[other].size for other in self._left)
        share_done = SOLVES * (self._weights - left) // self._weights
        if self._left and share_done > self._solved_at:
            self._solved_at = share_done
            self._solve()
        return True

    def _solve(self) -> None:
        left = [self._filters[index] for index in self._left]
        over = self._spent_bits / self._planned_bits if self._planned_bits else 1.0
        wanted = (self._bits - self._spent_bits) / sum(values.size for values in left) / over
        fitted = entropy.fit_network(
            left, [self._relative[index] for index in self._left], max(wanted, LEAST_BITS)
        )
        for index, parameters in zip(self._left, fitted, strict=True):
            self._steps[index] = parameters.step


def relative_steps(
    energy: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Steps of equal worth: 1 / sqrt(energy / K), float32 [O]; K: weights of a channel.

    energy: float64 [O], as in `LayerSensitivity`.
    """
    per_weight = energy / (weights.size / len(weights))
    return entropy.relative_steps(per_weight, 1.0)
