"""Builds a detector's graph layer by layer; every layer is checked against what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from toolchain.detector.folding import Doubles, checked_finite
from toolchain.detector.model import (
    IMAGES,
    Activation,
    Add,
    Concatenate,
    Conv,
    Convolution,
    Layer,
    MaxPool,
    Upsample,
    sources_of,
)
from toolchain.errors import CheckpointError, UnsupportedFamily


@dataclasses.dataclass(frozen=True)
class Extent:
    """Of a layer's output: its channels, and how many pixels of the picture one cell covers."""

    channels: int
    stride: int


MAX_PARAMETERS = 1 << 29  # YOLOv7x has 71 million


class GraphBuilder:
    """Collects layers and float32 weights.  Raises CheckpointError for layers that do not fit."""

    def __init__(self, channels: int = 3) -> None:
        self.layers: list[Layer] = []
        self.weights: dict[str, Conv] = {}
        self._extents = {IMAGES: Extent(channels, 1)}
        self._parameters = 0

    def extent(self, name: str) -> Extent:
        """Channels and stride of a layer's output."""
        return self._extents[name]

    def convolution(
        self,
        name: str,
        source: str,
        weight: Doubles,
        bias: Doubles,
        *,
        stride: int,
        padding: int,
        activation: Activation = "none",
        slope: float = 0.0,
    ) -> str:
        """weight: [O, I, k, k]; bias: [O].  Raises NotFinite too."""
        outputs, inputs, height, width = weight.shape
        extent = self.extent(source)
        if height != width or bias.shape != (outputs,) or not outputs:
            raise CheckpointError(
                f"{name} has a filter of shape {list(weight.shape)} and "
                f"a bias of shape {list(bias.shape)}."
            )
        if inputs != extent.channels:
            raise CheckpointError(
                f"{name} takes {inputs} channels, but {source} gives {extent.channels}."
            )
        with np.errstate(over="ignore"):
            narrow = Conv(_frozen(weight), _frozen(bias))
        checked_finite(narrow.weight.astype(np.float64), name, "folded filter")
        checked_finite(narrow.bias.astype(np.float64), name, "folded bias")
        self._check_window(name, height, stride, padding)
        self._parameters += weight.size + bias.size
        if self._parameters > MAX_PARAMETERS:
            raise CheckpointError(
                f"The model has more than {MAX_PARAMETERS} parameters.",
                hint="No detector for a board has; give another checkpoint.",
            )
        self.weights[name] = narrow
        layer = Convolution(name, source, stride, padding, activation, slope)
        return self._add(layer, Extent(outputs, extent.stride * stride))

    def max_pool(self, name: str, source: str, *, size: int, stride: int, padding: int) -> str:
        """Max pooling over size x size."""
        self._check_window(name, size, stride, padding)
        extent = self.extent(source)
        layer = MaxPool(name, source, size, stride, padding)
        return self._add(layer, Extent(extent.channels, extent.stride * stride))

    def upsample(self, name: str, source: str, factor: int) -> str:
        """Nearest neighbour."""
        extent = self.extent(source)
        if extent.stride % factor:
            raise CheckpointError(f"{name} enlarges beyond the picture itself.")
        layer = Upsample(name, source, factor)
        return self._add(layer, Extent(extent.channels, extent.stride // factor))

    def concatenate(self, name: str, sources: Sequence[str]) -> str:
        """Along channels."""
        stride = self._common_stride(name, sources)
        channels = sum(self.extent(source).channels for source in sources)
        return self._add(Concatenate(name, tuple(sources)), Extent(channels, stride))

    def add(self, name: str, first: str, second: str) -> str:
        """Element by element."""
        stride = self._common_stride(name, (first, second))
        channels = {self.extent(source).channels for source in (first, second)}
        if len(channels) != 1:
            raise CheckpointError(f"{name} adds {first} and {second}, whose channels differ.")
        return self._add(Add(name, (first, second)), Extent(channels.pop(), stride))

    def drop_unused(self, wanted: Sequence[str]) -> None:
        """Leave only what the wanted layers need."""
        needed = set(wanted)
        for layer in reversed(self.layers):
            if layer.name in needed:
                needed.update(sources_of(layer))
        self.layers = [layer for layer in self.layers if layer.name in needed]
        self.weights = {name: conv for name, conv in self.weights.items() if name in needed}

    def _add(self, layer: Layer, extent: Extent) -> str:
        if layer.name in self._extents:
            raise CheckpointError(f"Two layers are called {layer.name}.")
        self.layers.append(layer)
        self._extents[layer.name] = extent
        return layer.name

    def _common_stride(self, name: str, sources: Sequence[str]) -> int:
        strides = {self.extent(source).stride for source in sources}
        if len(strides) != 1:
            raise CheckpointError(
                f"{name} joins layers of different sizes: strides {sorted(strides)}."
            )
        return strides.pop()

    def _check_window(self, name: str, size: int, stride: int, padding: int) -> None:
        """Outputs must be inputs / stride exactly, or levels would not line up."""
        if stride < 1 or padding < 0 or not -stride <= 2 * padding - size <= -1:
            raise UnsupportedFamily(
                f"{name} has a window of {size} with stride {stride} and padding {padding}, "
                "which no supported family has.",
                hint="Supported: YOLOv7, YOLOv7-tiny, YOLOv7x, YOLOv5 n to x.",
            )


def _frozen(values: Doubles) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    narrow = np.ascontiguousarray(values, np.float32)
    narrow.setflags(write=False)
    return narrow
