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
from toolchain.quantize import spare as spare_room
from toolchain.quantize.calibration import Calibration
from toolchain.quantize.chosen import chosen
from toolchain.quantize.device import on_best
from toolchain.quantize.learned import learn
from toolchain.quantize.mixing import SECOND_ORDER_GROWTH, Mixing
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.options import Options
from toolchain.quantize.outputs import exact, logits
from toolchain.quantize.pinned import Pinned
from toolchain.quantize.plan import GroupPlan
from toolchain.quantize.rate import Pace, Pacing
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.record import describe
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.recovery import Settings, floors_of, recover
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.quantize.task import Task
from toolchain.tflite.packed_codecs import stored_bits

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
    and mixtures need it.  pictures: float32 [1, h, w, 3], those of `sensitivity` in its order, for
    recovery; without them weights are rounded to nearest.
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
        work.choose(groups, spare=spare, recovering=recovering)
        made = work.filters(groups, pictures, progress, spare=spare)
        found = work.written(groups, made, recovered=recovering)
        over = work.over_budget(found)
        if over <= 0 and recovering and options.recovery and options.recovery.epochs:
            made = work.learned(groups, made, pictures, options.recovery, progress)
            return work.written(groups, made, recovered=True)
        if over <= 0:
            return found
        _log.info("%.2f %% over the budget: again with coarser steps", 100 * over)
        spare += work.learn(made, over)
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
        self._task = Task(float_bytes, recipe, options)
        self._mixing: Mixing | None = None
        self._graph = self._task.graph
        self._chosen = self._task.chosen
        self._facts = self._task.facts
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
        if (self._chosen.entropy_coded or self._task.leaves_open) and sensitivity is None:
            raise RecipeError(
                f"{recipe} needs the sensitivity of the model",
                hint="Measure it on pictures first.",
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
        return spare_room.at_first(self._task.budget, recovering=recovering)

    def choose(self, groups: tuple[GroupPlan, ...], *, spare: float, recovering: bool) -> None:
        """How each filter is stored, where the recipe leaves that open.

        spare: share of the budget to leave free.  Raises OutOfRange.
        """
        task = self._task
        if not task.leaves_open:
            return
        assert self._sensitivity is not None
        if self._mixing is None:
            self._mixing = Mixing(
                self._graph,
                self._recipe,
                self._sensitivity,
                planning.channel_means(self._graph, self._calibration),
                dict(floors_of(self._graph, planning.scales_of(groups))),
                task.chosen.islands,
                stored_bits,
                SECOND_ORDER_GROWTH if recovering else 1.0,
            )
        room_bits = task.room_bits(groups, spare)
        plan = self._mixing.plan(room_bits)
        if plan is None:
            bits = room_bits / task.parameters
            raise task.impossible(f"{bits:.3f} are left for codes, too few")
        self._chosen = chosen(self._graph, self._recipe, task.chosen.islands, plan)

    def learn(self, made: Mapping[int, Recovered], over: float) -> float:
        """From a model that came out too large: which share of the budget more to leave free."""
        learnt = self._mixing is not None and self._mixing.learn(made)
        return spare_room.after(over, learnt=learnt)

    def filters(
        self,
        groups: tuple[GroupPlan, ...],
        pictures: Sequence[NDArray[np.float32]],
        progress: Progress,
        *,
        spare: float = spare_room.MARGIN,
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
        if index not in self._chosen.islands:
            return made
        return exact(self._graph, self._graph.operations[index], made)

    def written(
        self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered], *, recovered: bool
    ) -> Quantized:
        """The file and the record."""
        plan = self._task.plan(groups, made)
        data = self._task.file_of(plan, self._task.form)
        facts = {
            "form": self._task.form,
            "budget_bits_per_weight": self._task.budget,
            "file_bytes": len(data),
            "bits_per_weight": 8 * len(data) / self._task.parameters,
            "float_boxes": self._task.float_boxes,
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
        budget = self._task.budget
        steered = self._chosen.sharing_budget or self._task.leaves_open
        if budget is None or self._task.form != "packed" or not steered:
            return 0.0
        return 8 * len(found.model) / (budget * self._task.parameters) - 1

    def _pace(self, groups: tuple[GroupPlan, ...], spare: float) -> Pacing | None:
        own, sharing_budget = self._chosen.bits, self._chosen.sharing_budget
        if self._sensitivity is None or not self._chosen.entropy_coded:
            return None
        rest = None
        if sharing_budget:
            weights = sum(map(self._task.weights, sharing_budget))
            bits = self._task.room_bits(groups, spare) / weights
            try:
                rest = Pace(self._graph, self._sensitivity, bits, stored_bits, sharing_budget)
            except OutOfRange as error:
                raise self._task.impossible(f"{bits:.3f} are left for codes, too few") from error
        return Pinned(self._graph, self._sensitivity, own, stored_bits, rest) if own else rest
