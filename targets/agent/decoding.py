"""From output tensors to candidate boxes in input pixels, for each layout that a head may have.

Almost every cell of a picture is background, so the objectness (or the best class) is compared
first, as integers where the tensor is quantized; only what passes is dequantized and decoded.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Mapping, Tuple

import numpy as np

from .heads import Head, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The first comparison is on logits or integers; this much more passes it, and the second, on the
# scores themselves, decides.
_SLACK = 1e-3


class OutputMismatch(ValueError):
    """An output tensor that is absent, or not of the shape that the head says."""


class OutputNotFinite(ValueError):
    """NaN in an output tensor (or infinity in a decoded box)."""


@dataclasses.dataclass(frozen=True)
class Output:
    """One output tensor as the runtime gave it; real value = (value - zero_point) * scale.

    values: float or integer array.  scale 0: not quantized, the values are real.
    """

    values: NDArray[Any]
    scale: float = 0.0
    zero_point: int = 0

    def real(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """A part of `values`, dequantized to float32."""
        real = values.astype(np.float32)
        if self.scale:
            real = (real - np.float32(self.zero_point)) * np.float32(self.scale)
        return real

    def above(self, values: NDArray[Any], floor: float) -> NDArray[np.bool_]:
        """Where a part of `values` stands for a real value above `floor`.  Raises OutputNotFinite.

        As integers where the tensor is quantized.
        """
        if not np.issubdtype(values.dtype, np.integer):
            if np.isnan(values).any():
                raise OutputNotFinite(f"NaN in an output of shape {self.values.shape}")
            passing: NDArray[np.bool_] = values > floor
            return passing
        limits = np.iinfo(values.dtype)
        if math.isfinite(floor):
            floor = floor / self.scale + self.zero_point if self.scale else floor
        if floor < limits.min:
            return np.ones(values.shape, bool)
        if floor >= limits.max:
            return np.zeros(values.shape, bool)
        step = values.dtype.type(math.floor(floor))
        quantized: NDArray[np.bool_] = values > step
        return quantized


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Boxes before suppression, in the order of the output tensors.

    boxes: float32 [M, 4] x1, y1, x2, y2 in input pixels.  scores: float32 [M].  classes: int [M].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]


def candidates(
    outputs: Mapping[str, Output],
    head: Head,
    imgsz: Tuple[int, int],
    *,
    confidence: float,
    multi_label: bool,
) -> Candidates:
    """Every (box, class) with a score above `confidence`; the best class only if not multi_label.

    imgsz: (height, width) of the network input.  Raises OutputMismatch, OutputNotFinite.
    """
    if head.layout == "levels":
        found = [_level(outputs, head, level, confidence, multi_label) for level in head.levels]
        return Candidates(
            np.concatenate([level.boxes for level in found]),
            np.concatenate([level.scores for level in found]),
            np.concatenate([level.classes for level in found]),
        )
    output = _output(outputs, head.output or "")
    decode = _rows if head.layout == "rows" else _columns
    boxes, scores = decode(output, head, confidence)
    if not np.isfinite(boxes).all():
        raise OutputNotFinite(f"a box that is not finite in {head.output}")
    if head.normalised:
        boxes = boxes * np.array([imgsz[1], imgsz[0]] * 2, np.float32)
    return _chosen(_corners(boxes), scores, confidence, multi_label)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in float32, without a warning far from 0."""
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-logits))


