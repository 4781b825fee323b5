"""Probes: copies of a model that give out chosen activations and do no more than that needs.

The interpreter's own switch for keeping all tensors turns the fast kernels off; a probe keeps
them.  What comes after the last chosen tensor is left out, with its weights: a probe of the first
layers is a small file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toolchain.tflite.flatbuffer import Model, serialize
from toolchain.tflite.view import Node, View


def probe(view: View, tensors: Sequence[int]) -> bytes:
    """A model with `tensors` as its outputs, in that order; indices and names are kept.

    Tensors that nothing needs any more stay in the list, without data and scales.
    """
    nodes = needed_nodes(view, tensors)
    model = copy.copy(view.model)
    graph = copy.copy(model.subgraphs[0])
    graph.operators = [graph.operators[node.index] for node in nodes]
    graph.outputs = np.array(tensors, np.int32)
    used = {*view.inputs, *(tensor for node in nodes for tensor in (*node.inputs, *node.outputs))}
    graph.tensors = [
        tensor if index in used else _bare(tensor) for index, tensor in enumerate(graph.tensors)
    ]
    model.subgraphs = [graph, *model.subgraphs[1:]]
    model.signatureDefs = None
    model.metadata = None
    return serialize(_without_unread_buffers(model))


def needed_nodes(view: View, tensors: Iterable[int]) -> list[Node]:
    """The operators that have to run for `tensors` to be there, in their order."""
    wanted, nodes = set(tensors), []
    for node in reversed(view.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            nodes.append(node)
    return nodes[::-1]


def batches(sizes: Sequence[int], limit_bytes: int) -> list[list[int]]:
    """Places 0, 1, ... of `sizes` in runs whose sum stays within the limit, each at least one."""
    found: list[list[int]] = []
    total = 0
    for place, size in enumerate(sizes):
        if not found or total + size > limit_bytes:
            found.append([])
            total = 0
        found[-1].append(place)
        total += size
    return found


def size_bytes(view: View, tensor: int) -> int:
    """Bytes of a tensor at run time, packed types counted by their values."""
    found = view.tensors[tensor]
    return found.elements * max(1, (found.element.bits or 32) // 8)


def _bare(tensor: Any) -> Any:
    """A place in the list of tensors and little more."""
    bare = copy.copy(tensor)
    bare.buffer, bare.quantization, bare.sparsity = 0, None, None
    return bare


def _without_unread_buffers(model: Model) -> Model:
    """Buffers that no tensor points at become empty; their numbers stay as they are."""
    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors}
    empty = type(model.buffers[0])()
    model.buffers = [
        buffer if index in used else empty for index, buffer in enumerate(model.buffers)
    ]
    return model
