"""The edits that turn a packed model into an ordinary one (docs/packed-format.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence, Set, Tuple

import numpy as np

from .expand_model import (
    FLOAT32,
    INT8,
    INT32,
    UINT8,
    Edits,
    Filter,
    Model,
    indexed,
    scales_of,
    shape_of,
)
from .flat import OPERATOR, Malformed, Table
from .unpack import check

if TYPE_CHECKING:
    from .flat import Bytes

OPTIONS_VERSION = 1
TO_INT8, TO_FLOAT32 = 0, 1
OPTIONS = 5
"""version, codec, kind of output, group size (low byte, high byte)"""

_VECTOR_OF_BYTES = (48, 1)  # FlexBuffers: type VECTOR_UINT of 1 byte each, root of 1 byte
_NAME = OPERATOR.decode()
_CODE_TYPES = (UINT8, INT8, FLOAT32)


def unpack(model: Model, edits: Edits) -> None:
    """HalfbyteExpand's outputs become constants; its inputs, and it itself, vanish."""
    if len(model.graphs) != 1:
        raise Malformed("a packed model has one graph")
    tensors, operators = model.tensors[0], model.operators[0]
    flags = [operator.number(0) == model.expand_code for operator in operators]
    count = sum(flags)
    if not count or not all(flags[:count]):
        raise Malformed("operators that expand have to come first")
    inputs: Set[int] = set()
    taken: Set[int] = set()
    for operator in operators[:count]:
        used = _expand(model, edits, operator)
        inputs.update(used)
        taken.add(tensors[used[0]].number(2))
    kept_tensors = _kept(inputs, tensors, "tensors")
    buffers = {tensors[index].number(2) for index in inputs}
    kept_buffers = _kept(buffers - taken, model.buffers, "buffers")
    _kept({int(model.expand_code or 0)}, model.codes, "operator codes")
    for index in buffers:
        edits.drop(model.buffers[index])
    _check_operators(model, operators[count:], kept_tensors)
    _check_buffers(model, kept_tensors, kept_buffers, taken)
    for operator in operators[count:]:
        _scale_bias(model, edits, operator)
    _shorten(edits, model.root, 1, len(model.codes) - 1)
    _shorten(edits, model.root, 4, kept_buffers)
    _shorten(edits, model.graphs[0], 0, kept_tensors)
    # The vector of operators begins later: a new length lies on the last entry that goes.
    place = model.graphs[0].place(3)
    distance = model.flat.number(place, "I")
    edits.patch(place, "I", distance + 4 * count)
    edits.patch(place + distance + 4 * count, "I", len(operators) - count)


def options(content: Bytes) -> Tuple[int, int, int]:
    """(codec, kind of output, group size) from a HalfbyteExpand's options.

    They are a FlexBuffers vector of bytes, which other tools can show.  Raises Malformed.
    """
    values = bytes(content)
    length = len(values) - 4
    if length < 1 or values[0] != length or values[-3:] != bytes((length, *_VECTOR_OF_BYTES)):
        raise Malformed(f"the options of {_NAME} are not a vector of bytes")
    if values[1] != OPTIONS_VERSION:
        raise Malformed(f"{_NAME} of version {values[1]}; this reads version {OPTIONS_VERSION}")
    if length != OPTIONS:
        raise Malformed(f"{length} options where {OPTIONS} are due")
    codec, kind, low, high = values[2:6]
    if kind not in (TO_INT8, TO_FLOAT32):
        raise Malformed(f"output kind {kind} is not known to this version")
    return codec, kind, low + 256 * high


