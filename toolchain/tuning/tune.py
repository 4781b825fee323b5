"""The placement of every model of a command on one board: known, remembered, or measured now."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from targets.agent.records import Facts
from targets.deadline import Deadline
from targets.errors import BoardBusy, RunIncomplete
from targets.progress import SILENT, Progress
from toolchain.runmeta import TriedMeta, TuningMeta
from toolchain.runs import RunFolder
from toolchain.subject import Subject
from toolchain.tuning import memory
from toolchain.tuning.candidates import Placement, candidates
from toolchain.tuning.choice import Trial, choose
from toolchain.tuning.trials import tried

if TYPE_CHECKING:
    from toolchain.bundle import Bundle
    from toolchain.measuring import Board

_FACTS_S: Final = 300.0
_ASK_AGAIN_S: Final = 5.0
_log = logging.getLogger(__name__)

Chosen = Mapping[str, TuningMeta]
"""By the sha256 of the model."""


def in_folder(folder: RunFolder, target: str) -> dict[str, TuningMeta]:
    """What the run folder has of this target already, so that a command goes on with the same."""
    return {
        run.meta.model.sha256: run.tuning
        for run in folder.load().runs
        if run.tuning is not None and run.meta.target.name == target
    }


def tune(
    jobs: Sequence[tuple[Subject, Bundle]],
    board: Board,
    *,
    again: bool = False,
    busy_s: float = 0.0,
    renew: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, TuningMeta]:
    """Threads and CPUs of each model; one that does not run to its end is left out.

    again: measure what is remembered too.  renew: as in `targets.session.run`.
    Raises errors of the connection and the board.
    """
    chosen: dict[str, TuningMeta] = {}
    if not jobs:
        return chosen
    facts = _facts(board, jobs[0][1], busy_s)
    for subject, job in jobs:
        if subject.meta.sha256 in chosen:
            continue
        label = f"{subject.label} on {board.target.name}"
        key = memory.key_of(facts, subject.meta)
        found = None if again else memory.recall(key)
        if found is None:
            try:
                ways = candidates(facts)
                trials = tried(
                    board, job, ways, label=label, busy_s=busy_s, renew=renew, progress=progress
                )
            except RunIncomplete as error:
                _log.warning("threads of %s were not tried to the end: %s", label, error.message)
                continue
            found = _told(trials)
            memory.remember(key, found)
        chosen[subject.meta.sha256] = found
        _log.info("%s: %s", label, Placement(found.threads, found.cpus))
    return chosen


def _facts(board: Board, job: Bundle, busy_s: float) -> Facts:
    """Of the board as it is now; where another run holds it, after a wait."""
    from targets import session

    patient = Deadline.after(busy_s)
    while True:
        try:
            return session.facts(
                board.connection, board.python, job.agent, deadline=Deadline.after(_FACTS_S)
            )
        except BoardBusy:
            if patient.remaining_s() <= _ASK_AGAIN_S:
                raise
            time.sleep(_ASK_AGAIN_S)


def _told(trials: Sequence[Trial]) -> TuningMeta:
    choice = choose(trials)
    return TuningMeta(
        threads=choice.placement.threads,
        cpus=choice.placement.cpus,
        tried=tuple(
            TriedMeta(
                trial.placement.threads,
                trial.placement.cpus,
                trial.mean_ns / 1e6,
                len(trial.medians_ns),
            )
            for trial in trials
        ),
        noise=choice.noise,
        measured=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )
