"""Which family a checkpoint is of: to name it, and to refuse by name what we do not convert."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.detector.heads import HEADS
from toolchain.detector.nodes import SUPPORTED, class_name, parts
from toolchain.detector.tree import Module, printable
from toolchain.errors import CheckpointError, NotADetector, UnsupportedFamily

LEVELS = 3
_MAX_MODULES = 20_000

# Layers of the model with its head, channels of the first convolution (models' yaml files).
_YOLOV7 = {(106, 32): "yolov7", (78, 32): "yolov7-tiny", (122, 40): "yolov7x"}
# Channels of the first convolution, bottlenecks in the first C3 (width and depth multiples).
_YOLOV5 = {
    (16, 1): "yolov5n", (32, 1): "yolov5s", (48, 2): "yolov5m", (64, 3): "yolov5l",
    (80, 4): "yolov5x",
}  # fmt: skip
_YOLOV5_LAYERS = 25
# Classes that only YOLOv7's repository has.
_OF_YOLOV7 = {"IDetect", "ISegment", "SPPCSPC", "MP", "SP", "RepConv"}
_FOREIGN_PACKAGES = {
    "ultralytics": "Ultralytics YOLOv8 or newer",
    "yolov6": "YOLOv6",
    "yolox": "YOLOX",
    "models.models": "YOLOR or Darknet",
    "yolo": "MIT YOLO",
}
_FOREIGN_HEADS = {
    "IAuxDetect": "YOLOv7-w6, e6, d6 or e6e (four levels and an auxiliary head)",
    "IBin": "YOLOv7 with a binned head",
    "IKeypoint": "YOLOv7-w6-pose",
    "DDetect": "YOLOv9", "DualDDetect": "YOLOv9", "TripleDDetect": "YOLOv9",
    "DualDetect": "YOLOv9", "TripleDetect": "YOLOv9",
}  # fmt: skip


def refuse_other_kinds(root: Module) -> None:
    """Raises UnsupportedFamily for another maker's detector, NotADetector for no detector."""
    for package, family in _FOREIGN_PACKAGES.items():
        if root.kind.startswith(package + "."):
            raise _unsupported(family, root.kind)
    if root.kind.startswith(("torchvision.", "timm.")) or "Classif" in class_name(root):
        raise NotADetector(
            f"The checkpoint is a {printable(root.kind)}, not a detector.",
            hint="Give a YOLOv7 or YOLOv5 detection (or segmentation) checkpoint.",
        )


def refuse_other_heads(head: Module, layers: list[Module]) -> None:
    """Raises UnsupportedFamily or NotADetector for a last layer that is no head of ours."""
    kind = class_name(head)
    if kind in _FOREIGN_HEADS:
        raise _unsupported(_FOREIGN_HEADS[kind], head.kind)
    if kind == "Classify":
        raise NotADetector(
            f"The checkpoint ends in a {printable(head.kind)}: it classifies whole pictures.",
            hint="Give a YOLOv7 or YOLOv5 detection (or segmentation) checkpoint.",
        )
    if kind not in HEADS:
        raise NotADetector(
            f"The checkpoint ends in a {printable(head.kind)}, not in a detection head.",
            hint=SUPPORTED,
        )
    if "m" not in parts(head):
        raise _unsupported("of a family without anchors, such as YOLOv9", head.kind)
    levels = len(parts(parts(head)["m"]))
    if levels != LEVELS:
        family = "YOLOv7-w6, e6, d6 or e6e" if class_name(layers[0]) == "ReOrg" else "YOLOv5 P6"
        if levels < LEVELS:
            family = "a YOLO"
        raise _unsupported(f"{family} ({levels} levels)", head.kind)


def family_of(layers: list[Module], first_channels: int) -> str:
    """Name by layout; "...-custom" for another layout of known layers."""
    kinds = {class_name(module) for layer in layers for module in walk(layer)}
    if kinds & _OF_YOLOV7:
        return _YOLOV7.get((len(layers), first_channels), "yolov7-custom")
    if len(layers) != _YOLOV5_LAYERS:
        return "yolov5-custom"
    blocks = next((layer for layer in layers if class_name(layer) == "C3"), None)
    depth = len(parts(parts(blocks)["m"])) if blocks is not None and "m" in parts(blocks) else 0
    return _YOLOV5.get((first_channels, depth), "yolov5-custom")


def walk(module: Module) -> Iterator[Module]:
    """A module and all below it, shared ones as often as they are met.

    Raises CheckpointError for a tree without end.
    """
    waiting, count = [module], 0
    while waiting:
        count += 1
        if count > _MAX_MODULES:
            raise CheckpointError(
                f"The checkpoint's model has more than {_MAX_MODULES} modules.",
                hint="No detector has; give a checkpoint as training wrote it.",
            )
        here = waiting.pop()
        yield here
        waiting.extend(parts(here).values())


def _unsupported(family: str, kind: str) -> UnsupportedFamily:
    return UnsupportedFamily(f"The checkpoint is {family} ({printable(kind)}).", hint=SUPPORTED)
