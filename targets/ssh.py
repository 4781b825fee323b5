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
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from targets.addresses import parse_address
from targets.authenticate import AskPassword, authenticate
from targets.deadline import Deadline, enforced
from targets.errors import CommandFailed, HalfbyteError, InventoryError, Unreachable
from targets.hostkeys import HostKey, HostKeyPrompt, KnownHosts, admit
from targets.keys import AskPassphrase
from targets.openssh import SshSettings, resolve
from targets.places import config_dir
from targets.process import Completed, Process
from targets.shell import command_line, execute
from targets.target import Target

if TYPE_CHECKING:
    from targets.transport import Transport

log = logging.getLogger(__name__)
_Q = TypeVar("_Q")
_A = TypeVar("_A")
MAX_JUMPS = 8
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# Less than this fits any SSH window, so writing it cannot wait for the program to read.
_SMALL_INPUT_BYTES = 32 * 1024


@dataclass(frozen=True)
class _Trust:
    """Who may be asked what while connecting."""

    ask: HostKeyPrompt | None
    accept_new: bool
    password: AskPassword | None
    passphrase: AskPassphrase | None


class _Remembered:
    """A question whose answer serves again when a broken connection is renewed."""

    def __init__(self, ask: Callable[[Any], str | None]) -> None:
        self._ask = ask
        self.answers: dict[Any, str | None] = {}

    @classmethod
    def of(cls, ask: Callable[[Any], str | None] | None) -> _Remembered | None:
        """None stays None: nobody can be asked."""
        return None if ask is None else cls(ask)

    def __call__(self, question: Any) -> str | None:
        self.answers[question] = answer = self._ask(question)
        return answer


def _known(asked: Any) -> Callable[[Any], str | None] | None:
    """The answers that were given, nobody being asked again."""
    return asked.answers.get if isinstance(asked, _Remembered) else None


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
    trust = _Trust(ask, accept_new, _Remembered.of(password), _Remembered.of(passphrase))
    return Connection(target, trust, *_dialled(target, trust, deadline))


def _dialled(
    target: Target, trust: _Trust, deadline: Deadline
) -> tuple[Transport, contextlib.ExitStack]:
    """A transport that is logged in to `target`, and what to close with it."""
    with contextlib.ExitStack() as opened:
        dialer = _Dialer(target, trust, deadline, opened)
        transport = dialer.reach(dialer.settings_of_target(), target.name, target.key)
        return transport, opened.pop_all()


