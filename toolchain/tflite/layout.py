"""How a model's outputs become boxes, decided from its own metadata or the shapes of its tensors.

Ours say it themselves.  Of other tools' exports two layouts are known, told apart by the number of
candidates that the input size gives: YOLOv5 and YOLOv7 with decoding inside, [1, N, 5 + C] with
three anchors a cell, and the anchor-free heads of later Ultralytics models, [1, 4 + C, N] with one
candidate a cell.  Whether x, y, w, h are pixels or fractions of the input no shape tells, so the
model is run once: candidates cover the whole input, whatever is on the picture.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from targets.agent.heads import Head
from toolchain.errors import LabelsDisagree
from toolchain.tflite.facts import ModelFacts, TensorFacts, facts
from toolchain.tflite.labels import appended_labels

STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32))
ANCHORS: Final = (2, 3, 4, 5, 6)
_FRACTION_LIMIT: Final = 2.0
_log = logging.getLogger(__name__)


def understand(
    path: Path, found: ModelFacts | None = None, *, names: Sequence[str] | None = None
) -> Head | None:
    """The head of the model at `path`; None where its outputs are not understood.

    found: its facts, if they are at hand.  names: labels of another tool's model, in order; else
    those appended to the file, else numbers.
    Raises LabelsDisagree (labels and tensor differ in number), MalformedModel, OSError.
    """
    found = facts(path) if found is None else found
    if found.metadata is not None:
        return found.metadata.head
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
    labels = tuple(names) if names is not None else appended_labels(path)
    if labels is not None and len(labels) != classes:
        raise LabelsDisagree(
            f"{path.name} has {len(labels)} labels and an output of {classes} classes",
            hint="Give the right labels with --names, one a line.",
        )
    labels = labels or tuple(f"class {index}" for index in range(classes))
    return Head(layout=layout, names=labels, output=output.name, normalised=normalised)


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


def _of_shape(shape: tuple[int, ...], anchored: set[int], free: set[int]) -> tuple[str | None, int]:
    """Layout and number of classes; None where both readings fit, or neither does."""
    rows = shape[0] in anchored and shape[1] > 5
    columns = shape[1] in free and shape[0] > 4
    if rows == columns:
        return None, 0
    return ("rows", shape[1] - 5) if rows else ("columns", shape[0] - 4)


def _is_normalised(path: Path, layout: str) -> bool | None:
    """Whether centres are fractions of the input; None where the model does not run here."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=2)
        interpreter.allocate_tensors()
        entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        interpreter.set_tensor(entry["index"], _grey(entry))
        interpreter.invoke()
        values = np.asarray(interpreter.get_tensor(end["index"]), np.float32)
    except (RuntimeError, ValueError) as error:
        _log.warning("%s does not run on this machine: %s", path.name, error)
        return None
    scale, zero_point = end["quantization"]
    if scale:
        values = (values - zero_point) * scale
    centres = values[0, :, :2] if layout == "rows" else values[0, :2].T
    if not np.isfinite(centres).all():
        return None
    return bool(np.abs(centres).max() <= _FRACTION_LIMIT)


def _grey(entry: Any) -> Any:
    """Mid grey in the input's own type."""
    shape, kind = entry["shape"], entry["dtype"]
    if np.issubdtype(kind, np.floating):
        return np.full(shape, 0.5, kind)
    scale, zero_point = entry["quantization"]
    info = np.iinfo(kind)
    value = round(0.5 / scale + zero_point) if scale else (info.max + info.min) // 2
    return np.full(shape, np.clip(value, info.min, info.max), kind)
