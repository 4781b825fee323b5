"""The straight line, as prose: each function is one command, made of the steps before it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from targets.agent.heads import Head
from targets.errors import CheckFailed, HalfbyteError
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.converting import FLOAT, Converted, Making, ModelFile, convert
from toolchain.deploying import Deployed, deploy
from toolchain.errors import ImageUnreadable

if TYPE_CHECKING:
    from toolchain.evaluate.truth import Dataset
    from toolchain.measuring import Measuring, Trust
    from toolchain.predicting import Prediction
    from toolchain.report.figures import Report
    from toolchain.subject import Subject
    from toolchain.tflite.facts import ModelFacts
__all__ = [
    "Converted",
    "Deployed",
    "Inspected",
    "Making",
    "Measured",
    "ModelFile",
    "check_measured",
    "convert",
    "deploy",
    "inspect",
    "measure",
    "report",
    "run",
]


@dataclasses.dataclass(frozen=True)
class Inspected:
    """A model file.  layout: how its outputs become boxes, in words."""

    path: Path
    facts: ModelFacts
    layout: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run folder and the report made from it.

    faults: of runs that ended early.  predicted: how `Making.max_ap_drop` found its model.
    """

    folder: Path
    report: Report
    files: tuple[Path, ...]
    faults: tuple[HalfbyteError, ...] = ()
    predicted: Prediction | None = None


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
    measured = measure(
        subjects, targets, dataset, measuring, out, command=command, trust=trust, progress=progress
    )
    return dataclasses.replace(measured, predicted=made.predicted)


def measure(
    subjects: Sequence[Subject],
    targets: Sequence[Target],
    dataset: Dataset | None,
    measuring: Measuring,
    out: Path,
    *,
    command: Sequence[str] = (),
    trust: Trust | None = None,
    begun: Callable[[Path], None] | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """Models on targets over pictures, then the report; several targets side by side.

    begun: called with `out` before its first run starts.
    """
    from toolchain import fleet, history
    from toolchain import measuring as steps
    from toolchain.bundles import Bundles
    from toolchain.opening import open_folder

    _check_labels(subjects, dataset)
    folder = open_folder(out, subjects, dataset, command=command)
    history.note(out)
    bundles = Bundles(dataset)
    started = threading.Lock()

    def on(target: Target, stopping: threading.Event) -> list[HalfbyteError]:
        nonlocal begun
        with steps.ready(
            target, trust=trust, wheelhouse=measuring.wheelhouse, progress=progress
        ) as board:
            with started:
                if begun is not None:
                    begun(out)
                    begun = None
            return steps.measure(
                subjects, board, bundles, measuring, folder, stopping=stopping, progress=progress
            )

    with folder.claimed():
        faults = fleet.over(targets, on)
    return dataclasses.replace(report(out, progress=progress), faults=tuple(faults))


def report(folder: Path, *, progress: Progress = SILENT) -> Measured:
    """Make the report of a run folder again.  Raises RunFolderError."""
    from toolchain.report.summarise import summarise
    from toolchain.report.writer import write
    from toolchain.runs import RunFolder

    made = summarise(RunFolder.open(folder).load(), progress=progress)
    return Measured(folder, made, tuple(write(made, folder)))


def check_measured(measured: Measured, *, strict: bool = False) -> None:
    """Raises what a finished command should fail with.

    An early end, no picture that could be read (ImageUnreadable), or nothing detected.
    strict: any reason to doubt a figure too (CheckFailed), but not a mere note.
    """
    if measured.faults:
        raise measured.faults[0]
    _check_read(measured)
    if measured.report.nothing_detected:
        raise CheckFailed(
            "a model detected nothing at all on these images",
            hint=f"See {measured.folder / 'report.html'}; compare its inputs with the float "
            "model's, and its labels with the data.",
        )
    warnings = [doubt for doubt in measured.report.doubts if doubt.level == "warning"]
    if strict and warnings:
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        raise CheckFailed(
            f"{warnings[0].text}{more}",
            hint="The report shows all reasons above its figures; without --strict they are told "
            "and no more.",
        )


def _check_read(measured: Measured) -> None:
    for run in measured.report.runs:
        if run.skipped and not run.images_done:
            first = run.skipped[0]
            raise ImageUnreadable(
                f"none of the {len(run.skipped)} pictures could be read; "
                f"the first, {first.name}: {first.reason}",
                hint="Replace the files, or name other ones; what was timed is kept.",
            )


def _check_labels(subjects: Sequence[Subject], dataset: Dataset | None) -> None:
    """Labels and data set are compared before anything is sent."""
    from toolchain.evaluate.classes import match_classes

    if dataset is None:
        return
    for subject in subjects:
        if subject.head is not None:
            match_classes(subject.meta.names, dataset)


def _layout(head: Head | None) -> str:
    if head is None:
        return "not understood: this model can be timed, not evaluated"
    if head.layout == "levels":
        strides = ", ".join(str(level.stride) for level in head.levels)
        return f"raw, a tensor for boxes, objectness and classes at strides {strides}"
    return f"decoded boxes in {head.layout} of one tensor"
