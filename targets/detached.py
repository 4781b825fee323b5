"""A run on a board that goes on by itself: start it, follow it, stop it, forget it.

    there = Detached(connection, board, run_id)
    there.start(agent, ["run"], plan, ...)
    for line in there.follow(first_seq=0, ...): ...
    there.end                     # how it ended, once `follow` has returned

Each call is one program on the board (`targets/provision/on_board`); between them the run needs no
connection.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from targets.allowance import JOURNAL_BYTES, LIMIT_S
from targets.deadline import Deadline
from targets.ended import not_started, supervisor_words
from targets.errors import CommandFailed, HalfbyteError
from targets.items import Item
from targets.process import Process
from targets.provision import on_board
from targets.provision.environment import BoardPython
from targets.ssh import Connection
from targets.stream import LINE_LIMIT_BYTES

START_S: Final = 60.0
END_S: Final = 30.0
SIGN_S: Final = 5.0
SILENT_S: Final = 30.0
"""A host that gave no sign for so long is gone: a lease is no longer renewed for it."""
_RESERVE_BYTES: Final = 2 * 1024 * 1024
_RECORD_BYTES: Final = 16 * 1024  # 300 detections of an image
_RUN_ID: Final = re.compile(r"[0-9a-f]{16}")


def new_run_id() -> str:
    """A name for a run on a board."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class End:
    """How a run ended, as the board tells it.

    words: of the supervisor (`ended`), or why nothing can be followed (`problem`).  gone:
    "rebooted" or "killed" where nobody lived to tell.
    """

    words: Mapping[str, Any]

    @property
    def gone(self) -> str | None:
        """Why nobody could tell."""
        gone = self.words.get("gone")
        return gone if isinstance(gone, str) else None

    @property
    def problem(self) -> str | None:
        """Why there is nothing to follow."""
        problem = self.words.get("problem")
        return problem if isinstance(problem, str) else None


@dataclass
class Detached:
    """One run on one board, there or about to be.

    renew: a file there that says by its time that the run is still followed
    (`targets.firmware.lease`).
    """

    connection: Connection
    board: BoardPython
    run_id: str
    renew: str | None = None
    end: End | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not _RUN_ID.fullmatch(self.run_id):
            raise ValueError(f"not a run id: {self.run_id!r}")

    @property
    def folder(self) -> str:
        """Where it lies on the board."""
        return f"{self.board.store.root}/runs/{self.run_id}"

    def start(
        self,
        agent: Item,
        arguments: Sequence[str],
        plan: bytes,
        *,
        deadline: Deadline,
        images: int = 0,
        linger_s: float = LIMIT_S,
        resume: bool = False,
    ) -> None:
        """Start it; once it is there this may be asked again without harm.

        images: how many the journal must have room for.  linger_s: how long it goes on while nobody
        follows.  resume: it ended with its board; a new agent adds to its journal.
        Raises BoardBusy, AgentMismatch, NoSpace, CommandFailed, LinkLost, DeadlineExceeded.
        """
        mark = _mark()
        root = self.board.store.root
        request = {
            "mark": mark,
            "root": root,
            "run": self.folder,
            "agent": self.board.store.path(agent.sha256),
            "agent_sha256": agent.sha256,
            "arguments": list(arguments),
            "path": list(self.board.path),
            "plan_bytes": len(plan),
            "holder": holder(),
            "resume": resume,
            "linger_s": linger_s,
            "limit_s": LIMIT_S,
            "journal_bytes": JOURNAL_BYTES,
            "reserve_bytes": min(_RESERVE_BYTES + images * _RECORD_BYTES, JOURNAL_BYTES),
            "supervisor": on_board.source("supervise"),
        }
        words, head = on_board.invocation("start", self.board.python, request)
        done = self.connection.run(words, stdin=head + plan, deadline=deadline.sooner(START_S))
        said = supervisor_words(done.stderr, mark)
        if "started" not in said:
            raise not_started(self.connection.name, said, done)

    def follow(self, *, first_seq: int, deadline: Deadline, stall_s: float) -> Iterator[bytes]:
        """Lines of the journal from record `first_seq` on, as they come; then `end` is there.

        stall_s: the longest silence between two lines.  Closing the iterator leaves the run on.
        Raises LinkLost, DeadlineExceeded, CommandFailed.
        """
        self.end = None
        mark = _mark()
        request = {
            "do": "follow",
            "run": self.folder,
            "first_seq": first_seq,
            "renew": self.renew,
            "silent_s": SILENT_S,
            "mark": mark,
        }
        with self._program(request, deadline) as process, _signs_of_life(process):
            yield from process.lines(
                limit=LINE_LIMIT_BYTES,
                stall_s=stall_s,
                deadline=deadline,
                awaited=f"the next record of {self.connection.name}",
            )
            done = process.wait(deadline=deadline.sooner(END_S))
        words = supervisor_words(done.stderr, mark)
        if not words:
            raise CommandFailed(
                f"{self.connection.name} does not say how the run ended ({done.how})"
                + (f": {done.complaint}" if done.complaint else "."),
                hint="The run may still be on there; try again.",
            )
        self.end = End(words)

    def stop(self, *, deadline: Deadline) -> None:
        """Ask it to end after the inference at hand.  Raises LinkLost, DeadlineExceeded."""
        self._ask({"do": "stop", "run": self.folder}, deadline)

    def forget(self) -> None:
        """Its folder on the board goes, as well as can be: all that was in it is here."""
        with contextlib.suppress(HalfbyteError):
            self._ask({"do": "forget", "run": self.folder}, Deadline.after(START_S))

    def _ask(self, request: Mapping[str, Any], deadline: Deadline) -> None:
        words, stdin = on_board.invocation("follow", self.board.python, request)
        self.connection.run(words, stdin=stdin, deadline=deadline)

    @contextlib.contextmanager
    def _program(self, request: Mapping[str, Any], deadline: Deadline) -> Iterator[Process]:
        words, head = on_board.invocation("follow", self.board.python, request)
        soon = deadline.sooner(START_S)
        with self.connection.start(words, deadline=soon, stdin=True) as process:
            process.write(head, deadline=soon)
            yield process


@contextlib.contextmanager
def _signs_of_life(process: Process) -> Iterator[None]:
    """A byte every few seconds, so that the board knows that somebody is there."""
    ended = threading.Event()

    def give() -> None:
        with contextlib.suppress(HalfbyteError):
            while not ended.wait(SIGN_S):
                process.write(b".", deadline=Deadline.after(END_S))

    threading.Thread(target=give, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _mark() -> str:
    return f"halfbyte-{secrets.token_hex(8)}:"


def holder() -> dict[str, Any]:
    """Who runs this, for others who find the board busy."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"user": user, "host": socket.gethostname(), "since": since}
