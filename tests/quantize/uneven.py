"""A network of LeakyReLU, as YOLOv7-tiny is one, whose channels differ in size."""

from __future__ import annotations

import numpy as np

from tests.quantize import models
from toolchain.quantize.graph import FloatGraph
from toolchain.tflite import flatbuffer


class Tiny(models.Net):
    """Blocks as YOLOv7-tiny has them; spread: of channels, a standard deviation in octaves."""

    def __init__(self, spread: float) -> None:
        super().__init__(3)
        self.spread = spread

    def block(self, x: int, channels: int, name: str, *, size: int = 1, stride: int = 1) -> int:
        depth = self.shapes[x][2]
        by = np.exp2(self.random.normal(0, self.spread, channels)).astype(np.float32)
        kernel = self.random.normal(0, 1.6, (channels, size, size, depth)) / size / depth**0.5
        weights = (kernel * by[:, None, None, None]).astype(np.float32)
        bias = (self.random.normal(0, 0.3, channels) * by).astype(np.float32)
        made = self.conv(x, channels, name, size=size, stride=stride, weights=weights, bias=bias)
        return self.leaky(made, f"{name}/leaky")


def tiny(spread: float, side: int = models.SIDE) -> bytes:
    net = Tiny(spread)
    x = net.picture(side, side)
    stem = net.block(x, 8, "stem", size=3, stride=2)
    first, second = net.block(stem, 8, "first"), net.block(stem, 8, "second")
    third = net.block(second, 8, "third", size=3)
    fourth = net.block(third, 8, "fourth", size=3)
    joined = net.block(net.concat([fourth, third, second, first], "joined"), 16, "after")
    deep = net.block(net.pool(joined, "halved", size=2, stride=2), 8, "deep")
    last = net.block(net.concat([net.upsample(deep, "up"), joined], "neck"), 16, "last", size=3)
    outputs = [
        net.conv(last, channels, name)
        for name, channels in (("boxes_2", 8), ("objectness_2", 2), ("classes_2", 6))
    ]
    return net.finish(x, *outputs)


def graph_of(model: bytes) -> FloatGraph:
    return FloatGraph(flatbuffer.parse(model))
