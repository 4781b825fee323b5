"""What a detector's outputs mean: which tensor holds what, and how to write that down as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Optional, Tuple

LAYOUTS = ("levels", "rows", "columns")
MAX_CLASSES = 10_000
MAX_ANCHORS = 64
MAX_LEVELS = 16


class HeadError(ValueError):
    """A description of a head that contradicts itself or that this version does not know."""


@dataclasses.dataclass(frozen=True)
class Level:
    """One scale of an anchor-based head: where its raw outputs are.

    anchors: (width, height) pairs in pixels of the network input.
    boxes, objectness, classes: names of output tensors, float or quantized,
    [1, H, W, A*4], [1, H, W, A] and [1, H, W, A*C], all before the sigmoid, the anchor being the
    slower index.  All three the same name: one tensor [1, H, W, A*(5+C)], for each anchor
    4 boxes, 1 objectness, C classes.
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


def head_to_dict(head: Head) -> Dict[str, Any]:
    """`head` as plain JSON values; `head_from_dict` is the inverse."""
    value = dataclasses.asdict(head)
    value["names"] = list(head.names)
    value["levels"] = [
        {**dataclasses.asdict(level), "anchors": [list(anchor) for anchor in level.anchors]}
        for level in head.levels
    ]
    return value


def head_from_dict(value: Any) -> Head:
    """The head that `head_to_dict` wrote, every field checked.  Raises HeadError."""
    fields = _object(value, Head, "head")
    head = Head(
        layout=_of(str, fields["layout"], "head.layout"),
        names=tuple(_of(str, name, "head.names") for name in _list(fields["names"], "head.names")),
        levels=tuple(_level(item) for item in _list(fields.get("levels", []), "head.levels")),
        output=None if fields.get("output") is None else _of(str, fields["output"], "head.output"),
        normalised=_of(bool, fields.get("normalised", False), "head.normalised"),
        single_class_objectness=_of(
            bool, fields.get("single_class_objectness", False), "head.single_class_objectness"
        ),
    )
    check_head(head)
    return head


def check_head(head: Head) -> None:
    """Raises HeadError where the fields of `head` do not fit each other."""
    if head.layout not in LAYOUTS:
        raise HeadError("head.layout {!r} is none of {}".format(head.layout, ", ".join(LAYOUTS)))
    if not 1 <= len(head.names) <= MAX_CLASSES:
        raise HeadError(f"head.names: {len(head.names)} classes")
    if head.layout == "levels":
        if not 1 <= len(head.levels) <= MAX_LEVELS:
            raise HeadError(f"head.levels: {len(head.levels)} levels")
    elif not head.output:
        raise HeadError(f"head.output: the layout {head.layout} needs the tensor's name")
    if head.single_class_objectness and (len(head.names) != 1 or head.layout == "columns"):
        raise HeadError("head.single_class_objectness needs one class and an objectness")


def _level(value: Any) -> Level:
    fields = _object(value, Level, "head.levels")
    stride = _of(int, fields["stride"], "level.stride")
    anchors = tuple(_anchor(item) for item in _list(fields["anchors"], "level.anchors"))
    if not 1 <= stride <= 4096:
        raise HeadError(f"level.stride is {stride}")
    if not 1 <= len(anchors) <= MAX_ANCHORS:
        raise HeadError(f"level.anchors: {len(anchors)} anchors")
    names = [_of(str, fields[name], "level." + name) for name in ("boxes", "objectness", "classes")]
    return Level(stride, anchors, *names)


def _anchor(value: Any) -> Tuple[float, float]:
    sides = _list(value, "level.anchors")
    good = len(sides) == 2 and all(
        isinstance(side, (int, float)) and not isinstance(side, bool) and 0 < side < math.inf
        for side in sides
    )
    if not good:
        raise HeadError(f"level.anchors: {value!r} is no (width, height) in pixels")
    return float(sides[0]), float(sides[1])


def _object(value: Any, cls: Any, where: str) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise HeadError(f"{where} is no object")
    fields = dataclasses.fields(cls)
    unknown = sorted(set(value) - {field.name for field in fields})
    missing = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.name not in value
    ]
    if unknown or missing:
        raise HeadError(f"{where}: unknown {unknown}, missing {missing}")
    return value


def _of(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise HeadError(f"{where} is a {type(value).__name__}")
    return value


def _list(value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise HeadError(f"{where} is no list")
    return value
