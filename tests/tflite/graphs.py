"""Small models of one convolution, built by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import FLOAT32, INT8, INT32, UINT8, Element
from toolchain.tflite.flatbuffer import serialize

CONV = {"padding": schema.Padding.SAME, "strideH": 1, "strideW": 1}


def options() -> Any:
    return schema.Conv2DOptionsT(**CONV, dilationHFactor=1, dilationWFactor=1)


def float_conv(*, outputs: int = 3, signature: str = "detect") -> Any:
    """[1, 4, 6, 2] -> 3x3 convolution -> [1, 4, 6, outputs]."""
    random = np.random.default_rng(7)
    graph = Graph()
    x = graph.tensor("images", (1, 4, 6, 2))
    w = graph.constant("w", random.normal(size=(outputs, 3, 3, 2)).astype(np.float32))
    b = graph.constant("b", random.normal(size=outputs).astype(np.float32))
    y = graph.tensor("y", (1, 4, 6, outputs))
    graph.operator("CONV_2D", [x, w, b], [y], options())
    return graph.model([x], [y], signature)


def int8_conv() -> Any:
    """The same in int8, with a scale for each output channel."""
    graph = Graph()
    scales = np.array([0.5, 0.25, 0.125], np.float32)
    x = graph.tensor("images", (1, 4, 6, 2), INT8, scale=1 / 255, zero_point=-128)
    w = graph.constant("w", np.ones((3, 3, 3, 2), np.int8), INT8, scale=scales)
    b = graph.constant("b", np.zeros(3, np.int32), INT32, scale=scales / 255)
    y = graph.tensor("y", (1, 4, 6, 3), INT8, scale=0.1)
    graph.operator("CONV_2D", [x, w, b], [y], options(), version=3)
    return graph.model([x], [y], "detect")


def with_ends(ends: Element) -> bytes:
    """y = sigmoid(x) inside, with ends of one element type: one model in three files."""
    graph = Graph()
    quantized: dict[str, Any] = {} if ends is FLOAT32 else {"scale": 1 / 255}
    if ends is INT8:
        quantized["zero_point"] = -128
    x = graph.tensor("images", (1, 2, 2, 3), ends, **quantized)
    y = graph.tensor("scores", (1, 2, 2, 3), ends, **quantized)
    graph.operator("RESHAPE", [x], [y], schema.ReshapeOptionsT(newShape=[1, 2, 2, 3]))
    return serialize(graph.model([x], [y]))


ENDS = (FLOAT32, INT8, UINT8)
