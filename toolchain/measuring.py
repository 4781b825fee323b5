"""The line's second half: models run on a target over pictures, records go to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from targets.agent import wire
from targets.deadline import Deadline
from targets.errors import HalfbyteError, InputError
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.boardsettings import NOTHING, Around, Asked, around
from toolchain.evaluate.truth import Dataset
from toolchain.keeping import begun, keep, until
from toolchain.runmeta import RunMeta, Settings, TargetMeta, TuningMeta
from toolchain.runs import RunFolder
from toolchain.settling import Part, part_of, put_back_left_over, send_all, settle, unfinished
from toolchain.subject import Subject
from toolchain.tuning.tune import in_folder, tune

if TYPE_CHECKING:
    from targets.hostkeys import HostKeyPrompt
    from targets.provision.environment import BoardPython
    from targets.ssh import Connection
    from toolchain.bundles import Bundles

CONNECT_S: Final = 60.0
PROVISION_S: Final = 1800.0
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._+]+")
# A jump host lets in ten that have not said who they are yet (OpenSSH's MaxStartups).
_CONNECTING: Final = threading.BoundedSemaphore(6)
_log = logging.getLogger(__name__)


class Trust(Protocol):
    """Who may be asked what at first contact (`toolchain.cli.trust`)."""

    @property
    def ask(self) -> HostKeyPrompt | None:
        """Whether an unknown host key is right."""

    @property
    def accept_new(self) -> bool:
        """Record an unknown key without asking."""

    @property
    def password(self) -> Any:
        """A password, where no key does."""

    @property
    def passphrase(self) -> Any:
        """Of a private key."""


@dataclasses.dataclass(frozen=True)
class NoTrust:
    """Nobody can be asked, and nobody unknown is let in."""

    ask: None = None
    accept_new: bool = False
    password: None = None
    passphrase: None = None


@dataclasses.dataclass(frozen=True)
class Measuring:
    """How to measure.  threads None: the target's own choice, else as many as the board has CPUs
    once `asked` is in force, or as `cpus`, which they keep to.  tune: threads and CPUs are chosen
    by measuring instead.
    """

    threads: int | None = None
    cpus: tuple[int, ...] = ()
    tune: bool = False
    warmup: int = 3
    timed_runs: int = 30
    confidence: float = 0.001
    wheelhouse: Path | None = None
    again: bool = False  # measure anew what the run folder has whole
    busy_s: float = 0.0  # to wait for a board that another run holds
    steady_s: float = 0.0  # to wait for a steady state, after the warm-up
    repeat: int = 1  # every model in turn, so often
    asked: Asked = NOTHING  # what the board is set to meanwhile


@dataclasses.dataclass(frozen=True)
class Board:
    """A target that is ready to run: connected, with its environment.

    cpus: that a process there may use, with the settings that were in force when it was asked.
    """

    target: Target
    connection: Connection
    python: BoardPython
    cpus: int


@contextmanager
def ready(
    target: Target,
    *,
    trust: Trust | None = None,
    wheelhouse: Path | None = None,
    progress: Progress = SILENT,
) -> Iterator[Board]:
    """Reach `target` and give it its environment.  Raises TargetError, BoardError and kin."""
    from targets.loopback import reachable
    from targets.persisting import persisting
    from targets.provision.environment import provision

    with contextlib.ExitStack() as opened:
        with _CONNECTING:
            running = opened.enter_context(reachable(target))
            connection = opened.enter_context(connected(running, trust))
        deadline = Deadline.after(PROVISION_S)

        def prepared() -> Board:
            python = provision(
                connection, deadline=deadline, wheelhouse=wheelhouse, progress=progress
            )
            put_back_left_over(connection)  # a power mode has CPUs of its own
            return Board(running, connection, python, _cpus(connection, python))

        with progress.task(f"preparing {target.name}"):
            board = persisting(connection, prepared, deadline=deadline)
        yield board


def as_set(board: Board) -> Board:
    """The same with the CPUs that it has now: settings, power modes above all, switch some off."""
    from targets.persisting import persisting

    cpus = persisting(
        board.connection,
        lambda: _cpus(board.connection, board.python),
        deadline=Deadline.after(PROVISION_S),
    )
    return dataclasses.replace(board, cpus=cpus)


def connected(target: Target, trust: Trust | None = None) -> AbstractContextManager[Connection]:
    """A connection with this trust.  Raises TargetError and kin."""
    from targets.ssh import connect

    asked = trust or NoTrust()
    return connect(
        target,
        deadline=Deadline.after(CONNECT_S),
        ask=asked.ask,
        accept_new=asked.accept_new,
        password=asked.password,
        passphrase=asked.passphrase,
    )


def measure(
    subjects: Sequence[Subject],
    board: Board,
    bundles: Bundles,
    settings: Measuring,
    folder: RunFolder,
    *,
    stopping: threading.Event | None = None,
    held: Around | None = None,
    progress: Progress = SILENT,
) -> list[HalfbyteError]:
    """Run every subject; records are on the disk as they come.

    A run that ends early is marked so and the next one starts; what went wrong is returned.
    stopping: set when the run at hand is the last, and should end.  held: settings that the caller
    has put in force, in place of `settings.asked`.
    Raises errors of the connection and the board, which would stop the others too.
    """
    chosen: dict[str, TuningMeta] = {}
    if settings.tune and not settings.again:
        chosen = in_folder(folder, board.target.name)
    moves = held is None and settings.asked.profile is not None
    todo = remaining(subjects, board, bundles.dataset, settings, folder, chosen, moves=moves)
    if not todo:
        return []
    faults: list[HalfbyteError] = []
    keys: dict[str, Part] = {}
    outer = held
    try:
        with contextlib.ExitStack() as opened:
            going_on = unfinished(todo, folder)
            if settings.asked.profile is not None and outer is None:
                send_all(todo, board, bundles, progress)
            held = outer or opened.enter_context(
                around(
                    board.connection,
                    settings.asked,
                    unfinished=list(going_on.values()),
                    busy_s=settings.busy_s,
                    progress=progress,
                )
            )
            if moves:
                board = as_set(board)
                todo = remaining(subjects, board, bundles.dataset, settings, folder, chosen)
            if settings.tune:
                chosen |= _tuned(todo, chosen, board, bundles, settings, held, progress)
                todo = remaining(subjects, board, bundles.dataset, settings, folder, chosen)
            for subject, key, meta in todo:
                records, done = begun(
                    board,
                    bundles.of(subject, meta),
                    meta,
                    key,
                    folder,
                    settings,
                    renew=held.lease,
                    progress=progress,
                )
                keys[key] = part_of(folder, key, going_on.get(key))
                settle(folder, {key: keys[key]}, held)
                if meta.model.sha256 in chosen:
                    folder.tuned(key, chosen[meta.model.sha256])
                records = until(stopping, records)
                label = f"{subject.label} on {board.target.name}"
                fault = keep(key, records, folder, label, meta, progress=progress, done=done)
                if fault is not None:
                    faults.append(fault)
                if not board.connection.is_open:
                    break  # long enough was waited for it
    finally:
        settle(folder, keys, held)
    return faults


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


def _tuned(
    todo: Sequence[tuple[Subject, str, RunMeta]],
    chosen: Mapping[str, TuningMeta],
    board: Board,
    bundles: Bundles,
    settings: Measuring,
    held: Around,
    progress: Progress,
) -> dict[str, TuningMeta]:
    jobs = [
        (subject, bundles.of(subject, meta))
        for subject, _, meta in todo
        if subject.meta.sha256 not in chosen
    ]
    return tune(
        jobs,
        board,
        again=settings.again,
        busy_s=settings.busy_s,
        renew=held.lease,
        progress=progress,
    )


def repeated(
    subjects: Sequence[Subject], keys: Sequence[str], times: int
) -> Iterator[tuple[Subject, str]]:
    """All in turn, then all again: A B A B, so that what drifts disturbs all alike."""
    for turn in range(times):
        for subject, key in zip(subjects, keys, strict=True):
            yield subject, f"{key}.{turn + 1}" if turn else key


def run_keys(subjects: Sequence[Subject], target: Target) -> list[str]:
    """Names of the runs inside their folder; those of different models differ."""
    names = [f"{s.meta.weights}-{s.meta.recipe or s.meta.sha256[:8]}" for s in subjects]
    keys = []
    for name, subject in zip(names, subjects, strict=True):
        model = name if names.count(name) == 1 else f"{name}-{subject.meta.sha256[:8]}"
        plain = (_UNFIT.sub("-", text).strip("-.") for text in (model[-60:], target.name[:33]))
        keys.append("@".join(plain))
    return keys


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
        return hashlib.sha256(config.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{config} cannot be read: {error.strerror or error}",
            hint="Name a file of board settings that is there.",
        ) from error


def _cpus(connection: Connection, python: BoardPython) -> int:
    """CPUs that a process there may use; 1 where it does not say."""
    ask = "import os; print(len(os.sched_getaffinity(0)))"
    done = connection.run([python.python, "-I", "-c", ask], deadline=Deadline.after(CONNECT_S))
    word = done.stdout.decode("ascii", "replace").strip()
    return max(1, int(word)) if word.isdecimal() else 1
