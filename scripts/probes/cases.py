"""The questions: one operator each, with what numpy says the answer is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import INT4, INT8, INT32, Element
from toolchain.tflite.flatbuffer import serialize

IN_SCALE, OUT_SCALE = 0.02, 0.05
IN_ZERO, OUT_ZERO = -5, 3


@dataclasses.dataclass(frozen=True)
class Case:
    """model: bytes of a .tflite file.  expected: int8 output; None where it must not run.

    baseline: name of the case whose time this one's is compared with.
    """

    name: str
    title: str
    model: bytes
    inputs: NDArray[np.int8]
    expected: NDArray[np.int8] | None
    baseline: str | None = None


def all_cases() -> list[Case]:
    """In the order of the table."""
    conv, fc = conv_case, dense_case
    return [
        conv("conv8", "INT8 CONV_2D 3x3, 64 to 64, per channel", INT8, 64, 64, 3),
        conv("conv4", "INT4 CONV_2D 3x3, 64 to 64, per channel", INT4, 64, 64, 3, "conv8"),
        conv("conv4odd", "INT4 CONV_2D 3x3, 63 to 63, per channel", INT4, 63, 63, 3, "conv8"),
        conv("point8", "INT8 CONV_2D 1x1, 256 to 256, per channel", INT8, 256, 256, 1),
        conv("point4", "INT4 CONV_2D 1x1, 256 to 256, per channel", INT4, 256, 256, 1, "point8"),
        depthwise_case("depth8", "INT8 DEPTHWISE_CONV_2D 3x3, 64, per channel", INT8),
        depthwise_case("depth4", "INT4 DEPTHWISE_CONV_2D 3x3, 64, per channel", INT4, "depth8"),
        fc("fc8", "INT8 FULLY_CONNECTED, 256 to 256, per tensor", INT8, 256),
        fc("fc4", "INT4 FULLY_CONNECTED, 256 to 256, per tensor", INT4, 256, "fc8"),
        fc("fc4c", "INT4 FULLY_CONNECTED, 256 to 256, per channel", INT4, 256, "fc8", rows=True),
        fc("fc4odd", "INT4 FULLY_CONNECTED, 255 to 256, per channel", INT4, 255, "fc8", rows=True),
        fc(
            "fc4flat",
            "INT4 FULLY_CONNECTED without keep_num_dims, per channel",
            INT4,
            256,
            "fc8",
            rows=True,
            keep_dims=False,
        ),
        custom_case(),
    ]


def conv_case(
    name: str,
    title: str,
    element: Element,
    inputs: int,
    outputs: int,
    size: int,
    baseline: str | None = None,
) -> Case:
    """[1, 40, 40, inputs], SAME, stride 1."""
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    x = _inputs((1, 40, 40, inputs))
    weights, scales = _weights((outputs, size, size, inputs), element, axis=0)
    return _case(
        name, title, element, "CONV_2D", options, x, weights, scales, 0, convolve, baseline
    )


def depthwise_case(name: str, title: str, element: Element, baseline: str | None = None) -> Case:
    """[1, 40, 40, 64], 3x3, SAME; the channels are the filter's last axis."""
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = options.depthMultiplier = 1
    x = _inputs((1, 40, 40, 64))
    weights, scales = _weights((1, 3, 3, 64), element, axis=3)

    def expected(values: NDArray[Any], filters: NDArray[Any]) -> NDArray[Any]:
        diagonal = np.einsum("yxc,oc->oyxc", filters[0], np.eye(64, dtype=np.int64))
        return convolve(values, diagonal)

    return _case(
        name,
        title,
        element,
        "DEPTHWISE_CONV_2D",
        options,
        x,
        weights,
        scales,
        3,
        expected,
        baseline,
    )


def dense_case(
    name: str,
    title: str,
    element: Element,
    inputs: int,
    baseline: str | None = None,
    *,
    rows: bool = False,
    keep_dims: bool = True,
) -> Case:
    """[1, 40, 40, inputs] by [256, inputs]: a 1x1 convolution as a product.

    rows: a scale for each output.  Without keep_dims the output is [1600, 256].
    """
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = keep_dims
    x = _inputs((1, 40, 40, inputs))
    weights, scales = _weights((256, inputs), element, axis=0 if rows else None)

    def expected(values: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
        product = values.reshape(-1, inputs) @ matrix.T
        return product.reshape(1, 40, 40, 256) if keep_dims else product

    return _case(
        name,
        title,
        element,
        "FULLY_CONNECTED",
        options,
        x,
        weights,
        scales,
        0,
        expected,
        baseline,
    )


def custom_case() -> Case:
    """An operator that no runtime has: it must be refused, by its name."""
    graph = Graph()
    x = graph.tensor("x", (1, 4), INT8, scale=IN_SCALE)
    y = graph.tensor("y", (1, 4), INT8, scale=IN_SCALE)
    graph.operator("HalfbyteExpand", [x], [y])
    model = serialize(graph.model([x], [y], "run"))
    return Case("custom", "a custom operator", model, np.zeros((1, 4), np.int8), None)


def convolve(values: NDArray[Any], filters: NDArray[Any]) -> NDArray[Any]:
    """int64 [1, H, W, O]: stride 1, SAME, zeros outside.  filters: [O, k, k, I]."""
    size = filters.shape[1]
    edge = size // 2
    padded = np.pad(values, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    # float64 holds these sums exactly, and its matrix product is the fast one
    flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, filters[0].size).astype(np.float64)
    product = flat @ filters.reshape(len(filters), -1).T.astype(np.float64)
    return product.reshape(*values.shape[:3], len(filters)).astype(np.int64)


def _case(
    name: str,
    title: str,
    element: Element,
    operator: str,
    options: Any,
    x: NDArray[np.int8],
    weights: NDArray[np.int8],
    scales: NDArray[np.float32],
    axis: int,
    product: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]],
    baseline: str | None,
) -> Case:
    outputs = weights.shape[axis]
    bias = np.random.default_rng(2).integers(-2000, 2000, outputs)
    sums = product(x.astype(np.int64) - IN_ZERO, weights.astype(np.int64)) + bias
    real = sums * (scales.astype(np.float64) * IN_SCALE)
    expected = np.clip(np.rint(real / OUT_SCALE) + OUT_ZERO, -128, 127).astype(np.int8)

    graph = Graph()
    source = graph.tensor("x", x.shape, INT8, scale=IN_SCALE, zero_point=IN_ZERO)
    weight = graph.constant("w", weights, element, scale=scales, axis=axis)
    biases = graph.constant("b", bias.astype(np.int32), INT32, scale=scales * np.float32(IN_SCALE))
    result = graph.tensor("y", expected.shape, INT8, scale=OUT_SCALE, zero_point=OUT_ZERO)
    graph.operator(operator, [source, weight, biases], [result], options, version=3)
    model = serialize(graph.model([source], [result], "run"))
    return Case(name, title, model, x, expected, baseline)


def _inputs(shape: tuple[int, ...]) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def _weights(
    shape: tuple[int, ...], element: Element, axis: int | None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric codes, and a scale for the tensor or for each index of `axis`."""
    random = np.random.default_rng(1)
    limit = 7 if element is INT4 else 127
    codes = random.integers(-limit, limit + 1, shape).astype(np.int8)
    count = 1 if axis is None else shape[axis]
    fan_in = codes.size / shape[axis if axis is not None else 0]
    # Outputs of some +-3, so that few of them saturate.
    size = 1.2 / (IN_SCALE * 74 * limit * 0.58 * np.sqrt(fan_in))
    return codes, (size * random.uniform(0.6, 1.4, count)).astype(np.float32)