class Connection:
    """An open connection; commands may run side by side on it."""

    def __init__(
        self, target: Target, trust: _Trust, transport: Transport, opened: contextlib.ExitStack
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
        trust = replace(self._trust, ask=None, accept_new=False)
        trust = replace(trust, password=_known(trust.password), passphrase=_known(trust.passphrase))
        self._transport, self._opened = _dialled(self.target, trust, deadline)

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
            channel = self._transport.open_session(timeout=deadline.remaining_s())
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
            channel = self._transport.open_session(timeout=deadline.remaining_s())
            try:
                channel.invoke_subsystem(name)
            except paramiko.SSHException:
                if self.lost() is not None:
                    raise
                return False
            finally:
                channel.close()
        return True

    def _note(self, noise: str) -> None:
        if noise and not self.noise:
            self.noise = noise
            log.warning(
                "start-up files of %s print %r to everything that runs there; it is left out",
                self.name,
                noise[:200],
            )


@dataclass
class _Dialer:
    """Opens the way to a target hop by hop; what it opened is closed by `opened`."""

    target: Target
    trust: _Trust
    deadline: Deadline
    opened: contextlib.ExitStack
    hops: int = 0

    def settings_of_target(self) -> SshSettings:
        target = self.target
        return self._settings(target.host, target.port, target.user)

    def _settings(self, host: str, port: int | None, user: str | None) -> SshSettings:
        config = self.target.ssh_config
        return resolve(host, port=port, user=user, config=config, deadline=self.deadline)

    def reach(self, settings: SshSettings, name: str, only_key: Path | None) -> Transport:
        """A transport that is logged in to the host of `settings`."""
        self.hops += 1
        if self.hops > MAX_JUMPS:
            raise InventoryError(
                f"The way to {self.target.name} has more than {MAX_JUMPS} jumps.",
                hint="Does a ProxyJump in ~/.ssh/config lead back to itself?",
            )
        before: Transport | None = None
        for index, jump in enumerate(settings.proxy_jump):
            address = parse_address(jump)
            if address is None:
                raise InventoryError(f"{jump!r} is no jump.", hint="Correct ProxyJump.")
            hop = self._settings(address.host, address.port, address.user)
            if index == 0:
                before = self.reach(hop, f"{jump} (jump)", None)
            else:
                before = self._login(self._through(before, hop, jump), hop, f"{jump} (jump)", None)
        return self._login(self._through(before, settings, name), settings, name, only_key)

    def _through(self, before: Transport | None, settings: SshSettings, name: str) -> object:
        from targets import route

        if before is not None:
            return self._channel(before, settings, name)
        if settings.proxy_command is None:
            sock = route.tcp(name, settings.hostname, settings.port, self.deadline)
        else:
            sock, process = route.by_command(name, settings.proxy_command)
            self.opened.callback(route.end, process)
        self.opened.callback(sock.close)
        return sock

    def _channel(self, before: Transport, settings: SshSettings, name: str) -> object:
        import paramiko

        from targets.transport import reason, translated

        where = (settings.hostname, settings.port)
        with enforced(self.deadline, f"the jump to {name}", before.close), translated(name):
            try:
                return before.open_channel(
                    "direct-tcpip", where, ("127.0.0.1", 0), timeout=self.deadline.remaining_s()
                )
            except paramiko.ChannelException as error:
                raise Unreachable(
                    f"The jump host cannot reach {name} ({where[0]}:{where[1]}): {error.text}.",
                    hint="Is the board on, and AllowTcpForwarding on at the jump host?",
                ) from error
            except paramiko.SSHException as error:
                raise Unreachable(
                    f"The jump host does not open the way to {name}: {reason(error)}.",
                    hint="Try the same by hand: `ssh -J JUMP HOST`.",
                ) from error

    def _login(
        self, sock: object, settings: SshSettings, name: str, only_key: Path | None
    ) -> Transport:
        from targets.transport import translated

        known = KnownHosts.read(self._known_hosts_files(settings))
        host = settings.host_key_alias or settings.hostname
        port = 22 if settings.host_key_alias else settings.port
        transport = self._negotiated(sock, settings, name, known.types(host, port))
        self.opened.callback(transport.close)
        seen = transport.get_remote_server_key()
        admit(
            known,
            host,
            port,
            HostKey(seen.get_name(), seen.asbytes()),
            ask=self._unhurried(self.trust.ask),
            accept_new=self.trust.accept_new,
            record_in=self.target.known_hosts or config_dir() / "known_hosts",
        )
        with translated(name):
            authenticate(
                transport,
                settings,
                only_key=only_key,
                password=self._unhurried(self.trust.password),
                passphrase=self._unhurried(self.trust.passphrase),
                deadline=lambda: self.deadline,
            )
        return transport

    def _unhurried(self, ask: Callable[[_Q], _A] | None) -> Callable[[_Q], _A] | None:
        """A question to a person, whose time does not count."""

        def unhurried(question: _Q) -> _A:
            began_at_s = time.monotonic()
            assert ask is not None
            try:
                return ask(question)
            finally:
                self.deadline = self.deadline.extended(time.monotonic() - began_at_s)

        return None if ask is None else unhurried

    def _negotiated(
        self, sock: object, settings: SshSettings, name: str, key_types: list[str]
    ) -> Transport:
        import paramiko
        from paramiko.ssh_exception import IncompatiblePeer

        from targets import transport

        close: Callable[[], None] = sock.close  # type: ignore[attr-defined]
        with (
            enforced(self.deadline, f"{name} to answer as an SSH server", close),
            transport.translated(name),
        ):
            try:
                return transport.opened(
                    sock, timeout_s=self.deadline.remaining_s(), key_types=key_types
                )
            except IncompatiblePeer:
                raise
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise Unreachable(
                    f"{name} answers on port {settings.port}, but not as an SSH server: "
                    f"{transport.reason(error)}.",
                    hint="Is this the right port? A server with too many logins hangs up too.",
                ) from error

    def _known_hosts_files(self, settings: SshSettings) -> list[Path]:
        if self.target.known_hosts is not None:
            return [self.target.known_hosts]
        return [config_dir() / "known_hosts", *settings.known_hosts]


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
