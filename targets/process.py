"""A program on the board: its input, its output, how it ended.  Every wait takes a deadline."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from targets.deadline import Deadline, enforced
from targets.errors import CommandFailed

if TYPE_CHECKING:
    import paramiko

log = logging.getLogger(__name__)
# paramiko has one timeout for reading and writing; ours is short, and each wait counts by itself.
TICK_S = 0.25
READ_BYTES = 256 * 1024
STDERR_KEPT_BYTES = 64 * 1024
NOISE_LIMIT_BYTES = 256 * 1024
_PID_DIGITS = 10


@dataclass(frozen=True)
class Completed:
    """How a program ended: an exit status, or the signal's name ("KILL"); what it wrote."""

    exit_status: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Exit status 0."""
        return self.exit_status == 0

    @property
    def killed(self) -> bool:
        """By SIGKILL, as the out-of-memory killer does; a shell between reports it as 137."""
        return self.signal == "KILL" or self.exit_status == 137

    @property
    def how(self) -> str:
        """For messages: "exit status 2", "killed by SIGKILL"."""
        if self.signal:
            return f"killed by SIG{self.signal}"
        return "killed by SIGKILL" if self.killed else f"exit status {self.exit_status}"

    @property
    def complaint(self) -> str:
        """The last lines of stderr, for messages."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])


class Host(Protocol):
    """What a process needs of its connection."""

    name: str

    def abort(self) -> None:
        """Close the connection at once, so that calls which wait on it fail."""

    def translated(self) -> contextlib.AbstractContextManager[None]:
        """Errors of the SSH library leave as errors of ours."""

    def lost(self) -> Exception | None:
        """The error, if the connection is gone."""

    def kill(self, pid: int) -> None:
        """End a program that is left over, as well as can be."""


