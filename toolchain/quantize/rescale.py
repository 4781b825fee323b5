"""A float graph with powers of two moved from filters to their readers: the same function, exactly.

A product of powers of two and float32 numbers is exact while nothing overflows or becomes
denormal; then all sums have the same fractions as before, whatever their order.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.quantize.channels import Channels
from toolchain.quantize.graph import MOVED, FloatGraph, Operation
from toolchain.quantize.write import drop_unused
from toolchain.tflite.flatbuffer import Model

Octaves = NDArray[np.int64]

_LOWEST: Final = int(np.finfo(np.float32).minexp)
_HIGHEST: Final = int(np.finfo(np.float32).maxexp)
SPARE: Final = 16
"""Octaves kept free at both ends: a weight may have a factor on each side, and it is summed."""


def room(graph: FloatGraph, channels: Channels) -> tuple[Octaves, Octaves]:
    """How far each origin may be moved, least and most octaves: int64 [origins] each.

    0 lies between them.  Within them, and within SPARE octaves, weights and biases stay exact.
    """
    count = len(channels.free)
    least, most = np.full(count + 1, _LOWEST, np.int64), np.full(count + 1, _HIGHEST, np.int64)
    for operation in graph.convolutions:
        weights = graph.constant(operation.inputs[1])
        for values in (weights.reshape(len(weights), -1), graph.bias(operation)[:, None]):
            small, large = _exponents(values)
            rows = _outputs(channels, operation, len(weights))
            np.maximum.at(least, rows, _LOWEST + SPARE - small)
            np.minimum.at(most, rows, _HIGHEST - SPARE - large)
        small, large = _exponents(weights.reshape(-1, weights.shape[3]).T)
        slices = channels.of[operation.data[0]]
        np.minimum.at(most, slices, small - _LOWEST - SPARE)
        np.maximum.at(least, slices, large - _HIGHEST + SPARE)
    return np.minimum(least, 0)[:count], np.maximum(most, 0)[:count]


def rescaled(graph: FloatGraph, channels: Channels, octaves: Octaves) -> Model:
    """The model with each origin times 2**octaves and what reads it divided by it.

    octaves: int64 [origins], 0 where not free.  The graph is left as it was.  Activations with
    such channels are called after MOVED too: whoever compares by name must not take them for those
    of the model as it was.
    """
    model = copy.copy(graph.model)
    subgraph = copy.copy(model.subgraphs[0])
    model.subgraphs = [subgraph]
    model.buffers = list(model.buffers)
    subgraph.tensors = [copy.copy(tensor) for tensor in subgraph.tensors]
    subgraph.operators = [copy.copy(operator) for operator in subgraph.operators]
    every = np.append(octaves, 0)
    for operation in graph.convolutions:
        for position, values in _moved(graph, channels, operation, every):
            # A tensor of its own: biases of zeros may be shared.
            tensor = copy.copy(subgraph.tensors[operation.inputs[position]])
            data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            model.buffers.append(schema.BufferT(data=data))
            tensor.buffer = len(model.buffers) - 1
            subgraph.tensors.append(tensor)
            operator = subgraph.operators[operation.index]
            operator.inputs = np.array(operator.inputs, np.int32)
            operator.inputs[position] = len(subgraph.tensors) - 1
    for index, origins in channels.of.items():
        if every[origins].any():
            subgraph.tensors[index].name = (subgraph.tensors[index].name or b"") + MOVED.encode()
    drop_unused(model)
    return model


def _moved(
    graph: FloatGraph, channels: Channels, operation: Operation, every: Octaves
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(position among the inputs, new values) of the constants that change."""
    weights = graph.constant(operation.inputs[1])
    rows = every[_outputs(channels, operation, len(weights))].astype(np.int32)
    slices = every[channels.of[operation.data[0]]].astype(np.int32)
    if rows.any() or slices.any():
        yield 1, np.ldexp(weights, rows[:, None, None, None] - slices)
    if rows.any() and len(operation.inputs) > 2 and operation.inputs[2] >= 0:
        yield 2, np.ldexp(graph.constant(operation.inputs[2]), rows)


def _outputs(channels: Channels, operation: Operation, count: int) -> Octaves:
    return channels.first[operation.index] + np.arange(count, dtype=np.int64)


def _exponents(rows: NDArray[np.float32]) -> tuple[Octaves, Octaves]:
    """floor(log2 |x|) of the smallest and the largest number of each row that are not 0."""
    magnitudes = np.abs(rows)
    alive = magnitudes > 0
    smallest = np.where(alive, magnitudes, np.float32(1)).min(axis=1, initial=1)
    largest = np.where(alive, magnitudes, np.float32(1)).max(axis=1, initial=1)
    low, high = (np.frexp(x)[1].astype(np.int64) - 1 for x in (smallest, largest))
    return low, high
