"""The line's second half: models run on a target over pictures, records go to a run folder."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from targets.agent import wire
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.errors import HalfbyteError, RunIncomplete
from targets.progress import SILENT, Progress, Task
from targets.target import Target
from toolchain import __version__
from toolchain.errors import RunFolderError
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import ModelMeta, Outcome, RunMeta, Settings, TargetMeta
from toolchain.runs import RunFolder
from toolchain.subject import Subject

if TYPE_CHECKING:
    from targets.hostkeys import HostKeyPrompt
    from targets.provision.environment import BoardPython
    from targets.ssh import Connection
    from toolchain.bundle import Bundle

CONNECT_S: Final = 60.0
PROVISION_S: Final = 1800.0
RUN_S: Final = 24 * 3600.0
_PACKAGES: Final = ("ai-edge-litert", "numpy", "paramiko", "pycocotools", "pillow")
COUNTED: Final = (wire.Warmed, wire.Timed, wire.Detected, wire.Skipped)
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._+]+")
_OTHER: Final = "Name another folder with --out, or remove this one."
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
    """How to measure.  threads None: the target's own choice, else as many as the board's CPUs."""

    threads: int | None = None
    warmup: int = 3
    timed_runs: int = 30
    confidence: float = 0.001
    wheelhouse: Path | None = None
    again: bool = False  # measure anew what the run folder has whole
    busy_s: float = 0.0  # to wait for a board that another run holds


@dataclasses.dataclass(frozen=True)
class Board:
    """A target that is ready to run: connected, with its environment."""

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
    from targets.provision.environment import provision

    with reachable(target) as running, connected(running, trust) as connection:
        with progress.task(f"preparing {target.name}"):
            python = provision(
                connection,
                deadline=Deadline.after(PROVISION_S),
                wheelhouse=wheelhouse,
                progress=progress,
            )
        yield Board(running, connection, python, _cpus(connection, python))


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


def open_folder(
    out: Path,
    subjects: Sequence[Subject],
    dataset: Dataset | None,
    *,
    command: Sequence[str],
    examples: int = 3,
) -> RunFolder:
    """The run folder at `out`: a new one, or the one there if it is about the same things.

    The same pictures, and no run of a checkpoint or an image size that is not among `subjects`:
    a report never mixes what was asked for now with what was asked for once.

    Raises RunFolderError.
    """
    if not (out / "run.json").exists():
        return RunFolder.create(
            out, command=command, versions=_versions(), dataset=dataset, examples=examples
        )
    folder = RunFolder.open(out)
    before = folder.load()
    if _identity(before.dataset) != _identity(dataset):
        raise RunFolderError(f"{out} holds runs over other pictures", hint=_OTHER)
    asked = {_origin(subject.meta) for subject in subjects}
    if any(_origin(run.meta.model) not in asked for run in before.runs):
        raise RunFolderError(f"{out} holds runs of other models or image sizes", hint=_OTHER)
    folder.retell(command)
    return folder


def measure(
    subjects: Sequence[Subject],
    board: Board,
    dataset: Dataset | None,
    settings: Measuring,
    folder: RunFolder,
    *,
    progress: Progress = SILENT,
) -> list[HalfbyteError]:
    """Run every subject; records are on the disk as they come.

    A run that ends early is marked so and the next one starts; what went wrong is returned.
    Raises errors of the connection and the board, which would stop the others too.
    """
    whole = {run.key: run.meta for run in folder.load().runs if run.whole}
    faults: list[HalfbyteError] = []
    keys = run_keys(subjects, board.target)
    for subject, key in zip(subjects, keys, strict=True):
        meta = _meta(subject, board, dataset, settings)
        if whole.get(key) == meta and not settings.again:
            _log.info("%s was measured before, whole; --again measures it anew", key)
            continue
        label = f"{subject.label} on {board.target.name}"
        records, done = _begun(
            board, _bundle(subject, dataset, meta), meta, key, folder, settings, progress
        )
        fault = keep(key, records, folder, label, meta, progress=progress, done=done)
        if fault is not None:
            faults.append(fault)
    return faults


def run_keys(subjects: Sequence[Subject], target: Target) -> list[str]:
    """Names of the runs inside their folder; those of different models differ."""
    names = [f"{s.meta.weights}-{s.meta.recipe or s.meta.sha256[:8]}" for s in subjects]
    keys = []
    for name, subject in zip(names, subjects, strict=True):
        model = name if names.count(name) == 1 else f"{name}-{subject.meta.sha256[:8]}"
        plain = (_UNFIT.sub("-", text).strip("-.") for text in (model[-60:], target.name[:38]))
        keys.append("@".join(plain))
    return keys


def _origin(model: ModelMeta) -> tuple[object, ...]:
    """What a report compares: one checkpoint (or one file) at one size."""
    return model.source_sha256 or model.sha256, model.imgsz


def _begun(
    board: Board,
    job: Bundle,
    meta: RunMeta,
    key: str,
    folder: RunFolder,
    settings: Measuring,
    progress: Progress,
) -> tuple[Iterator[Envelope], int]:
    """A run's records to come, and the inferences that are here: a new one, or one that goes on."""
    from targets import session
    from targets.detached import new_run_id

    deadline = Deadline.after(RUN_S)
    before = None if settings.again else folder.unfinished(key)
    if before is not None and before.meta == meta:
        records = session.attach(
            board.connection,
            board.python,
            job,
            run_id=before.run_id,
            kept=before.records,
            deadline=deadline,
        )
        if records is not None:
            _log.warning("%s goes on where it was; %d records are here", key, len(before.records))
            folder.take_up(key)
            return records, sum(isinstance(e.record, COUNTED) for e in before.records)
    run_id = new_run_id()
    folder.start(key, meta, run_id)
    records = session.run(
        board.connection,
        board.python,
        job,
        deadline=deadline,
        patience=session.Patience(busy_s=settings.busy_s),
        run_id=run_id,
        progress=progress,
    )
    return records, 0


