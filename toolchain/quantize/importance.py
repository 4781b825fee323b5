"""Which errors of a detector's outputs matter: the vector that second-order methods protect.

Raw logits are a bad yardstick: almost every cell is background, where an error of a whole step
changes nothing, and a box of a cell that nobody reports may lie anywhere.  So errors are weighed
where a user meets them: scores (objectness x class, after the sigmoid), and centre and size of
each box relative to its own size, times the score of its best class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from targets.agent.heads import Head, Level

if TYPE_CHECKING:
    import torch

LEAST_SIDE: Final = 1e-3  # pixels: keeps the logarithm of a side finite


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """One level of a picture.  score: [A, C, H, W] or [A, 1, H, W], 0 to 1.  centres: [A, 2, H, W],
    pixels from their cell; sides: [A, 2, H, W], pixels; both None for outputs that are no boxes,
    which are then `score`.
    """

    score: torch.Tensor
    centres: torch.Tensor | None = None
    sides: torch.Tensor | None = None


def decoded(outputs: Mapping[str, torch.Tensor], head: Head | None) -> list[Decoded]:
    """Scores and boxes of one picture, differentiable.

    outputs: raw logits [1, A*k, H, W] by the names that `head` uses.  Without a head of raw
    levels the outputs themselves.  Decoding: YOLOv5 and YOLOv7, xy = (2 s - 0.5 + cell) stride,
    wh = (2 s)^2 anchor, with s the sigmoid of the logit.
    """
    if head is None or head.layout != "levels":
        return [Decoded(values) for values in outputs.values()]
    return [
        _of_level(outputs, level, len(head.names), alone=head.single_class_objectness)
        for level in head.levels
    ]


def what_matters(outputs: Mapping[str, torch.Tensor], head: Head | None) -> list[torch.Tensor]:
    """Scores and weighted boxes of one picture, differentiable; arguments as for `decoded`."""
    found: list[torch.Tensor] = []
    for level in decoded(outputs, head):
        found.append(level.score)
        if level.centres is not None and level.sides is not None:
            weight = level.score.amax(dim=1, keepdim=True).detach()
            found += [weight * level.centres / level.sides.detach(), weight * level.sides.log()]
    return found


def difference(found: Sequence[Decoded], wanted: Sequence[Decoded]) -> torch.Tensor:
    """The squared error that matters, boxes weighed by the scores that are wanted: a scalar."""
    import torch

    parts = []
    for one, other in zip(found, wanted, strict=True):
        parts.append(((one.score - other.score) ** 2).sum())
        if one.centres is None or one.sides is None or other.centres is None or other.sides is None:
            continue
        weight = other.score.amax(dim=1, keepdim=True)
        moved = (one.centres - other.centres) / other.sides
        grown = one.sides.log() - other.sides.log()
        parts.append(((weight * moved) ** 2).sum() + ((weight * grown) ** 2).sum())
    return torch.stack(parts).sum()


def _of_level(
    outputs: Mapping[str, torch.Tensor], level: Level, classes: int, *, alone: bool
) -> Decoded:
    import torch

    anchors = len(level.anchors)
    boxes, objectness, scores = _split(outputs, level, anchors, classes)
    score = objectness.sigmoid()
    if not alone:
        score = score * scores.sigmoid()
    gates = 2 * boxes.sigmoid()
    sizes = torch.tensor(level.anchors, device=boxes.device).reshape(anchors, 2, 1, 1)
    sides = (gates[:, 2:] ** 2 * sizes).clamp(min=LEAST_SIDE)
    return Decoded(score, gates[:, :2] * level.stride, sides)


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
