"""The whole of it: ranges, filters, file."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from targets.progress import SILENT, Progress
from toolchain.errors import DataError, OutOfRange, RecipeError
from toolchain.quantize import plan as planning
from toolchain.quantize.budget import Budget
from toolchain.quantize.calibration import Calibration
from toolchain.quantize.coded import CodedFilter, Entropy
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.quantize.methods import methods
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.rate import Pace
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.record import describe
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.recovery import Settings, floors_of, recover
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.quantize.write import write
from toolchain.tflite import flatbuffer, metadata, packed, sharing
from toolchain.tflite.packed_codecs import store

Form = Literal["packed", "int4", "plain"]
"""packed: filters as HalfbyteExpand's inputs.  int4: INT4 tensors.  plain: int8 (or float32)."""

MARGIN: Final = 0.0005
"""Share of a budget left free: second-order rounding ends a little off what was planned."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """form: None takes packed below 8 bits and for float activations, else plain.

    budget: for entropy-coded weights only, None for the recipe's own.
    float_boxes: box outputs stay float32 in an int8 model.
    recovery: None rounds to nearest.
    """

    form: Form | None = None
    budget: Budget | None = None
    float_boxes: bool = True
    recovery: Settings | None = dataclasses.field(default_factory=Settings)

    def form_of(self, recipe: Recipe) -> Form:
        """What is written."""
        return self.form or ("packed" if recipe.is_packed else "plain")


@dataclasses.dataclass(frozen=True)
class Quantized:
    """model: bytes of a .tflite file.  record: every choice, as JSON-able data."""

    model: bytes
    record: dict[str, Any]


def quantize(
    float_bytes: bytes,
    calibration: Calibration,
    recipe: Recipe,
    *,
    sensitivity: Sensitivity | None = None,
    pictures: Sequence[NDArray[np.float32]] = (),
    options: Options | None = None,
    progress: Progress = SILENT,
) -> Quantized:
    """A model with `recipe`'s weights; the same arguments give the same bytes on one machine.

    With int8 activations: input int8 at scale 1/255 and zero point -128, each output at a scale
    of its own.  sensitivity: weighs errors by what they do to the outputs; entropy-coded weights
    need it.  pictures: float32 [1, h, w, 3], those of `sensitivity` in its order, for recovery;
    without them weights are rounded to nearest.
    Raises MalformedModel, UnsupportedModel, NotFinite (layer, channel, count), OutOfRange (an
    impossible budget), DataError (statistics of another model), RecipeError.
    """
    options = options or Options()
    work = _Work(float_bytes, calibration, recipe, sensitivity, options)
    groups = work.ranges()
    made = work.filters(groups, pictures, progress)
    return work.written(groups, made, recovered=bool(pictures) and options.recovery is not None)


class _Work:
    """One quantization: what every step looks at."""

    def __init__(
        self,
        float_bytes: bytes,
        calibration: Calibration,
        recipe: Recipe,
        sensitivity: Sensitivity | None,
        options: Options,
    ) -> None:
        _check(recipe, options, sensitivity)
        self._graph = FloatGraph(flatbuffer.parse(float_bytes))
        check_weights(self._graph)
        sha256 = hashlib.sha256(float_bytes).hexdigest()
        for statistics in (calibration, sensitivity):
            if statistics is not None and statistics.model_sha256 != sha256:
                raise DataError(
                    "the calibration was taken from another float model",
                    hint="Calibrate this model.",
                )
        self._calibration = calibration
        self._recipe = recipe
        self._sensitivity = sensitivity
        self._options = options
        self._form = options.form_of(recipe)
        self._facts = metadata.extract(self._graph.model)
        self._methods = methods(self._graph, recipe)
        self._islands = self._box_outputs() if recipe.activation_bits else frozenset()
        self._parameters = (
            self._facts.parameters
            if self._facts
            else sum(self._graph.elements(op.inputs[1]) for op in self._graph.convolutions)
        )

    def ranges(self) -> tuple[GroupPlan, ...]:
        """Scales of activations."""
        if self._recipe.activation_bits is None:
            return ()
        return planning.choose_ranges(
            self._graph, self._calibration, self._logits(), self._islands, self._sensitivity
        )

    def filters(
        self,
        groups: tuple[GroupPlan, ...],
        pictures: Sequence[NDArray[np.float32]],
        progress: Progress,
    ) -> dict[int, Recovered]:
        """Every convolution."""
        scales = planning.scales_of(groups)
        floors = dict(floors_of(self._graph, scales))
        statistics = planning.channel_means(self._graph, self._calibration)
        pace = self._pace(groups)
        settings = self._options.recovery
        if settings is None or not pictures:
            return round_to_nearest(self._graph, self._methods, statistics, floors, pace)
        return recover(
            self._graph,
            scales,
            pictures,
            self._methods,
            floors,
            sensitivity=self._sensitivity,
            pace=pace,
            settings=settings,
            progress=progress,
        )

    def written(
        self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered], *, recovered: bool
    ) -> Quantized:
        """The file and the record."""
        plan = self._plan(groups, made)
        data = self._bytes(plan)
        facts = {
            "form": self._form,
            "budget_bits_per_weight": self._budget(),
            "file_bytes": len(data),
            "bits_per_weight": 8 * len(data) / self._parameters,
            "weighed_by_sensitivity": self._sensitivity is not None,
            "recovery": dataclasses.asdict(self._options.recovery)
            if recovered and self._options.recovery
            else None,
        }
        record = describe(self._graph, plan, self._calibration, self._recipe, facts=facts)
        return Quantized(data, record)

    def _plan(self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered]) -> Plan:
        layers = tuple(
            LayerPlan(operation, made[operation.index], operation.index in self._islands)
            for operation in self._graph.convolutions
        )
        return Plan(groups, layers)

    def _bytes(self, plan: Plan) -> bytes:
        written = write(self._graph, plan, int4=self._form == "int4")
        model = written.model
        if self._facts is not None:
            facts = dataclasses.replace(self._facts, recipe=str(self._recipe))
            model = metadata.embed(model, facts)
        if self._form != "packed":
            return sharing.serialize(model)
        filters: dict[int, CodedFilter] = {}
        scales: dict[int, NDArray[np.float32]] = {}
        for layer in plan.layers:
            tensor, made = written.filters[layer.operation.index], layer.made
            assert made.coded is not None
            assert made.scale is not None
            filters[tensor] = made.coded
            if layer.is_island or not plan.groups:
                scales[tensor] = made.scale
        return packed.pack(model, filters, scales)

    def _budget(self) -> float | None:
        if self._recipe.granularity != "e":
            return None
        if self._options.budget is None:
            return self._recipe.default_budget
        return self._options.budget.bits(self._parameters)

    def _pace(self, groups: tuple[GroupPlan, ...]) -> Pace | None:
        budget = self._budget()
        if budget is None:
            return None
        assert self._sensitivity is not None
        weights = sum(self._graph.elements(op.inputs[1]) for op in self._graph.convolutions)
        room_bits = budget * self._parameters * (1 - MARGIN)
        beside = self._bits_beside_codes(groups)
        if room_bits - beside <= 0:
            raise OutOfRange(
                f"a budget of {budget:g} bits a weight: all but the codes takes "
                f"{beside / self._parameters:.3f} already",
                hint="Ask for more bits.",
            )
        return Pace(self._graph, self._sensitivity, (room_bits - beside) / weights, _stored_bits)

    def _bits_beside_codes(self, groups: tuple[GroupPlan, ...]) -> float:
        """What a file takes for all but the codes, which are zeros here."""
        made = {}
        for operation in self._graph.convolutions:
            shape = self._graph.shape(operation.inputs[1])
            made[operation.index] = Recovered(
                method=self._methods[operation.index],
                coded=Entropy(np.zeros(shape, np.int8)),
                scale=np.ones(shape[0], np.float32),
                weights=np.zeros(shape, np.float32),
                bias=np.zeros(shape[0], np.float32),
                stored_bits=0.0,
            )
        codes = sum(_stored_bits(one.coded) for one in made.values() if one.coded is not None)
        return 8 * len(self._bytes(self._plan(groups, made))) - codes

    def _box_outputs(self) -> frozenset[int]:
        """Convolutions that make boxes alone: their int8 steps would be whole pixels of a box."""
        if self._facts is None or not self._options.float_boxes:
            return frozenset()
        boxes = {level.boxes for level in self._facts.head.levels if level.boxes != level.classes}
        names = self._graph.output_names()
        return frozenset(
            operation.index
            for operation in self._graph.convolutions
            if boxes.intersection(names.get(operation.output, ()))
        )

    def _logits(self) -> frozenset[int]:
        """Outputs that hold objectness and class scores before the sigmoid, by the metadata."""
        if self._facts is None:
            return frozenset()
        names = {
            name for level in self._facts.head.levels for name in (level.objectness, level.classes)
        }
        return frozenset(
            tensor for tensor, own in self._graph.output_names().items() if names.intersection(own)
        )


def _stored_bits(coded: CodedFilter) -> float:
    """What a packed file holds of it."""
    return 8.0 * sum(values.nbytes for _, values in store(coded).tensors)


def _check(recipe: Recipe, options: Options, sensitivity: Sensitivity | None) -> None:
    if recipe.is_float:
        raise RecipeError("float32 quantizes nothing", hint="Use w8c-a8 or w4e-a8.")
    if options.form == "int4" and (recipe.weight_bits, recipe.granularity) != (4, "c"):
        raise RecipeError(
            f"{recipe} cannot be written as INT4 tensors",
            hint="INT4 holds one scale a channel: use w4c-a8, or the packed format.",
        )
    if recipe.granularity == "e" and sensitivity is None:
        raise RecipeError(
            f"{recipe} needs the sensitivity of the model", hint="Measure it on pictures first."
        )
    if options.budget is not None and recipe.granularity != "e":
        raise RecipeError(
            f"a budget steers entropy-coded weights, not {recipe}",
            hint="Use w4e-a8 (or --bits 4) with a budget.",
        )
