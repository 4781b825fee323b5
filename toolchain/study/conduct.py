"""The study from beginning to end: make every cell, screen, run finalists on all images.

Whatever is finished is on the disk and not done again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from targets.agent.plan import PlanFile
from targets.files import sha256_file
from targets.progress import SILENT, Progress
from toolchain import making
from toolchain.cache import content_key
from toolchain.calibrationset import Pictures
from toolchain.errors import DataError
from toolchain.evaluate.truth import Dataset
from toolchain.study import identity, remaining
from toolchain.study.cell import Cell
from toolchain.study.choose import Candidate, best
from toolchain.study.engine import Engine
from toolchain.study.folder import State, StudyFolder, held
from toolchain.study.grid import Grid
from toolchain.study.material import Material, opened
from toolchain.study.results import Results
from toolchain.study.scoring import Scorer
from toolchain.study.work import Done, Job


@dataclasses.dataclass(frozen=True)
class Asked:
    """weights: a name or a path.  imgsz: (height, width).  names: a file of labels."""

    weights: str
    imgsz: tuple[int, int]
    calibration: Pictures
    dataset: Dataset
    grid: Grid
    names: Path | None = None


def conduct(asked: Asked, out: Path, engine: Engine, *, progress: Progress = SILENT) -> Results:
    """The whole study, its cells kept in `out`.

    Raises RunFolderError, DataError, RunIncomplete (a lost cluster), the errors of
    `toolchain.making`.
    """
    if not asked.dataset.has_truth:
        raise DataError("no objects to find", hint="Give --annotations for the images.")
    with held(out) as folder:
        source = making.read_weights(asked.weights, names=asked.names, progress=progress)
        made = making.make_float(source, asked.imgsz, progress=progress)
        with progress.task("reading images", len(asked.dataset.images), "images") as task:
            images = _images(asked.dataset, task.advance)
        # Absolute, since workers stand in other folders.
        paths = tuple(path.resolve() for path in asked.calibration.paths)
        pictures = dataclasses.replace(asked.calibration, paths=paths)
        material = Material(made, pictures, images, identity.code_sha256())
        opened(material, progress=progress)  # workers here find in the cache what all cells need
        study = _Study(asked, material, folder, engine, progress)
        study.take_reference(source.detector.names)
        study.first()
        study.screen()
        study.finals()
        return study.results(source.name)


class _Study:
    """The steps, and what is known of every cell."""

    def __init__(
        self,
        asked: Asked,
        material: Material,
        folder: StudyFolder,
        engine: Engine,
        progress: Progress,
    ) -> None:
        self._grid, self._dataset = asked.grid, asked.dataset
        self._material, self._folder = material, folder
        self._engine, self._progress = engine, progress
        self._remaining = remaining.Remaining()
        self._all = frozenset(image.id for image in material.images)
        self._some = spread([image.id for image in material.images], asked.grid.screen_images)
        self._keys = {cell: self._key(cell) for cell in asked.grid.cells}
        self._states = {cell: folder.state(cell, key) for cell, key in self._keys.items()}
        self._scorer: Scorer | None = None

    def take_reference(self, names: Sequence[str]) -> None:
        """The float model on all images, once."""
        key = self._key(None)
        records = self._folder.reference(key)
        if records is None:
            with self._progress.task("the float model", total=1, unit="models") as task:
                job = Job(None, self._all)
                [done] = self._engine.results(self._material, [job])
                records = done.records
                self._remaining.add(done)
                task.advance()
            self._folder.keep_reference(records, key)
        self._scorer = Scorer(self._dataset, names, records)

    def first(self) -> None:
        """Make every cell; those that are always shown run on all images at once."""
        jobs = []
        for state in self._states.values():
            always = state.cell in self._grid.always
            if state.refused or (state.final if always else state.made) is not None:
                continue
            jobs.append(Job(state.cell, self._all if always else frozenset()))
        free = [cell for cell in self._grid.cells if cell not in self._grid.always]
        later = [Job(cell, self._some) for cell in free[: self._grid.by_proxy]]
        self._work("cells", jobs, [*later, *self._last(free)])

    def screen(self) -> None:
        """The best by the proxy, on some images."""
        known = [
            Candidate(
                state.cell,
                state.made.bits_per_weight,
                state.made.proxy,
                state.cell.activations,
                free=state.cell not in self._grid.always,
            )
            for state in self._states.values()
            if state.made is not None
        ]
        chosen = best(known, self._grid.by_proxy)
        self._work(
            "screening",
            [
                Job(state.cell, self._some)
                for state in self._states.values()
                if state.cell in chosen and not self._is_screened(state)
            ],
            self._last(chosen),
        )

    def finals(self) -> None:
        """The best of the screened, on all images."""
        known = [
            Candidate(
                state.cell,
                state.made.bits_per_weight,
                -state.screened.ap,
                state.cell.activations,
                free=state.cell not in self._grid.always,
            )
            for state in self._states.values()
            if state.made is not None and state.screened is not None and self._is_screened(state)
        ]
        chosen = best(known, self._grid.finalists)
        self._work(
            "finalists",
            [
                Job(state.cell, self._all)
                for state in self._states.values()
                if state.cell in chosen and state.final is None
            ],
        )

    def results(self, weights: str) -> Results:
        """All that is known now."""
        assert self._scorer is not None
        scored = {image.sha256 for image in self._material.images}
        return Results(
            weights=weights,
            grid=self._grid.name,
            imgsz=self._material.float_model.imgsz,
            images=self._scorer.images,
            calibration_images=len(self._material.pictures.paths),
            scored_too=len(scored.intersection(self._material.pictures.hashes)),
            float_ap=self._scorer.float_ap,
            states=tuple(self._states[cell] for cell in self._grid.cells),
        )

    def _last(self, cells: Sequence[Cell]) -> list[Job]:
        return [Job(cell, self._all) for cell in cells[: self._grid.finalists]]

    def _work(self, label: str, jobs: Sequence[Job], later: Sequence[Job] = ()) -> None:
        """later: what will have to be done after these, more or less."""
        if not jobs:
            return
        left = list(jobs)
        with self._progress.task(label, total=len(jobs), unit="cells") as task:
            for done in self._engine.results(self._material, jobs):
                self._keep(done)
                self._remaining.add(done)
                left.remove(done.job)
                seconds = self._remaining.seconds(left, later)
                if seconds is not None:
                    seconds /= self._engine.width
                name = "" if done.job.cell is None else done.job.cell.name
                task.note("; ".join(filter(None, [remaining.words(seconds), name])))
                task.advance()

    def _keep(self, done: Done) -> None:
        cell = done.job.cell
        assert cell is not None
        assert self._scorer is not None
        old = self._states[cell]
        new = dataclasses.replace(
            old,
            made=done.made or old.made,
            refused=done.refused,
            make_seconds=done.make_seconds or old.make_seconds,
        )
        if done.records and done.job.images >= self._some:
            new = dataclasses.replace(
                new,
                screen_images=len(self._some),
                screened=self._scorer.figures(done.records, self._some),
            )
        if done.records and done.job.images == self._all:
            new = dataclasses.replace(
                new, final=self._scorer.figures(done.records), run_seconds=done.run_seconds
            )
        self._states[cell] = new
        self._folder.keep(new, self._keys[cell])

    def _is_screened(self, state: State) -> bool:
        return state.screened is not None and state.screen_images == len(self._some)

    def _key(self, cell: Cell | None) -> str:
        made, pictures = self._material.float_model, self._material.pictures
        return content_key(
            {
                "cell": None
                if cell is None
                else identity.making_key(cell, made.tflite_sha256, pictures.hashes),
                "float": made.tflite_sha256,
                "images": [[image.id, image.sha256] for image in self._material.images],
                "truth": self._dataset.sha256,
                "code": self._material.code_sha256,
            }
        )


def spread(ids: Sequence[str], count: int) -> frozenset[str]:
    """`count` of them at most, evenly over the list: chosen without looking at any result."""
    if count >= len(ids):
        return frozenset(ids)
    return frozenset(ids[place * len(ids) // count] for place in range(count))


def _images(dataset: Dataset, advance: Callable[[], None]) -> tuple[PlanFile, ...]:
    found = []
    for picture in dataset.images:
        path = picture.path.resolve()
        found.append(PlanFile(str(path), sha256_file(path), str(picture.id)))
        advance()
    return tuple(found)
