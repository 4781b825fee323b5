"""A sweep from start to end: everything is sent, then mode by mode every combination is measured.

Each combination is a run folder of its own, so that a sweep that was stopped goes on where it was,
and each has its report.  A power mode is in force for all of its combinations and put back after
them, by the guard on the board where this host or the link is gone.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.agent import wire
from targets.deadline import Deadline
from targets.errors import HalfbyteError
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain import measuring as steps
from toolchain.boardsettings import Around, around
from toolchain.bundles import Bundles
from toolchain.evaluate.truth import Dataset
from toolchain.measuring import Board, Measuring, Trust
from toolchain.opening import open_folder
from toolchain.plannedruns import meta_of, remaining
from toolchain.recorded import Unfinished
from toolchain.runmeta import BoardSettings
from toolchain.runs import RunFolder
from toolchain.subject import Subject
from toolchain.sweep.grid import (
    TIMED_IMAGES,
    Asked,
    Combination,
    LeftOut,
    accuracy_folder,
    combinations,
    folder_of,
    folders_of,
)

if TYPE_CHECKING:
    from toolchain.settingsseen import Asked as Wanted

MODE: Final = "jetson.power_mode"
_SEND_S: Final = 24 * 3600.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Conducted:
    """measured: combinations with a run folder.  faults: what cut runs, or the sweep, short."""

    measured: tuple[Combination, ...]
    left_out: tuple[LeftOut, ...]
    faults: tuple[HalfbyteError, ...]


class _Sweep:
    """What stays the same over all combinations."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        dataset: Dataset,
        measuring: Measuring,
        asked: Asked,
        out: Path,
        command: Sequence[str],
        progress: Progress,
    ) -> None:
        self.subjects, self.measuring, self.asked = subjects, measuring, asked
        self.out, self.command, self.progress = out, command, progress
        self.every = Bundles(dataset)
        few = [picture.id for picture in dataset.images[:TIMED_IMAGES]]
        self.few = self.every if asked.all_images else Bundles(dataset.only(few))
        self.measured: list[Combination] = []
        self.left_out: list[LeftOut] = []
        self.faults: list[HalfbyteError] = []

    def send(self, board: Board) -> None:
        """All files: while a setting is in force nobody should wait for an upload."""
        from targets.transfer import send

        metas = [
            (one, meta_of(one, board, self.every.dataset, self.measuring)) for one in self.subjects
        ]
        items = [item for one, meta in metas for item in self.every.of(one, meta).items]
        send(
            board.connection,
            list(dict.fromkeys(items)),
            store=board.python.store,
            deadline=Deadline.after(_SEND_S),
            progress=self.progress,
        )

    def may_fit(self, board: Board) -> bool:
        """Whether some number of threads fits, or may once settings are in force."""
        moves = self.asked.modes or self.measuring.asked.profile is not None
        return bool(moves or combinations(self.asked, None, board.cpus)[0])

    def accuracy(self, board: Board) -> None:
        """Every model over every picture, once: it does not depend on what is swept or timed."""
        settings = Measuring(
            threads=board.cpus,
            warmup=0,
            timed_runs=1,
            again=self.measuring.again,
            busy_s=self.measuring.busy_s,
            expand_int4=self.measuring.expand_int4,
            keep_expanded=self.measuring.keep_expanded,
        )
        folder = self._folder(accuracy_folder(self.out), self.every.dataset)
        with folder.claimed():
            self.faults += steps.measure(
                self.subjects, board, self.every, settings, folder, progress=self.progress
            )

    def mode(self, board: Board, mode: str | None) -> None:
        """All combinations of one power mode, which decides how many CPUs there are."""
        if self._is_whole(board, mode):
            return
        wanted = self._wanted(mode)
        folders: list[RunFolder] = []
        with around(
            board.connection,
            wanted,
            unfinished=self._unfinished(mode),
            busy_s=self.measuring.busy_s,
            progress=self.progress,
        ) as held:
            before = held.told
            reason = None if mode is None else not_in_force(held, mode)
            if reason is not None:
                _log.warning("%s is left out: %s", mode, reason)
                most = max(self._cpus_seen(mode) or board.cpus, *self.asked.threads, 1)
                todo = self._todo(board, combinations(self.asked, mode, most)[0])
                self.left_out += [LeftOut(one, reason) for one in todo]
                return
            board = steps.as_set(board)
            every, too_many = combinations(self.asked, mode, board.cpus)
            self.left_out += too_many
            todo = self._todo(board, every)
            for one in todo:
                folders.append(self._combination(board, one, wanted, held))
                if not board.connection.is_open:
                    break
        for folder in folders:
            for run in folder.load().runs:
                if _is_of(run.settings, before) and held.told is not None:
                    folder.settled(run.key, held.of(run.settings, run.records) or held.told)

    def _combination(
        self, board: Board, one: Combination, wanted: Wanted, held: Around
    ) -> RunFolder:
        folder = self._folder(folder_of(self.out, one), self.few.dataset)
        self.measured.append(one)
        with folder.claimed():
            self.faults += steps.measure(
                self.subjects,
                board,
                self.few,
                dataclasses.replace(self.measuring, threads=one.threads, asked=wanted),
                folder,
                held=held,
                progress=self.progress,
            )
        return folder

    def _is_whole(self, board: Board, mode: str | None) -> bool:
        """Whether there is nothing left to do in a mode, so that the board is left alone."""
        cpus = self._cpus_seen(mode)
        if cpus is None:
            return False
        every, too_many = combinations(self.asked, mode, cpus)
        if not all(self._is_done(board, one) for one in every):
            return False
        self.measured += every
        self.left_out += too_many
        return True

    def _todo(self, board: Board, every: Sequence[Combination]) -> list[Combination]:
        """Those that are not there yet; the others are measured."""
        todo = [one for one in every if not self._is_done(board, one)]
        self.measured += [one for one in every if one not in todo]
        return todo

    def _cpus_seen(self, mode: str | None) -> int | None:
        """How many CPUs runs in this mode had before; None where none was there, or they differ."""
        folders = map(RunFolder.open, folders_of(self.out, self.asked, mode))
        facts = [run.last(wire.Facts) for one in folders for run in one.load().runs if run.whole]
        seen = {one.cpus_allowed for one in facts if one is not None}
        return seen.pop() if len(seen) == 1 else None

    def _unfinished(self, mode: str | None) -> list[Unfinished]:
        """Runs that were begun before."""
        folders = [RunFolder.open(path) for path in folders_of(self.out, self.asked, mode)]
        found = [folder.unfinished(key) for folder in folders for key in folder.run_keys]
        return [left for left in found if left is not None]

    def _wanted(self, mode: str | None) -> Wanted:
        asked = self.measuring.asked
        if mode is None:
            return asked
        return dataclasses.replace(asked, overrides=(*asked.overrides, (MODE, mode)))

    def _is_done(self, board: Board, one: Combination) -> bool:
        path = folder_of(self.out, one)
        if self.measuring.again or not (path / "run.json").exists():
            return False
        folder = self._folder(path, self.few.dataset)
        settings = dataclasses.replace(
            self.measuring, threads=one.threads, asked=self._wanted(one.mode)
        )
        return not remaining(self.subjects, board, self.few.dataset, settings, folder)

    def _folder(self, path: Path, dataset: Dataset | None) -> RunFolder:
        from toolchain import history

        folder = open_folder(path, self.subjects, dataset, command=self.command)
        history.note(path)
        return folder


