"""From a checkpoint file to a Detector: the whole way, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from targets.progress import SILENT, Progress
from toolchain.detector import state_dicts
from toolchain.detector.checkpoint import Checkpoint, read_checkpoint
from toolchain.detector.families import family_of, refuse_other_heads, refuse_other_kinds, walk
from toolchain.detector.graph import GraphBuilder
from toolchain.detector.heads import add_head
from toolchain.detector.labels import checked_names
from toolchain.detector.model import IMAGES, Convolution, Detector
from toolchain.detector.modules import add_module
from toolchain.detector.nodes import SUPPORTED, class_name, method_in_force, parts
from toolchain.detector.state_dicts import model_of_state
from toolchain.detector.tree import Module
from toolchain.detector.views import Malformed
from toolchain.errors import (
    CheckpointError,
    HostileCheckpoint,
    NotADetector,
    UnsupportedFamily,
)

_WRAPPERS = 4  # DataParallel around AutoShape around the model, and one to spare


def load_detector(
    path: Path,
    *,
    names: Sequence[str] | None = None,
    licence: str | None = None,
    progress: Progress = SILENT,
) -> Detector:
    """The detector of a YOLOv7 or YOLOv5 checkpoint, folded to its deploy form in float32.

    names: labels to use instead of the checkpoint's.  licence: of the weights, where known.
    Raises CheckpointError, HostileCheckpoint, NotADetector, UnsupportedFamily, LabelsDisagree,
    NotFinite.
    """
    checkpoint = read_checkpoint(path, progress=progress)
    try:
        return detector_of(checkpoint, names=names, licence=licence)
    except Malformed as error:
        raise HostileCheckpoint(
            f"{path} contradicts itself: {error}.", hint="Download it again, or use another one."
        ) from error
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested too deeply.") from error


def detector_of(
    checkpoint: Checkpoint, *, names: Sequence[str] | None, licence: str | None
) -> Detector:
    """As `load_detector`, of a tree that was read before."""
    bare = isinstance(checkpoint.root, dict)
    root = model_of_state(checkpoint.root) if bare else _model_of(checkpoint.root)
    layers = _layers_of(root)
    head = layers[-1]
    refuse_other_heads(head, layers)
    graph = GraphBuilder()
    made: list[str] = []
    for index, layer in enumerate(layers[:-1]):
        made.append(add_module(graph, layer, f"model.{index}", _source(layer, index, made)))
    sources = _source(head, len(layers) - 1, made)
    built = add_head(
        graph,
        head,
        f"model.{len(layers) - 1}",
        [sources] if isinstance(sources, str) else sources,
    )
    graph.drop_unused(
        [part for level in built.levels for part in (level.boxes, level.objectness, level.classes)]
    )
    first = next(layer for layer in graph.layers if isinstance(layer, Convolution))
    family = family_of(layers, graph.extent(first.name).channels)
    if bare and family.endswith("-custom"):
        raise UnsupportedFamily(
            "The file holds tensors only, of a model that is none of a known family.",
            hint="Give the whole checkpoint, with its modules. " + SUPPORTED,
        )
    labels, unnamed = checked_names(root, head, built.rows.classes, names)
    return Detector(
        family=family,
        names=labels,
        layers=tuple(graph.layers),
        weights=MappingProxyType(graph.weights),
        levels=built.levels,
        single_class_objectness=_scores_by_objectness(family, head, len(labels)),
        source_sha256=checkpoint.sha256,
        licence=licence,
        notes=(
            *_notes(checkpoint, head, built.rows.masks, unnamed),
            *((state_dicts.NOTE,) if bare else ()),
        ),
    )


def _scores_by_objectness(family: str, head: Module, classes: int) -> bool:
    """Whether the class output is to be left out of the score.

    YOLOv7 trains no class output where there is one class, and its non_max_suppression then takes
    the objectness alone (utils/general.py, `if nc == 1`); YOLOv5 and the segmentation branches,
    which grew from it, always multiply.
    """
    return classes == 1 and family.startswith("yolov7") and class_name(head) != "ISegment"


def _model_of(root: Any) -> Module:
    """The model inside its wrappers.  Raises NotADetector, UnsupportedFamily."""
    for _ in range(_WRAPPERS):
        if not isinstance(root, Module):
            break
        refuse_other_kinds(root)
        found = parts(root)
        inner = found.get("module") or found.get("model")
        if inner is None:
            break
        if class_name(inner) == "Sequential":
            return root
        root = inner
    raise NotADetector(
        "The file is a checkpoint of torch, but holds no YOLOv7 or YOLOv5 model.",
        hint="Give the .pt file that the training of YOLOv7 or YOLOv5 wrote.",
    )


def _layers_of(root: Module) -> list[Module]:
    layers = list(parts(parts(root)["model"]).values())
    for layer in layers:
        deque(walk(layer), maxlen=0)  # for its check: what follows recurses
    # A suppression layer appended for a demo does nothing to the raw outputs.
    while layers and class_name(layers[-1]) == "NMS":
        layers.pop()
    if len(layers) < 2:
        raise NotADetector(
            f"The checkpoint's model has {len(layers)} layers.",
            hint="Give the .pt file that the training of YOLOv7 or YOLOv5 wrote.",
        )
    return layers


def _source(layer: Module, index: int, made: list[str]) -> str | list[str]:
    """What a layer reads, by its `f`: -1 the one before, other numbers count as list indices."""
    stated = layer.fields.get("f")
    if isinstance(stated, list):
        return [_one_source(step, index, made) for step in stated]
    return _one_source(stated, index, made)


def _one_source(step: Any, index: int, made: list[str]) -> str:
    if step == -1 and index == 0:
        return IMAGES
    if type(step) is not int or not -index <= step < index:
        raise CheckpointError(
            f"model.{index} reads layer {step!r:.20}, which is not before it.",
            hint="Give the checkpoint as training wrote it.",
        )
    return made[step]


def _notes(checkpoint: Checkpoint, head: Module, masks: int, unnamed: str | None) -> list[str]:
    notes = []
    if checkpoint.chosen == "ema":
        notes.append("Weights: the moving average (ema), which training validated.")
    if "float16" in checkpoint.dtypes or "bfloat16" in checkpoint.dtypes:
        notes.append("Stored in 16 bits; widened before batch norms were folded.")
    if masks:
        notes.append(f"A segmentation model: mask branch and {masks} mask rows an anchor dropped.")
    if class_name(head) in ("IDetect", "ISegment") and method_in_force(head) == "fuseforward":
        notes.append("Implicit vectors were folded in already.")
    return notes + ([unnamed] if unnamed else [])
