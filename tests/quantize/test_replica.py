"""The graph in torch against the stock runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tests.quantize import models
from tests.quantize.conftest import calibrated
from toolchain.errors import UnsupportedModel
from toolchain.quantize import W8C_A8, Calibration, quantize
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.methods import methods
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.observe import Probe
from toolchain.quantize.operators import RULES
from toolchain.quantize.plan import channel_means, choose_ranges, scales_of
from toolchain.quantize.recovery import floors_of
from toolchain.quantize.replica import Replica
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT32

Picture = NDArray[np.float32]


def parsed(model: bytes) -> FloatGraph:
    return FloatGraph(flatbuffer.parse(model))


def noise(graph: FloatGraph, seed: int = 0) -> Picture:
    """A picture of whole levels, as the runtime's int8 input has them."""
    levels = np.random.default_rng(seed).integers(0, 256, (1, *graph.imgsz, 3))
    return levels.astype(np.float32) / np.float32(255)


def as_runtime(value: torch.Tensor) -> NDArray[np.float32]:
    return value.detach().permute(0, 2, 3, 1).numpy()


def as_torch(value: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(value).permute(0, 3, 1, 2)


def open_ended(model: bytes, graph: FloatGraph) -> bytes:
    """With every activation as an output; without the names of a signature."""
    tree = flatbuffer.parse(model)
    subgraph = tree.subgraphs[0]
    places = {tensor.name.decode(): index for index, tensor in enumerate(subgraph.tensors)}
    made = [places[graph.name(operation.output)] for operation in graph.operations]
    subgraph.outputs, tree.signatureDefs = np.array(made, np.int32), None
    return flatbuffer.serialize(tree)


def quantized_replica(graph: FloatGraph, calibration: Calibration) -> Replica:
    """With the weights and scales that `quantize` puts into a w8c-a8 file."""
    scales = scales_of(choose_ranges(graph, calibration, frozenset()))
    replica = Replica(graph, scales)
    made = round_to_nearest(
        graph,
        methods(graph, W8C_A8),
        channel_means(graph, calibration),
        dict(floors_of(graph, scales)),
    )
    for operation in graph.convolutions:
        replica.set_filter(operation, made[operation.index].weights)
        replica.set_bias(operation, made[operation.index].bias)
    return replica


def test_the_model_of_every_operator_has_every_operator() -> None:
    graph = parsed(models.every_operator())
    kinds = {operation.kind for operation in graph.operations}
    assert kinds == RULES.keys() - {"TRANSPOSE", "RESHAPE"}
    options = [operation.options for operation in graph.convolutions]
    assert {option.strideH for option in options} == {1, 2}
    assert {option.dilationHFactor for option in options} == {1, 2}
    assert {option.padding for option in options} == {0, 1}
    assert {option.fusedActivationFunction for option in options} == {0, 1, 3}


def test_every_tensor_is_that_of_the_float_runtime() -> None:
    graph = parsed(models.every_operator())
    made = [operation.output for operation in graph.operations]
    probe, replica = Probe(graph, made, threads=1), Replica(graph)
    for seed in range(3):
        picture = noise(graph, seed)
        seen: dict[int, torch.Tensor] = {}
        replica.run(picture, seen.__setitem__)
        assert seen.keys() == set(made)
        for tensor, values in probe.run(picture):
            np.testing.assert_allclose(
                as_runtime(seen[tensor]), values, rtol=1e-5, atol=1e-5, err_msg=graph.name(tensor)
            )


@pytest.mark.parametrize("make", [models.detector, models.every_operator])
def test_in_int8_every_operator_makes_the_runtimes_codes_within_one(
    make: Callable[[], bytes], tmp_path: Path
) -> None:
    model = make()
    graph, calibration = parsed(model), calibrated(model, tmp_path)
    replica = quantized_replica(graph, calibration)
    runner = models.Runner(open_ended(quantize(model, calibration, W8C_A8).model, graph))
    for seed in range(2):
        picture = noise(graph, seed)
        codes = runner.codes(np.rint(picture[0] * 255).astype(np.uint8))
        values = {
            tensor: as_torch(replica.scales[tensor].decode(codes[graph.name(tensor)]))
            for tensor in graph.activations()[1:]
        }
        values |= replica.enter(picture)
        for operation in graph.operations:
            name, scale = graph.name(operation.output), replica.scales[operation.output]
            made = scale.encode(as_runtime(replica.step(operation, values)))
            apart = made.astype(int) - codes[name]
            assert np.abs(apart).max() <= 1, name
            assert np.abs(apart).mean() < 0.06, name


def test_in_int8_single_steps_do_not_add_up_on_the_way_to_the_outputs(
    float_bytes: bytes, calibration: Calibration
) -> None:
    graph = parsed(float_bytes)
    replica = quantized_replica(graph, calibration)
    runner = models.Runner(quantize(float_bytes, calibration, W8C_A8).model)
    for pixels in models.pixels(3):
        codes = runner.codes(pixels)
        picture = pixels[np.newaxis] / np.float32(255)
        for tensor, value in replica.run(picture).items():
            found = replica.scales[tensor].encode(as_runtime(value)).astype(int)
            apart = found - codes[graph.name(tensor)]
            assert np.abs(apart).max() <= 3
            assert np.abs(apart).mean() < 0.3
            assert abs(apart.mean()) < 0.1


def test_the_same_picture_in_other_scales_is_another_run() -> None:
    graph = parsed(models.detector())
    exact = Replica(graph).run(noise(graph))
    coarse = Replica(graph, {graph.inputs[0]: RULES["LOGISTIC"].output}).run(noise(graph))
    assert any((exact[tensor] != coarse[tensor]).any() for tensor in graph.outputs)


def test_gradients_reach_the_picture() -> None:
    graph = parsed(models.every_operator())
    replica = Replica(graph)
    alive = {graph.inputs[0]: torch.rand(1, 3, *graph.imgsz, requires_grad=True)}
    start = alive[graph.inputs[0]]
    for operation in graph.operations:
        alive[operation.output] = replica.step(operation, alive)
    torch.stack([alive[tensor].sum() for tensor in graph.outputs]).sum().backward()
    assert start.grad is not None
    assert start.grad.abs().sum() > 0


def test_nothing_is_kept_that_nobody_reads() -> None:
    graph = parsed(models.detector())
    replica = Replica(graph)
    alive = replica.enter(noise(graph))
    for operation in graph.operations:
        alive[operation.output] = replica.step(operation, alive)
        replica.forget(operation, alive)
        later = graph.operations[operation.index + 1 :]
        read = {tensor for other in later for tensor in other.data} | set(graph.outputs)
        assert set(alive) <= read
    assert set(alive) == set(graph.outputs)


def test_an_operator_that_is_not_known_is_refused_by_name() -> None:
    net = models.Net()
    x = net.picture()
    y = net._tensor("y", (models.SIDE, models.SIDE, 3))
    shape = net.graph.constant("shape", np.array([1, models.SIDE, models.SIDE, 3], np.int32))
    net.graph.operator("RESHAPE", [x, shape], [y], schema.ReshapeOptionsT())
    graph = parsed(net.finish(x, net.conv(y, 2, "conv")))
    with pytest.raises(UnsupportedModel, match="RESHAPE") as refused:
        Replica(graph)
    assert "--recovery none" in refused.value.hint


def test_a_resize_to_no_whole_multiple_is_refused() -> None:
    net = models.Net()
    x = net.picture()
    y = net._tensor("y", (48, 48, 3))
    to = net.graph.constant("size", np.array([48, 48], np.int32), INT32)
    net.graph.operator(
        "RESIZE_NEAREST_NEIGHBOR", [x, to], [y], schema.ResizeNearestNeighborOptionsT()
    )
    graph = parsed(net.finish(x, net.conv(y, 2, "conv")))
    with pytest.raises(UnsupportedModel, match="48 x 48, no whole multiple"):
        Replica(graph).run(noise(graph))
