"""Every choice about activations that makes a float graph an int8 one, before a byte is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError
from toolchain.quantize import ranges, ties
from toolchain.quantize.calibration import Calibration, Statistics
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.methods import Method
from toolchain.quantize.observe import unique_names, watched_tensors
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.scales import Scale
from toolchain.quantize.sensitivity import Sensitivity


@dataclasses.dataclass(frozen=True)
class GroupPlan:
    """The scale of activations that share one.

    sqnr_db: what rounding to it costs, as the readers of the sources see it; None where it is
    prescribed or there is nothing to lose.
    """

    group: ties.Group
    scale: Scale
    readers: tuple[ranges.Reader, ...]
    sqnr_db: float | None


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """One convolution.

    is_island: its filter and its output are float32, in a model whose other activations are int8.
    """

    operation: Operation
    made: Recovered
    is_island: bool = False

    @property
    def method(self) -> Method:
        """How its filter is stored."""
        return self.made.method


@dataclasses.dataclass(frozen=True)
class Plan:
    """Scales of int8 activations (none: they stay float) and filters of all convolutions."""

    groups: tuple[GroupPlan, ...]
    layers: tuple[LayerPlan, ...]

    def scales(self) -> dict[int, Scale]:
        """The scale of each int8 activation."""
        return scales_of(self.groups)


def scales_of(groups: tuple[GroupPlan, ...]) -> dict[int, Scale]:
    """The scale of each activation."""
    return {tensor: plan.scale for plan in groups for tensor in plan.group.tensors}


def choose_ranges(
    graph: FloatGraph,
    calibration: Calibration,
    logits: frozenset[int],
    islands: frozenset[int] = frozenset(),
    sensitivity: Sensitivity | None = None,
) -> tuple[GroupPlan, ...]:
    """A scale for each group of activations.

    logits: outputs of the graph that are scores before their sigmoid.  islands: operator indices
    of convolutions whose outputs stay float.  sensitivity: weighs each value by what an error of
    it does to the outputs; None: all alike.
    Raises DataError (a calibration of another model), NotFinite, UnsupportedModel.
    """
    statistics = _by_tensor(graph, calibration)
    weighed = _weighed(graph, sensitivity)
    float_tensors = {op.output for op in graph.convolutions if op.index in islands}
    return tuple(
        _group(graph, group, statistics, weighed, logits)
        for group in ties.groups(graph)
        if not float_tensors.issuperset(group.tensors)
    )


def channel_means(graph: FloatGraph, calibration: Calibration) -> dict[int, Statistics]:
    """Statistics of each convolution's input, by operator index.  Raises DataError."""
    statistics = _by_tensor(graph, calibration)
    return {op.index: statistics[op.data[0]] for op in graph.convolutions}


def _by_tensor(graph: FloatGraph, calibration: Calibration) -> dict[int, Statistics]:
    watched = watched_tensors(graph)
    names = unique_names(graph, watched)
    missing = [name for name in names.values() if name not in calibration.tensors]
    if missing:
        raise DataError(
            f"the calibration knows nothing of tensor {missing[0]}",
            hint="It belongs to another model; calibrate this one.",
        )
    return {tensor: calibration.tensors[names[tensor]] for tensor in watched}


def _weighed(
    graph: FloatGraph, sensitivity: Sensitivity | None
) -> dict[int, NDArray[np.float64]] | None:
    if sensitivity is None:
        return None
    names = unique_names(graph, watched_tensors(graph))
    return {tensor: sensitivity.counts[name] for tensor, name in names.items()}


def _group(
    graph: FloatGraph,
    group: ties.Group,
    statistics: Mapping[int, Statistics],
    weighed: Mapping[int, NDArray[np.float64]] | None,
    logits: frozenset[int],
) -> GroupPlan:
    if group.fixed is not None:
        return GroupPlan(group, group.fixed, (), None)
    if not logits.isdisjoint(group.sources):
        # A gradient is blind to what clipping does to scores that are far below any threshold.
        weighed = None
    readers = tuple(_reader(graph, tensor, logits) for tensor in group.sources)
    seen = [
        _seen(graph, tensor, statistics[tensor], None if weighed is None else weighed[tensor], r)
        for tensor, r in zip(group.sources, readers, strict=True)
    ]
    if weighed is not None and not any(source.counts.any() for source in seen):
        # Nothing that matters depends on these values: any range will do, so the usual one.
        return _group(graph, group, statistics, None, logits)
    choice = ranges.choose(seen)
    return GroupPlan(group, choice.scale, readers, choice.sqnr_db)


def _reader(graph: FloatGraph, tensor: int, logits: frozenset[int]) -> ranges.Reader:
    if tensor in logits:
        return "logit"
    return "silu" if graph.feeds_silu(tensor) else "value"


def _seen(
    graph: FloatGraph,
    tensor: int,
    found: Statistics,
    weighed: NDArray[np.float64] | None,
    reader: ranges.Reader,
) -> ranges.Seen:
    low, high = float(found.low.min()), float(found.high.max())
    if weighed is not None:
        return ranges.Seen(weighed, low, high, reader)
    counts = found.counts.astype(np.float64)
    # A sample stands for the whole tensor: members of a group count by their size.
    weight = graph.elements(tensor) / max(counts.sum(), 1.0)
    return ranges.Seen(counts * weight, low, high, reader)
