"""Which output channels of convolutions may be scaled by positive factors, and who would notice.

f(s x) = s f(x) for s > 0 holds of ReLU and of LeakyReLU, of the maximum, of copies and of zeros put
around them: there a factor on an output channel of a convolution passes, to be taken back from the
matching input slices of every filter that reads it (Nagel et al., arXiv 1906.04721, section 4.1).
SiLU, ReLU6, sums and products of activations and the outputs of the graph do not let it pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.quantize import ties
from toolchain.quantize.graph import FloatGraph, Operation

FIXED: Final = -1
"""In place of an origin: a channel that no convolution makes, or none whose factor would pass."""

Origins = NDArray[np.int64]
_PASSING: Final = (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU)
_CHANNEL_AXIS: Final = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Channels:
    """Output channels of all convolutions, numbered through: origins.

    of: by activation, int64 [C]: whose values each of its channels holds, FIXED where of none.
    first: by operator index of a convolution, the origin of its first output channel.
    free: bool [origins]: those that only convolutions read in the end, and at least one does.
    """

    of: Mapping[int, Origins]
    first: Mapping[int, int]
    free: NDArray[np.bool_]

    def free_of(self, tensor: int) -> Origins:
        """The origins of a tensor's channels, FIXED also for those that are not free: int64 [C]."""
        origins = self.of[tensor]
        return np.where((origins != FIXED) & self.free[origins], origins, FIXED)


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """Groups of activations, each with one int8 scale, that hold channels of the same origins.

    origins: the free ones.  tensors: of all groups.
    """

    groups: tuple[ties.Group, ...]
    origins: frozenset[int]

    @property
    def tensors(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(tensor for group in self.groups for tensor in group.tensors)

    @property
    def sources(self) -> tuple[int, ...]:
        """Those that are no copies."""
        return tuple(tensor for group in self.groups for tensor in group.sources)


def trace(graph: FloatGraph) -> Channels:
    """Follow every channel from the convolution that makes it to those that read it."""
    first, count = {}, 0
    for operation in graph.convolutions:
        first[operation.index] = count
        count += graph.shape(operation.inputs[1])[0]
    fixed, read = np.zeros(count + 1, bool), np.zeros(count + 1, bool)  # the last: of FIXED
    of = {tensor: _none(graph, tensor) for tensor in graph.inputs}
    shared = _shared_filters(graph)
    for operation in graph.operations:
        sources = [of[tensor] for tensor in operation.data]
        if operation.kind == "CONV_2D" and operation.inputs[1] not in shared:
            read[sources[0]] = True
            start = first[operation.index]
            made = np.arange(start, start + graph.shape(operation.inputs[1])[0])
            of[operation.output] = made
            fixed[made] = not _passes_positive(operation.options)
        elif follows(graph, operation):
            of[operation.output] = np.concatenate(sources)
        else:
            for origins in sources:
                fixed[origins] = True
            of[operation.output] = _none(graph, operation.output)
    for tensor in graph.outputs:
        fixed[of[tensor]] = True
    return Channels(of, first, (read & ~fixed)[:count])


def units(graph: FloatGraph, channels: Channels) -> tuple[Unit, ...]:
    """All that can be decided apart, in the order of execution."""
    found: list[Unit] = []
    for group in ties.groups(graph):
        origins = {int(o) for t in group.tensors for o in channels.free_of(t) if o != FIXED}
        if not origins:
            continue
        touching = [unit for unit in found if not unit.origins.isdisjoint(origins)]
        found = [unit for unit in found if unit not in touching]
        groups = (*(g for unit in touching for g in unit.groups), group)
        found.append(Unit(groups, frozenset(origins.union(*(u.origins for u in touching)))))
    # The output of a fixed scale, joined with other channels, cannot follow a factor.
    return tuple(unit for unit in found if all(group.fixed is None for group in unit.groups))


def follows(graph: FloatGraph, operation: Operation) -> bool:
    """Whether its output channels are those of its inputs, one input after another."""
    holds = _FOLLOWING.get(operation.kind)
    return holds is not None and holds(graph, operation)


def _none(graph: FloatGraph, tensor: int) -> Origins:
    return np.full(graph.shape(tensor)[-1:] or (1,), FIXED, np.int64)


def _shared_filters(graph: FloatGraph) -> set[int]:
    """Filters of several convolutions, which would not agree on a factor."""
    filters = [operation.inputs[1] for operation in graph.convolutions]
    return {tensor for tensor in filters if filters.count(tensor) > 1}


def _passes_positive(options: Any) -> bool:
    return int(getattr(options, "fusedActivationFunction", 0) or 0) in _PASSING


def _always(_graph: FloatGraph, _operation: Operation) -> bool:
    return True


def _pool(_graph: FloatGraph, operation: Operation) -> bool:
    return _passes_positive(operation.options)


def _joins_channels(_graph: FloatGraph, operation: Operation) -> bool:
    axis = int(operation.options.axis) % (_CHANNEL_AXIS + 1)
    return axis == _CHANNEL_AXIS and _passes_positive(operation.options)


def _pads_around(graph: FloatGraph, operation: Operation) -> bool:
    amounts = operation.inputs[1]
    return graph.is_constant(amounts) and not graph.constant(amounts)[_CHANNEL_AXIS:].any()


_FOLLOWING: Final[dict[str, Callable[[FloatGraph, Operation], bool]]] = {
    "LEAKY_RELU": _always,
    "MAX_POOL_2D": _pool,
    "PAD": _pads_around,
    "RESIZE_NEAREST_NEIGHBOR": _always,
    "CONCATENATION": _joins_channels,
}
"""Operators whose output channels are those of their inputs, one after another, if so."""
