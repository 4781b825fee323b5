"""Any model as tensors and operators."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tflite import graphs
from tests.tflite.conftest import Made
from toolchain.errors import MalformedModel
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import INT4, INT8
from toolchain.tflite.flatbuffer import parse, serialize
from toolchain.tflite.view import View


def test_a_convolution_is_seen_with_its_ends_its_bias_and_its_scales() -> None:
    view = View(parse(serialize(graphs.int8_conv())))
    [node] = view.nodes
    source, filter_, target = view.ends_of(node)
    assert (node.kind, view.layer(node)) == ("CONV_2D", "y")
    assert (source.name, filter_.name, target.name) == ("images", "w", "y")
    assert (source.low, source.high) == (0, pytest.approx(1))
    assert (source.constant, filter_.constant) == (False, True)
    assert filter_.scales.tolist() == [0.5, 0.25, 0.125]
    bias = view.bias_of(node)
    assert bias is not None
    assert bias.name == "b"
    assert view.values(filter_.index).tolist() == np.ones((3, 3, 3, 2)).tolist()  # type: ignore[union-attr]


def test_layers_are_called_by_their_weights(real: Made) -> None:
    view = View(parse(real.w8))
    layers = [view.layer(node) for node in view.weighted]
    assert layers[:2] == ["model.0.conv", "model.1.conv"]
    assert len(set(layers)) == len(layers) == 66


def test_stored_4_bit_codes_are_read_as_numbers(small: Made) -> None:
    view = View(parse(small.w4))
    filters = [view.tensors[node.inputs[1]] for node in view.weighted]
    narrow = [filter_ for filter_ in filters if filter_.element is INT4]
    assert narrow
    for filter_ in narrow:
        codes = view.values(filter_.index)
        assert codes is not None
        assert codes.shape == filter_.shape
        assert np.abs(codes).max() == 7


def test_copies_name_the_tensors_that_they_copy() -> None:
    graph = Graph()
    a, b = (graph.tensor(name, (1, 4, 4, 2), INT8, scale=0.1) for name in "ab")
    c = graph.tensor("c", (1, 4, 4, 4), INT8, scale=0.1)
    d = graph.tensor("d", (1, 4, 4, 2), INT8, scale=0.1)
    graph.operator("CONCATENATION", [a, b], [c], schema.ConcatenationOptionsT(axis=3))
    graph.operator("ADD", [a, b], [d], schema.AddOptionsT())
    view = View(parse(serialize(graph.model([a, b], [c, d]))))
    assert [view.copied_from(node) for node in view.nodes] == [(a, b), ()]


def test_names_of_any_length_are_whole_and_safe_to_print() -> None:
    graph = Graph()
    x = graph.tensor("x" * 300 + "\x1b[31m", (1, 2))
    y = graph.tensor("", (1, 2))
    graph.operator("LOGISTIC", [x], [y])
    view = View(parse(serialize(graph.model([x], [y]))))
    assert view.name(x) == "x" * 300 + "?[31m"
    assert view.name(y) == "tensor 1"


def test_a_convolution_without_its_filter_is_refused() -> None:
    model = graphs.int8_conv()
    model.subgraphs[0].operators[0].inputs = np.array([0, -1], np.int32)
    with pytest.raises(MalformedModel, match="CONV_2D"):
        View(parse(serialize(model)))
