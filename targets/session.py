"""One run on a board: send what is missing, start the agent, pass its records on as they come.

    for envelope in run(connection, board, bundle, deadline=Deadline.after(3600)):
        ...

Every record that arrived has been yielded before an error is raised, so the caller keeps it.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from targets.agent.plan import Plan
from targets.agent.records import Facts
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.ended import Seen, error_of, supervisor_words
from targets.errors import (
    AgentMismatch,
    DeadlineExceeded,
    HalfbyteError,
    LinkLost,
    RunIncomplete,
)
from targets.items import Item
from targets.process import Process
from targets.progress import SILENT, Progress
from targets.provision import on_board
from targets.provision.environment import BoardPython
from targets.ssh import Connection
from targets.stream import LINE_LIMIT_BYTES, Stream
from targets.transfer import send

log = logging.getLogger(__name__)
STALL_S = 600.0  # between two records: one inference of a large model on a small core, and more
START_S = 60.0
END_S = 30.0
STOP_S = 12.0  # the inference at hand is let end


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

    def plan(self, path: Callable[[str], str], marker: str) -> Plan:
        """The agent's orders; path: where the board has the file with a hash."""


def run(
    connection: Connection,
    board: BoardPython,
    job: Job,
    *,
    deadline: Deadline,
    stall_s: float = STALL_S,
    progress: Progress = SILENT,
) -> Iterator[Envelope]:
    """Yields every record of one run, in order.

    stall_s: the longest silence between two records.  Closing the iterator, Ctrl-C and errors end
    the agent on the board.
    Raises NoSpace and CorruptUpload (before anything runs), BoardBusy, AgentMismatch, AgentKilled,
    AgentFailed, StreamBroken, RunIncomplete (also where the link breaks after the first record),
    LinkLost, DeadlineExceeded.
    """
    send(connection, job.items, store=board.store, deadline=deadline, progress=progress)
    marker = f"halfbyte-{secrets.token_hex(8)}"
    plan = job.plan(board.store.path, marker).to_json()
    with _started(connection, board, job.agent, ["run"], plan, deadline) as (process, mark):
        seen = Seen(connection.name)
        try:
            stream = Stream(marker)
            lines = process.lines(
                limit=LINE_LIMIT_BYTES,
                stall_s=stall_s,
                deadline=deadline,
                awaited=f"the next record of {connection.name}",
            )
            for envelope in stream.read(lines):
                seen.note(envelope)
                yield envelope
            done = process.wait(deadline=deadline.sooner(END_S))
        except BaseException as error:
            _stop(process)
            if isinstance(error, LinkLost | DeadlineExceeded) and seen.records:
                raise _incomplete(seen, error) from error
            raise
    error_at_end = error_of(seen, supervisor_words(done.stderr, mark), done)
    if error_at_end is None:
        return
    _remove_changed(connection, board, job, error_at_end, seen)
    raise error_at_end


def facts(connection: Connection, board: BoardPython, agent: Item, *, deadline: Deadline) -> Facts:
    """What the agent says of the board, without a run.

    Raises BoardBusy while one is on, AgentMismatch, AgentKilled, RunIncomplete, LinkLost,
    DeadlineExceeded.
    """
    send(connection, [agent], store=board.store, deadline=deadline)
    marker, seen = f"halfbyte-{secrets.token_hex(8)}", Seen(connection.name)
    arguments = ["facts", "--marker", marker]
    with _started(connection, board, agent, arguments, b"", deadline) as (process, mark):
        lines = process.lines(limit=LINE_LIMIT_BYTES, stall_s=START_S, deadline=deadline)
        for envelope in Stream(marker).read(lines):
            if isinstance(envelope.record, Facts):
                return envelope.record
        done = process.wait(deadline=deadline.sooner(END_S))
    raise error_of(seen, supervisor_words(done.stderr, mark), done) or RunIncomplete(
        f"The agent on {connection.name} said nothing.", hint="Run `halfbyte target check`."
    )


@contextlib.contextmanager
def _started(
    connection: Connection,
    board: BoardPython,
    agent: Item,
    arguments: list[str],
    plan: bytes,
    deadline: Deadline,
) -> Iterator[tuple[Process, str]]:
    mark = f"halfbyte-{secrets.token_hex(8)}:"
    request = {
        "mark": mark,
        "root": board.store.root,
        "run": f"{board.store.root}/runs/{secrets.token_hex(8)}",
        "agent": board.store.path(agent.sha256),
        "agent_sha256": agent.sha256,
        "arguments": arguments,
        "path": list(board.path),
        "plan_bytes": len(plan),
        "holder": _holder(),
    }
    words, head = on_board.invocation("start", board.python, request)
    soon = deadline.sooner(START_S)
    with connection.start(words, deadline=soon, stdin=True) as process:
        process.write(head + plan, deadline=soon)
        yield process, mark


def _stop(process: Process) -> None:
    """Let the agent end by itself; the block around it ends what does not."""
    soon = Deadline.after(STOP_S)
    with contextlib.suppress(HalfbyteError):
        process.close_stdin()
        while process.read(deadline=soon):
            pass
        process.wait(deadline=soon)


def _incomplete(seen: Seen, error: HalfbyteError) -> RunIncomplete:
    return RunIncomplete(
        f"The run on {seen.name} is not whole: {error.message} (while {seen.phase})",
        hint=f"{seen.kept} Run again for the rest.",
    )


def _remove_changed(
    connection: Connection, board: BoardPython, job: Job, error: HalfbyteError, seen: Seen
) -> None:
    """A file that is not what its name says would be taken for sent for ever."""
    if isinstance(error, AgentMismatch):
        changed = job.agent
    elif seen.failed is not None and seen.failed.kind == "file-changed":
        changed = job.model
    else:
        return
    with contextlib.suppress(HalfbyteError):
        path = board.store.path(changed.sha256)
        connection.run(["rm", "-f", "--", path], deadline=Deadline.after(START_S))


def _holder() -> dict[str, Any]:
    """Who runs this, for others who find the board busy."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"user": user, "host": socket.gethostname(), "since": since}
