"""One run on a board: send what is missing, start the agent, pass its records on as they come.

    for envelope in run(connection, board, bundle, deadline=Deadline.after(3600)):
        ...

The run goes on by itself: while the link is broken it is measured on, and what it told meanwhile
comes when the link is back.  Where the board restarts, it is taken up again where it was.  Every
record that arrived has been yielded before an error is raised, so the caller keeps it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from targets.agent.plan import Plan
from targets.agent.records import Facts
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.detached import LIMIT_S, START_S, Detached, End, new_run_id
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
from targets.provision.environment import BoardPython
from targets.ssh import Connection
from targets.stream import Stream
from targets.transfer import send

log = logging.getLogger(__name__)
_T = TypeVar("_T")
STALL_S: Final = 600.0
"""Between two records: one inference of a large model on a small core, and more."""
STOP_S: Final = 15.0
RESTARTS: Final = 3
"""A board that restarts more often than this in one run has another trouble."""
_ASK_AGAIN_S: Final = 5.0


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


def run(
    connection: Connection,
    board: BoardPython,
    job: Job,
    *,
    deadline: Deadline,
    patience: Patience = PATIENT,
    run_id: str | None = None,
    renew: str | None = None,
    progress: Progress = SILENT,
) -> Iterator[Envelope]:
    """Yields every record of one run, in order.

    run_id: its name on the board (`new_run_id`), by which `attach` finds it again.
    renew: a file on the board that is touched every second while the run is followed.
    Closing the iterator, Ctrl-C and errors end the agent on the board, as far as it can be reached.
    Raises NoSpace and CorruptUpload (before anything runs), BoardBusy, AgentMismatch, AgentKilled,
    AgentFailed, StreamBroken, RunIncomplete (also where the link stays broken after the first
    record), LinkLost, DeadlineExceeded.
    """
    again = _Again(connection, deadline, patience)
    send(
        connection,
        job.items,
        store=board.store,
        deadline=deadline,
        patience_s=patience.link_s,
        progress=progress,
    )
    there = Detached(connection, board, run_id or new_run_id(), renew)
    _start(there, job, again, progress)
    yield from _followed(there, job, again, Seen(connection.name))


def attach(
    connection: Connection,
    board: BoardPython,
    job: Job | None,
    *,
    run_id: str,
    kept: Iterable[Envelope],
    deadline: Deadline,
    patience: Patience = PATIENT,
    renew: str | None = None,
) -> Iterator[Envelope] | None:
    """The records of a run that was started before, after those that are kept; as `run`.

    None where the board knows nothing of it.  kept: what this host has of it, from its first on.
    job: what it does, to take it up again where the board restarted; None: it ends there.
    """
    seen = Seen(connection.name)
    for envelope in kept:
        seen.note(envelope)
        seen.records = envelope.seq + 1  # those of types that this version does not know count too
    again = _Again(connection, deadline, patience)
    there = Detached(connection, board, run_id, renew)
    known = '[ -f "$1/journal.jsonl" ]'
    done = again.over(
        lambda: connection.run(known, there.folder, deadline=deadline.sooner(START_S))
    )
    return _followed(there, job, again, seen) if done.ok else None


def facts(connection: Connection, board: BoardPython, agent: Item, *, deadline: Deadline) -> Facts:
    """What the agent says of the board, without a run.

    Raises BoardBusy while one is on, AgentMismatch, AgentKilled, RunIncomplete, LinkLost,
    DeadlineExceeded.
    """
    again = _Again(connection, deadline, PATIENT)
    send(connection, [agent], store=board.store, deadline=deadline)
    there, seen = Detached(connection, board, new_run_id()), Seen(connection.name)
    again.over(lambda: there.start(agent, ["facts"], b"", deadline=deadline, linger_s=START_S))
    found = None
    for envelope in _records(there, seen, again):
        if isinstance(envelope.record, Facts):
            found = envelope.record
    there.forget()
    if found is None:
        raise error_of(seen, _words(there.end)) or RunIncomplete(
            f"The agent on {seen.name} said nothing.", hint="Run `halfbyte target check`."
        )
    return found


@dataclasses.dataclass(frozen=True)
class _Again:
    """How a broken link is mended in one run."""

    connection: Connection
    deadline: Deadline
    patience: Patience

    def over(self, work: Callable[[], _T]) -> _T:
        """`work`, again over a renewed connection where it broke."""
        return persisting(
            self.connection, work, deadline=self.deadline, patience_s=self.patience.link_s
        )


def _start(there: Detached, job: Job, again: _Again, progress: Progress) -> None:
    """Start the run; where another holds the board, wait as long as was asked for."""
    plan = job.plan(there.board.store.path)
    end = again.deadline.sooner(again.patience.busy_s)
    try:
        _begin(there, job, plan, again)
    except BoardBusy as busy:
        if end.remaining_s() <= 0:
            raise
        log.warning("%s Waiting for its end.", busy.message)
        with progress.task(f"waiting for {there.connection.name}"):
            while True:
                time.sleep(min(_ASK_AGAIN_S, end.remaining_s()))
                try:
                    return _begin(there, job, plan, again)
                except BoardBusy:
                    if end.remaining_s() <= 0:
                        raise
    except AgentMismatch:
        _remove(there, job.agent)
        raise


def _begin(there: Detached, job: Job, plan: Plan, again: _Again, *, resume: bool = False) -> None:
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


def _followed(there: Detached, job: Job | None, again: _Again, seen: Seen) -> Iterator[Envelope]:
    """Every further record, over restarts of the board; then the error for how it ended."""
    try:
        for _ in range(RESTARTS):
            yield from _records(there, seen, again)
            if job is None or seen.finished or not there.end or there.end.gone != "rebooted":
                break
            log.warning("%s restarted; the run goes on where it was", there.connection.name)
            _begin(there, job, _rest(job, there, seen), again, resume=True)
        else:
            yield from _records(there, seen, again)
    except (LinkLost, DeadlineExceeded) as error:
        if is_broken(there.connection, error):  # the run goes on there
            raise _out_of_reach(seen, error) from error
        _stop(there)
        raise _incomplete(seen, error) from error
    except BaseException:
        _stop(there)
        raise
    error_at_end = error_of(seen, _words(there.end))
    there.forget()
    if error_at_end is None:
        return
    if job is not None and seen.failed is not None and seen.failed.kind == "file-changed":
        _remove(there, job.model)
    raise error_at_end


def _rest(job: Job, there: Detached, seen: Seen) -> Plan:
    """What is left to do after a restart."""
    return dataclasses.replace(
        job.plan(there.board.store.path),
        first_seq=seen.records,
        first_timed=seen.timed,
        first_image=seen.images,
    )


def _records(there: Detached, seen: Seen, again: _Again) -> Iterator[Envelope]:
    """Records from the next one on, over broken links."""
    while True:
        stream = Stream(None, records=seen.records)
        lines = there.follow(
            first_seq=seen.records, deadline=again.deadline, stall_s=again.patience.stall_s
        )
        try:
            for envelope in stream.read(lines):
                seen.note(envelope)
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


def _stop(there: Detached) -> None:
    """End the run on the board, if it can be reached."""
    with contextlib.suppress(HalfbyteError):
        there.stop(deadline=Deadline.after(STOP_S))
        there.forget()


def _remove(there: Detached, changed: Item) -> None:
    """A file that is not what its name says would be taken for sent for ever."""
    with contextlib.suppress(HalfbyteError):
        path = there.board.store.path(changed.sha256)
        there.connection.run(["rm", "-f", "--", path], deadline=Deadline.after(START_S))


def _words(end: End | None) -> dict[str, object]:
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