def _expand(model: Model, edits: Edits, operator: Table) -> Sequence[int]:
    """One filter; the tensors that are read for it."""
    tensors = model.tensors[0]
    codec, kind, size = options(operator.content(5))
    inputs, outputs = operator.integers(1), operator.integers(2)
    if len(outputs) != 1 or len(inputs) < 1 + kind:
        raise Malformed(f"{_NAME} with {len(inputs)} inputs and {len(outputs)} outputs")
    output = tensors[indexed(outputs[0], tensors, "tensor")]
    if output.number(1, "b") != (FLOAT32 if kind == TO_FLOAT32 else INT8):
        raise Malformed("an expanded filter of another type than its operator's")
    stored = tuple(_constant(model, index) for index in inputs)
    rows, row = shape_of(output)
    scales = None
    if kind == TO_FLOAT32:
        scales = _floats(stored[-1], rows)
        stored = stored[:-1]
    check(codec, stored, rows, row, size)
    if output.number(2):
        raise Malformed("a filter that is packed and has a buffer too")
    # The filter takes over the buffer of its codes.
    first = tensors[inputs[0]]
    edits.patch(output.place(2), "I", first.number(2))
    item = Filter(0, codec, stored, rows, row, size, scales)
    edits.add_filter(model.buffer_of(first).place(0), item)
    return inputs


def _constant(model: Model, index: int) -> Any:
    tensors = model.tensors[0]
    tensor = tensors[indexed(index, tensors, "tensor")]
    if tensor.number(1, "b") not in _CODE_TYPES:
        raise Malformed("codes that are neither bytes nor floats")
    return model.buffer_of(tensor).payload(0)


def _floats(stored: Any, rows: int) -> Any:
    if len(stored) != 4 * rows:
        raise Malformed(f"{len(stored)} bytes of scales for {rows} channels")
    return np.frombuffer(stored, "<f4")


def _kept(dropped: Set[int], of: Sequence[Any], what: str) -> int:
    """How many stay, if those that go are the last ones.  Raises Malformed."""
    kept = len(of) - len(dropped)
    if dropped and (min(dropped) != kept or max(dropped) != len(of) - 1):
        raise Malformed(f"{what} that only expanding needs have to come last")
    return kept


def _check_operators(model: Model, operators: Sequence[Table], kept_tensors: int) -> None:
    """No operator that stays needs a tensor that goes."""
    graph = model.graphs[0]
    used = [graph.integers(1), graph.integers(2)]
    for operator in operators:
        if operator.number(0) >= len(model.codes) - 1:
            raise Malformed("operators that expand have to come first")
        used += [operator.integers(1), operator.integers(2)]
    if any(indices and max(indices) >= kept_tensors for indices in used):
        raise Malformed("codes are used by more than what expands them")


def _check_buffers(model: Model, kept_tensors: int, kept_buffers: int, taken: Set[int]) -> None:
    """No tensor that stays needs a buffer that goes or that a filter takes over."""
    users = [tensor.number(2) for tensor in model.tensors[0][:kept_tensors]]
    users += [entry.number(1) for entry in model.root.tables(6)]
    if any(user >= kept_buffers or user in taken for user in users):
        raise Malformed("codes are used by more than what expands them")
    for number, buffer in enumerate(model.buffers[:kept_buffers]):
        if number not in taken:
            buffer.content(0)  # counts as what has to stay


def _scale_bias(model: Model, edits: Edits, operator: Table) -> None:
    """An int32 bias with an empty vector of scales gets input scale x filter scale."""
    tensors, inputs = model.tensors[0], operator.integers(1)
    if len(inputs) < 3 or inputs[2] < 0:
        return
    entry, filter_, bias = (tensors[indexed(i, tensors, "tensor")] for i in inputs[:3])
    quantization = bias.table(4)
    if bias.number(1, "b") != INT32 or quantization is None or not quantization.place(2):
        return
    if len(quantization.content(2, 4)):
        return
    of_input, of_filter = scales_of(entry), scales_of(filter_)
    if of_input.size != 1 or bias.integers(0) != (of_filter.size,):
        raise Malformed("a bias whose scales cannot be told")
    scales = (of_filter.astype(np.float64) * float(of_input[0])).astype(np.float32)
    edits.add_scales(quantization.place(2), scales)


def _shorten(edits: Edits, table: Table, slot: int, count: int) -> None:
    edits.patch(table.flat.follow(table.place(slot)), "I", count)
