"""Pictures walked through together against one run alone, and what that takes of memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.quantize import models
from tests.quantize.conftest import Subject, known
from tests.quantize.test_replica import noise, parsed
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.plan import choose_ranges, scales_of
from toolchain.quantize.replica import Replica
from toolchain.quantize.scales import Scale
from toolchain.quantize.walk import Walk, live_bytes

BOTH = pytest.mark.parametrize("make", [models.detector, models.every_operator])


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return known(models.every_operator(), tmp_path_factory.mktemp("every"))


def scales_for(subject: Subject, islands: frozenset[int] = frozenset()) -> dict[int, Scale]:
    ranges = choose_ranges(subject.graph, subject.calibration, frozenset(), islands)
    return scales_of(ranges)


def walked(graph: FloatGraph, walk: Walk) -> list[dict[int, torch.Tensor]]:
    for operation in graph.operations:
        walk.pass_by(operation)
    return [{t: walk.value(index, t) for t in graph.outputs} for index in range(len(walk))]


@pytest.mark.parametrize("name", ["small", "every"])
def test_in_int8_a_walk_gives_the_codes_of_a_run(name: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(name)
    graph, scales = subject.graph, scales_for(subject)
    pictures = subject.pictures[:3]
    replica = Replica(graph, scales)
    found = walked(graph, Walk(graph, scales, pictures))
    for picture, outputs in zip(pictures, found, strict=True):
        for tensor, value in replica.run(picture).items():
            codes, due = (scales[tensor].encode(v.numpy()) for v in (outputs[tensor], value))
            np.testing.assert_array_equal(codes, due, graph.name(tensor))


@BOTH
def test_in_float_a_walk_is_a_run_but_for_half_precision(make: Callable[[], bytes]) -> None:
    graph = parsed(make())
    pictures = [noise(graph, seed) for seed in range(3)]
    replica = Replica(graph)
    for picture, outputs in zip(pictures, walked(graph, Walk(graph, {}, pictures)), strict=True):
        for tensor, value in replica.run(picture).items():
            assert models.sqnr_db(value.numpy(), outputs[tensor].numpy()) > 60, graph.name(tensor)


def test_outputs_that_stay_float_are_walked_beside_int8(small: Subject) -> None:
    graph = small.graph
    islands = frozenset(op.index for op in graph.convolutions if graph.name(op.output) == "boxes_2")
    scales = scales_for(small, islands)
    [boxes] = [op.output for op in graph.convolutions if op.index in islands]
    assert boxes not in scales
    [outputs] = walked(graph, Walk(graph, scales, small.pictures[:1]))
    due = Replica(graph, scales).run(small.pictures[0])[boxes].numpy()
    np.testing.assert_allclose(outputs[boxes].numpy(), due, rtol=1e-3, atol=1e-3)


def test_a_changed_filter_is_seen_by_those_behind_it_only(small: Subject) -> None:
    graph, scales = small.graph, scales_for(small)
    walk = Walk(graph, scales, small.pictures[:1])
    changed = next(op for op in graph.convolutions if graph.name(op.output) == "deep")
    for operation in graph.operations[: changed.index]:
        walk.pass_by(operation)
    before = walk.value(0, changed.data[0])
    walk.replica.set_filter(changed, np.zeros(graph.shape(changed.inputs[1]), np.float32))
    walk.replica.set_bias(changed, np.zeros(graph.shape(changed.output)[-1], np.float32))
    assert torch.equal(walk.value(0, changed.data[0]), before)
    walk.pass_by(changed)
    assert not walk.value(0, changed.output).any()


@pytest.mark.parametrize("name", ["small", "every"])
@pytest.mark.parametrize("is_int8", [True, False])
def test_the_memory_that_is_told_is_the_most_that_is_kept(
    name: str, is_int8: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject: Subject = request.getfixturevalue(name)
    graph = subject.graph
    scales = scales_for(subject) if is_int8 else {}
    walk = Walk(graph, scales, subject.pictures[:1])
    kept: list[int] = []
    forget = walk.replica.forget

    def counted(operation, alive):  # type: ignore[no-untyped-def]
        kept.append(sum(value.nbytes for value in alive.values()))
        forget(operation, alive)

    monkeypatch.setattr(walk.replica, "forget", counted)
    walked(graph, walk)
    assert max(kept) == live_bytes(graph, scales)
