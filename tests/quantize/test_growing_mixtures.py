"""Mixtures whose codebooks take more room once they are rounded than was planned."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quantize.conftest import Subject
from toolchain.quantize import parse
from toolchain.quantize import plan as planning
from toolchain.quantize.chosen import chosen
from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.mixing import Mixing
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.planfile import PlanFile
from toolchain.quantize.recovered import Recovered
from toolchain.tflite.packed_codecs import stored_bits

ADDED = 1.1
"""Times the bits, played: real second-order rounding adds about half a percent."""


@pytest.mark.parametrize("name", ["w4s-a8", "w4m-a8"])
def test_the_next_plan_leaves_room_for_what_rounding_added(wide: Subject, name: str) -> None:
    graph, recipe = wide.graph, parse(name)
    statistics = planning.channel_means(graph, wide.calibration)
    floors = {op.index: np.zeros(graph.shape(op.inputs[1])[0]) for op in graph.convolutions}
    added = 1.0

    def size_of(coded: CodedFilter) -> float:
        return added * stored_bits(coded)

    def made(plan: PlanFile | None) -> dict[int, Recovered]:
        assert plan is not None
        methods = chosen(graph, recipe, frozenset(), plan).methods
        return round_to_nearest(graph, methods, statistics, floors)

    mixing = Mixing(graph, recipe, wide.sensitivity, statistics, floors, frozenset(), size_of)
    roomy = 3.8 * sum(graph.elements(op.inputs[1]) for op in graph.convolutions)
    room_bits = 1.01 * bits(made(mixing.plan(roomy)))
    first = made(mixing.plan(room_bits))
    assert bits(first) <= room_bits < bits(first, ADDED)

    added = ADDED
    assert mixing.learn(first)
    added = 1.0
    second = made(mixing.plan(room_bits))
    assert bits(second, ADDED) <= room_bits


def bits(made: dict[int, Recovered], added: float = 1.0) -> float:
    """Of all filters, those of codebooks so many times what they take."""
    return sum(
        stored_bits(one.coded) * (added if one.method.scheme == "codebook" else 1.0)
        for one in made.values()
        if one.coded is not None
    )
