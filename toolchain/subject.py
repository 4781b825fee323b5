"""A model file that is to run: what is known of it before it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from targets.agent.heads import Head
from toolchain.errors import LabelsDisagree, RecipeError
from toolchain.quantize.recipe import FLOAT32, parse
from toolchain.runmeta import CalibrationMeta, ModelMeta
from toolchain.tflite.facts import ModelFacts, facts
from toolchain.tflite.layout import understand
from toolchain.tflite.metadata import Metadata

BITS_OF_ELEMENT: Final = {"float32": 32, "float16": 16, "int8": 8, "uint8": 8, "int4": 4}


@dataclasses.dataclass(frozen=True)
class Subject:
    """head: how its outputs become boxes; None: timed and measured only."""

    path: Path
    meta: ModelMeta
    facts: ModelFacts
    head: Head | None
    calibration: CalibrationMeta | None = None

    @property
    def label(self) -> str:
        """For messages and run keys."""
        return self.meta.recipe or self.path.stem


def subject(
    path: Path,
    *,
    weights: str | None = None,
    names: Sequence[str] | None = None,
    calibration: CalibrationMeta | None = None,
) -> Subject:
    """Describe a .tflite file, ours or not.

    weights: what it was made from; where nobody says, the file's stem without the size and recipe
    that we put there, so that models of one checkpoint go by one name.  names: labels, in order,
    in place of the model's own.  Raises MalformedModel, LabelsDisagree, OSError.
    """
    found = facts(path)
    head = understand(path, found, names=names)
    if head is not None and names is not None:
        head = _relabelled(head, names)
    own = found.metadata
    meta = ModelMeta(
        weights=weights or _weights(path.stem, own),
        recipe=own.recipe if own else None,
        bits=_bits(found),
        file_bytes=found.file_bytes,
        sha256=found.sha256,
        parameters=found.parameters or None,
        imgsz=own.imgsz if own else None,
        names=head.names if head else (),
        understood=head is not None,
        source_sha256=own.source_sha256 if own else None,
        licence=own.licence if own else None,
    )
    return Subject(path, meta, found, head, calibration)


def _weights(stem: str, own: Metadata | None) -> str:
    """What is before the size and recipe in a name like those that `convert` gives."""
    if own is None:
        return stem
    height, width = own.imgsz
    return stem.removesuffix(f"-{height}x{width}-{own.recipe}")


def _bits(found: ModelFacts) -> int | None:
    """Of a recipe with so many levels; else of what most weights are stored as."""
    levels_bits = _bits_of_levels(found.metadata)
    if levels_bits is not None or not found.weights:
        return levels_bits
    most = max(found.weights, key=lambda element: found.weights[element])
    if most == "packed" and found.packed_bits is not None:
        return round(found.packed_bits)
    return BITS_OF_ELEMENT.get(most)


def _bits_of_levels(own: Metadata | None) -> int | None:
    """Of recipes below 8 bits that are no budget: coding may store a level in less."""
    try:
        recipe = parse(own.recipe) if own else FLOAT32
    except RecipeError:  # written by a later version
        return None
    bits = recipe.weight_bits or 8
    return bits if bits < 8 and recipe.granularity != "e" else None


def _relabelled(head: Head, names: Sequence[str]) -> Head:
    if len(names) != len(head.names):
        raise LabelsDisagree(
            f"{len(names)} labels were given and the model has {len(head.names)} classes",
            hint="One label a line, in the order that the model was trained with.",
        )
    return dataclasses.replace(head, names=tuple(names))
