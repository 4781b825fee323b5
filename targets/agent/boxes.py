"""From raw output tensors to boxes in picture pixels, in numpy, the same on board and host."""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple


@dataclasses.dataclass(frozen=True)
class Level:
    """One scale of an anchor-based head: where its raw outputs are.

    anchors: (width, height) pairs in pixels of the network input.
    boxes, objectness, classes: names of output tensors, float or quantized,
    [1, H, W, A*4], [1, H, W, A] and [1, H, W, A*C], all before the sigmoid.
    """

    stride: int
    anchors: Tuple[Tuple[float, float], ...]
    boxes: str
    objectness: str
    classes: str


@dataclasses.dataclass(frozen=True)
class Head:
    """How a model's outputs become boxes.

    layout "levels": ours, `levels` filled (raw logits, v7/v5 decoding).
    layout "rows": one tensor [1, N, 5 + C] of decoded x, y, w, h, objectness, classes.
    layout "columns": one tensor [1, 4 + C, N] of decoded x, y, w, h, classes.
    `output` names the tensor of the last two; `normalised` says that x, y, w, h are fractions of
    the network input.  `single_class_objectness`: with one class the score is the objectness
    alone (YOLOv7 trains no class output then).
    """

    layout: str
    names: Tuple[str, ...]
    levels: Tuple[Level, ...] = ()
    output: Optional[str] = None
    normalised: bool = False
    single_class_objectness: bool = False
