"""Steps of entropy-coded layers that each take bits of their own, as a plan asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import OutOfRange, RecipeError
from toolchain.quantize.coded import CodedFilter, Entropy, expand
from toolchain.quantize.granularity import Channel
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.rate import Pacing, SizeOf, relative_steps
from toolchain.quantize.schemes import entropy
from toolchain.quantize.search import DEAD
from toolchain.quantize.sensitivity import Sensitivity

TRIES: Final = 5
CLOSE: Final = 0.003
"""How near a layer comes to its bits, as a share of them."""

LOOSE: Final = 0.01
"""A layer that misses its bits by more after second-order rounding is rounded again."""

FAR: Final = 0.05
"""Bits that a layer misses by so much, since its steps end before, are refused."""


class Pinned:
    """Each layer gets a kappa of its own (rate.Pace: one for all), solved when its turn comes.

    Solved for what `size_of` says of codes rounded to nearest; by how much second-order rounding
    then changes the rate is learnt from the layers before, or from a first try.

    bits: a weight, by operator index.  rest: paces the entropy-coded layers that are not there.
    """

    def __init__(
        self,
        graph: FloatGraph,
        sensitivity: Sensitivity,
        bits: Mapping[int, float],
        size_of: SizeOf,
        rest: Pacing | None = None,
    ) -> None:
        self._graph = graph
        self._sensitivity = sensitivity
        self._bits = bits
        self._size_of = size_of
        self._rest = rest
        self._names = graph.layer_names()
        self._nearest_bits: dict[int, float] = {}
        self._over: dict[int, float] = {}
        self._spent_bits = self._planned_bits = 0.0

    def steps(self, index: int) -> NDArray[np.float32]:
        """float32 [O, 1] of a convolution.  Raises RecipeError where no steps take its bits."""
        if index not in self._bits:
            assert self._rest is not None
            return self._rest.steps(index)
        over = self._over.get(index)
        if over is None:
            over = self._spent_bits / self._planned_bits if self._planned_bits else 1.0
        return self._solved(index, self._bits[index], self._bits[index] / over)

    def spent(self, index: int, coded: CodedFilter | None) -> bool:
        """Books what a layer took; False, once, where that is too far from its bits."""
        assert coded is not None
        if index not in self._bits:
            assert self._rest is not None
            return self._rest.spent(index, coded)
        taken, planned = self._size_of(coded), self._nearest_bits[index]
        asked = self._bits[index] * expand(coded).size
        if abs(taken - asked) > LOOSE * asked and index not in self._over:
            self._over[index] = taken / planned
            return False
        self._spent_bits += taken
        self._planned_bits += planned
        return True

    def _solved(self, index: int, asked: float, wanted: float) -> NDArray[np.float32]:
        operation = self._graph.operations[index]
        weights = self._graph.constant(operation.inputs[1]).astype(np.float32)
        name = self._names[index]
        relative = relative_steps(self._sensitivity.layers[name].energy, weights)
        of_entropy, taken = wanted, 0.0
        for _ in range(TRIES):
            # A coder stays a little above or below the entropy that steps are solved for.
            steps = _steps(weights, relative, of_entropy)
            codes = entropy.encode(weights, entropy.Parameters(steps, 0, Channel()))
            self._nearest_bits[index] = self._size_of(Entropy(codes))
            taken = self._nearest_bits[index] / weights.size
            if abs(taken - wanted) <= CLOSE * wanted:
                break
            of_entropy += wanted - taken
        if abs(taken - wanted) > FAR * wanted:
            how = "finest" if taken < wanted else "coarsest"
            raise RecipeError(
                f"layer {name!r:.80} cannot take {asked:g} bits a weight: with the {how} steps "
                f"it takes about {taken:.2f}",
                hint="Ask for other bits, or leave its bits out: then it shares the budget.",
            )
        return steps


def _steps(
    weights: NDArray[np.float32], relative: NDArray[np.float32], bits: float
) -> NDArray[np.float32]:
    """float32 [O, 1] for so many bits of entropy a weight, the coarsest where none are so few."""
    try:
        [fitted] = entropy.fit_network([weights], [relative], bits)
    except OutOfRange:
        largest = np.abs(weights).max(axis=(1, 2, 3))[:, None]
        return np.where(largest >= DEAD, largest, np.float32(1))
    return fitted.step
