"""A float detector becomes one with int8 activations and few-bit weights.

calibration = calibrate(float_model, images)
quantized = quantize(float_model.read_bytes(), calibration, parse("w8c-a8"))
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from toolchain.errors import DataError, RecipeError
from toolchain.quantize import plan as planning
from toolchain.quantize.calibration import Calibration, load, save
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.quantize.observe import calibrate
from toolchain.quantize.recipe import FLOAT32, W4C_A8, W8C_A8, Recipe, for_bits, parse
from toolchain.quantize.record import describe
from toolchain.quantize.write import write_int8
from toolchain.tflite import flatbuffer, metadata

__all__ = [
    "FLOAT32",
    "W4C_A8",
    "W8C_A8",
    "Calibration",
    "Quantized",
    "Recipe",
    "calibrate",
    "for_bits",
    "load",
    "parse",
    "quantize",
    "save",
]


@dataclasses.dataclass(frozen=True)
class Quantized:
    """model: bytes of a .tflite file.  record: every choice, as JSON-able data."""

    model: bytes
    record: dict[str, Any]


def quantize(float_bytes: bytes, calibration: Calibration, recipe: Recipe) -> Quantized:
    """An int8 model with `recipe`'s weights; the same arguments give the same bytes.

    Input int8 at scale 1/255 and zero point -128; each output int8 at a scale of its own.
    Raises MalformedModel, UnsupportedModel, NotFinite (layer, channel, count), DataError (a
    calibration of another model), RecipeError (float32: nothing to quantize).
    """
    if recipe.is_float:
        raise RecipeError("float32 quantizes nothing", hint="Use w8c-a8 or w4c-a8.")
    graph = FloatGraph(flatbuffer.parse(float_bytes))
    check_weights(graph)
    if calibration.model_sha256 != hashlib.sha256(float_bytes).hexdigest():
        raise DataError(
            "the calibration was taken from another float model", hint="Calibrate this model."
        )
    facts = metadata.extract(graph.model)
    logits = _logits(graph, facts)
    plan = planning.make(graph, calibration, recipe, logits)
    model = write_int8(graph, plan)
    if facts is not None:
        model = metadata.embed(model, dataclasses.replace(facts, recipe=str(recipe)))
    return Quantized(flatbuffer.serialize(model), describe(graph, plan, calibration, recipe))


def _logits(graph: FloatGraph, facts: metadata.Metadata | None) -> frozenset[int]:
    """Outputs that hold objectness and class scores before the sigmoid, as the metadata says."""
    if facts is None:
        return frozenset()
    names = {name for level in facts.head.levels for name in (level.objectness, level.classes)}
    return frozenset(
        tensor for tensor, own in graph.output_names().items() if names.intersection(own)
    )
