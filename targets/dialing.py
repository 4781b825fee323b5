"""The way to a target: each hop reached, its host key checked, logged in to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from targets.addresses import parse_address
from targets.authenticate import AskPassword, authenticate
from targets.deadline import Deadline, enforced
from targets.errors import InventoryError, Unreachable
from targets.hostkeys import HostKey, HostKeyPrompt, KnownHosts, admit
from targets.keys import AskPassphrase
from targets.openssh import SshSettings, only_sha1, resolve
from targets.places import config_dir
from targets.target import Target

if TYPE_CHECKING:
    from targets.transport import Transport

_Q = TypeVar("_Q")
_A = TypeVar("_A")
MAX_JUMPS = 8


@dataclass(frozen=True)
class Trust:
    """Who may be asked what while connecting; None: nobody can be asked."""

    ask: HostKeyPrompt | None
    accept_new: bool
    password: AskPassword | None
    passphrase: AskPassphrase | None

    def remembering(self) -> Trust:
        """What is answered is kept, for when a broken connection is renewed."""
        return replace(
            self, password=_Remembered.of(self.password), passphrase=_Remembered.of(self.passphrase)
        )

    def unattended(self) -> Trust:
        """Nobody is asked: passwords are those that were typed, and a host key is known by now."""
        return Trust(
            None,
            accept_new=False,
            password=_answers(self.password),
            passphrase=_answers(self.passphrase),
        )


class _Remembered:
    """A question with the answers that it got."""

    def __init__(self, ask: Callable[[Any], str | None]) -> None:
        self._ask = ask
        self.answers: dict[Any, str | None] = {}

    @classmethod
    def of(cls, ask: Callable[[Any], str | None] | None) -> _Remembered | None:
        """None stays None."""
        return None if ask is None else cls(ask)

    def __call__(self, question: Any) -> str | None:
        self.answers[question] = answer = self._ask(question)
        return answer


def _answers(asked: Any) -> Callable[[Any], str | None] | None:
    return asked.answers.get if isinstance(asked, _Remembered) else None


def dialled(
    target: Target, trust: Trust, deadline: Deadline
) -> tuple[Transport, contextlib.ExitStack]:
    """A transport that is logged in to `target`, and what to close with it."""
    with contextlib.ExitStack() as opened:
        dialer = _Dialer(target, trust, deadline, opened)
        transport = dialer.reach(dialer.settings_of_target(), target.name, target.key)
        return transport, opened.pop_all()


@dataclass
class _Dialer:
    """Opens the way to a target hop by hop; what it opened is closed by `opened`."""

    target: Target
    trust: Trust
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
                    sock,
                    timeout_s=self.deadline.remaining_s(),
                    key_types=key_types,
                    sha1_host_key=settings.sha1_host_key,
                )
            except IncompatiblePeer as error:
                if "host key" in str(error) and not settings.sha1_host_key:
                    raise only_sha1(name, settings) from error
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
