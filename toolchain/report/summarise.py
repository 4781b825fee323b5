"""From a run folder to the figures of its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from targets.agent import wire
from targets.progress import SILENT, Progress
from toolchain.evaluate.truth import Dataset
from toolchain.recorded import Recorded, Run
from toolchain.repeats import counted, grouped
from toolchain.report.doubts import (
    doubts_of_dataset,
    doubts_of_missing,
    doubts_of_repeats,
    doubts_of_run,
    merged,
)
from toolchain.report.figures import (
    DatasetFigures,
    Doubt,
    Example,
    Report,
    RunFigures,
    SkippedImage,
)
from toolchain.report.measured import (
    memory_figures,
    model_figures,
    speed_figures,
    target_figures,
)
from toolchain.report.scored import Scored, float_run, score
from toolchain.report.telemetry import Watched
from toolchain.report.watched import together, watched


def summarise(recorded: Recorded, *, progress: Progress = SILENT) -> Report:
    """All figures of a run folder and the doubts about them; the same every time.

    Only what is in the folder is looked at.
    """
    groups = {group[0].key: group for group in grouped(recorded.runs)}
    runs = _float_first([group[0] for group in groups.values()])
    scored = score(runs, recorded.dataset, progress=progress)
    seen = {run.key: watched(run) for group in groups.values() for run in counted(group)}
    figures = {
        run.key: _run_figures(groups[run.key], runs, scored[run.key], recorded.dataset, seen)
        for run in runs
    }
    dataset = _dataset_figures(recorded.dataset, scored) if recorded.dataset else None
    doubts: list[Doubt] = []
    for run in runs:
        reference = float_run(run, runs)
        against = figures[reference.key] if reference and reference is not run else None
        doubts += _doubts(groups[run.key], figures[run.key], against, seen)
        if problem := scored[run.key].problem:
            doubts.append(Doubt("no-accuracy", problem, runs=(run.key,)))
    if dataset is not None:
        doubts += doubts_of_dataset(dataset)
    doubts += doubts_of_missing(recorded)
    return Report(
        created=recorded.created,
        command=recorded.command,
        versions=recorded.versions,
        dataset=dataset,
        categories=_categories(recorded),
        runs=tuple(figures.values()),
        doubts=merged(doubts),
        examples=_examples(recorded),
    )


def _float_first(runs: Sequence[Run]) -> list[Run]:
    """As they were started, but the float model before those that are compared with it."""
    return sorted(runs, key=lambda run: run.meta.model.recipe != "float32")


def _doubts(
    group: Sequence[Run],
    figures: RunFigures,
    against: RunFigures | None,
    seen: Mapping[str, Watched | None],
) -> Iterator[Doubt]:
    """Those about the run that is scored, then of each kind that only a repeat of it has one."""
    told: set[str] = set()
    for run in counted(group):
        of_run = list(
            doubts_of_run(run, dataclasses.replace(figures, watched=seen[run.key]), against)
        )
        for doubt in of_run:
            if run is group[0]:
                yield dataclasses.replace(doubt, runs=(group[0].key,))
            elif _kind(doubt) not in told:
                words = f"Its repeat {run.key}: {doubt.text}"
                yield dataclasses.replace(doubt, text=words, runs=(group[0].key,))
        told |= {_kind(doubt) for doubt in of_run}
    for doubt in doubts_of_repeats(counted(group)):
        yield dataclasses.replace(doubt, runs=(group[0].key,))


def _kind(doubt: Doubt) -> str:
    """Doubts of one kind are told once; of settings each is another one."""
    return doubt.text if doubt.code.startswith("settings") else doubt.code


def _run_figures(
    group: Sequence[Run],
    runs: Sequence[Run],
    scored: Scored,
    dataset: Dataset | None,
    seen: Mapping[str, Watched | None],
) -> RunFigures:
    """Of a run and those that repeat it: what is found is the same in all of them."""
    run, reference = group[0], float_run(group[0], runs)
    cut = next((run for run in group if not run.whole), None)
    return RunFigures(
        key=run.key,
        partial=cut is not None,
        reason="" if cut is None else _reason(cut),
        model=model_figures(run.meta.model, reference.meta.model if reference else None),
        target=target_figures(counted(group)),
        settings=run.meta.settings,
        calibration=run.meta.calibration,
        accuracy=scored.accuracy,
        speed=speed_figures(counted(group)),
        memory=memory_figures(counted(group)),
        images_done=len({record.image for record in run.of(wire.Detected)}),
        images_asked=run.meta.images,
        skipped=_skipped(run, dataset),
        found=scored.found,
        watched=together([seen[run.key] for run in counted(group)]),
        board_settings=run.settings,
        tuning=run.tuning,
    )


def _reason(run: Run) -> str:
    failed = run.last(wire.Failed)
    if run.outcome is not None and run.outcome.reason:
        return run.outcome.reason
    if failed is not None:
        return f"{failed.kind}: {failed.message}" if failed.message else failed.kind
    if run.missing:
        return f"{run.missing} records are missing."
    if run.outcome is None:
        return "The host stopped before it ended."
    return "The board stopped before it ended."


def _skipped(run: Run, dataset: Dataset | None) -> tuple[SkippedImage, ...]:
    names = {str(picture.id): picture.path.name for picture in dataset.images} if dataset else {}
    return tuple(
        SkippedImage(names.get(record.image, record.image), record.reason)
        for record in run.of(wire.Skipped)
    )


def _dataset_figures(dataset: Dataset, scored: dict[str, Scored]) -> DatasetFigures:
    labelled = dataset.labelled()
    matching = dict.fromkeys(one.matching for one in scored.values() if one.matching)
    return DatasetFigures(
        source=dataset.source,
        form=dataset.form,
        sha256=dataset.sha256,
        images=len(dataset.images),
        labelled_images=len(labelled.images) if dataset.form != "folder" else 0,
        objects=sum(not box.crowd for box in labelled.boxes),
        categories=len(dataset.categories),
        notes=(*dataset.notes, *matching),
        excluded=tuple(SkippedImage(e.name, e.reason) for e in dataset.excluded),
    )


def _categories(recorded: Recorded) -> dict[int, str]:
    if recorded.dataset and recorded.dataset.categories:
        return {category.id: category.name for category in recorded.dataset.categories}
    names = max((run.meta.model.names for run in recorded.runs), key=len, default=())
    return dict(enumerate(names))


def _examples(recorded: Recorded) -> tuple[Example, ...]:
    if recorded.dataset is None:
        return ()
    return tuple(
        Example(p.id, p.path.name, recorded.examples[p.id], p.width, p.height)
        for p in recorded.dataset.images
        if p.id in recorded.examples
    )
