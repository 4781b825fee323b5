"""The edits that turn standard INT4 filters of convolutions into int8 ones."""

from __future__ import annotations

from typing import Dict, Iterator, List, Set, Tuple

from .expand_model import (
    CONV_2D,
    DEPTHWISE_CONV_2D,
    INT8,
    Edits,
    Filter,
    Model,
    indexed,
    shape_of,
)
from .flat import INT4, Malformed, Table
from .unpack import NIBBLES, check

_CONVOLUTIONS = (CONV_2D, DEPTHWISE_CONV_2D)
_INT4_VERSION, _INT8_VERSION = 7, 3  # of both (TensorFlow Lite, tools/versioning/op_version.cc)

Place = Tuple[int, int]  # graph, tensor


def widen(model: Model, edits: Edits) -> None:
    """INT4 constants that convolutions read as filters become INT8."""
    places = set(_filters(model))
    if not places:
        return
    by_buffer: Dict[int, List[Table]] = {}
    for graph, index in sorted(places):
        tensor = model.tensors[graph][index]
        by_buffer.setdefault(tensor.number(2), []).append(tensor)
        edits.patch(tensor.place(1, 1), "b", INT8)
    for number, tensors in by_buffer.items():
        rows, row = shape_of(tensors[0])
        if any(shape_of(tensor) != (rows, row) for tensor in tensors):
            raise Malformed("INT4 tensors of several shapes share a buffer")
        buffer = model.buffers[number]
        stored = buffer.payload(0)[: (rows * row + 1) // 2]
        check(NIBBLES, (stored,), rows, row, 0)
        edits.add_filter(buffer.place(0), Filter(0, NIBBLES, (stored,), rows, row))
        edits.drop(buffer)
    _check_others(model, places, set(by_buffer))
    _lower_versions(model, places, edits)


def _filters(model: Model) -> Iterator[Place]:
    for graph, operators in enumerate(model.operators):
        tensors = model.tensors[graph]
        for operator in operators:
            if model.builtin(operator) not in _CONVOLUTIONS:
                continue
            inputs = operator.integers(1)
            if len(inputs) < 2:
                raise Malformed("a convolution without a filter")
            tensor = tensors[indexed(inputs[1], tensors, "tensor")]
            if tensor.number(1, "b") == INT4 and len(model.buffer_of(tensor).payload(0)):
                yield graph, inputs[1]


def _check_others(model: Model, places: Set[Place], buffers: Set[int]) -> None:
    """Nobody else reads these tensors or their bytes."""
    for graph, operators in enumerate(model.operators):
        for operator in operators:
            inputs = operator.integers(1)
            others = inputs[:1] + inputs[2:] if model.builtin(operator) in _CONVOLUTIONS else inputs
            if any((graph, index) in places for index in others):
                raise Malformed("an INT4 filter is read by something else too")
        for index, tensor in enumerate(model.tensors[graph]):
            if tensor.number(2) in buffers and (graph, index) not in places:
                raise Malformed("an INT4 filter shares its bytes with another tensor")
    if any(entry.number(1) in buffers for entry in model.root.tables(6)):
        raise Malformed("an INT4 filter shares its bytes with metadata")
    for number, buffer in enumerate(model.buffers):
        if number not in buffers:
            buffer.span(0)


def _lower_versions(model: Model, places: Set[Place], edits: Edits) -> None:
    """What asks for INT4 kernels no longer does, so that older runtimes take it too."""
    int8_only: Dict[int, bool] = {}
    for graph, operators in enumerate(model.operators):
        tensors = model.tensors[graph]
        for operator in operators:
            if model.builtin(operator) in _CONVOLUTIONS:
                inputs = operator.integers(1)
                entry = tensors[indexed(inputs[0], tensors, "tensor")]
                fits = (graph, inputs[1]) in places and entry.number(1, "b") == INT8
                code = operator.number(0)
                int8_only[code] = int8_only.get(code, True) and fits
    for code, fits in int8_only.items():
        table = model.codes[code]
        if fits and table.number(2, "i", 1) == _INT4_VERSION:
            edits.patch(table.place(2), "i", _INT8_VERSION)
