"""Granularities combined: each layer the one that serves it best, for what is left to spend.

The paper saves memory "with a combination of different granularities".  Here every layer offers its
error (`proxy`) and its bits at each of `CHOICES`; one price of a bit for all layers, found by
bisection, makes them spend what there is (Lagrangian allocation: Shoham and Gersho, 1988).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from toolchain.errors import OutOfRange
from toolchain.quantize.granularity import Channel, Granularity, Group, Layer
from toolchain.quantize.methods import Method
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.plan import channel_means
from toolchain.quantize.schemes import piecewise
from toolchain.study.made import BIAS_BITS
from toolchain.study.material import Opened
from toolchain.study.proxy import layer_error

CHOICES: Final[tuple[Granularity, ...]] = (
    Layer(), Channel(), Group(256), Group(128), Group(64), Group(32), Group(16),
)  # fmt: skip
"""From few numbers beside the codes to many."""

STEPS: Final = 100


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a layer would take, in bits, and what error it would leave."""

    bits: float
    error: float


def choose(offers: Sequence[Sequence[Offer]], budget_bits: float) -> list[int]:
    """The place of each layer's choice: least error in all that takes `budget_bits` at most.

    Raises OutOfRange where even the smallest offers take more.
    """
    least = sum(min(offer.bits for offer in own) for own in offers)
    if least > budget_bits:
        raise OutOfRange(
            f"{budget_bits:.0f} bits for codes and scales: the least is {least:.0f}",
            hint="Leave more to the granularity, as in combined 0.1.",
        )
    # Prices in the units of the errors: from one at which bits are as good as free.
    low, high = 0.0, 1.0
    while _bits(offers, _at(offers, high)) > budget_bits:
        high *= 4
    for _ in range(STEPS):
        price = (low + high) / 2
        if _bits(offers, _at(offers, price)) > budget_bits:
            low = price
        else:
            high = price
    return _at(offers, high)


def combine(opened: Opened, method: Method, side_bits: float) -> dict[int, Method]:
    """A method for each convolution, scales and biases together taking `side_bits` a weight.

    method: all but the granularity.  The errors are those of rounding to nearest.
    Raises OutOfRange (too little to spend), NotFinite, RecipeError.
    """
    graph = opened.graph
    offers: dict[int, list[Offer]] = {op.index: [] for op in graph.convolutions}
    for granularity in CHOICES:
        for index, offer in _offers(opened, dataclasses.replace(method, granularity=granularity)):
            offers[index].append(offer)
    bits = method.bits + (method.scheme == piecewise.NAME)  # which region a weight lies in
    biases = sum(len(graph.bias(op)) for op in graph.convolutions)
    budget = (bits + side_bits) * opened.facts.parameters - BIAS_BITS * biases
    places = choose(list(offers.values()), budget)
    return {
        index: dataclasses.replace(method, granularity=CHOICES[place])
        for index, place in zip(offers, places, strict=True)
    }


def _offers(opened: Opened, method: Method) -> Iterator[tuple[int, Offer]]:
    graph = opened.graph
    names = graph.layer_names()
    made = round_to_nearest(
        graph,
        {op.index: method for op in graph.convolutions},
        channel_means(graph, opened.calibration),
        {op.index: np.zeros(len(graph.bias(op))) for op in graph.convolutions},
    )
    for operation in graph.convolutions:
        one = made[operation.index]
        error = layer_error(
            graph.constant(operation.inputs[1]).astype(np.float32),
            one.weights,
            opened.moments(operation.index),
            opened.sensitivity.layers[names[operation.index]].energy,
        )
        yield operation.index, Offer(one.stored_bits, error)


def _at(offers: Sequence[Sequence[Offer]], price: float) -> list[int]:
    """Each layer's cheapest place where a bit costs `price`; of equals the one with fewer bits."""
    return [
        min(range(len(own)), key=lambda i: (own[i].error + price * own[i].bits, own[i].bits))
        for own in offers
    ]


def _bits(offers: Sequence[Sequence[Offer]], places: Sequence[int]) -> float:
    return sum(own[place].bits for own, place in zip(offers, places, strict=True))
