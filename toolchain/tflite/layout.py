"""How a model's outputs become boxes, decided from its own metadata or the shapes of its tensors.

Ours say it themselves.  Of other tools' exports two layouts are known, told apart by the number of
candidates that the input size gives: YOLOv5 and YOLOv7 with decoding inside, [1, N, 5 + C] with
three anchors a cell, and the anchor-free heads of later Ultralytics models, [1, 4 + C, N] with one
candidate a cell.  Whether x, y, w, h are pixels or fractions of the input no shape tells, so the
model is run once: candidates cover the whole input, whatever is on the picture.  Raw levels,
[1, H, W, A * (5 + C)] each, are understood where the anchors are given: no file of another tool
has them, and wrong ones give wrong boxes without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from targets.agent.heads import Head, Level
from toolchain.errors import LabelsDisagree
from toolchain.tflite.facts import ModelFacts, TensorFacts, facts
from toolchain.tflite.labels import appended_labels
from toolchain.tflite.trial import reach_of_centres

Anchors = Sequence[tuple[float, float]]
Decoded = Literal["rows", "columns"]

STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32))
ANCHORS: Final = (2, 3, 4, 5, 6)
_FRACTION_LIMIT: Final = 2.0


def understand(
    path: Path,
    found: ModelFacts | None = None,
    *,
    names: Sequence[str] | None = None,
    anchors: Sequence[Anchors] | None = None,
) -> Head | None:
    """The head of the model at `path`; None where its outputs are not understood.

    found: its facts, if they are at hand.  names: labels of another tool's model, in order; else
    those appended to the file, else numbers.  anchors: for another tool's raw levels, per level,
    finest first, (width, height) in pixels of the input.
    Raises LabelsDisagree (labels and tensor differ in number), MalformedModel, OSError.
    """
    found = facts(path) if found is None else found
    if found.metadata is not None:
        return found.metadata.head
    labels = tuple(names) if names is not None else appended_labels(path)
    if anchors is not None:
        return _raw_levels(found, anchors, labels)
    if len(found.outputs) != 1 or len(found.inputs) != 1:
        return None
    (output,), cells = found.outputs, _candidates(found.inputs[0])
    if len(output.shape) != 3 or output.shape[0] != 1 or cells is None:
        return None
    layout, classes = _of_shape(output.shape[1:], *cells)
    if layout is None:
        return None
    normalised = _is_normalised(path, layout)
    if normalised is None:
        return None
    return Head(layout, _labels(labels, classes), output=output.name, normalised=normalised)


def _candidates(tensor: TensorFacts) -> tuple[set[int], set[int]] | None:
    """How many boxes an input of this size gives with anchors, and without."""
    shape = tensor.shape
    if len(shape) != 4 or shape[0] != 1:
        return None
    if shape[3] == 3:
        height, width = shape[1], shape[2]
    elif shape[1] == 3:
        height, width = shape[2], shape[3]
    else:
        return None
    grids = {
        sum((height // stride) * (width // stride) for stride in strides)
        for strides in STRIDES
        if height % max(strides) == 0 and width % max(strides) == 0
    }
    return {anchors * cells for anchors in ANCHORS for cells in grids}, grids


def _of_shape(
    shape: tuple[int, ...], anchored: set[int], free: set[int]
) -> tuple[Decoded | None, int]:
    """Layout and number of classes; None where both readings fit, or neither does."""
    rows = shape[0] in anchored and shape[1] > 5
    columns = shape[1] in free and shape[0] > 4
    if rows == columns:
        return None, 0
    return ("rows", shape[1] - 5) if rows else ("columns", shape[0] - 4)


def _is_normalised(path: Path, layout: Decoded) -> bool | None:
    """Whether centres are fractions of the input; None where the model does not run here."""
    reach = reach_of_centres(path, layout)
    return None if reach is None else reach <= _FRACTION_LIMIT


def _raw_levels(
    found: ModelFacts, anchors: Sequence[Anchors], names: tuple[str, ...] | None
) -> Head | None:
    """One output a level, [1, H, W, A * (5 + C)] before the sigmoid, as onnx2tf leaves them."""
    image = found.inputs[0].shape if len(found.inputs) == 1 else ()
    outputs = [output for output in found.outputs if len(output.shape) == 4]
    if len(image) != 4 or len(outputs) != len(found.outputs) or len(outputs) != len(anchors):
        return None
    outputs.sort(key=lambda output: -output.shape[1])
    levels, classes = [], set()
    for output, pairs in zip(outputs, anchors, strict=True):
        _, height, width, depth = output.shape
        stride = image[1] // height if height else 0
        fits = stride and (height * stride, width * stride) == tuple(image[1:3])
        if not fits or depth % len(pairs) or depth // len(pairs) <= 5:
            return None
        classes.add(depth // len(pairs) - 5)
        levels.append(Level(stride, tuple(pairs), *[output.name] * 3))
    if len(classes) != 1 or len({level.stride for level in levels}) != len(levels):
        return None
    return Head("levels", names=_labels(names, classes.pop()), levels=tuple(levels))


def _labels(names: tuple[str, ...] | None, classes: int) -> tuple[str, ...]:
    if names is not None and len(names) != classes:
        raise LabelsDisagree(
            f"the model has {len(names)} labels and outputs for {classes} classes",
            hint="Give the right labels with --names, one a line.",
        )
    return names or tuple(f"class {index}" for index in range(classes))
