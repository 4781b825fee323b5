"""Every choice of a quantization as JSON-able data: schema "halfbyte.quantization", version 1."""

from __future__ import annotations

from typing import Any, Final

from toolchain.quantize.calibration import Calibration
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.recipe import Recipe

SCHEMA: Final = "halfbyte.quantization"
VERSION: Final = 1


def describe(
    graph: FloatGraph, plan: Plan, calibration: Calibration, recipe: Recipe
) -> dict[str, Any]:
    """Strict JSON data: no NaN, None where something is not known.

    activations: one entry a group of tensors that share a scale; low and high are what codes -128
    and 127 stand for.  layers: one entry a convolution, in the order of execution.
    """
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "recipe": str(recipe),
        "calibration": {
            "model_sha256": calibration.model_sha256,
            "images": list(calibration.images),
            "left_out": [list(entry) for entry in calibration.left_out],
        },
        "activations": [_activation(graph, group) for group in plan.groups],
        "layers": [_layer(graph, layer) for layer in plan.layers],
    }


def _activation(graph: FloatGraph, plan: GroupPlan) -> dict[str, Any]:
    return {
        "tensors": [graph.name(tensor) for tensor in plan.group.tensors],
        "sources": [graph.name(tensor) for tensor in plan.group.sources],
        "readers": list(plan.readers),
        "prescribed": plan.group.fixed is not None,
        "scale": plan.scale.scale,
        "zero_point": plan.scale.zero_point,
        "low": plan.scale.low,
        "high": plan.scale.high,
        "sqnr_db": plan.sqnr_db,
    }


def _layer(graph: FloatGraph, plan: LayerPlan) -> dict[str, Any]:
    codes, scale = plan.filter.codes, plan.filter.scale
    return {
        "layer": graph.layer(plan.operation),
        "operator": plan.operation.index,
        "shape": list(codes.shape),
        "bits": plan.filter.bits,
        "why_bits": plan.why_bits,
        "granularity": "channel",
        "scale_min": float(scale.min()),
        "scale_max": float(scale.max()),
        "dead_channels": int((~codes.any(axis=(1, 2, 3))).sum()),
        "sqnr_db": plan.sqnr_db,
    }
