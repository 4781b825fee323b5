"""What a model of ours says about itself, inside the .tflite file.

JSON in a metadata buffer named "halfbyte" (schema.fbs: `Model.metadata`), so stock tools carry it
along and stock runtimes pass over it.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from targets.agent.heads import Head, HeadError, head_from_dict, head_to_dict
from toolchain.errors import MalformedModel, UnsupportedModel
from toolchain.tflite.flatbuffer import Model

ENTRY: Final = "halfbyte"
SCHEMA: Final = "halfbyte.model"
VERSION: Final = 1
MAX_BYTES: Final = 4 << 20
MAX_SIDE: Final = 1 << 16

LETTERBOX: Final = "centre, ratio min(h/H, w/W), bilinear, grey 114, RGB in 0..1"
"""The rule of `targets.agent.letterbox`, in words, for whoever runs the file elsewhere."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Facts that travel with a model.

    imgsz: (height, width) of the input in pixels.  family: "yolov7", ...  recipe: "float32",
    "w8c-a8", ...  parameters: weights and biases of the detector in deploy form.
    source_sha256: of the checkpoint.  licence: of its weights, as its publisher names it; None
    where nobody said.
    """

    head: Head
    imgsz: tuple[int, int]
    family: str
    recipe: str
    parameters: int
    source_sha256: str
    licence: str | None
    letterbox: str = LETTERBOX

    @property
    def names(self) -> tuple[str, ...]:
        """Class labels in the order of the outputs."""
        return self.head.names

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell, finest first."""
        return tuple(level.stride for level in self.head.levels)

    @property
    def anchors(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Per level, (width, height) in pixels of the input."""
        return tuple(level.anchors for level in self.head.levels)


def embed(model: Model, metadata: Metadata) -> Model:
    """A copy of `model` that carries `metadata`, in place of what it carried before."""
    data = np.frombuffer(to_json(metadata), np.uint8)
    edited = copy.copy(model)
    edited.buffers = list(model.buffers or [])
    edited.metadata = list(model.metadata or [])
    for entry in edited.metadata:
        if _name(entry) == ENTRY:
            edited.buffers[entry.buffer] = schema.BufferT(data=data)
            return edited
    edited.metadata.append(schema.MetadataT(name=ENTRY, buffer=len(edited.buffers)))
    edited.buffers.append(schema.BufferT(data=data))
    return edited


def extract(model: Model) -> Metadata | None:
    """What `embed` put there; None in a model of another tool.

    Raises MalformedModel (ours, but broken), UnsupportedModel (of a newer version of ours).
    """
    for entry in model.metadata or []:
        if _name(entry) == ENTRY:
            data = model.buffers[entry.buffer].data
            return from_json(b"" if data is None else bytes(data))
    return None


def to_json(metadata: Metadata) -> bytes:
    """UTF-8 JSON with sorted keys: the same facts give the same bytes."""
    fields = {**dataclasses.asdict(metadata), "head": head_to_dict(metadata.head)}
    document = {"schema": SCHEMA, "version": VERSION, **fields, "imgsz": list(metadata.imgsz)}
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def from_json(data: bytes) -> Metadata:
    """Inverse of `to_json`.  Raises MalformedModel, UnsupportedModel."""
    if len(data) > MAX_BYTES:
        raise _malformed(f"{len(data):,} bytes are too many")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _malformed("it is no JSON") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise _malformed(f"its schema is not {SCHEMA}")
    if document.get("version") != VERSION:
        raise UnsupportedModel(
            f"the model's metadata has version {document.get('version')!r}, known is {VERSION}",
            hint="Update halfbyte, or convert the model again with this version.",
        )
    try:
        return Metadata(
            head=head_from_dict(document["head"]),
            imgsz=_imgsz(document["imgsz"]),
            family=_text(document["family"]),
            recipe=_text(document["recipe"]),
            parameters=_count(document["parameters"]),
            source_sha256=_text(document["source_sha256"]),
            licence=None if document["licence"] is None else _text(document["licence"]),
            letterbox=_text(document["letterbox"]),
        )
    except KeyError as error:
        raise _malformed(f"it lacks {error}") from error
    except (HeadError, TypeError, ValueError) as error:
        raise _malformed(str(error)) from error


def _imgsz(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("imgsz is not [height, width]")
    height, width = _count(value[0]), _count(value[1])
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"imgsz is {value}")
    return height, width


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r:.40} is no count")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _name(entry: Any) -> str:
    name = entry.name
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""


def _malformed(reason: str) -> MalformedModel:
    return MalformedModel(
        f"damaged halfbyte metadata in the model: {reason}",
        hint="Convert the model again, or remove the metadata entry named halfbyte.",
    )
