"""Runs before they begin: their names and order, what is known of them, which are still to do."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.agent import wire
from targets.errors import InputError
from targets.files import sha256_file
from targets.target import Target
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import RunMeta, Settings, TargetMeta, TuningMeta
from toolchain.runs import RunFolder
from toolchain.settingsseen import Asked
from toolchain.subject import Subject

if TYPE_CHECKING:
    from toolchain.measuring import Board, Measuring

_UNFIT: Final = re.compile(r"[^A-Za-z0-9._+]+")
_log = logging.getLogger(__name__)


def remaining(
    subjects: Sequence[Subject],
    board: Board,
    dataset: Dataset | None,
    settings: Measuring,
    folder: RunFolder,
    chosen: Mapping[str, TuningMeta] | None = None,
    *,
    moves: bool = False,
) -> list[tuple[Subject, str, RunMeta]]:
    """What is still to be run, in order, with its key and all that is known of it.

    chosen: threads by sha256 of the model, of which all runs are left where they are to be chosen
    and are not.  moves: the settings asked for are not in force yet, so that the board's CPUs say
    nothing of those that there will be; a run that had a thread for each that it saw has what it
    was to have.  Raises RunFolderError.
    """
    whole = {run.key: run for run in folder.load().runs if run.whole}
    todo = []
    for subject, key in repeated(subjects, run_keys(subjects, board.target), settings.repeat):
        tuning = (chosen or {}).get(subject.meta.sha256)
        meta = meta_of(subject, board, dataset, settings, tuning)
        known = tuning is not None or not settings.tune
        there = whole.get(key)
        if moves and there is not None:
            seen = (there.last(wire.Facts) or wire.Facts()).cpus_allowed
            then = dataclasses.replace(board, cpus=seen or board.cpus)
            wanted = meta_of(subject, then, dataset, settings, tuning)
        else:
            wanted = meta
        if known and there is not None and there.meta == wanted and not settings.again:
            _log.info("%s was measured before, whole; --again measures it anew", key)
        else:
            todo.append((subject, key, meta))
    return todo


def run_keys(subjects: Sequence[Subject], target: Target) -> list[str]:
    """Names of the runs inside their folder; those of different models differ."""
    names = [f"{s.meta.weights}-{s.meta.recipe or s.meta.sha256[:8]}" for s in subjects]
    keys = []
    for name, subject in zip(names, subjects, strict=True):
        model = name if names.count(name) == 1 else f"{name}-{subject.meta.sha256[:8]}"
        plain = (_UNFIT.sub("-", text).strip("-.") for text in (model[-60:], target.name[:33]))
        keys.append("@".join(plain))
    return keys


def repeated(
    subjects: Sequence[Subject], keys: Sequence[str], times: int
) -> Iterator[tuple[Subject, str]]:
    """All in turn, then all again: A B A B, so that what drifts disturbs all alike."""
    for turn in range(times):
        for subject, key in zip(subjects, keys, strict=True):
            yield subject, f"{key}.{turn + 1}" if turn else key


def meta_of(
    subject: Subject,
    board: Board,
    dataset: Dataset | None,
    settings: Measuring,
    tuning: TuningMeta | None = None,
) -> RunMeta:
    """What the host knows of a run before it is one.  tuning: how its threads were chosen.

    Raises InputError: the file of board settings cannot be read.
    """
    target = board.target
    cpus = settings.cpus if tuning is None else tuning.cpus
    threads = settings.threads if tuning is None else tuning.threads
    return RunMeta(
        model=subject.meta,
        target=TargetMeta(target.name, target.board, loopback=target.is_loopback),
        settings=Settings(
            threads=threads or len(cpus) or target.threads or board.cpus,
            warmup=settings.warmup,
            timed_runs=settings.timed_runs,
            confidence=settings.confidence,
            steady_s=settings.steady_s,
            cpus=cpus,
            expand_int4=settings.expand_int4,
            keep_expanded=settings.keep_expanded,
            drop_pages=settings.drop_pages,
        ),
        images=0 if dataset is None else len(dataset.images),
        calibration=subject.calibration,
        profile=settings.asked.profile,
        overrides=_overrides(settings.asked),
        config_sha256=None if settings.asked.config is None else _sha256(settings.asked.config),
    )


def _overrides(asked: Asked) -> tuple[str, ...]:
    """The last of each key counts, as where they are put in force."""
    words = {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for key, value in asked.overrides
    }
    return tuple(f"{key}={words[key]}" for key in sorted(words))


def _sha256(config: Path) -> str:
    try:
        return sha256_file(config)
    except OSError as error:
        raise InputError(
            f"{config} cannot be read: {error.strerror or error}",
            hint="Name a file of board settings that is there.",
        ) from error
