"""Runs that went on without this host: what they told meanwhile, fetched into their run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.allowance import Extent
from targets.deadline import Deadline
from targets.errors import HalfbyteError
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.boardsettings import taken_up
from toolchain.keeping import RUN_S, counted, keep
from toolchain.measuring import Trust, ready
from toolchain.recorded import Unfinished
from toolchain.runmeta import RunMeta
from toolchain.runs import RunFolder

if TYPE_CHECKING:
    from toolchain.measuring import Board

LOST: Final = "the board knows nothing of it"


@dataclasses.dataclass(frozen=True)
class Attached:
    """One run that was not whole.  records: that came now.  fault: why it still is not whole."""

    key: str
    target: str
    records: int
    fault: str | None = None


def attach(
    path: Path,
    target_of: Callable[[str], Target],
    *,
    stop: bool = False,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> list[Attached]:
    """Fetch what boards still have of the runs in the folder at `path`, and follow what is on.

    stop: ask runs that are on to end first.  Ctrl-C here ends no run.
    target_of: a target by its name.  A board that cannot be reached costs its own runs only.
    Raises RunFolderError, UnknownTarget.
    """
    folder = RunFolder.open(path)
    with folder.claimed():
        return _attached(folder, target_of, stop, trust, progress)


def _attached(
    folder: RunFolder,
    target_of: Callable[[str], Target],
    stop: bool,
    trust: Trust | None,
    progress: Progress,
) -> list[Attached]:
    open_runs: dict[str, list[tuple[str, Unfinished]]] = {}
    for key in folder.run_keys:
        if (left := folder.unfinished(key)) is not None:
            open_runs.setdefault(left.meta.target.name, []).append((key, left))
    done: list[Attached] = []
    for name, runs in open_runs.items():
        try:
            with ready(target_of(name), trust=trust, progress=progress) as board:
                done += [_one(board, folder, key, left, stop, progress) for key, left in runs]
        except HalfbyteError as error:
            missed = runs[sum(a.target == name for a in done) :]
            done += [Attached(key, name, 0, error.message) for key, _ in missed]
    return done


def _one(
    board: Board,
    folder: RunFolder,
    key: str,
    left: Unfinished,
    stop: bool,
    progress: Progress,
) -> Attached:
    from targets import session

    name = board.target.name
    if stop:
        session.end(board.connection, board.python, left.run_id)
    with taken_up(board.connection, left.settings) as held:
        records = session.attach(
            board.connection,
            board.python,
            None,
            run_id=left.run_id,
            kept=left.records,
            deadline=Deadline.after(RUN_S),
            renew=held.lease,
            leave_on=True,
            extent=_extent(left.meta),
        )
        if records is None:
            return Attached(key, name, 0, LOST)
        folder.take_up(key)
        there = counted(left.records)
        fault = keep(key, records, folder, key, left.meta, progress=progress, done=there)
    told = held.of(left.settings, folder.records_of(key))
    if told is not None:
        folder.settled(key, told)
    count = len(folder.records_of(key)) - len(left.records)
    return Attached(key, name, count, None if fault is None else fault.message)


def _extent(meta: RunMeta) -> Extent:
    return Extent(
        warmup=meta.settings.warmup,
        timed_runs=meta.settings.timed_runs,
        images=meta.images,
        steady_s=meta.settings.steady_s,
    )
