"""How many bits entropy-coded filters may take, layer by layer.

One number, kappa, sets all steps (schemes.entropy).  It is solved for the wanted bits on codes
rounded to nearest, counting what the coder made of them.  Second-order rounding then changes the
rate by a percent or so: what layers really took is booked, and kappa solved again for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import OutOfRange
from toolchain.quantize.coded import CodedFilter, Entropy, entropy_bits
from toolchain.quantize.granularity import Channel
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.schemes import entropy
from toolchain.quantize.sensitivity import Sensitivity

SOLVES: Final = 8
"""Kappa is solved again after each of so many equal shares of the weights."""

LAST: Final = 0.3
"""But not when less than this is left: few layers cannot make up for what many took."""

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
        self._spent_bits = self._expected_bits = 0.0
        self._solved_at = 0
        self._over = dict.fromkeys(self._filters, 1.0)
        self._solve()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            over = pool.map(self._over_entropy, self._filters)
            self._over = dict(zip(self._filters, over, strict=True))
        self._solve()

    def steps(self, index: int) -> NDArray[np.float32]:
        """float32 [O, 1] of a convolution."""
        return self._steps[index]

    def spent(self, index: int, coded: CodedFilter | None) -> bool:
        """Books what a layer took; the others get the rest."""
        assert coded is not None
        self._left.remove(index)
        self._spent_bits += self._size_of(coded)
        self._expected_bits += self._over[index] * entropy_bits(self._nearest(index))
        left = sum(self._filters[other].size for other in self._left)
        share_done = SOLVES * (self._weights - left) // self._weights
        if left > LAST * self._weights and share_done > self._solved_at:
            self._solved_at = share_done
            self._solve()
        return True

    def _over_entropy(self, index: int) -> float:
        """What the coder takes of a filter rounded to nearest, over its entropy."""
        nearest = self._nearest(index)
        return self._size_of(Entropy(nearest)) / max(entropy_bits(nearest), 1.0)

    def _nearest(self, index: int) -> NDArray[np.int8]:
        return entropy.encode(
            self._filters[index], entropy.Parameters(self._steps[index], 0, Channel())
        )

    def _solve(self) -> None:
        """One kappa for all layers that are left."""
        left = [self._filters[index] for index in self._left]
        weights = sum(values.size for values in left)
        coder = sum(self._over[i] * self._filters[i].size for i in self._left) / weights
        rounding = self._spent_bits / self._expected_bits if self._expected_bits else 1.0
        wanted = (self._bits - self._spent_bits) / weights / coder / rounding
        try:
            fitted = entropy.fit_network(
                left, [self._relative[index] for index in self._left], max(wanted, LEAST_BITS)
            )
        except OutOfRange:
            if not self._expected_bits:
                raise
            # Those before took too much: the rest is as it was planned, and the whole too large.
            return
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