def _is_of(settings: BoardSettings | None, hold: BoardSettings | None) -> bool:
    """Whether they are those of this hold; where nothing was held, of this look."""
    if settings is None or hold is None:
        return False
    return settings == hold or (hold.hold is not None and settings.hold == hold.hold)


def conduct(
    subjects: Sequence[Subject],
    target: Target,
    dataset: Dataset,
    measuring: Measuring,
    asked: Asked,
    out: Path,
    *,
    command: Sequence[str] = (),
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Conducted:
    """Measure what is not there yet.

    What ends the sweep early, an error of the connection or the board, is its last fault, so that
    what was measured can be shown.  Raises RunFolderError, and the errors of reaching the board.
    """
    sweep = _Sweep(subjects, dataset, measuring, asked, out, command, progress)
    with steps.ready(
        target, trust=trust, wheelhouse=measuring.wheelhouse, progress=progress
    ) as board:
        try:
            sweep.send(board)
            if not asked.all_images and sweep.may_fit(board):
                sweep.accuracy(board)
            for mode in asked.modes or (None,):
                if board.connection.is_open:
                    sweep.mode(board, mode)
        except HalfbyteError as error:
            if not sweep.measured:
                raise
            sweep.faults.append(error)
    return Conducted(tuple(sweep.measured), tuple(sweep.left_out), tuple(sweep.faults))


def not_in_force(held: Around, mode: str) -> str | None:
    """Why the board is not in this power mode; None where it is."""
    told = held.told
    row = next((r for r in told.settings if r.key == MODE), None) if told else None
    if told is None or row is None:
        return "the board does not say which power modes it has"
    if row.during == mode:
        return None
    if row.wanted != mode:
        return row.note or f"the board has no power mode {mode}"
    said = next((doubt for doubt in told.doubts if doubt.startswith(MODE)), "")
    return said or f"the power mode is {row.during}"
