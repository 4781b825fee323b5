"""A plan for recipes that leave scheme, granularity and bits of each filter open (`w4m-a8`)."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.allocation import allocate
from toolchain.quantize.calibration import Statistics
from toolchain.quantize.candidates import Candidate, SizeOf, candidates, few_levels, methods
from toolchain.quantize.choice import LayerChoice
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.methods import EIGHT_BITS, Method
from toolchain.quantize.methods import methods as usual_methods
from toolchain.quantize.planfile import PlanFile
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.recovered import Recovered, fit
from toolchain.quantize.schemes import SCHEMES, codebook
from toolchain.quantize.sensitivity import Sensitivity

SECOND_ORDER_GROWTH: Final = 1.015
"""Times that indices of codebooks take after second-order rounding, at most:
1.009 (YOLOv7) to 1.015 (YOLOv5s) were seen."""

_log = logging.getLogger(__name__)


class Mixing:
    """What each filter may be stored as, measured once; plans of any size follow.

    statistics: of each convolution's input, floors: smallest scale of each channel that its int32
    bias allows, [O]; both by operator index.  islands: convolutions that stay float32 and take
    nothing.  size_of: bits that a coded filter takes.  growth: times that indices of codebooks
    take once they are rounded, a first guess.  Raises NotFinite.
    """

    def __init__(
        self,
        graph: FloatGraph,
        recipe: Recipe,
        sensitivity: Sensitivity,
        statistics: Mapping[int, Statistics],
        floors: Mapping[int, NDArray[np.float64]],
        islands: frozenset[int],
        size_of: SizeOf,
        growth: float = 1.0,
    ) -> None:
        self._graph, self._recipe, self._size_of = graph, recipe, size_of
        self._statistics, self._floors, self._islands = statistics, floors, islands
        self._names = graph.layer_names()
        ways = _ways(graph, recipe)
        open_ = [op.index for op in graph.convolutions if op.index not in islands]

        def found(index: int) -> list[Candidate]:
            felt = sensitivity.layers[self._names[index]].energy
            seen = statistics[index].mean_square
            return candidates(self._exact(index), felt, seen, floors[index], ways[index], size_of)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._found = dict(zip(open_, pool.map(found, open_), strict=True))
        self._planned: dict[int, float] = {}
        self._growth = growth

    def plan(self, room_bits: float) -> PlanFile | None:
        """The plan whose filters take at most `room_bits`; None where none is so small."""
        grown = {i: [_grown(one, self._growth) for one in c] for i, c in self._found.items()}
        taken = allocate(grown, room_bits)
        if taken is None:
            return None
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(self._measured, grown, grown.values(), taken.values())
            measured = dict(zip(grown, found, strict=True))
        taken = allocate(measured, room_bits)
        if taken is None:
            return None
        self._planned = {
            index: one.bits for index, one in taken.items() if one.method.scheme == codebook.NAME
        }
        layers = tuple(
            (self._names[op.index], _choice(taken.get(op.index))) for op in self._graph.convolutions
        )
        return PlanFile(self._recipe, layers=layers)

    def learn(self, made: Mapping[int, Recovered]) -> bool:
        """Take from filters of the last plan how much second-order rounding adds to indices.

        It moves weights away from the level next to them, so that indices compress less well.
        False where the plan had no codebook, and there is nothing to learn.
        """
        planned = sum(self._planned.values())
        if not planned:
            return False
        coded = (made[index].coded for index in self._planned)
        grown = sum(self._size_of(one) for one in coded if one is not None) / planned
        _log.info("indices of codebooks take %.4f times what was planned", grown)
        self._growth *= grown
        return True

    def _measured(self, index: int, found: list[Candidate], taken: Candidate) -> list[Candidate]:
        """The layer's candidates, with sizes of codebooks corrected by that of the whole filter.

        How well indices of a codebook compress is not quite the same in all channels, nor after
        second-order rounding (`learn`).
        """
        if taken.method.scheme != codebook.NAME:
            return found
        scheme: Any = SCHEMES[codebook.NAME]
        exact = self._exact(index)
        seen = self._statistics[index].mean_square
        parameters = fit(exact, taken.method, seen, self._floors[index])
        coded = scheme.coded(scheme.encode(exact, parameters), parameters)
        ratio = self._growth * self._size_of(coded[0]) / taken.bits
        return [_grown(one, ratio) for one in found]

    def _exact(self, index: int) -> NDArray[np.float32]:
        operation = self._graph.operations[index]
        return self._graph.constant(operation.inputs[1]).astype(np.float32)


def _grown(one: Candidate, ratio: float) -> Candidate:
    """With so many times the bits, if it is a codebook."""
    same = one.method.scheme != codebook.NAME
    return one if same else dataclasses.replace(one, bits=one.bits * ratio)


def _ways(graph: FloatGraph, recipe: Recipe) -> dict[int, list[Method]]:
    """What may be chosen for each convolution, by operator index."""
    assert recipe.weight_bits is not None
    usual = usual_methods(graph, recipe)
    if recipe.granularity == "m":
        return dict.fromkeys(usual, methods(recipe.weight_bits))
    few = few_levels(recipe.weight_bits)
    return {index: [EIGHT_BITS] if method.bits == 8 else few for index, method in usual.items()}


def _choice(taken: Candidate | None) -> LayerChoice:
    method = EIGHT_BITS if taken is None else taken.method
    return LayerChoice(method.scheme, float(method.bits), method.granularity, method.search)
