"""Accuracy of the runs of a folder, every model beside the float model on the same images."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence

from targets.agent import wire
from targets.progress import SILENT, Progress
from toolchain.errors import DataError, LabelsDisagree
from toolchain.evaluate.agreement import TRUTH_SCORE, agreement
from toolchain.evaluate.classes import match_classes, model_categories
from toolchain.evaluate.coco_ap import Evaluated, evaluate
from toolchain.evaluate.detections import Detections, from_records
from toolchain.evaluate.intervals import paired_interval
from toolchain.evaluate.truth import Dataset
from toolchain.recorded import Run
from toolchain.report.figures import AccuracyFigures

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """What can be said of one run.

    problem: why nothing can be said, empty where something can.  matching: how classes found
    their categories, in a sentence.
    """

    accuracy: AccuracyFigures
    found: Detections | None = None
    problem: str = ""
    matching: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Usable:
    """A run whose detections could be read, with the data set that they are on.

    evaluated: against the labels of all images it finished; None where there are no labels.
    """

    run: Run
    dataset: Dataset
    found: Detections
    finished: frozenset[int]
    evaluated: Evaluated | None
    matching: str


def comparable(run: Run) -> tuple[object, ...]:
    """Runs with the same of this are compared: one checkpoint, one place, one image size.

    Where a model does not say which checkpoint it is from, the name of its weights stands for it.
    """
    model = run.meta.model
    return model.source_sha256 or model.weights, run.meta.target.name, model.imgsz


def float_run(run: Run, runs: Sequence[Run]) -> Run | None:
    """The float model that `run` is compared with: same weights, target and image size."""
    return next(
        (r for r in runs if r.meta.model.recipe == "float32" and comparable(r) == comparable(run)),
        None,
    )


def score(
    runs: Sequence[Run], dataset: Dataset | None, *, progress: Progress = SILENT
) -> dict[str, Scored]:
    """Accuracy by run key.

    A run whose records or labels do not fit the data set has no accuracy and a `problem`.
    """
    scored = {run.key: Scored(AccuracyFigures()) for run in runs}
    if dataset is None:
        return scored
    usable: dict[str, Usable] = {}
    with progress.task("Accuracy", total=len(runs), unit="models") as task:
        # The float models first: the others are compared with them.
        for run in sorted(runs, key=lambda run: run.meta.model.recipe != "float32"):
            task.note(run.key)
            try:
                one = usable_of(run, dataset)
            except (DataError, LabelsDisagree) as error:
                _log.info("%s is not scored: %s", run.key, error)
                problem = f"Its accuracy is unknown: {error.message}."
                scored[run.key] = Scored(AccuracyFigures(), problem=problem)
            else:
                if one is not None:
                    usable[run.key] = one
                    reference = float_run(run, runs)
                    against = usable.get(reference.key) if reference else None
                    scored[run.key] = _figures(one, against)
            task.advance()
    return scored


def usable_of(run: Run, dataset: Dataset) -> Usable | None:
    """The detections of a run; None where it never came so far, or was not asked to detect.

    Raises DataError, LabelsDisagree: records or labels that do not fit the data set.
    """
    records = {record.image: record for record in run.of(wire.Detected)}
    if not records or not run.meta.model.understood:
        return None
    class_map = match_classes(run.meta.model.names, dataset)
    if class_map.by == "model":
        categories = model_categories(run.meta.model.names)
        dataset = dataclasses.replace(dataset, categories=categories)
    found = from_records(records.values(), dataset, class_map)
    finished = frozenset(int(image) for image in records)
    evaluated = evaluated_on(dataset, found, finished)
    return Usable(run, dataset, found, finished, evaluated, class_map.note)


def evaluated_on(dataset: Dataset, found: Detections, images: Collection[int]) -> Evaluated | None:
    """Against the labels of these images; None where there are none."""
    truth = dataset.only(images).labelled()
    if not truth.has_truth:
        return None
    return evaluate(truth, found.on([picture.id for picture in truth.images]))


def _figures(one: Usable, reference: Usable | None) -> Scored:
    figures = AccuracyFigures(
        detections=len(one.found), confident_boxes=len(one.found.above(TRUTH_SCORE))
    )
    if one.evaluated is not None:
        figures = _with_truth(figures, one.evaluated, one.dataset)
    if reference is not None and reference is not one:
        figures = _compared(figures, one, reference)
    return Scored(figures, one.found, matching=one.matching)


def _with_truth(
    figures: AccuracyFigures, evaluated: Evaluated, dataset: Dataset
) -> AccuracyFigures:
    accuracy = evaluated.accuracy
    names = {category.id: category.name for category in dataset.categories}
    return dataclasses.replace(
        figures,
        ap=points(accuracy.ap),
        ap50=points(accuracy.ap50),
        ap75=points(accuracy.ap75),
        ap_small=points(accuracy.ap_small),
        ap_medium=points(accuracy.ap_medium),
        ap_large=points(accuracy.ap_large),
        images=accuracy.images,
        classes=_by_name(names, accuracy.per_class),
    )


def _compared(figures: AccuracyFigures, one: Usable, reference: Usable) -> AccuracyFigures:
    """The figures with what takes the float model, over the images that both finished."""
    common = one.finished & reference.finished
    dataset = one.dataset.only(common)
    agreed = agreement(dataset, reference.found.on(common), one.found.on(common))
    figures = dataclasses.replace(
        figures,
        agreement=points(agreed.ap) if agreed else None,
        agreement_images=len(common),
    )
    mine, theirs = (
        side.evaluated if side.finished == common else evaluated_on(dataset, side.found, common)
        for side in (one, reference)
    )
    if mine is None or theirs is None or mine.accuracy.ap is None or theirs.accuracy.ap is None:
        return figures
    interval = paired_interval(theirs, mine)
    return dataclasses.replace(
        figures,
        compared_images=mine.accuracy.images,
        ap_float=points(theirs.accuracy.ap),
        ap_lost=points(theirs.accuracy.ap - mine.accuracy.ap),
        ap_lost_ci95=(100 * interval.low, 100 * interval.high) if interval else None,
    )


def points(fraction: float | None) -> float | None:
    """An AP as a report says it: 0 to 100."""
    return None if fraction is None else 100 * fraction


def _by_name(
    names: Mapping[int, str], per_class: Mapping[int, float | None]
) -> dict[str, float | None]:
    return {names[category]: points(ap) for category, ap in per_class.items() if ap is not None}
