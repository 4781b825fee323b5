"""Which scheme each convolution gets under a recipe."""

from __future__ import annotations

import dataclasses
from typing import Final

from toolchain.quantize.granularity import Channel, Granularity, Group
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.search import Search

SCHEME_OF: Final = {
    "c": "uniform",
    "g": "grouped",
    "k": "codebook",
    "e": "entropy",
    "m": "codebook",
    "s": "codebook",
}
"""By a recipe's granularity; of a mixture, for layers that a plan says nothing of."""


@dataclasses.dataclass(frozen=True)
class Method:
    """How one filter is written.

    scheme: a name in `schemes.SCHEMES`.  why: None, or why the layer is not as the recipe says.
    """

    scheme: str
    bits: int
    granularity: Granularity
    search: Search = "min-max"
    why: str | None = None


EIGHT_BITS: Final = Method("uniform", 8, Channel())


def methods(graph: FloatGraph, recipe: Recipe) -> dict[int, Method]:
    """A method for each convolution, by operator index.

    Where all filters of a recipe have the same few levels, the first convolution and the heads
    keep 8 bits: the picture's edges and the boxes come from few weights and cost little file.
    Entropy-coded filters need no exception, since each gets the steps that its errors allow.
    """
    return {op.index: _method(graph, op, recipe) for op in graph.convolutions}


def _method(graph: FloatGraph, operation: Operation, recipe: Recipe) -> Method:
    bits = recipe.weight_bits or 8
    if recipe.granularity != "e" and bits < 8:
        if graph.reaches_input(operation.data[0]):
            return dataclasses.replace(EIGHT_BITS, why="first convolution")
        if graph.reaches_output(operation.output):
            return dataclasses.replace(EIGHT_BITS, why="head")
    granularity = Group(recipe.group) if recipe.group else Channel()
    search: Search = "min-max" if bits == 8 else "weighted"
    return Method(SCHEME_OF[recipe.granularity], bits, granularity, search)
