"""A converted flatbuffer is taken only if it holds the detector's weights, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tflite.graphs import options
from toolchain.convert.canonical import canonical
from toolchain.detector import Conv
from toolchain.errors import ConversionFailed
from toolchain.tflite import flatbuffer
from toolchain.tflite.compose import Graph

RANDOM = np.random.default_rng(3)
WEIGHTS = {
    name: Conv(
        RANDOM.normal(size=(2, 2, 3, 3)).astype(np.float32), RANDOM.normal(size=2).astype("f4")
    )
    for name in ("model.0", "model.1")
}


def converted(*, transposed: bool = False, names: tuple[str, str] = ("model.0", "model.1")) -> Any:
    """images -> model.0 -> SiLU -> model.1 -> output, as a converter may have named them."""
    graph = Graph()
    source = graph.tensor("serving_default_x:0", (1, 4, 6, 2))
    image = source
    for place, name in enumerate(names):
        conv = WEIGHTS[name]
        weight = graph.constant("const", conv.weight.transpose(0, 2, 3, 1))
        bias = graph.constant("const", conv.bias)
        result = graph.tensor("StatefulPartitionedCall", (1, 4, 6, 2))
        graph.operator("CONV_2D", [source, weight, bias], [result], options())
        source = result
        if place == 0:
            gate, activated = (graph.tensor("x", (1, 4, 6, 2)) for _ in range(2))
            graph.operator("LOGISTIC", [result], [gate])
            graph.operator("MUL", [result, gate], [activated])
            source = activated
    if transposed:
        order = graph.constant("perm", np.array([0, 3, 1, 2], np.int32))
        turned = graph.tensor("turned", (1, 2, 4, 6))
        graph.operator("TRANSPOSE", [source, order], [turned])
        source = turned
    return flatbuffer.parse(flatbuffer.serialize(graph.model([image], [source], "serving_default")))


def names_of(model: Any) -> list[str]:
    parsed = flatbuffer.parse(flatbuffer.serialize(model))
    return [tensor.name.decode() for tensor in parsed.subgraphs[0].tensors]


def test_tensors_are_named_after_the_detectors_layers() -> None:
    assert names_of(canonical(converted(), WEIGHTS, ["boxes_8"])) == [
        "images",
        "model.0/weight",
        "model.0/bias",
        "model.0/conv",
        "model.0/sigmoid",
        "model.0/silu",
        "model.1/weight",
        "model.1/bias",
        "boxes_8",
    ]


def test_layers_are_found_by_their_weights_not_by_their_place() -> None:
    swapped = converted(names=("model.1", "model.0"))

    assert names_of(canonical(swapped, WEIGHTS, ["boxes_8"]))[1] == "model.1/weight"


def test_layers_with_equal_weights_are_each_found_once() -> None:
    twice = {"model.0": WEIGHTS["model.0"], "model.0.again": WEIGHTS["model.0"]}
    model = converted(names=("model.0", "model.0"))

    names = names_of(canonical(model, twice, ["boxes_8"]))
    assert {"model.0/weight", "model.0.again/weight"} <= set(names)


def test_only_our_signature_is_left() -> None:
    model = canonical(converted(), WEIGHTS, ["boxes_8"])

    (signature,) = model.signatureDefs
    assert signature.signatureKey == "detect"
    assert [(entry.name, entry.tensorIndex) for entry in signature.inputs] == [("images", 0)]


def test_the_given_model_is_left_alone() -> None:
    model = converted()
    before = flatbuffer.serialize(model)
    canonical(model, WEIGHTS, ["boxes_8"])

    assert flatbuffer.serialize(model) == before


def test_one_changed_bit_is_noticed() -> None:
    model = converted()
    weight = model.subgraphs[0].tensors[1]
    data = bytearray(model.buffers[weight.buffer].data)
    data[0] ^= 1
    model.buffers[weight.buffer].data = np.frombuffer(bytes(data), np.uint8)

    with pytest.raises(ConversionFailed, match="weights that are not the detector's"):
        canonical(model, WEIGHTS, ["boxes_8"])


def test_a_missing_layer_is_named() -> None:
    more = {**WEIGHTS, "model.2": Conv(WEIGHTS["model.0"].weight * 2, WEIGHTS["model.0"].bias)}

    with pytest.raises(ConversionFailed, match=r"lacks model\.2"):
        canonical(converted(), more, ["boxes_8"])


def test_an_operator_that_we_do_not_know_is_named() -> None:
    with pytest.raises(ConversionFailed, match="has TRANSPOSE"):
        canonical(converted(transposed=True), WEIGHTS, ["boxes_8"])


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ConversionFailed, match="1 inputs and 1 outputs"):
        canonical(converted(), WEIGHTS, ["boxes_8", "objectness_8"])
