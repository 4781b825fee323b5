"""Weights to model files, with what was decided about each beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.progress import SILENT, Progress
from toolchain import example
from toolchain import making as steps
from toolchain.placing import place, place_plan

if TYPE_CHECKING:
    from toolchain.calibrationset import Pictures
    from toolchain.convert import Agreement, FloatModel
    from toolchain.predicting import Prediction
    from toolchain.quantize import Options, Recipe

FLOAT: Final = "float32"


@dataclasses.dataclass(frozen=True)
class Making:
    """Which models to make.

    recipes: beside the float model.  imgsz: (height, width).  names: a file of labels.
    options: of the quantizer; None for its defaults.  A budget in them is for the recipes that it
    steers.  plan: the file that `options.plan` is of.
    max_ap_drop: in points; the one entropy-coded recipe's budget is then searched for.
    """

    weights: str
    recipes: tuple[Recipe, ...]
    imgsz: tuple[int, int]
    calibration: Pictures
    names: Path | None = None
    options: Options | None = None
    plan: Path | None = None
    max_ap_drop: float | None = None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """One model that was made.

    record: the quantizer's choices.  plan: the same, to be edited and rerun.  picture: of them.
    None each for the float model.
    """

    recipe: str
    path: Path
    record: Path | None
    plan: Path | None
    picture: Path | None
    file_bytes: int
    bits_per_weight: float | None
    sha256: str


@dataclasses.dataclass(frozen=True)
class Converted:
    """What `convert` made.

    agreement: of the float model with torch, on real pictures.  predicted: how the budget was found
    where a largest loss was asked for.
    """

    weights: str
    family: str
    names: tuple[str, ...]
    parameters: int
    licence: str | None
    notes: tuple[str, ...]
    imgsz: tuple[int, int]
    agreement: Agreement
    onnx: Path
    models: tuple[ModelFile, ...]
    predicted: Prediction | None = None


def convert(making: Making, out: Path, *, progress: Progress = SILENT) -> Converted:
    """Weights -> the float model and one of each recipe, in `out`.

    Raises the errors of `toolchain.making` and `toolchain.predicting`.
    """
    from toolchain.quantize import Options, of_each

    asked = of_each(
        making.recipes, making.options or Options(), searched=making.max_ap_drop is not None
    )
    source = steps.read_weights(making.weights, names=making.names, progress=progress)
    made = steps.make_float(source, making.imgsz, progress=progress)
    if making.max_ap_drop is None:
        for recipe, options in asked.items():
            steps.check_asked(made, recipe, options)
    agreement = steps.check_float(source, made, making.calibration, progress=progress)
    models, predicted = _quantized(making, asked, source, made, progress)
    stem = f"{source.name}-{making.imgsz[0]}x{making.imgsz[1]}"
    # A planned model has a name of its own: the one that the plan was taken from stays.
    planned = "-plan" if making.plan else ""
    detector = source.detector
    out.mkdir(parents=True, exist_ok=True)
    example.place(out)
    return Converted(
        weights=source.name,
        family=detector.family,
        names=detector.names,
        parameters=detector.parameters,
        licence=detector.licence,
        notes=detector.notes,
        imgsz=making.imgsz,
        agreement=agreement,
        onnx=place(made.onnx, out / f"{stem}-{FLOAT}.onnx"),
        models=(
            _placed_float(made.tflite, out / f"{stem}-{FLOAT}.tflite"),
            *(
                _placed(model, out / f"{stem}-{model.recipe}{planned}.tflite", keep=making.plan)
                for model in models
            ),
        ),
        predicted=predicted,
    )


def _quantized(
    making: Making,
    asked: dict[Recipe, Options],
    source: steps.Source,
    made: FloatModel,
    progress: Progress,
) -> tuple[list[steps.Made], Prediction | None]:
    if making.max_ap_drop is None:
        return [
            steps.make_quantized(
                source, made, making.calibration, recipe, options, progress=progress
            )
            for recipe, options in asked.items()
        ], None
    from toolchain import predicting

    [recipe] = making.recipes
    model, predicted = predicting.smallest(
        source,
        made,
        making.calibration,
        recipe,
        making.max_ap_drop,
        making.options,
        progress=progress,
    )
    return [model], predicted


def _placed_float(path: Path, to: Path) -> ModelFile:
    from toolchain.tflite.facts import facts

    found = facts(place(path, to))
    return ModelFile(
        recipe=FLOAT,
        path=to,
        record=None,
        plan=None,
        picture=None,
        file_bytes=found.file_bytes,
        bits_per_weight=found.bits_per_weight,
        sha256=found.sha256,
    )


def _placed(model: steps.Made, to: Path, *, keep: Path | None) -> ModelFile:
    """keep: a plan that is not written over."""
    assert model.record is not None
    plan, picture = place_plan(model.record, to, keep=keep)
    return dataclasses.replace(
        _placed_float(model.path, to),
        recipe=str(model.recipe),
        record=place(model.record, to.with_suffix(".record.json")),
        plan=plan,
        picture=picture,
    )
