"""The line's second half: models run on a target over pictures, records go to a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from targets.deadline import Deadline
from targets.errors import HalfbyteError
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.boardsettings import NOTHING, Around, around
from toolchain.keeping import begun, keep, until
from toolchain.plannedruns import remaining
from toolchain.runmeta import RunMeta, TuningMeta
from toolchain.runs import RunFolder
from toolchain.settingsseen import Asked
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
# A jump host lets in ten that have not said who they are yet (OpenSSH's MaxStartups).
_CONNECTING: Final = threading.BoundedSemaphore(6)


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
    expand_int4: bool = False  # run INT4 tensors as the int8 ones that they mean
    keep_expanded: bool = True  # for the next run, beside the packed model on the board
    drop_pages: bool = False  # of the model's file, once the runtime has its own copy


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


def _cpus(connection: Connection, python: BoardPython) -> int:
    """CPUs that a process there may use; 1 where it does not say."""
    ask = "import os; print(len(os.sched_getaffinity(0)))"
    done = connection.run([python.python, "-I", "-c", ask], deadline=Deadline.after(CONNECT_S))
    word = done.stdout.decode("ascii", "replace").strip()
    return max(1, int(word)) if word.isdecimal() else 1
