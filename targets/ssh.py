"""An SSH connection to a target: host key checked, jumps taken, commands run.

    with connect(target, deadline=Deadline.after(30)) as connection:
        done = connection.run("uname -m", deadline=Deadline.after(5), check=True)

A command is a script for POSIX sh (its further arguments are $1, $2, ...) or a list of words.  It
runs the same whatever the login shell is, its input is closed unless given, and what start-up
files print is kept out of its output.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from targets.authenticate import AskPassword
from targets.deadline import Deadline, enforced
from targets.dialing import Trust, dialled
from targets.errors import CommandFailed, HalfbyteError, InventoryError
from targets.hostkeys import HostKeyPrompt
from targets.keys import AskPassphrase
from targets.process import Completed, Process
from targets.shell import command_line, execute
from targets.target import Target

if TYPE_CHECKING:
    import paramiko

    from targets.transport import Transport

log = logging.getLogger(__name__)
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# Less than this fits any SSH window, so writing it cannot wait for the program to read.
_SMALL_INPUT_BYTES = 32 * 1024


def connect(
    target: Target,
    *,
    deadline: Deadline,
    ask: HostKeyPrompt | None = None,
    accept_new: bool = False,
    password: AskPassword | None = None,
    passphrase: AskPassphrase | None = None,
) -> Connection:
    """Log in to `target`, through its jumps.

    ask: decides on the key of a host at first contact; accept_new records it without asking.
    password, passphrase: asked only when no key does; None: nobody can be asked.
    Raises Unreachable, HostKeyUnknown, HostKeyChanged, HostKeyRevoked, KeyRefused, LinkLost,
    DeadlineExceeded, InventoryError.
    """
    if target.is_loopback and target.port is None:
        raise InventoryError(
            "The loopback target is not running.", hint="Start it: `targets.loopback.started()`."
        )
    trust = Trust(ask, accept_new, password, passphrase).remembering()
    return Connection(target, trust, *dialled(target, trust, deadline))


class Connection:
    """An open connection; commands may run side by side on it."""

    def __init__(
        self, target: Target, trust: Trust, transport: Transport, opened: contextlib.ExitStack
    ) -> None:
        self.target = target
        self.name = target.name
        self.noise = ""
        self._transport = transport
        self._trust = trust
        self._opened = opened

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """No break was noticed yet."""
        return bool(self._transport.is_active())

    def close(self) -> None:
        """Hang up, the jumps too."""
        self._opened.close()

    def renew(self, *, deadline: Deadline) -> None:
        """Connect anew to the same target, after this connection broke.

        Nobody is asked about a host key; a password is the one that was typed.
        Raises the errors of `connect`; the connection stays closed then, and may be renewed later.
        """
        with contextlib.suppress(Exception):  # of a broken connection nothing more is wanted
            self.close()
        self._transport, self._opened = dialled(self.target, self._trust.unattended(), deadline)

    def start(
        self, command: str | Sequence[str], *arguments: str, deadline: Deadline, stdin: bool = False
    ) -> Process:
        """A running program whose own output is about to begin.

        stdin: it will be written to; otherwise the program finds its input at an end.
        Raises CommandFailed if the login shell does not run it, LinkLost, DeadlineExceeded.
        """
        script = command if isinstance(command, str) else execute(command)
        what = _described(command)
        marker = f"halfbyte-{secrets.token_hex(8)}"
        # On its own line even if start-up files ended without one.
        begin = f"echo; echo {marker} $$; echo >&2; echo {marker} $$ >&2; "
        line = command_line(begin + script, arguments)
        log.debug("%s: %s", self.name, what)
        with enforced(deadline, f"{self.name} to start {what}", self.abort), self.translated():
            channel = self._session(deadline)
            channel.exec_command(line)
        process = Process(self, channel, marker, what)
        try:
            if not stdin:
                process.close_stdin()
            process.await_marker(deadline)
        except BaseException:
            process.close()
            raise
        self._note(process.noise)
        return process

    def run(
        self,
        command: str | Sequence[str],
        *arguments: str,
        deadline: Deadline,
        stdin: bytes = b"",
        check: bool = False,
    ) -> Completed:
        """Run to the end.

        check: any end but exit status 0 raises CommandFailed.
        Raises LinkLost, DeadlineExceeded (the program is ended then), CommandFailed for output of
        more than MAX_OUTPUT_BYTES.
        """
        with self.start(command, *arguments, deadline=deadline, stdin=bool(stdin)) as process:
            feeder = _feed(process, stdin, deadline)
            stdout = bytearray()
            while data := process.read(deadline=deadline):
                stdout += data
                if len(stdout) > MAX_OUTPUT_BYTES:
                    raise CommandFailed(
                        f"{_described(command)} on {self.name} does not stop talking.",
                        hint="More than 64 MiB came; is it the right command?",
                    )
            feeder.join(deadline.remaining_s())
            done = replace(process.wait(deadline=deadline), stdout=bytes(stdout))
        if check and not done.ok:
            raise CommandFailed(
                f"{_described(command)} on {self.name}: {done.how}"
                + (f": {done.complaint}" if done.complaint else "."),
                hint="The words after the colon are the board's own.",
            )
        return done

    def abort(self) -> None:
        """Close at once; whatever waits on the connection fails."""
        self._transport.close()
        self._transport.sock.close()

    def translated(self) -> contextlib.AbstractContextManager[None]:
        """Errors of the SSH library leave as errors of ours."""
        from targets.transport import translated

        return translated(self.name)

    def lost(self) -> HalfbyteError | None:
        """LinkLost, if the connection is gone."""
        from targets.transport import link_lost, reason

        if self._transport.is_active():
            return None
        error = self._transport.get_exception()
        return link_lost(self.name, reason(error) if error else "the other side closed it")

    def kill(self, pid: int) -> None:
        """End a program of ours that is left over, as well as can be."""
        script = 'kill -s TERM "$1"; (sleep 1; kill -s KILL "$1") </dev/null >/dev/null 2>&1 &'
        with contextlib.suppress(HalfbyteError):
            self.run(script, str(pid), deadline=Deadline.after(5))

    def offers_subsystem(self, name: str, *, deadline: Deadline) -> bool:
        """Whether the server starts that subsystem ("sftp").  Raises LinkLost, DeadlineExceeded."""
        import paramiko

        awaited = f"{self.name} to say whether it has {name}"
        with enforced(deadline, awaited, self.abort), self.translated():
            channel = self._session(deadline)
            try:
                channel.invoke_subsystem(name)
            except paramiko.SSHException:
                if self.lost() is not None:
                    raise
                return False
            finally:
                channel.close()
        return True

    def _session(self, deadline: Deadline) -> paramiko.Channel:
        """A new channel.  Nothing runs in it yet, so one that a server closes as it opens it, as
        Dropbear now and then does right after another was left, is asked for once more.
        """
        import paramiko

        try:
            return self._transport.open_session(timeout=deadline.remaining_s())
        except paramiko.ChannelException:
            raise  # the server says why not
        except paramiko.SSHException as error:
            if not self._transport.is_active() or deadline.remaining_s() <= 0:
                raise
            log.debug("%s: %s; once more", self.name, error)
            return self._transport.open_session(timeout=deadline.remaining_s())

    def _note(self, noise: str) -> None:
        if noise and not self.noise:
            self.noise = noise
            log.warning(
                "start-up files of %s print %r to everything that runs there; it is left out",
                self.name,
                noise[:200],
            )


def _feed(process: Process, data: bytes, deadline: Deadline) -> threading.Thread:
    """Write `data` beside the reading of output, as neither may wait for the other."""

    def write() -> None:
        # A program that ends early shows by its exit status; a broken link shows on reading.
        with contextlib.suppress(HalfbyteError):
            process.write(data, deadline=deadline)
            process.close_stdin()

    feeder = threading.Thread(target=write if data else lambda: None, daemon=True)
    if len(data) <= _SMALL_INPUT_BYTES:
        feeder.run()
        feeder = threading.Thread(target=lambda: None)
    feeder.start()
    return feeder


def _described(command: str | Sequence[str]) -> str:
    words = command if isinstance(command, str) else " ".join(command)
    first = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return f"`{first[:60]}{'...' if len(first) > 60 or first != words.strip() else ''}`"
