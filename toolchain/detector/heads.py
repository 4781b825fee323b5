"""The last layer of a checkpoint: anchors, classes and rows, read from its tensors alone.

Each level's 1x1 convolution has anchors x (4 box + 1 objectness + classes + masks) rows, anchor by
anchor (models/yolo.py of YOLOv7 and YOLOv5; Segment of YOLOv5-seg and YOLOv7-seg).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from toolchain.detector.folding import Doubles, checked_finite, fold_implicit
from toolchain.detector.graph import GraphBuilder
from toolchain.detector.model import HeadLevel
from toolchain.detector.nodes import (
    class_name,
    expect_parts,
    method_in_force,
    needed_array,
    parts,
    plain_convolution,
)
from toolchain.detector.tree import Array, Module, printable
from toolchain.errors import CheckpointError, LabelsDisagree

HEADS = ("Detect", "IDetect", "Segment", "ISegment")
_HINT = "Give the checkpoint as training wrote it."
# fp16 keeps 11 bits, so two stored forms of one anchor can differ by this much.
_ANCHOR_TOLERANCE = 2e-3


@dataclasses.dataclass(frozen=True)
class Rows:
    """How the rows of a head's convolutions divide."""

    anchors: int
    classes: int
    masks: int


@dataclasses.dataclass(frozen=True)
class BuiltHead:
    """What became of the head; levels finest first."""

    levels: tuple[HeadLevel, ...]
    rows: Rows


def add_head(graph: GraphBuilder, module: Module, path: str, sources: list[str]) -> BuiltHead:
    """Append the head's convolutions, each split in three, rows of masks left out.

    Raises CheckpointError, LabelsDisagree (rows that fit no number of classes), NotFinite.
    """
    kind = class_name(module)
    implicit = {"ia", "im"} if kind in ("IDetect", "ISegment") else set()
    proto = {"proto"} if kind in ("Segment", "ISegment") else set()
    found = expect_parts(module, path, {"m"} | implicit | proto, set())
    heads = parts(found["m"])
    if len(heads) != len(sources):
        raise CheckpointError(
            f"{path} has {len(heads)} convolutions and reads {len(sources)} layers.", hint=_HINT
        )
    strides = [graph.extent(source).stride for source in sources]
    anchors = _anchors_in_pixels(module, path, strides)
    masks = _mask_rows(module, found["proto"], path) if proto else 0
    convolutions = [
        _folded(module, found, head, path, index) for index, head in enumerate(heads.values())
    ]
    rows = _rows(path, [len(weight) for weight, _ in convolutions], anchors.shape[1], masks)
    levels = [
        _add_level(
            graph, path, index, sources[index], rows, *convolutions[index], anchors=anchors[index]
        )
        for index in np.argsort(strides).tolist()
    ]
    return BuiltHead(tuple(levels), rows)


def _add_level(
    graph: GraphBuilder,
    path: str,
    index: int,
    source: str,
    rows: Rows,
    weight: Doubles,
    bias: Doubles,
    *,
    anchors: Doubles,
) -> HeadLevel:
    def part(name: str, start: int, stop: int) -> str:
        return graph.convolution(
            f"{path}.{name}.{index}",
            source,
            weight.reshape(rows.anchors, -1, *weight.shape[1:])[:, start:stop].reshape(
                -1, *weight.shape[1:]
            ),
            bias.reshape(rows.anchors, -1)[:, start:stop].reshape(-1),
            stride=1,
            padding=0,
        )

    return HeadLevel(
        stride=graph.extent(source).stride,
        anchors=tuple((float(width), float(height)) for width, height in anchors),
        boxes=part("boxes", 0, 4),
        objectness=part("objectness", 4, 5),
        classes=part("classes", 5, 5 + rows.classes),
    )


def _folded(
    module: Module, found: dict[str, Module], head: Module, path: str, index: int
) -> tuple[Doubles, Doubles]:
    """A level's convolution with its implicit vectors in it (YOLOv7's IDetect)."""
    plain = plain_convolution(head, f"{path}.m.{index}")
    if plain.bias is None or (plain.stride, plain.padding) != (1, 0) or plain.weight.shape[2] != 1:
        raise CheckpointError(f"{path}.m.{index} is no 1x1 convolution with a bias.", hint=_HINT)
    # `fuse` folds the vectors in, leaves them there, and replaces forward: once is enough.
    if "ia" not in found or method_in_force(module) == "fuseforward":
        return plain.weight, plain.bias
    added = _implicit(found["ia"], f"{path}.ia", index, plain.weight.shape[1])
    # ISegment has `im` too, but its forward never uses it.
    multiplied = (
        _implicit(found["im"], f"{path}.im", index, plain.weight.shape[0])
        if class_name(module) == "IDetect"
        else None
    )
    return fold_implicit(plain.weight, plain.bias, added=added, multiplied=multiplied)


