"""One run on a board: send what is missing, start the agent, pass its records on as they come.

    for envelope in run(connection, board, bundle, deadline=Deadline.after(3600)):
        ...

The run goes on by itself: while the link is broken it is measured on, and what it told meanwhile
comes when the link is back.  Where the board restarts, it is taken up again where it was.  Every
record that arrived has been yielded before an error is raised, so the caller keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final

from targets.agent.records import Facts
from targets.agent.wire import Envelope
from targets.allowance import LIMIT_S, Extent, Meter
from targets.deadline import Deadline
from targets.detached import START_S, Detached, new_run_id
from targets.ended import Seen, error_of
from targets.errors import AgentMismatch, RunIncomplete
from targets.following import PATIENT, Again, Job, Patience, follow, records, remove, start, words
from targets.items import Item
from targets.progress import SILENT, Progress
from targets.provision.environment import BoardPython
from targets.ssh import Connection
from targets.transfer import send

__all__ = ["PATIENT", "Job", "Patience", "abandon", "attach", "end", "facts", "run"]

log = logging.getLogger(__name__)
_ASLEEP_S: Final = 3600.0


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
    again = Again(connection, deadline, patience)
    there = Detached(connection, board, run_id or new_run_id(), renew)
    for last_try in (False, True):
        send(
            connection,
            job.items,
            store=board.store,
            deadline=deadline,
            patience_s=patience.link_s,
            progress=progress,
        )
        try:
            start(there, job, again, progress)
            break
        except AgentMismatch as error:  # it lay in the store, changed, and was removed
            if last_try:
                raise
            log.warning("%s It is sent once more.", error.message)
    extent = Extent.of(job.plan(board.store.path))
    # This host may sleep for a while, and the board goes on.
    meter = Meter(connection.name, extent, deadline.remaining_s() + _ASLEEP_S)
    yield from follow(there, job, again, Seen(connection.name), meter)


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
    leave_on: bool = False,
    extent: Extent | None = None,
) -> Iterator[Envelope] | None:
    """The records of a run that was started before, after those that are kept; as `run`.

    None where the board knows nothing of it.  kept: what this host has of it, from its first on.
    job: what it does, to take it up again where the board restarted; None: it ends there.
    leave_on: closing the iterator or Ctrl-C leaves the run on.
    extent: how much it was asked to do, where there is no job that says so.
    """
    seen = Seen(connection.name)
    for envelope in kept:
        seen.note(envelope)
        seen.records = envelope.seq + 1  # those of types that this version does not know count too
    again = Again(connection, deadline, patience)
    there = Detached(connection, board, run_id, renew)
    known = '[ -f "$1/journal.jsonl" ]'
    done = again.over(
        lambda: connection.run(known, there.folder, deadline=deadline.sooner(START_S))
    )
    if not done.ok:
        return None
    if job is not None:
        extent = Extent.of(job.plan(board.store.path))
    meter = Meter(connection.name, extent or Extent(), LIMIT_S + deadline.remaining_s())
    return follow(there, job, again, seen, meter, leave_on=leave_on)


def facts(connection: Connection, board: BoardPython, agent: Item, *, deadline: Deadline) -> Facts:
    """What the agent says of the board, without a run.

    Raises BoardBusy while one is on, AgentMismatch, AgentKilled, RunIncomplete, LinkLost,
    DeadlineExceeded.
    """
    again = Again(connection, deadline, PATIENT)
    there, seen = Detached(connection, board, new_run_id()), Seen(connection.name)
    for last_try in (False, True):
        send(connection, [agent], store=board.store, deadline=deadline)
        try:
            again.over(
                lambda: there.start(agent, ["facts"], b"", deadline=deadline, linger_s=START_S)
            )
            break
        except AgentMismatch as error:
            remove(there, agent)
            if last_try:
                raise
            log.warning("%s It is sent once more.", error.message)
    found = None
    for envelope in records(there, seen, again, Meter(connection.name, Extent(), START_S)):
        if isinstance(envelope.record, Facts):
            found = envelope.record
    there.forget()
    if found is None:
        raise error_of(seen, words(there.end)) or RunIncomplete(
            f"The agent on {seen.name} said nothing.", hint="Run `halfbyte target check`."
        )
    return found


def abandon(connection: Connection, board: BoardPython, run_id: str) -> None:
    """End a run that was started before, as far as it is on, and forget it.

    Raises LinkLost, DeadlineExceeded.
    """
    there = Detached(connection, board, run_id)
    there.stop(deadline=Deadline.after(START_S))
    there.forget()


def end(connection: Connection, board: BoardPython, run_id: str) -> None:
    """Ask a run that was started before to end; `attach` then fetches what it told.

    Raises LinkLost, DeadlineExceeded.
    """
    Detached(connection, board, run_id).stop(deadline=Deadline.after(START_S))
