"""Bytes of a .tflite file <-> the schema's object tree, checked before anything is believed.

The tree is that of `ai_edge_litert.schema_py_generated` (`ModelT`, `TensorT`, ...), made by flatc
from TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from toolchain.errors import MalformedModel

Model = Any  # schema.ModelT; the generated module carries no types

IDENTIFIER = b"TFL3"


def parse(data: bytes) -> Model:
    """The object tree of a model's bytes.  Raises MalformedModel."""
    if len(data) < 16 or data[4:8] != IDENTIFIER:
        raise MalformedModel(
            "not a TFLite model: the identifier TFL3 is missing",
            hint="Give a .tflite file; an .onnx or .pt file has to be converted first.",
        )
    try:
        return schema.ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # noqa: BLE001  the generated reader checks nothing itself
        raise MalformedModel(
            f"a damaged TFLite model: {type(error).__name__}: {error}",
            hint="The file is cut short or corrupted; copy or convert it again.",
        ) from error


def read(path: Path) -> Model:
    """`parse` of a file.  Raises MalformedModel, OSError."""
    return parse(path.read_bytes())


def serialize(model: Model) -> bytes:
    """The bytes of an object tree; the same tree gives the same bytes."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