def keep(
    key: str,
    records: Iterator[Envelope],
    folder: RunFolder,
    label: str,
    meta: RunMeta,
    *,
    progress: Progress = SILENT,
    done: int = 0,
) -> HalfbyteError | None:
    """Records into the folder as they come, and how the run ended; what cut it short, if anything.

    done: inferences that are there already.
    Raises errors of the connection and the board, which would stop the others too.
    """
    total = meta.settings.warmup + meta.settings.timed_runs + meta.images
    try:
        with progress.task(label, total, "inferences") as task:
            task.advance(done)
            for envelope in records:
                line = wire.encode(
                    envelope.record, envelope.seq, envelope.monotonic_ns, envelope.boot
                )
                folder.append(key, line)
                _tell(task, envelope.record)
    except RunIncomplete as error:
        folder.finish(key, Outcome(whole=False, reason=error.message))
        return error
    except KeyboardInterrupt:
        folder.finish(key, Outcome(whole=False, reason="interrupted"))
        raise
    except HalfbyteError as error:
        folder.finish(key, Outcome(whole=False, reason=error.message))
        raise
    folder.finish(key, Outcome(whole=True))
    return None


def _bundle(subject: Subject, dataset: Dataset | None, meta: RunMeta) -> Bundle:
    from targets import zipapp
    from targets.places import cache_dir
    from toolchain import bundle

    asked = meta.settings
    return bundle.bundle(
        subject.path,
        zipapp.build(cache_dir()),
        pictures=[(str(picture.id), picture.path) for picture in _pictures(dataset)],
        settings=bundle.Settings(
            threads=asked.threads,
            warmup=asked.warmup,
            timed_runs=asked.timed_runs,
            imgsz=subject.meta.imgsz,
            head=subject.head,
            confidence=asked.confidence,
            fps_confidence=asked.fps_confidence,
            iou=asked.iou,
            max_detections=asked.max_detections,
            multi_label=asked.multi_label,
        ),
    )


def _meta(subject: Subject, board: Board, dataset: Dataset | None, settings: Measuring) -> RunMeta:
    target = board.target
    return RunMeta(
        model=subject.meta,
        target=TargetMeta(target.name, target.board, loopback=target.is_loopback),
        settings=Settings(
            threads=settings.threads or target.threads or board.cpus,
            warmup=settings.warmup,
            timed_runs=settings.timed_runs,
            confidence=settings.confidence,
        ),
        images=len(_pictures(dataset)),
        calibration=subject.calibration,
    )


def _pictures(dataset: Dataset | None) -> Sequence[Any]:
    return () if dataset is None else dataset.images


def _tell(task: Task, record: Any) -> None:
    if isinstance(record, COUNTED):
        task.advance()
    if isinstance(record, wire.Warmed | wire.Timed | wire.Detected):
        task.note(f"{record.inference_ns / 1e6:.0f} ms")


def _cpus(connection: Connection, python: BoardPython) -> int:
    """CPUs that a process there may use; 1 where it does not say."""
    ask = "import os; print(len(os.sched_getaffinity(0)))"
    done = connection.run([python.python, "-I", "-c", ask], deadline=Deadline.after(CONNECT_S))
    word = done.stdout.decode("ascii", "replace").strip()
    return max(1, int(word)) if word.isdecimal() else 1


def _identity(dataset: Dataset | None) -> Any:
    if dataset is None:
        return None
    return (
        dataset.sha256,
        [(p.id, p.path.name, p.width, p.height, p.labelled) for p in dataset.images],
    )


def _versions() -> dict[str, str]:
    found = {"halfbyte": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
