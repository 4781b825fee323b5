"""Every choice of a quantization as JSON-able data: schema "halfbyte.quantization", version 2."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from toolchain.quantize.calibration import Calibration
from toolchain.quantize.choice import words_of
from toolchain.quantize.coded import Nibbles, expand
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.scales import decibels
from toolchain.quantize.sensitivity import LayerSensitivity, Sensitivity
from toolchain.tflite.packed_codecs import stored_bits

SCHEMA: Final = "halfbyte.quantization"
VERSION: Final = 2


def describe(
    graph: FloatGraph,
    plan: Plan,
    calibration: Calibration,
    recipe: Recipe,
    *,
    facts: dict[str, Any],
    sensitivity: Sensitivity | None = None,
) -> dict[str, Any]:
    """Strict JSON data: no NaN, None where something is not known.

    activations: one entry a group of tensors that share a scale; low and high are what codes -128
    and 127 stand for.  layers: one entry a convolution, in the order of execution.
    packed_bits: a weight, of codes and what decodes them, as a packed file holds them; file_bits:
    as this file does.
    facts: what is true of the whole: format, budget, recovery.
    Where `equalize` moved factors, `making` adds equalized, one entry for each set of activations
    decided together: their names, octaves (by layer, one for each output channel: powers of two)
    and the foretold noise before and after, relative, summed over the layers that read them.
    Then model_sha256 is that of the equalized float model.
    """
    names = graph.layer_names()
    felt = {} if sensitivity is None else sensitivity.layers
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "recipe": str(recipe),
        **facts,
        "calibration": {
            "model_sha256": calibration.model_sha256,
            "images": list(calibration.images),
            "left_out": [list(entry) for entry in calibration.left_out],
        },
        "activations": [_activation(graph, group) for group in plan.groups],
        "layers": [
            _layer(graph, layer, name, felt.get(name))
            | {"file_bits": _file_bits(layer, str(facts.get("form")), is_int8=bool(plan.groups))}
            for layer in plan.layers
            for name in [names[layer.operation.index]]
        ],
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


def _layer(
    graph: FloatGraph, plan: LayerPlan, name: str, felt: LayerSensitivity | None
) -> dict[str, Any]:
    made, exact = plan.made, graph.constant(plan.operation.inputs[1])
    noise = made.weights.astype(np.float64) - exact
    codes = None if made.coded is None else expand(made.coded)
    return {
        "layer": name,
        "operator": plan.operation.index,
        "shape": list(exact.shape),
        "scheme": plan.method.scheme,
        "bits": plan.method.bits,
        "bits_stored": made.stored_bits / exact.size,
        "packed_bits": None if made.coded is None else stored_bits(made.coded) / exact.size,
        "granularity": words_of(plan.method.granularity),
        "search": plan.method.search,
        "why": plan.method.why,
        "float_output": plan.is_island,
        "scale_min": None if made.scale is None else float(made.scale.min()),
        "scale_max": None if made.scale is None else float(made.scale.max()),
        "levels": None if codes is None else len(np.unique(codes)),
        "dead_channels": int((~made.weights.any(axis=(1, 2, 3))).sum()),
        "weight_sqnr_db": decibels(
            float((exact.astype(np.float64) ** 2).sum()), float((noise**2).sum())
        ),
        "second_order_error_left": made.left,
        "sensitivity": None if felt is None else float(felt.energy.sum() / exact.size),
    }


def _file_bits(plan: LayerPlan, form: str, *, is_int8: bool) -> float | None:
    """Bits a weight in the file as written, scales apart."""
    coded = plan.made.coded
    if coded is None:
        return None
    if plan.is_island:
        return 32.0
    if form == "packed":
        return stored_bits(coded) / plan.made.weights.size
    if not is_int8:
        return 32.0
    return 4.0 if form == "int4" and isinstance(coded, Nibbles) else 8.0
