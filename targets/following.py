"""A run on a board from its start to its end, over broken links and restarts of the board."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from targets.agent.plan import Plan
from targets.agent.wire import Envelope
from targets.allowance import LIMIT_S, Meter
from targets.deadline import Deadline
from targets.detached import START_S, Detached, End
from targets.ended import Seen, error_of
from targets.errors import (
    AgentMismatch,
    BoardBusy,
    DeadlineExceeded,
    HalfbyteError,
    LinkLost,
    RunIncomplete,
)
from targets.items import Item
from targets.persisting import PATIENCE_S, is_broken, persisting, renewed
from targets.progress import SILENT, Progress
from targets.ssh import Connection
from targets.stream import Stream

log = logging.getLogger(__name__)
_T = TypeVar("_T")
STALL_S: Final = 600.0
"""Between two records: one inference of a large model on a small core, and more."""
STOP_S: Final = 15.0
RESTARTS: Final = 3
"""A board that restarts more often than this in one run has another trouble."""
_ASK_AGAIN_S: Final = 5.0
_REMOVED_AT_ONCE: Final = 100
"""Some servers take short commands only."""


class Job(Protocol):
    """What a run needs: files by content, and what to do with them (`toolchain.bundle.Bundle`)."""

    @property
    def agent(self) -> Item:
        """The zipapp."""

    @property
    def model(self) -> Item:
        """The .tflite file."""

    @property
    def items(self) -> Sequence[Item]:
        """Every file, agent and model among them."""

    def plan(self, path: Callable[[str], str], marker: str | None = None) -> Plan:
        """The agent's orders; path: where the board has the file with a hash."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for what.

    stall_s: the longest silence between two records.  link_s: for a link that broke to come back.
    linger_s: how long the run goes on while nobody follows it.  busy_s: for a board that another
    run holds.
    """

    stall_s: float = STALL_S
    link_s: float = PATIENCE_S
    linger_s: float = LIMIT_S
    busy_s: float = 0.0


PATIENT: Final = Patience()


@dataclasses.dataclass(frozen=True)
class Again:
    """How a broken link is mended in one run."""

    connection: Connection
    deadline: Deadline
    patience: Patience

    def over(self, work: Callable[[], _T]) -> _T:
        """`work`, again over a renewed connection where it broke."""
        return persisting(
            self.connection, work, deadline=self.deadline, patience_s=self.patience.link_s
        )


def start(there: Detached, job: Job, again: Again, progress: Progress) -> None:
    """Start the run; interrupted, it does not stay on the board.  Raises as `session.run`."""
    plan = job.plan(there.board.store.path)
    try:
        _in_turn(there, again, progress, lambda: _begin(there, job, plan, again))
    except AgentMismatch:
        remove(there, job.agent)
        raise
    except HalfbyteError:
        raise
    except BaseException:
        stop(there)
        raise


def follow(
    there: Detached,
    job: Job | None,
    again: Again,
    seen: Seen,
    meter: Meter,
    *,
    leave_on: bool = False,
) -> Iterator[Envelope]:
    """Every further record, over restarts of the board; then the error for how it ended.

    job: None where the run cannot be taken up again after a restart.  leave_on: an interrupt here
    is no end of the run.
    """
    try:
        for restart in range(RESTARTS + 1):
            yield from records(there, seen, again, meter)
            if job is None or seen.finished or not there.end or there.end.gone != "rebooted":
                break
            if restart == RESTARTS:
                break
            log.warning("%s restarted; the run goes on where it was", there.connection.name)
            resume = functools.partial(
                _begin, there, job, _rest(job, there, seen), again, resume=True
            )
            _in_turn(there, again, SILENT, resume)
    except (LinkLost, DeadlineExceeded) as error:
        if is_broken(there.connection, error):  # the run goes on there
            raise _out_of_reach(seen, error) from error
        stop(there)
        raise _incomplete(seen, error) from error
    except BoardBusy:
        raise  # it restarted, and somebody else was quicker: what is there stays
    except BaseException:
        if not leave_on:
            stop(there)
        raise
    if job is not None:
        _remove_changed(there, job, seen)
    error_at_end = error_of(seen, words(there.end))
    if there.end is None or there.end.gone != "rebooted":
        there.forget()  # else the command that began it takes it up again
    if error_at_end is None:
        return
    raise error_at_end


def _in_turn(there: Detached, again: Again, progress: Progress, begin: Callable[[], None]) -> None:
    """`begin`; where another run holds the board, again and again for as long as was asked for."""
    end = again.deadline.sooner(again.patience.busy_s)
    try:
        return begin()
    except BoardBusy as busy:
        if end.remaining_s() <= 0:
            raise
        log.warning("%s Waiting for its end.", busy.message)
    with progress.task(f"waiting for {there.connection.name}"):
        while True:
            time.sleep(min(_ASK_AGAIN_S, end.remaining_s()))
            try:
                return begin()
            except BoardBusy:
                if end.remaining_s() <= 0:
                    raise


def _begin(there: Detached, job: Job, plan: Plan, again: Again, *, resume: bool = False) -> None:
    again.over(
        lambda: there.start(
            job.agent,
            ["run"],
            plan.to_json(),
            deadline=again.deadline,
            images=len(plan.images),
            linger_s=again.patience.linger_s,
            resume=resume,
        )
    )


def _rest(job: Job, there: Detached, seen: Seen) -> Plan:
    """What is left to do after a restart."""
    return dataclasses.replace(
        job.plan(there.board.store.path),
        first_seq=seen.records,
        first_timed=seen.timed,
        first_image=seen.images,
    )


def records(there: Detached, seen: Seen, again: Again, meter: Meter) -> Iterator[Envelope]:
    """Records from the next one on, over broken links."""
    while True:
        stream = Stream(None, records=seen.records)
        told = there.follow(
            first_seq=seen.records, deadline=again.deadline, stall_s=again.patience.stall_s
        )
        lines = meter.lines(told)
        try:
            for envelope in stream.read(lines):
                seen.note(envelope)
                meter.check(seen)
                yield envelope
            for _ in lines:  # a torn line ends what can be read, and how it ended comes after it
                pass
        except (LinkLost, DeadlineExceeded) as error:
            if again.deadline.expired or not is_broken(there.connection, error):
                raise
            seen.records = stream.records
            renewed(
                there.connection,
                error,
                deadline=again.deadline,
                patience_s=again.patience.link_s,
            )
        else:
            seen.records = stream.records
            return


def stop(there: Detached) -> None:
    """End the run on the board, if it can be reached."""
    with contextlib.suppress(HalfbyteError):
        there.stop(deadline=Deadline.after(STOP_S))
        there.forget()


def remove(there: Detached, changed: Item) -> None:
    """A file that is not what its name says would be taken for sent for ever."""
    _remove(there, [changed.sha256])


def _remove(there: Detached, changed: Sequence[str]) -> None:
    paths = [there.board.store.path(sha256) for sha256 in changed]
    with contextlib.suppress(HalfbyteError):
        for at in range(0, len(paths), _REMOVED_AT_ONCE):
            command = ["rm", "-f", "--", *paths[at : at + _REMOVED_AT_ONCE]]
            there.connection.run(command, deadline=Deadline.after(START_S))


def _remove_changed(there: Detached, job: Job, seen: Seen) -> None:
    """What the agent found changed in the store: the next run sends it anew."""
    changed = [job.model.sha256] if seen.failed and seen.failed.kind == "file-changed" else []
    if seen.changed_images:
        images = job.plan(there.board.store.path).images
        changed += [images[at].sha256 for at in sorted(seen.changed_images) if at < len(images)]
    _remove(there, changed)


def words(end: End | None) -> dict[str, object]:
    """What the board said of the end."""
    return {} if end is None else dict(end.words)


def _incomplete(seen: Seen, error: HalfbyteError) -> HalfbyteError:
    if not seen.records:
        return error
    return RunIncomplete(
        f"The run on {seen.name} is not whole: {error.message} (while {seen.phase})",
        hint=f"{seen.kept} Run again for the rest.",
    )


def _out_of_reach(seen: Seen, error: HalfbyteError) -> HalfbyteError:
    if not seen.records:
        return error
    return RunIncomplete(
        f"{seen.name} is out of reach: {error.message} (while {seen.phase})",
        hint=f"{seen.kept} The run goes on there: the same command, or `halfbyte runs attach`, "
        "fetches the rest.",
    )
