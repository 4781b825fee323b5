"""The whole of it: ranges, filters, file."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.progress import SILENT, Progress
from toolchain.errors import DataError, OutOfRange, RecipeError
from toolchain.quantize import plan as planning
from toolchain.quantize.blank import blank
from toolchain.quantize.calibration import Calibration
from toolchain.quantize.chosen import chosen
from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.device import on_best
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.quantize.learned import learn
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.options import Form, Options, check
from toolchain.quantize.outputs import box_makers, logits
from toolchain.quantize.pinned import Pinned
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.rate import Pace, Pacing
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.record import describe
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.recovery import Settings, floors_of, recover
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.quantize.write import write
from toolchain.tflite import flatbuffer, metadata, packed, sharing
from toolchain.tflite.packed_codecs import stored_bits

MARGIN: Final = 0.0015
"""Share of a budget left free: second-order rounding ends a little off what was planned."""

FEW_BITS_MARGIN: Final = 0.007
"""More of it for each bit below 4: at 3 bits YOLOv7 ends 0.7 % above, at 4 nowhere."""

TRIES: Final = 3
"""How often a model that came out too large is made again with coarser steps."""

_log = logging.getLogger(__name__)


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
    """A model with `recipe`'s weights; the same arguments give the same bytes on one machine's CPU.

    With int8 activations: input int8 at scale 1/255 and zero point -128, each output at a scale
    of its own.  sensitivity: weighs errors by what they do to the outputs; entropy-coded weights
    need it.  pictures: float32 [1, h, w, 3], those of `sensitivity` in its order, for recovery;
    without them weights are rounded to nearest.
    Raises MalformedModel, UnsupportedModel, NotFinite (layer, channel, count), OutOfRange (an
    impossible budget), DataError (statistics of another model), RecipeError, InputError
    (`device.chosen`).
    """
    options = options or Options()
    work = _Work(float_bytes, calibration, recipe, sensitivity, options)
    groups = work.ranges()
    recovering = bool(pictures) and options.recovery is not None
    spare = work.margin(recovering=recovering)
    for _ in range(TRIES):
        made = work.filters(groups, pictures, progress, spare=spare)
        found = work.written(groups, made, recovered=recovering)
        over = work.over_budget(found)
        if over <= 0 and recovering and options.recovery and options.recovery.epochs:
            made = work.learned(groups, made, pictures, options.recovery, progress)
            return work.written(groups, made, recovered=True)
        if over <= 0:
            return found
        _log.info("%.2f %% over the budget: again with coarser steps", 100 * over)
        spare += 1.5 * over
    raise OutOfRange(
        f"the budget is exceeded by {100 * over:.2g} % after {TRIES} tries",
        hint=f"Ask for {found.record['bits_per_weight'] + 0.005:.2f}bpw or more.",
    )


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
        check(recipe, options)
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
        self._float_boxes = options.plan.float_boxes if options.plan else options.float_boxes
        boxes = box_makers(self._graph, self._facts) if self._float_boxes else frozenset()
        self._chosen = chosen(self._graph, recipe, boxes, options.plan)
        if self._chosen.entropy_coded and sensitivity is None:
            raise RecipeError(
                f"{recipe} needs the sensitivity of the model",
                hint="Measure it on pictures first.",
            )
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
            self._graph,
            self._calibration,
            logits(self._graph, self._facts),
            self._chosen.islands,
            self._sensitivity,
        )

    def margin(self, *, recovering: bool) -> float:
        """Share of the budget to leave free at first."""
        budget = self._budget()
        if budget is None or not recovering:
            return MARGIN
        return MARGIN + FEW_BITS_MARGIN * max(0.0, 4 - budget)

    def filters(
        self,
        groups: tuple[GroupPlan, ...],
        pictures: Sequence[NDArray[np.float32]],
        progress: Progress,
        *,
        spare: float = MARGIN,
    ) -> dict[int, Recovered]:
        """Every convolution.  spare: share of the budget to leave free."""
        scales = planning.scales_of(groups)
        floors = dict(floors_of(self._graph, scales))
        statistics = planning.channel_means(self._graph, self._calibration)
        settings = self._options.recovery
        methods = self._chosen.methods

        def recovering(device: str) -> dict[int, Recovered]:
            return recover(
                self._graph,
                scales,
                pictures,
                methods,
                floors,
                sensitivity=self._sensitivity,
                pace=self._pace(groups, spare),
                settings=settings,
                device=device,
                progress=progress,
            )

        if settings is None or not pictures:
            pace = self._pace(groups, spare)
            made = round_to_nearest(self._graph, methods, statistics, floors, pace)
        else:
            made = on_best(recovering, "recovery")
        return {index: self._as_filed(index, one) for index, one in made.items()}

    def learned(
        self,
        groups: tuple[GroupPlan, ...],
        made: Mapping[int, Recovered],
        pictures: Sequence[NDArray[np.float32]],
        settings: Settings,
        progress: Progress,
    ) -> dict[int, Recovered]:
        """The same codes with scales and biases learned end to end; they take as much room."""
        scales = planning.scales_of(groups)
        floors = dict(floors_of(self._graph, scales))
        learning = {i: floor for i, floor in floors.items() if i not in self._chosen.islands}

        def learned(device: str) -> dict[int, Recovered]:
            return learn(
                self._graph,
                scales,
                pictures,
                made,
                learning,
                self._facts.head if self._facts else None,
                epochs=settings.epochs,
                seed=settings.seed,
                device=device,
                progress=progress,
            )

        return on_best(learned, "learning")

    def _as_filed(self, index: int, made: Recovered) -> Recovered:
        """Filters of float outputs stay exact: few bits would cost more there than they save."""
        if index not in self._chosen.islands:
            return made
        operation = self._graph.operations[index]
        return dataclasses.replace(
            made,
            weights=self._graph.constant(operation.inputs[1]).astype(np.float32),
            bias=self._graph.bias(operation),
        )

    def written(
        self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered], *, recovered: bool
    ) -> Quantized:
        """The file and the record."""
        plan = self._plan(groups, made)
        data = self._bytes(plan, self._form)
        facts = {
            "form": self._form,
            "budget_bits_per_weight": self._budget(),
            "file_bytes": len(data),
            "bits_per_weight": 8 * len(data) / self._parameters,
            "float_boxes": self._float_boxes,
            "weighed_by_sensitivity": self._sensitivity is not None,
            "recovery": dataclasses.asdict(self._options.recovery)
            if recovered and self._options.recovery
            else None,
        }
        record = describe(
            self._graph,
            plan,
            self._calibration,
            self._recipe,
            facts=facts,
            sensitivity=self._sensitivity,
        )
        return Quantized(data, record)

    def over_budget(self, found: Quantized) -> float:
        """By which share of it the file is larger than the budget; 0 or less where it is not."""
        budget = self._budget()
        if budget is None or self._form != "packed" or not self._chosen.sharing_budget:
            return 0.0
        return 8 * len(found.model) / (budget * self._parameters) - 1

    def _plan(self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered]) -> Plan:
        layers = tuple(
            LayerPlan(operation, made[operation.index], operation.index in self._chosen.islands)
            for operation in self._graph.convolutions
        )
        return Plan(groups, layers)

    def _bytes(self, plan: Plan, form: Form) -> bytes:
        written = write(self._graph, plan, int4=form == "int4")
        model = written.model
        if self._facts is not None:
            facts = dataclasses.replace(self._facts, recipe=str(self._recipe))
            model = metadata.embed(model, facts)
        if form != "packed":
            return sharing.serialize(model)
        filters: dict[int, CodedFilter] = {}
        scales: dict[int, NDArray[np.float32]] = {}
        for layer in plan.layers:
            tensor, made = written.filters[layer.operation.index], layer.made
            if layer.is_island:
                continue
            assert made.coded is not None
            assert made.scale is not None
            filters[tensor] = made.coded
            if not plan.groups:
                scales[tensor] = made.scale
        return packed.pack(model, filters, scales)

    def _budget(self) -> float | None:
        plan, budget = self._options.plan, self._options.budget
        if plan is not None:
            return plan.budget or self._recipe.default_budget
        return budget.bits(self._parameters) if budget else self._recipe.default_budget

    def _pace(self, groups: tuple[GroupPlan, ...], spare: float) -> Pacing | None:
        own, sharing_budget = self._chosen.bits, self._chosen.sharing_budget
        if self._sensitivity is None or not self._chosen.entropy_coded:
            return None
        rest = None
        if sharing_budget:
            bits = self._room_bits(groups, spare) / sum(map(self._weights, sharing_budget))
            try:
                rest = Pace(self._graph, self._sensitivity, bits, stored_bits, sharing_budget)
            except OutOfRange as error:
                raise self._impossible(f"{bits:.3f} are left for codes, too few") from error
        return Pinned(self._graph, self._sensitivity, own, stored_bits, rest) if own else rest

    def _room_bits(self, groups: tuple[GroupPlan, ...], spare: float) -> float:
        """What a budget leaves to layers that have no bits of their own.  Raises OutOfRange."""
        budget = self._budget()
        assert budget is not None
        pinned = sum(bits * self._weights(index) for index, bits in self._chosen.bits.items())
        beside = self._bits_beside_codes(groups) + pinned
        room_bits = budget * self._parameters * (1 - spare) - beside
        if room_bits <= 0:
            what = "all but the codes" if not pinned else "what has bits of its own"
            raise self._impossible(f"{what} takes {beside / self._parameters:.3f} already")
        return room_bits

    def _impossible(self, why: str) -> OutOfRange:
        return OutOfRange(
            f"a budget of {self._budget():g} bits a weight: {why}", hint="Ask for more bits."
        )

    def _bits_beside_codes(self, groups: tuple[GroupPlan, ...]) -> float:
        """What a packed file takes for all but entropy-coded codes, which are zeros here."""
        made = {
            operation.index: blank(
                self._chosen.methods[operation.index],
                self._graph.shape(operation.inputs[1]),
                operation.index,
            )
            for operation in self._graph.convolutions
        }
        coded = (made[index].coded for index in self._chosen.entropy_coded)
        codes = sum(stored_bits(filter_) for filter_ in coded if filter_ is not None)
        return 8 * len(self._bytes(self._plan(groups, made), "packed")) - codes

    def _weights(self, index: int) -> int:
        return self._graph.elements(self._graph.operations[index].inputs[1])
