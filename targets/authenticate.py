"""Which keys are tried, in which order: the configured one first, and few in all.

Servers hang up after some wrong keys (OpenSSH after 6, some boards after 2), so an ssh-agent full
of keys must not come before the one that was meant.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from targets.deadline import Deadline, enforced
from targets.errors import InventoryError, KeyRefused
from targets.keys import AskPassphrase, Unusable, load, public_part
from targets.openssh import SshSettings

if TYPE_CHECKING:
    import paramiko

    from targets.transport import Transport

log = logging.getLogger(__name__)
MAX_TRIES = 6
AskPassword = Callable[[str], str | None]  # "pi@192.168.1.40" -> the password


@dataclass
class _Tries:
    """What was offered, and what could not be, for the error."""

    refused: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


def authenticate(
    transport: Transport,
    settings: SshSettings,
    *,
    only_key: Path | None,
    password: AskPassword | None,
    passphrase: AskPassphrase | None,
    deadline: Callable[[], Deadline],
) -> None:
    """Log in, by keys and then, if a password may be asked for, by that.

    only_key: no other is offered.  deadline: the one in force, later after each question to a
    person.  Raises KeyRefused with all that was tried, InventoryError if `only_key` is not there,
    DeadlineExceeded.
    """
    import paramiko

    if only_key is not None and not only_key.expanduser().is_file():
        raise InventoryError(
            f"There is no key {only_key}.", hint="Correct `key` of this target in targets.toml."
        )
    tries = _Tries()
    for label, key in _candidates(settings, only_key, passphrase, tries, deadline()):
        try:
            with _in_time(transport, settings, deadline()):
                still_wanted = _offer(transport, settings, key)
        except paramiko.BadAuthenticationType as error:
            tries.unusable.append(f"keys (the server takes only {', '.join(error.allowed_types)})")
            break
        except (paramiko.SSHException, OSError, EOFError) as error:
            log.debug("%s refused %s: %s", settings.name, label, error)
            tries.refused.append(label)
            if not transport.is_active():
                raise _refused(settings, tries, hung_up=True) from error
            continue
        if not still_wanted:
            return
        tries.refused.append(f"{label} (accepted, but {' and '.join(still_wanted)} is wanted too)")
        break
    if password is None or not _by_password(transport, settings, password, tries, deadline):
        raise _refused(settings, tries, hung_up=False)


def _offer(transport: Transport, settings: SshSettings, key: paramiko.PKey) -> list[str]:
    """One key; methods that are wanted besides.  Raises paramiko's errors."""
    import paramiko

    from targets import sha1_rsa

    if not settings.sha1_login:
        return transport.auth_publickey(settings.user, key)
    orders = sha1_rsa.login_orders(transport, key)
    for order in orders:
        try:
            with sha1_rsa.offering(transport, order):
                return transport.auth_publickey(settings.user, sha1_rsa.signing(key))
        except paramiko.BadAuthenticationType:
            raise
        except paramiko.AuthenticationException:
            if order is orders[-1] or not transport.is_active():
                raise
    raise AssertionError("unreachable")


def _in_time(
    transport: Transport, settings: SshSettings, deadline: Deadline
) -> AbstractContextManager[None]:
    awaited = f"the login on {settings.name}"
    transport.auth_timeout = deadline.wait_s(awaited)
    return enforced(deadline, awaited, transport.close)


def _by_password(
    transport: Transport,
    settings: SshSettings,
    ask: AskPassword,
    tries: _Tries,
    deadline: Callable[[], Deadline],
) -> bool:
    import paramiko

    answer = ask(f"{settings.user}@{settings.hostname}")
    if answer is None:
        return False
    try:
        with _in_time(transport, settings, deadline()):
            still_wanted = transport.auth_password(settings.user, answer)
    except (paramiko.SSHException, OSError, EOFError) as error:
        tries.refused.append("the password")
        log.debug("%s refused the password: %s", settings.name, error)
        return False
    return not still_wanted


def _candidates(
    settings: SshSettings,
    only_key: Path | None,
    passphrase: AskPassphrase | None,
    tries: _Tries,
    deadline: Deadline,
) -> Iterator[tuple[str, paramiko.PKey]]:
    agent = {key.asbytes(): key for key in _agent_keys(settings.identity_agent, deadline)}
    files = settings.identity_files if only_key is None else (only_key.expanduser(),)
    for file in files:
        public = public_part(file)
        held = agent.pop(public.blob, None) if public else None
        if held is not None:
            yield f"{file} (from the ssh-agent)", held
            continue
        try:
            yield str(file), load(file, passphrase)
        except Unusable as error:
            if file.exists():
                tries.unusable.append(f"{file} ({error})")
    if only_key is None and not settings.identities_only:
        others = list(agent.values())[: max(0, MAX_TRIES - len(tries.refused))]
        for key in others:
            yield f"the ssh-agent's {key.comment or key.get_name()}", key


def _agent_keys(path: str | None, deadline: Deadline) -> list[paramiko.AgentKey]:
    import paramiko
    from paramiko.agent import AgentSSH

    if path == "none":
        return []
    try:
        agent: AgentSSH
        if path is None:
            agent = paramiko.Agent()
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(deadline.wait_s("the ssh-agent"))
            sock.connect(path)
            agent = AgentSSH()
            agent._connect(sock)  # type: ignore[attr-defined]
    except (paramiko.SSHException, OSError, ValueError) as error:
        log.warning("the ssh-agent does not answer: %s", error)
        return []
    return list(agent.get_keys())


def _refused(settings: SshSettings, tries: _Tries, *, hung_up: bool) -> KeyRefused:
    offered = ", ".join(tries.refused) or "nothing, as there is no usable key"
    message = f"{settings.name} does not let {settings.user} in. Offered: {offered}."
    if tries.unusable:
        message += f" Not usable: {', '.join(tries.unusable)}."
    if hung_up:
        message += " Then the server hung up."
    if settings.sha1_host_key and not settings.sha1_login:
        return KeyRefused(
            message,
            hint="If this server takes RSA keys by ssh-rsa (SHA-1) alone, put beside its "
            "HostKeyAlgorithms in ~/.ssh/config: PubkeyAcceptedAlgorithms +ssh-rsa",
        )
    return KeyRefused(
        message,
        hint="Name the right user and key in targets.toml, or put a key there by password: "
        f"`halfbyte target add {settings.user}@{settings.name}`.",
    )
