"""Which output channels may be scaled, because all that read them follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.quantize import models
from tests.quantize.uneven import graph_of, tiny
from toolchain.quantize.channels import FIXED, trace
from toolchain.quantize.equalize import is_possible
from toolchain.tflite import flatbuffer

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6


def free_layers(model: bytes) -> dict[str, int]:
    """How many output channels of each convolution may move."""
    graph = graph_of(model)
    channels = trace(graph)
    return {
        graph.layer(op): int(
            channels.free[channels.first[op.index] :][: graph.shape(op.inputs[1])[0]].sum()
        )
        for op in graph.convolutions
    }


def test_factors_pass_through_leaky_relu_pooling_resizing_and_concatenation() -> None:
    found = free_layers(tiny(0))
    moving = {"stem", "first", "second", "third", "fourth", "after", "deep", "last"}
    assert {layer for layer, count in found.items() if count} == moving
    assert found["after"] == 16


def test_a_concatenation_holds_the_channels_of_its_parts_in_order() -> None:
    graph = graph_of(tiny(0))
    channels = trace(graph)
    by_name = {graph.name(tensor): tensor for tensor in graph.activations()}
    first = {graph.layer(op): channels.first[op.index] for op in graph.convolutions}
    expected = [first[name] + np.arange(8) for name in ("fourth", "third", "second", "first")]
    np.testing.assert_array_equal(channels.of[by_name["joined"]], np.concatenate(expected))
    assert (channels.of[by_name["images"]] == FIXED).all()


def _between(net: models.Net, y: int, how: str) -> tuple[int, ...]:
    """What reads `y`, and so the outputs of the graph."""
    reader = net.conv(y, 4, "reader")
    match how:
        case "a sum":
            return (reader, net.conv(net.add(y, y, "sum"), 2, "other"))
        case "a sigmoid":
            return (reader, net.conv(net.silu(y, "silu"), 2, "other"))
        case "an output":
            return (reader, y)
        case "an output behind a concatenation":
            return (reader, net.pool(net.concat([y, y], "twice"), "pool"))
        case _:
            return (reader,)


@pytest.mark.parametrize(
    ("how", "activation", "free"),
    [
        ("nothing", models.NONE, 6),
        ("nothing", RELU, 6),
        ("nothing", RELU6, 0),
        ("a sum", models.NONE, 0),
        ("a sigmoid", models.NONE, 0),
        ("an output", models.NONE, 0),
        ("an output behind a concatenation", models.NONE, 0),
    ],
)
def test_a_channel_moves_only_where_all_that_read_it_follow(
    how: str, activation: int, free: int
) -> None:
    net = models.Net()
    x = net.picture()
    made = net.conv(x, 6, "made", activation=activation)
    assert free_layers(net.finish(x, *_between(net, made, how)))["made"] == free


def test_filters_that_convolutions_share_stay() -> None:
    net = models.Net()
    x = net.picture()
    made = net.conv(x, 4, "made")
    twins = [net.conv(made, 4, name, weights=np.ones((4, 1, 1, 4), np.float32)) for name in "ab"]
    model = flatbuffer.parse(net.finish(x, *(net.conv(twin, 2, f"out{twin}") for twin in twins)))
    assert free_layers(flatbuffer.serialize(model))["made"] == 4
    a, b = model.subgraphs[0].operators[1:3]
    b.inputs = np.array([b.inputs[0], a.inputs[1], b.inputs[2]], np.int32)
    found = free_layers(flatbuffer.serialize(model))
    assert found["made"] == found["a"] == 0


def test_networks_with_silu_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "silu.tflite"
    path.write_bytes(models.wide())
    assert not is_possible(path)
    path.write_bytes(tiny(0))
    assert is_possible(path)
