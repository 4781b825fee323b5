"""Coded filters of every kind, and models that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from targets.agent import expand
from toolchain.quantize import coded
from toolchain.tflite import flatbuffer
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import FLOAT32, INT4, INT8, INT32
from toolchain.tflite.packed import pack
from toolchain.tflite.packing import pack_int4

SIDE = 6
CODECS = ("plain", "nibbles", "grouped", "layer", "channel", "entropy", "ranks")
INPUT_SCALE = 1 / 255


def coded_filter(kind: str, shape: tuple[int, ...], seed: int, size: int = 4) -> Any:
    """A filter [O, H, W, I] of that kind with random codes."""
    random = np.random.default_rng(seed)
    rows, row = shape[0], int(np.prod(shape[1:]))
    codes = random.integers(-8, 8, shape).astype(np.int8)
    if kind == "plain":
        return coded.Plain(random.integers(-127, 128, shape).astype(np.int8))
    if kind == "nibbles":
        return coded.Nibbles(codes)
    if kind == "grouped":
        groups = (rows, -(-row // size))
        return coded.Grouped(codes, random.integers(1, 16, groups).astype(np.uint8), size)
    if kind in ("layer", "channel"):
        levels = random.integers(-127, 128, (1 if kind == "layer" else rows, 16)).astype(np.int8)
        return coded.Codebook((codes + 8).astype(np.uint8), levels)
    if kind == "ranks":  # one index is much more frequent than others
        indices = random.geometric(0.7, shape).clip(1, 16) - 1
        levels = random.integers(-127, 128, (rows, 16)).astype(np.int8)
        return coded.Codebook(indices.astype(np.uint8), levels)
    spread = random.laplace(0, 3, shape).round().clip(-127, 127)
    return coded.Entropy(spread.astype(np.int8))


@st.composite
def coded_filters(draw: Any) -> Any:
    """Any kind, any small shape; groups of any size."""
    shape = tuple(draw(st.tuples(*[st.integers(1, n) for n in (5, 3, 3, 9)])))
    rows, row = shape[0], int(np.prod(shape[1:]))
    kind = draw(st.sampled_from(CODECS))
    codes = draw(arrays(np.int8, shape, elements=st.integers(-8, 7)))
    if kind == "plain":
        return coded.Plain(draw(arrays(np.int8, shape)))
    if kind == "entropy":
        return coded.Entropy(draw(arrays(np.int8, shape)))
    if kind == "nibbles":
        return coded.Nibbles(codes)
    if kind == "grouped":
        size = draw(st.integers(1, row + 2))
        groups = (rows, -(-row // size))
        return coded.Grouped(
            codes, draw(arrays(np.uint8, groups, elements=st.integers(1, 15))), size
        )
    levels = draw(arrays(np.int8, (1 if kind == "layer" else rows, 16)))
    return coded.Codebook((codes + 8).astype(np.uint8), levels)


def int8_model(filters: dict[str, NDArray[np.int8]], seed: int = 0) -> tuple[Any, dict[str, int]]:
    """[1, SIDE, SIDE, I] into each convolution; its tree, and the tensor of each filter."""
    random = np.random.default_rng(seed)
    graph = Graph()
    depth = next(iter(filters.values())).shape[3]
    x = graph.tensor("images", (1, SIDE, SIDE, depth), INT8, scale=INPUT_SCALE, zero_point=-128)
    outputs, places = [], {}
    for name, codes in filters.items():
        scale = random.uniform(0.001, 0.01, len(codes)).astype(np.float32)
        zeros = np.zeros(len(codes), np.int64)
        w = graph.constant(f"{name}/weight", codes, INT8, scale=scale, zero_point=zeros)
        product = (scale.astype(np.float64) * float(np.float32(INPUT_SCALE))).astype(np.float32)
        bias = random.integers(-900, 900, len(codes)).astype(np.int32)
        b = graph.constant(f"{name}/bias", bias, INT32, scale=product, zero_point=zeros)
        y = graph.tensor(name, (1, SIDE, SIDE, len(codes)), INT8, scale=0.05)
        graph.operator("CONV_2D", [x, w, b], [y], _options(), version=3)
        outputs.append(y)
        places[name] = w
    return graph.model([x], outputs, "detect"), places


def float_model(weights: NDArray[np.float32]) -> tuple[Any, int]:
    """[1, SIDE, SIDE, I] into one convolution; its tree, and the filter's tensor."""
    graph = Graph()
    x = graph.tensor("images", (1, SIDE, SIDE, weights.shape[3]))
    w = graph.constant("conv/weight", weights, FLOAT32)
    b = graph.constant("conv/bias", np.arange(len(weights)).astype(np.float32), FLOAT32)
    y = graph.tensor("conv", (1, SIDE, SIDE, len(weights)))
    graph.operator("CONV_2D", [x, w, b], [y], _options())
    return graph.model([x], [y], "detect"), w


def mixed(seed: int = 0) -> tuple[Any, dict[int, Any]]:
    """A model with a convolution of every kind, and its coded filters."""
    shapes = {kind: (3 + i, 3, 3, 4) for i, kind in enumerate(CODECS)}
    filters = {kind: coded_filter(kind, shape, seed + 1) for kind, shape in shapes.items()}
    model, places = int8_model({kind: coded.expand(f) for kind, f in filters.items()}, seed)
    return model, {places[kind]: f for kind, f in filters.items()}


def packed_mixed(seed: int = 0) -> bytes:
    """It, packed."""
    model, filters = mixed(seed)
    return pack(model, filters)


def same_tree(one: Any, other: Any, where: str = "model") -> None:
    """Every field of two models is equal."""
    if isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            same_tree(*pair, f"{where}[{index}]")
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, where, strict=True)
    elif hasattr(one, "__dict__"):
        assert type(one) is type(other), where
        for field in vars(one):
            same_tree(getattr(one, field), getattr(other, field), f"{where}.{field}")
    else:
        assert one == other, where


def reread(model: Any) -> Any:
    """The tree as it comes back from a file."""
    return flatbuffer.parse(flatbuffer.serialize(model))


def _options() -> Any:
    return schema.Conv2DOptionsT(
        padding=schema.Padding.SAME, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
    )


def int4_model() -> bytes:
    """A convolution with a standard INT4 filter, as version 7 of the operator reads it."""
    codes = coded_filter("nibbles", (5, 3, 3, 3), seed=1).codes
    model, places = int8_model({"conv": codes})
    model = reread(model)
    tensor = model.subgraphs[0].tensors[places["conv"]]
    tensor.type = INT4.code
    model.buffers[tensor.buffer].data = np.frombuffer(pack_int4(codes), np.uint8)
    model.operatorCodes[0].version = 7
    return flatbuffer.serialize(model)


def large_model() -> bytes:
    """One filter of 9 MB."""
    filters = {"conv": coded_filter("plain", (1024, 3, 3, 1024), seed=2).codes}
    return flatbuffer.serialize(int8_model(filters)[0])


def expanded(data: Any, **settings: bool) -> bytes:
    """A packed model as the ordinary one that it stands for."""
    expansion = expand.read(data, **settings)
    assert expansion is not None
    return expand.to_bytes(expansion)
