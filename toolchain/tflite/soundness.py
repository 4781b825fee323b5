"""Does a model's tree make sense?  Every index names something, every constant is long enough."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from toolchain.errors import MalformedModel
from toolchain.tflite.elements import ELEMENTS

MAX_RANK = 8
"""TensorFlow Lite's kernels go to 6 dimensions, its converters to 8."""


def check_sound(model: Any, *, file_bytes: int) -> None:
    """A tree whose indices, shapes, buffers and scales agree.  Raises MalformedModel."""
    buffers = model.buffers or []
    for index, buffer in enumerate(buffers):
        if buffer.offset > 1 and buffer.offset + buffer.size > file_bytes:
            raise _malformed(f"buffer {index} lies behind the end of the file")
    if not model.subgraphs:
        raise _malformed("it has no graph")
    for subgraph in model.subgraphs:
        _check_subgraph(subgraph, model)
    for metadata in model.metadata or []:
        _index("metadata", metadata.buffer, len(buffers), "buffers")
    for signature in model.signatureDefs or []:
        _index("a signature", signature.subgraphIndex, len(model.subgraphs), "graphs")
        tensors = len(model.subgraphs[signature.subgraphIndex].tensors or [])
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            _index("a signature", entry.tensorIndex, tensors, "tensors")


def _check_subgraph(subgraph: Any, model: Any) -> None:
    tensors = subgraph.tensors or []
    for tensor in tensors:
        _check_tensor(tensor, model.buffers or [])
    for position, operator in enumerate(subgraph.operators or []):
        what = f"operator {position}"
        _index(what, operator.opcodeIndex, len(model.operatorCodes or []), "operator codes")
        # -1 is the schema's "optional input left out".
        _indices(what, operator.inputs, len(tensors), lowest=-1)
        _indices(what, operator.outputs, len(tensors))
        _indices(what, operator.intermediates, len(tensors), lowest=-1)
    _indices("the graph's inputs", subgraph.inputs, len(tensors))
    _indices("the graph's outputs", subgraph.outputs, len(tensors))


def _check_tensor(tensor: Any, buffers: list[Any]) -> None:
    what = f"tensor {show_name(tensor.name)}"
    element = ELEMENTS.get(tensor.type)
    if element is None:
        raise _malformed(f"{what} has the unknown element type {tensor.type}")
    _index(what, tensor.buffer, len(buffers), "buffers")
    shape = [] if tensor.shape is None else [int(size) for size in tensor.shape]
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise _malformed(f"{what} has the impossible shape {shape[: MAX_RANK + 1]}")
    stored = stored_bytes(buffers[tensor.buffer])
    wanted = element.bytes_for(math.prod(shape))
    if stored and wanted is not None and tensor.sparsity is None and stored < wanted:
        raise _malformed(f"{what} needs {wanted:,} bytes and has {stored:,}")
    if tensor.quantization is not None:
        _check_quantization(what, tensor.quantization, shape)


def _check_quantization(what: str, quantization: Any, shape: list[int]) -> None:
    scale, zero_point = quantization.scale, quantization.zeroPoint
    if scale is None or len(scale) == 0:
        return
    if not np.isfinite(scale).all() or (np.asarray(scale) < 0).any():
        raise _malformed(f"{what} has a scale that is negative or not finite")
    if zero_point is not None and len(zero_point) not in (0, 1, len(scale)):
        raise _malformed(f"{what} has {len(scale)} scales and {len(zero_point)} zero points")
    if len(scale) == 1:
        return
    axis = quantization.quantizedDimension
    if not 0 <= axis < len(shape) or shape[axis] != len(scale):
        raise _malformed(f"{what} has {len(scale)} scales on axis {axis} of its shape {shape}")


def stored_bytes(buffer: Any) -> int:
    """Bytes of a buffer, inside the flatbuffer or behind it; 0 for a tensor made at run time."""
    if buffer.data is not None:
        return len(buffer.data)
    return int(buffer.size) if buffer.offset > 1 else 0


def show_name(name: bytes | str | None) -> str:
    """A name out of the file, safe to show: bytes that are no UTF-8 as escapes, cut at 80."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name or "?"
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def _indices(what: str, values: Iterable[int] | None, count: int, *, lowest: int = 0) -> None:
    array = np.asarray([] if values is None else values, np.int64)
    if array.size and not lowest <= array.min() <= array.max() < count:
        raise _malformed(f"{what} names a tensor outside 0..{count - 1}")


def _index(what: str, value: int, count: int, of: str) -> None:
    if not 0 <= value < count:
        raise _malformed(f"{what} names number {value} of {count} {of}")


def _malformed(reason: str) -> MalformedModel:
    return MalformedModel(
        f"a damaged TFLite model: {reason}",
        hint="The file is corrupted, or was written by a faulty tool; copy or convert it again.",
    )
