"""Every choice that makes a float graph an int8 one, before a byte is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError
from toolchain.quantize import ranges, ties, weights
from toolchain.quantize.calibration import Calibration, Statistics
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.observe import unique_names, watched_tensors
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.scales import Scale, decibels


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

    filter: its coded weights.  bias: int32 [O].  why_bits: None, or why it has other bits than
    the recipe says.  sqnr_db: signal to noise of its output from rounding weights alone, taking
    inputs as independent; None where there is no noise.
    """

    operation: Operation
    filter: weights.Filter
    bias: NDArray[np.int32]
    why_bits: str | None
    sqnr_db: float | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Scales of all activations and codes of all convolutions."""

    groups: tuple[GroupPlan, ...]
    layers: tuple[LayerPlan, ...]

    def scales(self) -> dict[int, Scale]:
        """The scale of each activation."""
        return {tensor: plan.scale for plan in self.groups for tensor in plan.group.tensors}


def make(
    graph: FloatGraph, calibration: Calibration, recipe: Recipe, logits: frozenset[int]
) -> Plan:
    """Choose ranges, then weights.

    logits: outputs of the graph that are scores before their sigmoid.
    Raises DataError (a calibration of another model), NotFinite, UnsupportedModel.
    """
    statistics = _by_tensor(graph, calibration)
    chosen = tuple(_group(graph, group, statistics, logits) for group in ties.groups(graph))
    scales = {tensor: plan.scale for plan in chosen for tensor in plan.group.tensors}
    layers = tuple(
        _layer(graph, operation, scales, statistics[operation.data[0]], recipe)
        for operation in graph.convolutions
    )
    return Plan(chosen, layers)


def bits_of(graph: FloatGraph, operation: Operation, recipe: Recipe) -> tuple[int, str | None]:
    """Weight bits of a convolution, and the reason where they are not the recipe's."""
    bits = recipe.weight_bits or 8
    if bits < 8 and graph.reaches_input(operation.data[0]):
        return 8, "first convolution"
    if bits < 8 and graph.reaches_output(operation.output):
        return 8, "head"
    return bits, None


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


def _group(
    graph: FloatGraph,
    group: ties.Group,
    statistics: Mapping[int, Statistics],
    logits: frozenset[int],
) -> GroupPlan:
    if group.fixed is not None:
        return GroupPlan(group, group.fixed, (), None)
    readers = tuple(_reader(graph, tensor, logits) for tensor in group.sources)
    seen = [
        _seen(graph, tensor, statistics[tensor], reader)
        for tensor, reader in zip(group.sources, readers, strict=True)
    ]
    choice = ranges.choose(seen)
    return GroupPlan(group, choice.scale, readers, choice.sqnr_db)


def _reader(graph: FloatGraph, tensor: int, logits: frozenset[int]) -> ranges.Reader:
    if tensor in logits:
        return "logit"
    return "silu" if graph.feeds_silu(tensor) else "value"


def _seen(graph: FloatGraph, tensor: int, found: Statistics, reader: ranges.Reader) -> ranges.Seen:
    counts = found.counts.astype(np.float64)
    # A sample stands for the whole tensor: members of a group count by their size.
    weight = graph.elements(tensor) / max(counts.sum(), 1.0)
    return ranges.Seen(counts * weight, float(found.low.min()), float(found.high.max()), reader)


def _layer(
    graph: FloatGraph,
    operation: Operation,
    scales: Mapping[int, Scale],
    seen: Statistics,
    recipe: Recipe,
) -> LayerPlan:
    exact = graph.constant(operation.inputs[1]).astype(np.float32)
    bias = _bias(graph, operation, len(exact))
    bits, why = bits_of(graph, operation, recipe)
    source, target = scales[operation.data[0]].scale, scales[operation.output].scale
    floor = weights.floor_of_scale(bias, input_scale=source, output_scale=target)
    scale = weights.fit_scale(exact, bits, floor=floor, dead=target / source)
    coded = weights.encode(exact, scale, bits)
    shift = weights.expected_shift(exact, coded.decode(), seen.mean)
    corrected = weights.encode_bias((bias - shift).astype(np.float32), scale, source)
    noise = weights.output_energy(coded.decode() - exact, seen.mean_square)
    signal = weights.output_energy(exact, seen.mean_square)
    return LayerPlan(operation, coded, corrected, why, decibels(signal, noise))


def _bias(graph: FloatGraph, operation: Operation, channels: int) -> NDArray[np.float32]:
    if len(operation.inputs) < 3 or operation.inputs[2] < 0:
        return np.zeros(channels, np.float32)
    return graph.constant(operation.inputs[2]).astype(np.float32)
