"""The straight line, as prose: each function is one command, made of the steps before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.agent.heads import Head
from targets.errors import CheckFailed, HalfbyteError
from targets.progress import SILENT, Progress
from targets.target import Target

if TYPE_CHECKING:
    from toolchain.convert import Agreement
    from toolchain.evaluate.truth import Dataset
    from toolchain.making import Pictures
    from toolchain.measuring import Measuring, Trust
    from toolchain.quantize import Options, Recipe
    from toolchain.report.figures import Report
    from toolchain.subject import Subject
    from toolchain.tflite.facts import ModelFacts

FLOAT: Final = "float32"


@dataclasses.dataclass(frozen=True)
class Making:
    """Which models to make.

    recipes: beside the float model.  imgsz: (height, width).  names: a file of labels.
    options: of the quantizer; None for its defaults.
    """

    weights: str
    recipes: tuple[Recipe, ...]
    imgsz: tuple[int, int]
    calibration: Pictures
    names: Path | None = None
    options: Options | None = None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """One model that was made.  record: the quantizer's choices; None for the float model."""

    recipe: str
    path: Path
    record: Path | None
    file_bytes: int
    bits_per_weight: float | None
    sha256: str


@dataclasses.dataclass(frozen=True)
class Converted:
    """What `convert` made.  agreement: of the float model with torch, on real pictures."""

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


