"""Which activations must share one scale: those that an operator only copies from.

CONCATENATION, MAX_POOL_2D, PAD, RESIZE_NEAREST_NEIGHBOR and the like have no arithmetic in int8;
the delegate of XNNPACK refuses them where scales differ.  A tensor read by two of them ties both,
so groups grow across the graph.
"""

from __future__ import annotations

import dataclasses

from toolchain.errors import UnsupportedModel
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.operators import PICTURE
from toolchain.quantize.scales import Scale


@dataclasses.dataclass(frozen=True)
class Group:
    """Activations with one scale, in the order of execution.

    sources: those whose values are new; the others hold copies of them.
    fixed: the scale that an operator or the input prescribes; None where it is free.
    """

    tensors: tuple[int, ...]
    sources: tuple[int, ...]
    fixed: Scale | None


def groups(graph: FloatGraph) -> tuple[Group, ...]:
    """All activations, each in one group.  Raises UnsupportedModel where fixed scales clash."""
    order = {tensor: place for place, tensor in enumerate(graph.activations())}
    roots = {tensor: tensor for tensor in order}

    def root(tensor: int) -> int:
        while roots[tensor] != tensor:
            roots[tensor] = tensor = roots[roots[tensor]]
        return tensor

    for operation in graph.operations:
        if operation.rule.copies:
            for tensor in operation.data:
                first, second = sorted(
                    (root(tensor), root(operation.output)), key=order.__getitem__
                )
                roots[second] = first
    members: dict[int, list[int]] = {}
    for tensor in order:
        members.setdefault(root(tensor), []).append(tensor)
    return tuple(_group(graph, tensors) for tensors in members.values())


def _group(graph: FloatGraph, tensors: list[int]) -> Group:
    made = [tensor for tensor in tensors if not _is_copy(graph, tensor)]
    prescribed = {tensor: scale for tensor in made if (scale := _prescribed(graph, tensor))}
    free = [tensor for tensor in made if tensor not in prescribed]
    scales = set(prescribed.values())
    if len(scales) > 1 or (scales and free):
        first, other = [*prescribed, *free][:2]
        raise UnsupportedModel(
            f"{graph.name(first)} and {graph.name(other)} are joined, but can share no int8 scale",
            hint="Export the model with raw outputs: no sigmoid before a concatenation.",
        )
    return Group(tuple(tensors), tuple(made), scales.pop() if scales else None)


def _is_copy(graph: FloatGraph, tensor: int) -> bool:
    return tensor in graph.producers and graph.producers[tensor].rule.copies


def _prescribed(graph: FloatGraph, tensor: int) -> Scale | None:
    return PICTURE if tensor in graph.inputs else graph.producers[tensor].rule.output
