"""The smallest entropy-coded model whose loss stays under a limit, predicted without labels.

Each model that is tried detects on calibration pictures that neither its ranges nor its recovery
saw, and agreement is AP with the float model's boxes for truth.  What it is short of 100 is mostly
noise that an AP on labels does not feel; how much of it is lost AP was measured (`lost_points`).
The loss on labels stays unknown until it is measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Final

from targets.progress import SILENT, Progress
from toolchain import making
from toolchain.calibrationset import Pictures
from toolchain.convert import FloatModel
from toolchain.errors import EmptyCalibration, OutOfRange
from toolchain.judging import Judge
from toolchain.making import Made, Source
from toolchain.quantize import Options, Recipe
from toolchain.quantize.budget import Budget

BUDGETS: Final = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
"""Bits a weight of the whole file that are tried: three of the seven, by halving."""

HELD_OUT: Final = 3
"""Of so many calibration pictures one is kept for judging."""


@dataclasses.dataclass(frozen=True)
class Try:
    """One model.  agreement, predicted_points: of AP, 0 to 100.  problem: why it could not be made.

    budget: bits a weight of the whole file.
    """

    budget: float
    file_bytes: int | None = None
    agreement: float | None = None
    predicted_points: float | None = None
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """limit_points: what was asked for.  pictures: judged on, with `boxes` of the float model.

    tries: in order; that of `budget` was taken.
    """

    limit_points: float
    budget: float
    pictures: int
    boxes: int
    tries: tuple[Try, ...]


def lost_points(agreement: float) -> float:
    """AP lost, in points, of a model with that agreement (0 to 100): d / 5 + d^2 / 150.

    d = 100 - agreement.  docs/plans.md shows it beside what models lost; it is not a bound.
    """
    short = max(0.0, 100 - agreement)
    return short / 5 + short**2 / 150


def smallest(
    source: Source,
    made: FloatModel,
    pictures: Pictures,
    recipe: Recipe,
    limit_points: float,
    options: Options | None = None,
    *,
    progress: Progress = SILENT,
) -> tuple[Made, Prediction]:
    """The model, and how it was found.

    recipe: an entropy-coded one, for its activations.  Every third of `pictures` judges; the rest
    calibrates.  Raises OutOfRange (not even the largest budget will do), EmptyCalibration (too few
    pictures, or too little on them), the errors of `making.make_quantized`.
    """
    kept, judges = parted(pictures)
    judge = Judge(made.tflite, judges.paths, progress=progress)
    models: dict[float, Made] = {}

    def attempt(budget: float) -> Try:
        asked = dataclasses.replace(options or Options(), budget=Budget(bits_per_weight=budget))
        try:
            model = making.make_quantized(
                source, made, kept, recipe_at(budget, recipe), asked, progress=progress
            )
        except OutOfRange as error:
            return Try(budget, problem=error.message)
        models[budget] = model
        agreement = judge.agreement(model.path)
        return Try(budget, model.path.stat().st_size, agreement, lost_points(agreement))

    taken, tries = search(attempt, limit_points)
    if taken is None:
        raise _out_of_reach(limit_points, tries)
    predicted = Prediction(limit_points, taken.budget, len(judges.paths), judge.boxes, tries)
    return models[taken.budget], predicted


def search(
    attempt: Callable[[float], Try], limit_points: float
) -> tuple[Try | None, tuple[Try, ...]]:
    """The smallest budget that was tried and keeps the limit, and all tries, by halving.

    A larger model is taken to lose no more than a smaller one.
    """
    low, high = 0, len(BUDGETS)
    taken: Try | None = None
    tries: list[Try] = []
    while low < high:
        middle = (low + high) // 2
        found = attempt(BUDGETS[middle])
        tries.append(found)
        if found.predicted_points is not None and found.predicted_points <= limit_points:
            taken, high = found, middle
        else:
            low = middle + 1
    return taken, tuple(tries)


def parted(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Those that calibrate, and every third one, which judges.  Raises EmptyCalibration."""
    if len(pictures.paths) < 2 * HELD_OUT:
        raise EmptyCalibration(
            f"{len(pictures.paths)} calibration pictures are too few to keep some for judging",
            hint="Give 64 or more of them.",
        )
    places = range(len(pictures.paths))
    judges = places[1::HELD_OUT]
    return pictures.at(place for place in places if place not in judges), pictures.at(judges)


def recipe_at(budget: float, recipe: Recipe) -> Recipe:
    """The recipe whose own budget is nearest, with the activations of `recipe`."""
    return Recipe(min(7, max(2, round(budget - 0.08))), "e", None, recipe.activation_bits)


def _out_of_reach(limit_points: float, tries: tuple[Try, ...]) -> OutOfRange:
    last = tries[-1]
    if last.predicted_points is None:
        return OutOfRange(
            f"no entropy-coded model can be made of this one: {last.problem}",
            hint="Use --recipe w8c-a8.",
        )
    least = math.ceil(10 * last.predicted_points) / 10
    return OutOfRange(
        f"at {last.budget:g} bits per weight the predicted loss is {last.predicted_points:.2f} "
        f"points (agreement {last.agreement:.1f}), above the {limit_points:g} of --max-ap-drop",
        hint=f"Ask for --max-ap-drop {least:g}, keep activations float (--recipe w4e), or have the "
        "loss measured: `halfbyte run --bits 8 4` with annotated images.",
    )