@dataclasses.dataclass(frozen=True)
class Inspected:
    """A model file.  layout: how its outputs become boxes, in words."""

    path: Path
    facts: ModelFacts
    layout: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Deployed:
    """What was put on a target.  paths: of the models, there."""

    target: str
    environment: str
    paths: tuple[str, ...]
    bytes_sent: int
    files_sent: int
    files_present: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run folder and the report made from it; faults: of runs that ended early."""

    folder: Path
    report: Report
    files: tuple[Path, ...]
    faults: tuple[HalfbyteError, ...] = ()


def convert(making: Making, out: Path, *, progress: Progress = SILENT) -> Converted:
    """Weights -> the float model and one of each recipe, in `out`.

    Raises the errors of `toolchain.making`.
    """
    from toolchain import making as steps

    source = steps.read_weights(making.weights, names=making.names, progress=progress)
    made = steps.make_float(source, making.imgsz, progress=progress)
    agreement = steps.check_float(source, made, making.calibration, progress=progress)
    models = [
        steps.make_quantized(
            source, made, making.calibration, recipe, making.options, progress=progress
        )
        for recipe in making.recipes
    ]
    height, width = making.imgsz
    stem = f"{source.name}-{height}x{width}"
    files = [_placed(made.tflite, None, FLOAT, out / f"{stem}-{FLOAT}.tflite")]
    for model in models:
        files.append(
            _placed(
                model.path, model.record, str(model.recipe), out / f"{stem}-{model.recipe}.tflite"
            )
        )
    detector = source.detector
    return Converted(
        weights=source.name,
        family=detector.family,
        names=detector.names,
        parameters=detector.parameters,
        licence=detector.licence,
        notes=detector.notes,
        imgsz=making.imgsz,
        agreement=agreement,
        onnx=steps.place(made.onnx, out / f"{stem}-{FLOAT}.onnx"),
        models=tuple(files),
    )


def inspect(path: Path) -> Inspected:
    """What is in a .tflite file.  Raises MalformedModel."""
    from toolchain.subject import subject

    found = subject(path)
    return Inspected(path, found.facts, _layout(found.head), found.meta.names)


def run(
    making: Making,
    targets: Sequence[Target],
    dataset: Dataset,
    measuring: Measuring,
    out: Path,
    *,
    command: Sequence[str] = (),
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """The whole line: weights to report, the float model beside each width, on each target.

    Raises the errors of every step; a run that ended early is in `Measured.faults`.
    """
    from toolchain.subject import subject

    made = convert(making, out / "models", progress=progress)
    calibration = making.calibration.meta([picture.path for picture in dataset.images])
    subjects = [
        subject(
            model.path,
            weights=made.weights,
            calibration=None if model.recipe == FLOAT else calibration,
        )
        for model in made.models
    ]
    return measure(
        subjects, targets, dataset, measuring, out, command=command, trust=trust, progress=progress
    )


def measure(
    subjects: Sequence[Subject],
    targets: Sequence[Target],
    dataset: Dataset | None,
    measuring: Measuring,
    out: Path,
    *,
    command: Sequence[str] = (),
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """Models on targets over pictures, then the report."""
    from toolchain import measuring as steps

    _check_labels(subjects, dataset)
    folder = steps.open_folder(out, subjects, dataset, command=command)
    faults: list[HalfbyteError] = []
    for target in targets:
        with steps.ready(
            target, trust=trust, wheelhouse=measuring.wheelhouse, progress=progress
        ) as board:
            faults += steps.measure(subjects, board, dataset, measuring, folder, progress=progress)
    return dataclasses.replace(report(out, progress=progress), faults=tuple(faults))


def deploy(
    models: Sequence[Path],
    target: Target,
    *,
    wheelhouse: Path | None = None,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Deployed:
    """The environment, the agent and models onto a target; what is there is not sent again."""
    from targets import transfer, zipapp
    from targets.deadline import Deadline
    from targets.items import Item
    from targets.places import cache_dir
    from toolchain import measuring as steps
    from toolchain.tflite.facts import facts

    for path in models:
        facts(path)  # a damaged model is told before anything is sent
    agent = zipapp.build(cache_dir())
    items = [Item.of_file(path) for path in (agent.path, *models)]
    with steps.ready(target, trust=trust, wheelhouse=wheelhouse, progress=progress) as board:
        sent = transfer.send(
            board.connection,
            items,
            store=board.python.store,
            deadline=Deadline.after(steps.RUN_S),
            progress=progress,
        )
    return Deployed(
        target=target.name,
        environment=str(board.python),
        paths=tuple(board.python.store.path(item.sha256) for item in items[1:]),
        bytes_sent=sent.bytes_sent + board.python.sent_bytes,
        files_sent=sent.files_sent,
        files_present=sent.files_present,
    )


def report(folder: Path, *, progress: Progress = SILENT) -> Measured:
    """Make the report of a run folder again.  Raises RunFolderError."""
    from toolchain.report.summarise import summarise
    from toolchain.report.writer import write
    from toolchain.runs import RunFolder

    made = summarise(RunFolder.open(folder).load(), progress=progress)
    return Measured(folder, made, tuple(write(made, folder)))


def check_measured(measured: Measured) -> None:
    """Raises what a finished command should fail with: an early end, or nothing detected."""
    if measured.faults:
        raise measured.faults[0]
    if measured.report.nothing_detected:
        raise CheckFailed(
            "a model detected nothing at all on these images",
            hint=f"See {measured.folder / 'report.html'}; compare its inputs with the float "
            "model's, and its labels with the data.",
        )


def _check_labels(subjects: Sequence[Subject], dataset: Dataset | None) -> None:
    """Labels and data set are compared before anything is sent."""
    from toolchain.evaluate.classes import match_classes

    if dataset is None:
        return
    for subject in subjects:
        if subject.head is not None:
            match_classes(subject.meta.names, dataset)


def _placed(path: Path, record: Path | None, recipe: str, to: Path) -> ModelFile:
    from toolchain.making import place
    from toolchain.tflite.facts import facts

    found = facts(place(path, to))
    return ModelFile(
        recipe=recipe,
        path=to,
        record=None if record is None else place(record, to.with_suffix(".record.json")),
        file_bytes=found.file_bytes,
        bits_per_weight=found.bits_per_weight,
        sha256=found.sha256,
    )


def _layout(head: Head | None) -> str:
    if head is None:
        return "not understood: this model can be timed, not evaluated"
    if head.layout == "levels":
        strides = ", ".join(str(level.stride) for level in head.levels)
        return f"raw, a tensor for boxes, objectness and classes at strides {strides}"
    return f"decoded boxes in {head.layout} of one tensor"
