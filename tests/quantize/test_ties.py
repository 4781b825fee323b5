from __future__ import annotations

import pytest

from tests.quantize import models
from toolchain.errors import UnsupportedModel
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.operators import PICTURE, UNIT
from toolchain.quantize.ties import Group, groups
from toolchain.tflite import flatbuffer


def named(model: bytes) -> tuple[FloatGraph, dict[str, Group]]:
    graph = FloatGraph(flatbuffer.parse(model))
    found = groups(graph)
    return graph, {graph.name(tensor): group for group in found for tensor in group.tensors}


def test_every_activation_is_in_exactly_one_group(float_bytes: bytes) -> None:
    graph = FloatGraph(flatbuffer.parse(float_bytes))
    tensors = [tensor for group in groups(graph) for tensor in group.tensors]
    assert sorted(tensors) == sorted(graph.activations())


def test_copies_tie_tensors_across_the_graph(float_bytes: bytes) -> None:
    graph, by_name = named(float_bytes)
    joined = {graph.name(tensor) for tensor in by_name["joined"].tensors}
    assert joined == {"joined", "sum", "pool", "left/silu"}
    neck = by_name["neck"]
    assert {graph.name(tensor) for tensor in neck.tensors} == {
        "neck", "up", "deep/leaky", "stem/silu", "pad",
    }  # fmt: skip
    assert {graph.name(tensor) for tensor in neck.sources} == {"deep/leaky", "stem/silu"}


def test_arithmetic_ties_nothing(float_bytes: bytes) -> None:
    _, by_name = named(float_bytes)
    for name in ("boxes_2", "objectness_2", "classes_2", "inner", "inner/silu"):
        assert len(by_name[name].tensors) == 1
        assert by_name[name].fixed is None


def test_input_and_sigmoids_have_the_scales_that_the_runtime_knows(float_bytes: bytes) -> None:
    _, by_name = named(float_bytes)
    assert by_name["images"].fixed == PICTURE
    assert by_name["stem/silu/gate"].fixed == UNIT


def test_a_padded_picture_keeps_the_pictures_scale() -> None:
    net = models.Net()
    x = net.picture()
    _, by_name = named(net.finish(x, net.conv(net.pad(x, "pad"), 4, "conv")))
    assert by_name["pad"] is by_name["images"]
    assert by_name["pad"].fixed == PICTURE


def test_a_sigmoid_joined_with_other_numbers_is_refused_by_name() -> None:
    net = models.Net()
    x = net.picture()
    raw = net.conv(x, 4, "raw")
    both = net.concat([net.logistic(raw, "scores"), net.conv(x, 4, "boxes")], "both")
    graph = FloatGraph(flatbuffer.parse(net.finish(x, both)))
    with pytest.raises(UnsupportedModel, match="scores and boxes"):
        groups(graph)
