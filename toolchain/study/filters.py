"""A cell's filters, by the quantizer's own rounding and recovery."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from targets.progress import SILENT, Progress
from toolchain.quantize import plan as planning
from toolchain.quantize.device import on_best
from toolchain.quantize.granularity import Channel, Network
from toolchain.quantize.methods import EIGHT_BITS, Method
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.outputs import exact
from toolchain.quantize.plan import GroupPlan
from toolchain.quantize.rate import Pace
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.recovery import Settings, floors_of, recover
from toolchain.study.cell import Cell, Combined
from toolchain.study.combined import combine
from toolchain.study.made import FLOAT, coded_bits
from toolchain.study.material import Opened
from toolchain.study.models import islands
from toolchain.study.shared import round_together

SPARED: Final = 2
"""So many convolutions at the start keep 8 bits where a cell spares the ends."""


def filters(
    opened: Opened, cell: Cell, groups: tuple[GroupPlan, ...], *, progress: Progress = SILENT
) -> dict[int, Recovered]:
    """Every convolution, by operator index.

    groups: scales of int8 activations, () for float ones.  Raises OutOfRange (an impossible
    number of bits), NotFinite, RecipeError, UnsupportedModel.
    """
    made = _rounded(opened, cell, groups, progress)
    for index in islands(opened, cell):
        made[index] = _kept_float(opened, index, made[index])
    return made


def _kept_float(opened: Opened, index: int, made: Recovered) -> Recovered:
    """As float32 takes room."""
    found = exact(opened.graph, opened.graph.operations[index], made)
    bits = 32.0 * found.weights.size
    method = dataclasses.replace(found.method, scheme=FLOAT)
    return dataclasses.replace(found, coded=None, scale=None, stored_bits=bits, method=method)


def _rounded(
    opened: Opened, cell: Cell, groups: tuple[GroupPlan, ...], progress: Progress
) -> dict[int, Recovered]:
    graph = opened.graph
    statistics = planning.channel_means(graph, opened.calibration)
    if isinstance(cell.reach, Network):
        return round_together(graph, _method(cell), statistics)
    scales = planning.scales_of(groups)
    floors = dict(floors_of(graph, scales))
    methods = methods_of(opened, cell)
    if cell.recovery == "nearest":
        pace = _pace(opened, cell)
        found = round_to_nearest(graph, methods, statistics, floors, pace)
        if pace is None:
            return found
        # Steps are solved for the entropy; our coder makes a little more or less of it.
        again = _pace(opened, cell, cell.bits / (_coded_bits(found) / cell.bits))
        return round_to_nearest(graph, methods, statistics, floors, again)

    def recovering(device: str) -> dict[int, Recovered]:
        return recover(
            graph,
            scales,
            opened.seen(),
            methods,
            floors,
            sensitivity=opened.sensitivity,
            pace=_pace(opened, cell),
            settings=Settings(),
            device=device,
            progress=progress,
        )

    return on_best(recovering, "recovery")


def methods_of(opened: Opened, cell: Cell) -> dict[int, Method]:
    """How each convolution is written, by operator index."""
    graph, method = opened.graph, _method(cell)
    if isinstance(cell.reach, Combined):
        found = combine(opened, method, cell.reach.side_bits)
    else:
        found = {op.index: method for op in graph.convolutions}
    if cell.spare_ends:
        heads = [op.index for op in graph.convolutions if graph.reaches_output(op.output)]
        for index in (*(op.index for op in graph.convolutions[:SPARED]), *heads):
            found[index] = dataclasses.replace(EIGHT_BITS, why="spared")
    return found


def _method(cell: Cell) -> Method:
    reach = Channel() if isinstance(cell.reach, Combined) else cell.reach
    return Method(cell.scheme, round(cell.bits), reach, cell.search)


def _pace(opened: Opened, cell: Cell, bits: float | None = None) -> Pace | None:
    """Steps of entropy-coded channels, by sensitivity, for `cell.bits` stored bits a weight."""
    if cell.scheme != "entropy" or not isinstance(cell.reach, Channel):
        return None
    return Pace(opened.graph, opened.sensitivity, bits or cell.bits, coded_bits)


def _coded_bits(found: Mapping[int, Recovered]) -> float:
    """Stored bits of a code, on average."""
    coded = [one.coded for one in found.values() if one.coded is not None]
    return sum(coded_bits(one) for one in coded) / sum(one.weights.size for one in found.values())
