"""Records of a run on a board into a run folder, from its start or from where it was left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from targets.agent import wire
from targets.agent.wire import Envelope
from targets.allowance import RECORDS_BYTES, too_much
from targets.deadline import Deadline
from targets.errors import BoardError, HalfbyteError, RunIncomplete
from targets.progress import SILENT, Progress, Task
from toolchain.runmeta import Outcome, RunMeta
from toolchain.runs import RunFolder

if TYPE_CHECKING:
    from toolchain.bundle import Bundle
    from toolchain.measuring import Board, Measuring

RUN_S: Final = 24 * 3600.0
COUNTED: Final = (wire.Warmed, wire.Timed, wire.Detected, wire.Skipped)
_log = logging.getLogger(__name__)


def begun(
    board: Board,
    job: Bundle,
    meta: RunMeta,
    key: str,
    folder: RunFolder,
    settings: Measuring,
    *,
    renew: str | None = None,
    progress: Progress = SILENT,
) -> tuple[Iterator[Envelope], int]:
    """A run's records to come, and the inferences that are here: a new one, or one that goes on."""
    from targets import session
    from targets.detached import new_run_id

    deadline = Deadline.after(RUN_S)
    before = folder.unfinished(key)
    if before is not None and before.meta == meta and not settings.again:
        records = session.attach(
            board.connection,
            board.python,
            job,
            run_id=before.run_id,
            kept=before.records,
            deadline=deadline,
            renew=renew,
        )
        if records is not None:
            _log.warning("%s goes on where it was; %d records are here", key, len(before.records))
            folder.take_up(key)
            return records, counted(before.records)
    elif before is not None:  # what was asked for then is not wanted any more, and holds the board
        session.abandon(board.connection, board.python, before.run_id)
    run_id = new_run_id()
    folder.start(key, meta, run_id)
    records = session.run(
        board.connection,
        board.python,
        job,
        deadline=deadline,
        patience=session.Patience(busy_s=settings.busy_s),
        run_id=run_id,
        renew=renew,
        progress=progress,
    )
    return records, 0


def counted(records: Iterable[Envelope]) -> int:
    """How many of them are inferences that progress counts."""
    return sum(isinstance(envelope.record, COUNTED) for envelope in records)


def until(stopping: threading.Event | None, records: Iterator[Envelope]) -> Iterator[Envelope]:
    """Records until all should end: then the run is ended as Ctrl-C would."""
    for envelope in records:
        yield envelope
        if stopping is not None and stopping.is_set():
            raise KeyboardInterrupt


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
    seen = done > 0
    size_bytes = folder.bytes_of(key)
    total = meta.settings.warmup + meta.settings.timed_runs + meta.images
    try:
        with progress.task(label, total, "inferences") as task:
            task.advance(done)
            for envelope in records:
                line = wire.encode(
                    envelope.record, envelope.seq, envelope.monotonic_ns, envelope.boot
                )
                last = isinstance(envelope.record, wire.Finished | wire.Failed)
                size_bytes += len(line)
                if size_bytes > RECORDS_BYTES:
                    raise too_much(label, "more bytes")
                folder.append(key, line, sync=last)  # the board forgets it next
                seen = True
                _tell(task, envelope.record)
    except RunIncomplete as error:
        _close(records)  # where it was we who had enough, the run is still on
        folder.finish(key, Outcome(whole=False, reason=error.message))
        return error
    except KeyboardInterrupt:
        folder.finish(key, Outcome(whole=False, reason="interrupted"))
        raise
    except BoardError as error:
        if seen:
            folder.finish(key, Outcome(whole=False, reason=error.message))
        else:
            folder.withdraw(key)  # it never began
        raise
    except HalfbyteError as error:
        folder.finish(key, Outcome(whole=False, reason=error.message))
        raise
    folder.finish(key, Outcome(whole=True))
    return None


def _close(records: Iterator[Envelope]) -> None:
    if isinstance(records, Generator):
        records.close()


def _tell(task: Task, record: Any) -> None:
    if isinstance(record, COUNTED):
        task.advance()
    if isinstance(record, wire.Warmed | wire.Timed | wire.Detected):
        task.note(f"{record.inference_ns / 1e6:.0f} ms")
