"""Which errors of a detector's outputs matter: the vector that second-order methods protect.

Raw logits are a bad yardstick: almost every cell is background, where an error of a whole step
changes nothing, and a box of a cell that nobody reports may lie anywhere.  So errors are weighed
where a user meets them: scores (objectness x class, after the sigmoid), and centre and size of
each box relative to its own size, times the score of its best class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from targets.agent.heads import Head, Level

if TYPE_CHECKING:
    import torch

LEAST_SIDE: Final = 1e-3  # pixels: keeps the logarithm of a side finite


def what_matters(outputs: Mapping[str, torch.Tensor], head: Head | None) -> list[torch.Tensor]:
    """Scores and weighted boxes of one picture, differentiable.

    outputs: raw logits [1, A*k, H, W] by the names that `head` uses.  Without a head of raw
    levels the outputs themselves.  Decoding: YOLOv5 and YOLOv7, xy = (2 s - 0.5 + cell) stride,
    wh = (2 s)^2 anchor, with s the sigmoid of the logit.
    """
    if head is None or head.layout != "levels":
        return list(outputs.values())
    found: list[torch.Tensor] = []
    for level in head.levels:
        found += _of_level(outputs, level, len(head.names), alone=head.single_class_objectness)
    return found


def _of_level(
    outputs: Mapping[str, torch.Tensor], level: Level, classes: int, *, alone: bool
) -> list[torch.Tensor]:
    import torch

    anchors = len(level.anchors)
    boxes, objectness, scores = _split(outputs, level, anchors, classes)
    score = objectness.sigmoid()
    if not alone:
        score = score * scores.sigmoid()
    weight = score.amax(dim=1, keepdim=True).detach()
    gates = 2 * boxes.sigmoid()
    sizes = torch.tensor(level.anchors, device=boxes.device).reshape(anchors, 2, 1, 1)
    sides = (gates[:, 2:] ** 2 * sizes).clamp(min=LEAST_SIDE)
    centres = gates[:, :2] * level.stride / sides.detach()
    return [score, weight * centres, weight * sides.log()]


def _split(
    outputs: Mapping[str, torch.Tensor], level: Level, anchors: int, classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes [A, 4, H, W], objectness [A, 1, H, W], classes [A, C, H, W]."""
    height, width = outputs[level.boxes].shape[2:]

    def view(name: str) -> torch.Tensor:
        return outputs[name].reshape(anchors, -1, height, width)

    if level.boxes == level.classes:
        joined = view(level.boxes)
        return joined[:, :4], joined[:, 4:5], joined[:, 5 : 5 + classes]
    return view(level.boxes), view(level.objectness), view(level.classes)
