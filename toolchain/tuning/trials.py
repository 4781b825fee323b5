"""Short runs of one model on a board, each way of placing its threads in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import statistics
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final, cast

from targets.agent import wire
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.progress import SILENT, Progress, Task
from toolchain.tuning.candidates import Placement
from toolchain.tuning.choice import Trial, contenders, rounds

if TYPE_CHECKING:
    from toolchain.bundle import Bundle
    from toolchain.measuring import Board

WARMUP: Final = 3
TIMED: Final = 15
FEWEST_TIMED: Final = 3
LONGEST_S: Final = 15.0
"""Of timed inferences in one run; a model so slow that FEWEST_TIMED take longer has these."""
_TRIAL_S: Final = 3600.0
_log = logging.getLogger(__name__)


def tried(
    board: Board,
    job: Bundle,
    ways: Sequence[Placement],
    *,
    label: str,
    busy_s: float = 0.0,
    renew: str | None = None,
    progress: Progress = SILENT,
) -> list[Trial]:
    """Every way in rounds, every other round in reverse order; what is hopeless runs once.

    job: what would be run; its first picture is timed on.
    Raises RunIncomplete and its kin, errors of the connection and the board.
    """
    found: dict[Placement, list[float]] = {way: [] for way in ways}
    with progress.task(f"trying threads of {label}", len(ways) * rounds(len(ways)), "runs") as task:
        left, turn = list(ways), 0
        while turn < rounds(len(left)):
            for way in reversed(left) if turn % 2 else left:
                short = _shortened(job, way, turn)
                found[way].append(_median_ns(board, short, busy_s, renew))
                _tell(task, way, found[way][-1])
            if not turn:
                trials = contenders([Trial(way, tuple(found[way])) for way in left])
                left = [trial.placement for trial in trials]
            turn += 1
    return [Trial(way, tuple(times)) for way, times in found.items()]


def _shortened(job: Bundle, way: Placement, turn: int) -> Bundle:
    settings = dataclasses.replace(
        job.settings,
        threads=way.threads,
        cpus=way.cpus,
        warmup=WARMUP if turn else WARMUP + 1,
        timed_runs=TIMED,
        steady_s=0.0,
        probe_values=0,
    )
    return dataclasses.replace(job, pictures=job.pictures[:1], settings=settings)


def _median_ns(board: Board, job: Bundle, busy_s: float, renew: str | None) -> float:
    from targets import session

    records = session.run(
        board.connection,
        board.python,
        job,
        deadline=Deadline.after(_TRIAL_S),
        patience=session.Patience(busy_s=busy_s),
        renew=renew,
    )
    times: list[int] = []
    # Closed early it ends the agent on the board.
    with contextlib.closing(cast("Generator[Envelope, None, None]", records)):
        for envelope in records:
            if isinstance(envelope.record, wire.Timed):
                times.append(envelope.record.inference_ns)
                if len(times) >= FEWEST_TIMED and sum(times) > LONGEST_S * 1e9:
                    break
    return max(1.0, statistics.median(times))


def _tell(task: Task, way: Placement, median_ns: float) -> None:
    task.advance()
    task.note(f"{way}: {median_ns / 1e6:.1f} ms")
    _log.info("%s: %.2f ms", way, median_ns / 1e6)