class Process:
    """A running program.  Its stdout begins after a marker line, so that no login noise is in it.

    Standard error is read all the time and its end kept.  As a context manager: a program that is
    still running at the end of the block is ended.
    """

    def __init__(self, host: Host, channel: paramiko.Channel, marker: str, what: str) -> None:
        self._host = host
        self._channel = channel
        self._marker = marker.encode()
        self._what = what
        self._pending = bytearray()
        self._stderr = bytearray()
        self._ended: Completed | None = None
        self.noise = ""
        self.pid = 0
        channel.settimeout(TICK_S)
        self._drain = threading.Thread(target=self._drain_stderr, daemon=True)
        self._drain.start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def has_ended(self) -> bool:
        """It is known how the program ended; output may still be on its way."""
        return self._channel.status_event.is_set()

    @property
    def stderr(self) -> bytes:
        """The last bytes of standard error so far, without what came before our program."""
        text = bytes(self._stderr)
        _, marker, after = text.rpartition(self._marker)
        return after.partition(b"\n")[2] if marker else text

    def write(self, data: bytes | memoryview, *, deadline: Deadline) -> None:
        """All of `data` into the program's input.

        Raises CommandFailed if the program has ended, LinkLost, DeadlineExceeded.
        """
        with enforced(deadline, f"{self._host.name} to take data", self._host.abort):
            self.pour(data, lambda _sent: None)

    def pour(self, data: bytes | memoryview, poured: Callable[[int], None]) -> None:
        """As `write`, for callers that see to it that it ends; each packet's bytes to `poured`."""
        view = memoryview(data)
        with self._host.translated():
            while view:
                try:
                    sent = self._channel.send(view)  # type: ignore[arg-type]
                except TimeoutError:
                    continue
                except OSError:
                    sent = 0
                if sent == 0:
                    raise self._broken() or self._failed("ended before it had read its input")
                view = view[sent:]
                poured(sent)

    def close_stdin(self) -> None:
        """The program sees the end of its input."""
        with self._host.translated():
            self._channel.shutdown_write()

    def read(self, *, deadline: Deadline, awaited: str = "") -> bytes:
        """Some bytes of standard output; b"" at its end.

        Raises LinkLost if it is the connection that ended, DeadlineExceeded.
        """
        if self._pending:
            data, self._pending = bytes(self._pending), bytearray()
            return data
        while True:
            deadline.wait_s(awaited or f"output of {self._what} on {self._host.name}")
            with self._host.translated(), contextlib.suppress(TimeoutError):
                data = self._channel.recv(READ_BYTES)
                if not data and (error := self._broken()):
                    raise error
                return data

    def read_ready(self) -> bytes:
        """Bytes of standard output that are there already, without waiting; maybe b""."""
        if self._pending or self._channel.recv_ready():
            return self.read(deadline=Deadline.after(TICK_S * 4))
        return b""

    def readline(self, *, deadline: Deadline, limit: int, awaited: str = "") -> bytes:
        """The next line with its newline, b"" at the end; at most about `limit` bytes of it.

        A longer line comes back in parts: only a whole one ends with a newline, and the last line
        of a program that broke off does not.
        """
        line = bytearray()
        while len(line) < limit:
            data = self.read(deadline=deadline, awaited=awaited)
            head, newline, rest = data.partition(b"\n")
            line += head + newline
            if rest:
                self._pending = bytearray(rest)
            if newline or not data:
                break
        return bytes(line)

    def lines(
        self, *, limit: int, stall_s: float, deadline: Deadline, awaited: str = ""
    ) -> Iterator[bytes]:
        """Lines as they come, each within `stall_s` of the one before, all before `deadline`."""
        while line := self.readline(
            deadline=deadline.sooner(stall_s), limit=limit, awaited=awaited
        ):
            yield line

    def wait(self, *, deadline: Deadline) -> Completed:
        """How the program ended (`stdout` is empty: it was read before).

        Raises LinkLost if nobody says how, DeadlineExceeded.
        """
        if self._ended is None:
            awaited = f"{self._what} on {self._host.name} to end"
            while not self._channel.status_event.wait(min(TICK_S, deadline.wait_s(awaited))):
                pass
            self._drain.join(min(2.0, deadline.remaining_s()))
            status, signal = self._status()
            if status is None and signal is None:
                raise self._broken() or self._failed("ended, and the server does not say how")
            self._ended = Completed(status, signal, b"", self.stderr)
        return self._ended

    def close(self) -> None:
        """Leave the program; one that still runs is ended."""
        running = not self._channel.status_event.is_set()
        if running and self.pid and self._host.lost() is None:
            self._host.kill(self.pid)
        with contextlib.suppress(Exception):  # whatever fails here, the channel is closed
            self._channel.close()

    def await_marker(self, deadline: Deadline) -> None:
        """Read on to where our program's own output begins.  Raises CommandFailed without it."""
        seen = bytearray()
        awaited = f"{self._host.name} to start {self._what}"
        while (at := seen.find(self._marker)) < 0 or b"\n" not in seen[at:]:
            data = self.read(deadline=deadline, awaited=awaited)
            if not data or len(seen) > NOISE_LIMIT_BYTES:
                raise self._not_started(bytes(seen), deadline)
            seen += data  # what comes with the marker may be long, and is no noise
        line, _, rest = bytes(seen[at:]).partition(b"\n")
        said = line.split()[1:2]
        if not said or not said[0].isdigit() or len(said[0]) > _PID_DIGITS:
            raise self._not_started(bytes(seen), deadline)
        self.pid = int(said[0])
        self.noise = bytes(seen[:at]).decode("utf-8", "replace").strip()
        self._pending = bytearray(rest)

    def _drain_stderr(self) -> None:
        while True:
            try:
                data = self._channel.recv_stderr(READ_BYTES)
            except TimeoutError:
                continue
            except Exception:  # noqa: BLE001 - the reader of stdout meets the same, and tells
                return
            if not data:
                return
            self._stderr += data
            del self._stderr[:-STDERR_KEPT_BYTES]

    def _status(self) -> tuple[int | None, str | None]:
        """Exit status and signal, as far as they are known."""
        status = self._channel.exit_status
        return status if status >= 0 else None, getattr(self._channel, "exit_signal", None)

    def _broken(self) -> Exception | None:
        """The error, if the channel closed because the connection did."""
        if not self._channel.closed or self._status() != (None, None):
            return None
        for _ in range(20):  # the channels of a broken connection close just before it does
            if error := self._host.lost():
                return error
            time.sleep(0.02)
        return None

    def _failed(self, how: str) -> CommandFailed:
        said = Completed(None, None, b"", self.stderr).complaint
        return CommandFailed(
            f"{self._what} on {self._host.name} {how}" + (f": {said}" if said else "."),
            hint="`halfbyte doctor` looks at what the board has.",
        )

    def _not_started(self, seen: bytes, deadline: Deadline) -> CommandFailed:
        if not self._channel.status_event.is_set() and len(seen) <= NOISE_LIMIT_BYTES:
            self._channel.status_event.wait(min(2.0, deadline.remaining_s()))
        if self._channel.status_event.is_set():  # all that it said is here or on its way
            self._drain.join(min(2.0, deadline.remaining_s()))
        text = (seen + b"\n" + bytes(self._stderr)).decode("utf-8", "replace")
        said = " / ".join(line.strip() for line in text.splitlines() if line.strip())
        return CommandFailed(
            f"{self._host.name} did not run {self._what}; it said: {said[-300:] or 'nothing'}",
            hint="Is this account allowed a shell? Try `ssh HOST true`.",
        )
