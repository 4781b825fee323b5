"""What the measuring process is asked and what it answers: frozen data, and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from targets.agent.heads import Head, head_from_dict, head_to_dict
from toolchain.tflite.probing.readers import Reader
from toolchain.tflite.probing.tallies import Codes, Difference

CONFIDENCE: Final = 0.25
"""Boxes above it are counted: what a user of the model would see."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """One tensor to look at.  reference: its counterpart's index in the other model, if any."""

    tensor: int
    reader: Reader
    reference: int | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """Models, pictures and tensors.

    model, against: paths; against None: no reference.  head, against_head: how their outputs
    become boxes; None: no boxes are counted.  images: paths.  memory_bytes: the most that the
    activations given out at once may take.
    """

    model: str
    images: tuple[str, ...]
    tensors: tuple[Asked, ...] = ()
    against: str | None = None
    head: Head | None = None
    against_head: Head | None = None
    threads: int = 2
    memory_bytes: int = 512 << 20

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        value = dataclasses.asdict(self)
        for name in ("head", "against_head"):
            head = getattr(self, name)
            value[name] = None if head is None else head_to_dict(head)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Request:
        """Inverse of `to_json`; it comes from our own process."""
        heads = {
            name: None if value[name] is None else head_from_dict(value[name])
            for name in ("head", "against_head")
        }
        tensors = tuple(Asked(**asked) for asked in value["tensors"])
        return cls(**{**value, **heads, "tensors": tensors, "images": tuple(value["images"])})


@dataclasses.dataclass(frozen=True)
class Observed:
    """What was seen.

    images: how many pictures were used.  left_out: (name, reason) of those that cannot be read.
    codes, differences: by tensor index in the model.  boxes, boxes_against: above CONFIDENCE, over
    all pictures; None where the outputs are not understood.  batches: how many probes were made.
    """

    images: int
    left_out: tuple[tuple[str, str], ...] = ()
    codes: Mapping[int, Codes] = dataclasses.field(default_factory=dict)
    differences: Mapping[int, Difference] = dataclasses.field(default_factory=dict)
    boxes: int | None = None
    boxes_against: int | None = None
    batches: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; tensor indices become text."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Observed:
        """Inverse of `to_json`.  Raises KeyError, TypeError, ValueError."""
        codes = {int(tensor): Codes(**_tuples(found)) for tensor, found in value["codes"].items()}
        differences = {
            int(tensor): Difference(**_tuples(found))
            for tensor, found in value["differences"].items()
        }
        left_out = tuple((str(name), str(reason)) for name, reason in value["left_out"])
        return cls(**{**value, "codes": codes, "differences": differences, "left_out": left_out})


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
