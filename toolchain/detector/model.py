"""A detector as data: a graph of five kinds of layers, and the weights of its convolutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from targets.agent.boxes import Head, Level

FloatArray = npt.NDArray[np.float32]
Activation = Literal["none", "silu", "relu", "leaky_relu"]

IMAGES = "images"  # the source name of the network's input, [N, 3, H, W]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A 2-D convolution with bias, weights under the same name, then its activation.

    Strides and paddings are alike in both directions.  slope: of a leaky ReLU, else 0.
    """

    name: str
    source: str
    stride: int = 1
    padding: int = 0
    activation: Activation = "none"
    slope: float = 0.0


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Max pooling; padding counts as minus infinity."""

    name: str
    source: str
    size: int
    stride: int
    padding: int


@dataclasses.dataclass(frozen=True)
class Upsample:
    """Nearest neighbour, a whole factor in both directions."""

    name: str
    source: str
    factor: int


@dataclasses.dataclass(frozen=True)
class Concatenate:
    """Along channels, in this order."""

    name: str
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Add:
    """Element by element."""

    name: str
    sources: tuple[str, str]


Layer = Convolution | MaxPool | Upsample | Concatenate | Add


@dataclasses.dataclass(frozen=True, eq=False)
class Conv:
    """What a convolution holds: weight float32 [O, I, H, W], bias float32 [O]."""

    weight: FloatArray
    bias: FloatArray


@dataclasses.dataclass(frozen=True)
class HeadLevel:
    """One scale of the head: its stride, its anchors in pixels, and three convolutions.

    boxes has A*4 channels (anchor-major: 4a + x, y, w, h), objectness A, classes A*C (C*a + c);
    all raw, before the sigmoid.
    """

    stride: int
    anchors: tuple[tuple[float, float], ...]
    boxes: str
    objectness: str
    classes: str


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """An anchor-based YOLO detector in deploy form: nothing left of how it was trained.

    family: "yolov7", "yolov5s", ..., or "yolov7-custom" for another graph of known layers.
    layers: in an order in which they can run; each name once.  weights: by convolution name.
    levels: finest first.  single_class_objectness: with one class the score is the objectness
    alone.  notes: what was found and decided while reading, a sentence each.
    """

    family: str
    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    weights: Mapping[str, Conv]
    levels: tuple[HeadLevel, ...]
    single_class_objectness: bool
    source_sha256: str
    licence: str | None
    notes: tuple[str, ...] = ()

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the input for one cell, by level."""
        return tuple(level.stride for level in self.levels)

    @property
    def anchors(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Width and height in pixels, by level."""
        return tuple(level.anchors for level in self.levels)

    @property
    def parameters(self) -> int:
        """Weights and biases, in deploy form."""
        return sum(conv.weight.size + conv.bias.size for conv in self.weights.values())


def sources_of(layer: Layer) -> tuple[str, ...]:
    """The layers that it reads, in order."""
    return layer.sources if isinstance(layer, (Concatenate, Add)) else (layer.source,)


def output_names(detector: Detector) -> tuple[str, ...]:
    """boxes_8, objectness_8, classes_8, boxes_16, ...: of the tensors, finest level first."""
    return tuple(
        f"{part}_{stride}"
        for stride in detector.strides
        for part in ("boxes", "objectness", "classes")
    )


def output_layers(detector: Detector) -> tuple[str, ...]:
    """The convolutions behind `output_names`, in the same order."""
    return tuple(
        name for level in detector.levels for name in (level.boxes, level.objectness, level.classes)
    )


def head_of(detector: Detector) -> Head:
    """How the outputs become boxes, for `targets.agent.boxes.detect`."""
    return Head(
        layout="levels",
        names=detector.names,
        levels=tuple(
            Level(
                stride=level.stride,
                anchors=level.anchors,
                boxes=f"boxes_{level.stride}",
                objectness=f"objectness_{level.stride}",
                classes=f"classes_{level.stride}",
            )
            for level in detector.levels
        ),
        single_class_objectness=detector.single_class_objectness,
    )
