"""A small float detector built by hand, with each operator that a YOLO has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from targets.agent import expand
from targets.agent.heads import Head, Level
from toolchain.tflite import flatbuffer
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import FLOAT32, INT32, Element
from toolchain.tflite.metadata import Metadata, embed

SIDE = 32
NONE = schema.ActivationFunctionType.NONE


class Net:
    """Layers added one after the other; each call gives back a tensor's index."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph()
        self.random = np.random.default_rng(seed)
        self.shapes: dict[int, tuple[int, int, int]] = {}
        self.weights: dict[str, NDArray[np.float32]] = {}

    def picture(self, height: int = SIDE, width: int = SIDE) -> int:
        return self._tensor("images", (height, width, 3))

    def conv(
        self,
        x: int,
        channels: int,
        name: str,
        *,
        size: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: int = schema.Padding.SAME,
        activation: int = NONE,
        weights: NDArray[np.float32] | None = None,
        bias: NDArray[np.float32] | None = None,
    ) -> int:
        height, width, depth = self.shapes[x]
        if weights is None:
            shape = (channels, size, size, depth)
            spread = 1.6 / np.sqrt(size * size * depth)
            weights = self.random.normal(0, spread, shape).astype(np.float32)
        if bias is None:
            bias = self.random.normal(0, 0.3, channels).astype(np.float32)
        self.weights[name] = weights
        w = self.graph.constant(f"{name}/weights", weights)
        b = self.graph.constant(f"{name}/bias", bias)
        cut = (size - 1) * dilation if padding == schema.Padding.VALID else 0
        y = self._tensor(name, (-((cut - height) // stride), -((cut - width) // stride), channels))
        options = schema.Conv2DOptionsT(
            padding=padding,
            strideH=stride,
            strideW=stride,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
            fusedActivationFunction=activation,
        )
        self.graph.operator("CONV_2D", [x, w, b], [y], options)
        return y

    def silu(self, x: int, name: str) -> int:
        gate = self._tensor(f"{name}/gate", self.shapes[x])
        self.graph.operator("LOGISTIC", [x], [gate])
        return self.mul(x, gate, name)

    def pad(self, x: int, name: str) -> int:
        height, width, depth = self.shapes[x]
        amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
        by = self.graph.constant(f"{name}/amounts", amounts, INT32)
        y = self._tensor(name, (height + 2, width + 2, depth))
        self.graph.operator("PAD", [x, by], [y], schema.PadOptionsT())
        return y

    def pool(
        self,
        x: int,
        name: str,
        *,
        size: int = 5,
        stride: int = 1,
        padding: int = schema.Padding.SAME,
    ) -> int:
        height, width, depth = self.shapes[x]
        cut = size - 1 if padding == schema.Padding.VALID else 0
        y = self._tensor(name, (-((cut - height) // stride), -((cut - width) // stride), depth))
        options = schema.Pool2DOptionsT(
            padding=padding, strideH=stride, strideW=stride, filterHeight=size, filterWidth=size
        )
        self.graph.operator("MAX_POOL_2D", [x], [y], options)
        return y

    def concat(self, xs: Sequence[int], name: str) -> int:
        height, width, _ = self.shapes[xs[0]]
        y = self._tensor(name, (height, width, sum(self.shapes[x][2] for x in xs)))
        self.graph.operator("CONCATENATION", xs, [y], schema.ConcatenationOptionsT(axis=3))
        return y

    def slice(self, x: int, name: str) -> int:
        """Every second row and column, as YOLOv5's Focus takes them."""
        height, width, depth = self.shapes[x]
        begin, end, strides = (
            self.graph.constant(f"{name}/{what}", np.array(values, np.int32), INT32)
            for what, values in (
                ("begin", (0, 1, 0, 0)),
                ("end", (0, height, 0, 0)),
                ("strides", (1, 2, 2, 1)),
            )
        )
        y = self._tensor(name, (height // 2, -(-width // 2), depth))
        options = schema.StridedSliceOptionsT(beginMask=0b1100, endMask=0b1101)
        self.graph.operator("STRIDED_SLICE", [x, begin, end, strides], [y], options)
        return y

    def add(self, x: int, z: int, name: str, *, activation: int = NONE) -> int:
        y = self._tensor(name, self.shapes[x])
        options = schema.AddOptionsT(fusedActivationFunction=activation)
        self.graph.operator("ADD", [x, z], [y], options)
        return y

    def mul(self, x: int, z: int, name: str) -> int:
        y = self._tensor(name, self.shapes[x])
        self.graph.operator("MUL", [x, z], [y], schema.MulOptionsT(fusedActivationFunction=NONE))
        return y

    def leaky(self, x: int, name: str) -> int:
        y = self._tensor(name, self.shapes[x])
        self.graph.operator("LEAKY_RELU", [x], [y], schema.LeakyReluOptionsT(alpha=0.1))
        return y

    def upsample(self, x: int, name: str) -> int:
        height, width, depth = self.shapes[x]
        to = self.graph.constant(f"{name}/size", np.array([2 * height, 2 * width], np.int32), INT32)
        y = self._tensor(name, (2 * height, 2 * width, depth))
        options = schema.ResizeNearestNeighborOptionsT()
        self.graph.operator("RESIZE_NEAREST_NEIGHBOR", [x, to], [y], options)
        return y

    def logistic(self, x: int, name: str) -> int:
        y = self._tensor(name, self.shapes[x])
        self.graph.operator("LOGISTIC", [x], [y])
        return y

    def finish(self, x: int, *outputs: int) -> bytes:
        return flatbuffer.serialize(self.graph.model([x], outputs, "detect"))

    def _tensor(self, name: str, shape: tuple[int, int, int]) -> int:
        index = self.graph.tensor(name, (1, *shape))
        self.shapes[index] = shape
        return index


def detector(seed: int = 0, **first: Any) -> bytes:
    """A backbone with a bottleneck, pooling and a neck, and three raw outputs.

    first: overrides for the first convolution.
    """
    net = Net(seed)
    x = net.picture()
    stem = net.silu(net.conv(x, 8, "stem", size=3, stride=2, **first), "stem/silu")
    down = net.conv(
        net.pad(stem, "pad"), 16, "down", size=3, stride=2, padding=schema.Padding.VALID
    )
    down = net.silu(down, "down/silu")
    left = net.silu(net.conv(down, 8, "left"), "left/silu")
    inner = net.silu(net.conv(left, 8, "inner", size=3), "inner/silu")
    joined = net.concat([net.add(left, inner, "sum"), net.pool(left, "pool")], "joined")
    deep = net.leaky(net.conv(joined, 8, "deep", size=3), "deep/leaky")
    neck = net.concat([net.upsample(deep, "up"), stem], "neck")
    last = net.conv(neck, 16, "last", size=3, activation=schema.ActivationFunctionType.RELU)
    outputs = [
        net.conv(last, channels, name)
        for name, channels in (("boxes_2", 8), ("objectness_2", 2), ("classes_2", 6))
    ]
    return net.finish(x, *outputs)


def every_operator(seed: int = 0) -> bytes:
    """Each operator that the quantizer knows, at odd sizes, with strides, dilation and RELUs."""
    relu, relu6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
    valid = schema.Padding.VALID
    net = Net(seed)
    x = net.picture(31, 29)
    halved = net.conv(net.slice(x, "slice"), 6, "halved", size=3, activation=relu6)
    strided = net.silu(net.conv(x, 6, "strided", size=3, stride=2), "strided/silu")
    even = net.conv(strided, 4, "even", size=2, stride=2, activation=relu)
    wide = net.conv(strided, 6, "wide", size=3, dilation=2)
    inside = net.conv(net.pad(wide, "pad"), 6, "inside", size=3, dilation=2, padding=valid)
    up = net.upsample(net.pool(strided, "pool", size=3, stride=2), "up")
    cut = net.pool(net.concat([strided, wide], "both"), "cut", size=3, padding=valid)
    summed = net.add(inside, net.pool(wide, "pool_valid", size=3, padding=valid), "sum")
    outputs = [
        net.conv(net.leaky(summed, "leaky"), 4, "first"),
        net.conv(net.mul(cut, cut, "square"), 3, "second"),
        net.conv(even, 2, "third"),
        net.conv(up, 2, "fourth"),
        net.conv(net.add(wide, wide, "twice", activation=relu), 2, "fifth"),
        net.conv(halved, 2, "sixth"),
    ]
    return net.finish(x, *outputs)


def wide(seed: int = 0) -> bytes:
    """A detector with 130,000 weights, so that a file is more than its tables."""
    net = Net(seed)
    x = net.picture()
    stem = net.silu(net.conv(x, 32, "stem", size=3, stride=2), "stem/silu")
    down = net.silu(net.conv(stem, 64, "down", size=3, stride=2), "down/silu")
    deep = net.silu(net.conv(down, 96, "deep", size=3, stride=2), "deep/silu")
    last = net.silu(net.conv(deep, 64, "last", size=3), "last/silu")
    outputs = [
        net.conv(last, channels, name)
        for name, channels in (("boxes_2", 8), ("objectness_2", 2), ("classes_2", 6))
    ]
    return net.finish(x, *outputs)


def described(float_bytes: bytes) -> bytes:
    """`detector` with the metadata that our own models have."""
    level = Level(2, ((4.0, 4.0), (8.0, 8.0)), "boxes_2", "objectness_2", "classes_2")
    facts = Metadata(
        head=Head("levels", ("a", "b", "c"), (level,)),
        imgsz=(SIDE, SIDE),
        family="yolov5",
        recipe="float32",
        parameters=sum(values.size for values in constants(float_bytes).values()),
        source_sha256="0" * 64,
        licence="none",
    )
    return flatbuffer.serialize(embed(flatbuffer.parse(float_bytes), facts))


def constants(model: bytes, element: Element = FLOAT32) -> dict[str, NDArray[Any]]:
    """Weights and biases of one element type by tensor name."""
    tree = flatbuffer.parse(model)
    found = {}
    for tensor in tree.subgraphs[0].tensors:
        data = tree.buffers[tensor.buffer].data
        if tensor.type == element.code and data is not None and len(data):
            values = np.frombuffer(bytes(data), element.dtype)
            found[tensor.name.decode()] = values.reshape(tensor.shape)
    return found


def one_convolution(
    weights: NDArray[np.float32], bias: NDArray[np.float32], **options: Any
) -> bytes:
    """[1, SIDE, SIDE, 3] -> convolution "conv" -> output."""
    net = Net()
    x = net.picture()
    size = weights.shape[1]
    y = net.conv(x, len(weights), "conv", size=size, weights=weights, bias=bias, **options)
    return net.finish(x, y)


def pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """PNGs of blurred noise at several sizes and contrasts."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((48 + 4 * index, 40), Image.Resampling.BICUBIC)
        path = folder / f"{index:02}.png"
        image.save(path)
        paths.append(path)
    return paths


def pixels(count: int, seed: int = 100, side: int = SIDE) -> Iterator[NDArray[np.uint8]]:
    """uint8 [side, side, 3], made as `pictures` makes them."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        yield np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


class Runner:
    """A model in the stock runtime, seen in real numbers."""

    def __init__(self, model: bytes) -> None:
        self.interpreter = Interpreter(model_content=model, num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.outputs = {
            str(detail["name"]): detail for detail in self.interpreter.get_output_details()
        }

    def codes(self, picture: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Raw outputs by tensor name."""
        if self.input["dtype"] == np.int8:
            values: NDArray[Any] = (picture ^ np.uint8(0x80)).view(np.int8)
        else:
            values = picture.astype(np.float32) / 255
        self.interpreter.set_tensor(self.input["index"], values[np.newaxis])
        self.interpreter.invoke()
        return {
            name: self.interpreter.get_tensor(detail["index"])
            for name, detail in self.outputs.items()
        }

    def real(self, picture: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Outputs as real numbers by tensor name."""
        found = {}
        for name, values in self.codes(picture).items():
            scale, zero_point = self.outputs[name]["quantization"]
            steps = values.astype(np.float32) - np.float32(zero_point)
            found[name] = steps * np.float32(scale) if scale else values
        return found

    def delegated(self) -> list[set[str]]:
        """Names of the tensors that each delegated part of the graph gives out."""
        names = {d["index"]: d["name"] for d in self.interpreter.get_tensor_details()}
        return [
            {names[index] for index in node["outputs"]}
            for node in self.interpreter._get_ops_details()
            if node["op_name"] == "DELEGATE"
        ]


def expanded(model: bytes) -> bytes:
    """The ordinary form of a packed or INT4 model; an ordinary one as it is."""
    expansion = expand.read(model)
    return model if expansion is None else expand.to_bytes(expansion)


def sqnr_db(exact: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    noise = float(((exact - found) ** 2).mean())
    return 10 * float(np.log10((exact**2).mean() / noise)) if noise else float("inf")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
