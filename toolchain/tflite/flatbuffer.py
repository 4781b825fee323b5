"""Bytes of a .tflite file <-> the schema's object tree, checked before anything is believed.

The tree is that of `ai_edge_litert.schema_py_generated` (`ModelT`, `TensorT`, ...), made by flatc
from TensorFlow Lite's schema.fbs.  Its arrays are views of the bytes that were read: replace
them, never write into them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from toolchain.errors import MalformedModel
from toolchain.tflite.soundness import check_sound
from toolchain.tflite.verify import check_bounds

Model = Any  # schema.ModelT; the generated module carries no types

IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
"""schema.fbs: `data:[ubyte] (force_align: 16)`; the file is mapped, and kernels read in place."""


def parse(data: bytes) -> Model:
    """The object tree of a model's bytes.  Raises MalformedModel."""
    if len(data) < 16 or data[4:8] != IDENTIFIER:
        raise MalformedModel(
            "not a TFLite model: the identifier TFL3 is missing",
            hint="Give a .tflite file; an .onnx or .pt file has to be converted first.",
        )
    check_bounds(data)
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # what the generated reader meets inside an operator's options
        raise MalformedModel(
            f"a damaged TFLite model: {type(error).__name__}: {error}",
            hint="The file is cut short or corrupted; copy or convert it again.",
        ) from error
    check_sound(model, file_bytes=len(data))
    return model


def read(path: Path) -> Model:
    """`parse` of a file.  Raises MalformedModel, OSError."""
    return parse(path.read_bytes())


def serialize(model: Model) -> bytes:
    """The bytes of an object tree, buffers aligned; the same tree gives the same bytes."""
    aligned = copy.copy(model)
    aligned.buffers = [_AlignedBuffer(buffer) for buffer in model.buffers or []]
    size = sum(len(buffer.payload) for buffer in aligned.buffers)
    builder = flatbuffers.Builder(size + (1 << 20))
    builder.Finish(aligned.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuffer:
    """A BufferT that packs as the schema asks; flatc's Python code forgets `force_align`."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        data = buffer.data
        self.payload = b"" if data is None else memoryview(bytes(data))

    def Pack(self, builder: Any) -> int:  # noqa: N802  the name that flatc's code calls
        offset = None
        if self._buffer.data is not None:
            builder.StartVector(1, len(self.payload), BUFFER_ALIGNMENT)
            builder.head -= len(self.payload)
            builder.Bytes[builder.head : builder.head + len(self.payload)] = self.payload
            offset = builder.EndVector()
        schema.BufferStart(builder)
        if offset is not None:
            schema.BufferAddData(builder, offset)
        schema.BufferAddOffset(builder, self._buffer.offset)
        schema.BufferAddSize(builder, self._buffer.size)
        return int(schema.BufferEnd(builder))
