"""What the metadata say of a graph's outputs, and what of them stays float."""

from __future__ import annotations

import dataclasses

import numpy as np

from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.recovered import Recovered
from toolchain.tflite.metadata import Metadata


def box_makers(graph: FloatGraph, facts: Metadata | None) -> frozenset[int]:
    """Convolutions that make boxes and nothing else: int8 steps would be whole pixels of a box.

    Where another layer reads the boxes too, they stay what that layer reads.
    """
    if facts is None:
        return frozenset()
    boxes = {level.boxes for level in facts.head.levels if level.boxes != level.classes}
    names = graph.output_names()
    return frozenset(
        operation.index
        for operation in graph.convolutions
        if boxes.intersection(names.get(operation.output, ()))
        and operation.output not in graph.consumers
    )


def exact(graph: FloatGraph, operation: Operation, made: Recovered) -> Recovered:
    """Filters of float outputs stay as they are: few bits would cost more there than they save."""
    return dataclasses.replace(
        made,
        weights=graph.constant(operation.inputs[1]).astype(np.float32),
        bias=graph.bias(operation),
    )


def logits(graph: FloatGraph, facts: Metadata | None) -> frozenset[int]:
    """Outputs that hold objectness and class scores before the sigmoid."""
    if facts is None:
        return frozenset()
    names = {name for level in facts.head.levels for name in (level.objectness, level.classes)}
    return frozenset(
        tensor for tensor, own in graph.output_names().items() if names.intersection(own)
    )
