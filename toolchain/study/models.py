"""Filters as models: one that this machine's runtime runs, and the packed file that it stands for.

Beside float activations the filters are written as the float weights that they mean, so that every
scheme can run.  Beside int8 activations they are ordinary int8 filters, which is what a packed
model becomes on a board.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from toolchain.quantize import plan as planning
from toolchain.quantize.outputs import box_makers, logits
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.write import Written, write
from toolchain.study.cell import Cell
from toolchain.study.material import Opened
from toolchain.tflite import flatbuffer, metadata, packed


@dataclasses.dataclass(frozen=True)
class Built:
    """runs: an ordinary .tflite.  packed_bytes: size of the packed one; None: there is none."""

    runs: bytes
    packed_bytes: int | None


def ranges(opened: Opened, cell: Cell) -> tuple[GroupPlan, ...]:
    """Scales of int8 activations as the quantizer chooses them; () where they stay float."""
    if cell.activations == "float":
        return ()
    graph, facts = opened.graph, opened.facts
    return planning.choose_ranges(
        graph,
        opened.calibration,
        logits(graph, facts),
        box_makers(graph, facts),
        opened.sensitivity,
    )


def islands(opened: Opened, cell: Cell) -> frozenset[int]:
    """Convolutions that stay float beside int8 activations, as in the quantizer's models."""
    boxes = box_makers(opened.graph, opened.facts)
    return boxes if cell.activations == "int8" else frozenset()


def build(
    opened: Opened, cell: Cell, groups: tuple[GroupPlan, ...], filters: Mapping[int, Recovered]
) -> Built:
    """The cell's model.  filters: by operator index."""
    kept_float = islands(opened, cell)
    layers = tuple(
        LayerPlan(operation, filters[operation.index], operation.index in kept_float)
        for operation in opened.graph.convolutions
    )
    written = write(opened.graph, Plan(groups, layers))
    facts = dataclasses.replace(opened.facts, recipe=cell.name)
    written = dataclasses.replace(written, model=metadata.embed(written.model, facts))
    return Built(flatbuffer.serialize(written.model), _packed_bytes(written, layers, bool(groups)))


def _packed_bytes(written: Written, layers: tuple[LayerPlan, ...], is_int8: bool) -> int | None:
    filters, scales = {}, {}
    for layer in layers:
        tensor, made = written.filters[layer.operation.index], layer.made
        if layer.is_island:
            continue
        if made.coded is None or made.scale is None:
            return None
        filters[tensor] = made.coded
        if not is_int8:
            scales[tensor] = made.scale
    return len(packed.pack(written.model, filters, scales))