def _level(
    outputs: Mapping[str, Output], head: Head, level: Level, confidence: float, multi_label: bool
) -> Candidates:
    """YOLOv5 and YOLOv7: xy = (2 s - 0.5 + cell) * stride, wh = (2 s)^2 * anchor, s = sigmoid."""
    anchors, classes = len(level.anchors), len(head.names)
    boxes, objectness, scores, width = _tensors(outputs, head, level)
    floor = -math.inf if confidence <= 0 else math.log(confidence / (1 - confidence)) - _SLACK
    passing = np.flatnonzero(objectness[0].above(objectness[1], floor))
    strength = sigmoid(objectness[0].real(objectness[1][passing]))
    sure = strength > confidence
    passing, strength = passing[sure], strength[sure]

    cell, anchor = np.divmod(passing, anchors)
    grid = np.stack([cell % width, cell // width], axis=1).astype(np.float32)
    relative = sigmoid(_clean(boxes[0].real(boxes[1][passing]), level.boxes)) * np.float32(2)
    centre = (relative[:, :2] - np.float32(0.5) + grid) * np.float32(level.stride)
    sides = np.square(relative[:, 2:]) * np.array(level.anchors, np.float32)[anchor]
    if head.single_class_objectness and classes == 1:
        score = strength[:, np.newaxis]
    else:
        logits = _clean(scores[0].real(scores[1][passing]), level.classes)
        score = sigmoid(logits) * strength[:, np.newaxis]
    corners = _corners(np.concatenate([centre, sides], axis=1))
    return _chosen(corners, score, confidence, multi_label)


_Part = Tuple[Output, "NDArray[Any]"]


def _tensors(
    outputs: Mapping[str, Output], head: Head, level: Level
) -> Tuple[_Part, _Part, _Part, int]:
    """Boxes [N, 4], objectness [N] and classes [N, C] of a level, N = H*W*A, and W."""
    anchors, classes = len(level.anchors), len(head.names)
    if level.boxes == level.objectness == level.classes:
        output = _output(outputs, level.boxes)
        values = _cells(output, level.boxes, anchors * (5 + classes)).reshape(-1, 5 + classes)
        width = output.values.shape[2]
        return (output, values[:, :4]), (output, values[:, 4]), (output, values[:, 5:]), width
    boxes, objectness = _output(outputs, level.boxes), _output(outputs, level.objectness)
    strengths = _cells(objectness, level.objectness, anchors)
    corners = _cells(boxes, level.boxes, anchors * 4)
    parts = [(boxes, corners.reshape(-1, 4)), (objectness, strengths.reshape(-1))]
    if head.single_class_objectness and classes == 1:
        parts.append(parts[0])  # not read: there is no class output worth reading
    else:
        scores = _output(outputs, level.classes)
        labels = _cells(scores, level.classes, anchors * classes)
        parts.append((scores, labels.reshape(-1, classes)))
    for output, _ in parts:
        if output.values.shape[:3] != objectness.values.shape[:3]:
            raise OutputMismatch(f"the outputs of stride {level.stride} differ in height or width")
    return parts[0], parts[1], parts[2], objectness.values.shape[2]


def _rows(
    output: Output, head: Head, confidence: float
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[1, N, 5 + C]: boxes (x, y, w, h) and scores of the rows that pass."""
    values, width = output.values, 5 + len(head.names)
    if values.ndim != 3 or values.shape[0] != 1 or values.shape[2] != width:
        raise OutputMismatch(f"{head.output} is {values.shape}, not [1, N, {width}]")
    passing = np.flatnonzero(output.above(values[0, :, 4], confidence - _SLACK))
    rows = _clean(output.real(values[0, passing]), head.output or "")
    rows = rows[rows[:, 4] > confidence]
    strength = rows[:, 4:5]
    return rows[:, :4], strength if head.single_class_objectness else rows[:, 5:] * strength


def _columns(
    output: Output, head: Head, confidence: float
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[1, 4 + C, N]: boxes (x, y, w, h) and scores of the columns that pass."""
    values, height = output.values, 4 + len(head.names)
    if values.ndim != 3 or values.shape[0] != 1 or values.shape[1] != height:
        raise OutputMismatch(f"{head.output} is {values.shape}, not [1, {height}, N]")
    best = values[0, 4:].max(axis=0)  # NaN wins a maximum, so it is seen
    passing = np.flatnonzero(output.above(best, confidence - _SLACK))
    rows = _clean(output.real(values[0][:, passing].T), head.output or "")
    return rows[:, :4], rows[:, 4:]


def _chosen(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], confidence: float, multi_label: bool
) -> Candidates:
    """boxes [N, 4], scores [N, C] -> one candidate for each score above the threshold."""
    if multi_label:
        row, label = np.nonzero(scores > confidence)
    else:
        label = scores.argmax(axis=1)
        row = np.flatnonzero(scores[np.arange(len(scores)), label] > confidence)
        label = label[row]
    return Candidates(boxes[row], scores[row, label], label)


def _corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    centre, half = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=1)


def _output(outputs: Mapping[str, Output], name: str) -> Output:
    if name not in outputs:
        raise OutputMismatch("no output named {} among {}".format(name, ", ".join(sorted(outputs))))
    return outputs[name]


def _cells(output: Output, name: str, depth: int) -> NDArray[Any]:
    shape = output.values.shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] != depth:
        raise OutputMismatch(f"{name} is {shape}, not [1, H, W, {depth}]")
    return output.values


def _clean(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if np.isnan(values).any():
        raise OutputNotFinite(f"NaN in {name}")
    return values