def _implicit(vectors: Module, path: str, index: int, channels: int) -> Doubles:
    vector = parts(vectors).get(str(index))
    if vector is None:
        raise CheckpointError(f"{path} has no vector {index}.", hint=_HINT)
    values = needed_array(vector, f"{path}.{index}", "implicit")
    if values.shape != (1, channels, 1, 1):
        raise CheckpointError(
            f"{path}.{index} has the shape {list(values.shape)}; its convolution needs "
            f"[1, {channels}, 1, 1].",
            hint=_HINT,
        )
    return values.reshape(channels)


def _rows(path: str, counts: list[int], anchors: int, masks: int) -> Rows:
    """rows = anchors x (5 + classes + masks), the same at each level."""
    per_anchor, left = divmod(counts[0], anchors)
    classes = per_anchor - 5 - masks
    if len(set(counts)) != 1 or left or classes < 1:
        extra = f" + {masks} mask coefficients" if masks else ""
        raise LabelsDisagree(
            f"{path} has {sorted(set(counts))} rows and {anchors} anchors a level: no number of "
            f"classes makes that {anchors} x (5 + classes{extra}).",
            hint=_HINT,
        )
    return Rows(anchors, classes, masks)


def _mask_rows(module: Module, proto: Module, path: str) -> int:
    """How many mask prototypes there are, by the convolution that makes them."""
    last = parts(proto).get("cv3")
    weight = parts(last).get("conv") if last is not None else None
    if weight is None:
        raise CheckpointError(f"{path}.proto has no cv3, which makes the masks.", hint=_HINT)
    made = len(needed_array(weight, f"{path}.proto.cv3", "weight"))
    stated = module.fields.get("nm", made)
    if stated != made:
        raise CheckpointError(
            f"{path} states {printable(str(stated))} masks; its convolution makes {made}.",
            hint=_HINT,
        )
    return made


def _anchors_in_pixels(module: Module, path: str, strides: list[int]) -> Doubles:
    """[levels, anchors, 2] width and height.  The files keep them divided by the stride.

    What else the file says of them (the strides; YOLOv7's grid in pixels) has to agree.
    """
    stored = needed_array(module, path, "anchors")
    if stored.ndim != 3 or stored.shape[0] != len(strides) or stored.shape[2] != 2:
        raise CheckpointError(
            f"{path} has anchors of shape {list(stored.shape)} for {len(strides)} levels.",
            hint=_HINT,
        )
    stated = module.fields.get("stride")
    if isinstance(stated, Array):
        seen = checked_finite(stated.float64(), path, "stride").ravel().tolist()
        if seen != strides:
            raise CheckpointError(
                f"{path} states the strides {seen}; its layers have {strides}.", hint=_HINT
            )
    pixels: Doubles = stored * np.array(strides, float)[:, None, None]
    grid = _anchor_grid(module, path, pixels.shape)
    if grid is not None:
        if not np.allclose(grid, pixels, rtol=_ANCHOR_TOLERANCE, atol=0):
            level, anchor, _ = np.unravel_index(np.argmax(np.abs(grid - pixels)), grid.shape)
            raise CheckpointError(
                f"{path} states anchor {anchor} of level {level} twice: "
                f"{pixels[level, anchor].tolist()} and {grid[level, anchor].tolist()} pixels.",
                hint=_HINT,
            )
        pixels = grid
    if not (pixels > 0).all():
        raise CheckpointError(f"{path} has an anchor without area.", hint=_HINT)
    return pixels


def _anchor_grid(module: Module, path: str, shape: tuple[int, ...]) -> Doubles | None:
    """The buffer that YOLOv7 and older YOLOv5 decode with; newer ones make it as they run."""
    buffers = module.fields.get("_buffers")
    grid = buffers.get("anchor_grid") if isinstance(buffers, dict) else None
    if not isinstance(grid, Array):
        return None
    values = checked_finite(grid.float64(), path, "anchor_grid")
    if values.size != np.prod(shape):
        raise CheckpointError(
            f"{path} has an anchor_grid of shape {list(grid.shape)} beside "
            f"anchors of shape {list(shape)}.",
            hint=_HINT,
        )
    return values.reshape(shape)
