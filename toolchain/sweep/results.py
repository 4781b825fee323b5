"""Figures of a sweep: one row for each model in each combination, from the run folders alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from targets.progress import SILENT, Progress
from toolchain.report import text
from toolchain.report.figures import AccuracyFigures, Report, RunFigures
from toolchain.report.writer import make
from toolchain.sweep.grid import Combination, accuracy_folder, folder_of

# About what a combination does not show and the whole sweep does: accuracy, and how many pictures.
_NOT_OF_SPEED: Final = frozenset(
    {
        "few-images",
        "no-float",
        "other-images",
        "lost-within-noise",
        "calibration-scored",
        "few-calibrated",
    }
)


@dataclasses.dataclass(frozen=True)
class Model:
    """name: for people, told apart by recipe, weights and size where these differ."""

    name: str
    weights: str
    recipe: str | None
    bits: int | None
    imgsz: tuple[int, int] | None
    file_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One model in one combination.  AP in points.  watts: mean while the model alone was timed.

    joule: of one inference.  doubts: codes of reasons to doubt the speed.  best: nothing else has
    both more AP and more frames a second; saving: nor both more AP and fewer watts.
    """

    model: Model
    combination: Combination
    folder: str
    partial: bool
    ap: float | None
    ap_lost: float | None
    ap_lost_ci95: tuple[float, float] | None
    agreement: float | None
    fps_model: float | None
    fps_end_to_end: float | None
    p50_ms: float | None
    p50_ci95: tuple[float | None, float | None] | None
    watts: float | None
    joule: float | None
    power_is: str | None
    peak_rss_bytes: int | None
    doubts: tuple[str, ...]
    best: bool = False
    saving: bool = False

    @property
    def height(self) -> float | None:
        """What counts as accuracy: AP, or agreement with the float model without labels."""
        return self.ap if self.ap is not None else self.agreement


@dataclasses.dataclass(frozen=True)
class Results:
    """All of it.  images: that accuracy was measured on.  by: "AP", or "agreement"."""

    target: str
    board: str | None
    runtime: str | None
    rows: tuple[Row, ...]
    images: int
    by: str


def results(
    out: Path, measured: Sequence[Combination], *, progress: Progress = SILENT
) -> Results | None:
    """From the folders of these combinations, each of which gets its report; None without a run.

    Raises RunFolderError.
    """
    accuracy: dict[str, AccuracyFigures] = {}
    if (accuracy_folder(out) / "run.json").exists():
        whole, _ = make(accuracy_folder(out), progress=progress)
        accuracy = {run.model.sha256: run.accuracy for run in whole.runs}
    reports = [(one, make(folder_of(out, one), progress=progress)[0]) for one in measured]
    every = [(one, report, run) for one, report in reports for run in report.runs]
    if not every:
        return None
    names = _names(run for _, _, run in every)
    rows = [
        _row(one, report, run, accuracy.get(run.model.sha256, run.accuracy), names, out)
        for one, report, run in every
    ]
    found = [row.ap for row in rows if row.ap is not None]
    images = [a.images or a.agreement_images for a in accuracy.values()]
    images += [run.accuracy.images or run.accuracy.agreement_images for _, _, run in every]
    target = every[0][2].target
    return Results(
        target=target.name,
        board=target.kind or target.board,
        runtime=target.runtime,
        rows=tuple(_marked(rows)),
        images=max(images),
        by="AP" if found else "agreement",
    )


def front(
    rows: Sequence[Row], value: Callable[[Row], float | None], *, less: bool = False
) -> list[Row]:
    """Rows that no other one is better than in accuracy and value, the least accurate first.

    less: smaller values are better.
    """
    sign = -1.0 if less else 1.0
    known = [
        (row.height, sign * found, row)
        for row in rows
        if row.height is not None and (found := value(row)) is not None
    ]
    best: list[Row] = []
    most = None
    for _, found, row in sorted(known, key=lambda item: (-item[0], -item[1])):
        if most is None or found > most:
            best.append(row)
            most = found
    return best[::-1]


def _marked(rows: Sequence[Row]) -> Iterable[Row]:
    fast = front(rows, lambda row: row.fps_model)
    frugal = front(rows, lambda row: row.watts, less=True)
    for row in rows:
        yield dataclasses.replace(
            row, best=any(row is b for b in fast), saving=any(row is s for s in frugal)
        )


def _row(
    one: Combination,
    report: Report,
    run: RunFigures,
    accuracy: AccuracyFigures,
    names: dict[str, Model],
    out: Path,
) -> Row:
    power = run.watched.power if run.watched else None
    inference = run.speed.inference
    doubts = [d.code for d in report.doubts_of(run.key) if d.level == "warning"]
    return Row(
        model=names[run.model.sha256],
        combination=one,
        folder=folder_of(out, one).name,
        partial=run.partial,
        ap=accuracy.ap,
        ap_lost=accuracy.ap_lost,
        ap_lost_ci95=accuracy.ap_lost_ci95,
        agreement=accuracy.agreement,
        fps_model=run.speed.fps_model,
        fps_end_to_end=run.speed.fps_end_to_end,
        p50_ms=inference.p50_ms if inference else None,
        p50_ci95=inference.bounds_ms[50] if inference else None,
        watts=power.mean_w if power else None,
        joule=power.energy_j if power else None,
        power_is=power.meaning if power else None,
        peak_rss_bytes=run.memory.peak_rss_bytes,
        doubts=tuple(code for code in doubts if code not in _NOT_OF_SPEED),
    )


def _names(runs: Iterable[RunFigures]) -> dict[str, Model]:
    """By sha256."""
    models = {run.model.sha256: run for run in runs}
    several = len({run.model.weights for run in models.values()}) > 1
    sizes = len({run.speed.imgsz for run in models.values()}) > 1
    found = {}
    for sha256, run in models.items():
        words = [text.name_of(run)]
        if several and run.model.recipe is not None:
            words.insert(0, text.clean(run.model.weights))
        if sizes and run.speed.imgsz:
            height, width = run.speed.imgsz
            words.append(f"{height}" if height == width else f"{height}x{width}")
        found[sha256] = Model(
            name=" ".join(words),
            weights=run.model.weights,
            recipe=run.model.recipe,
            bits=run.model.bits,
            imgsz=run.speed.imgsz,
            file_bytes=run.model.file_bytes,
            sha256=sha256,
        )
    return found
