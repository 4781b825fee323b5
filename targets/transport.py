"""paramiko as we use it: the signal that ended a program, and errors of ours for all of its own.

It imports paramiko on top; others import this module when they connect, not before.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import (
    MSG_CHANNEL_REQUEST,
    cMSG_GLOBAL_REQUEST,
    cMSG_SERVICE_REQUEST,
    cMSG_USERAUTH_REQUEST,
)
from paramiko.packet import Packetizer
from paramiko.ssh_exception import IncompatiblePeer
from paramiko.transport import ServiceRequestingTransport

from targets import sha1_rsa
from targets.errors import HalfbyteError, KeyRefused, LinkLost, Unreachable

# What it logs as errors, with tracebacks, reaches the user as an error of ours.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

KEEPALIVE_S = 5
# A link may be silent this long before it counts as lost; unplugging for 4 s is survived.
DEAD_LINK_S = 20
# Where no TCP connection of ours leads all the way: longer, as the answer waits behind an upload.
SILENT_LINK_S = 30
# Three times as fast here as the default (CTR with a separate MAC), and as safe.
_FIRST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


def _channel_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Keep the name in `exit-signal` (RFC 4254, 6.10), which paramiko reads past."""
    start = message.packet.tell()
    kind = message.get_text()
    message.get_boolean()
    if kind == "exit-signal":
        channel.exit_signal = message.get_text()  # type: ignore[attr-defined]
        channel.status_event.set()
        return
    message.packet.seek(start)
    paramiko.Transport._channel_handler_table[MSG_CHANNEL_REQUEST](channel, message)  # type: ignore[attr-defined]


class _Login(AuthOnlyHandler):
    """Ready for an answer before the question is sent, where paramiko is a moment late."""

    def send_auth_request(
        self,
        username: str,
        method: str,
        finish_message: Callable[[paramiko.Message], None] | None = None,
    ) -> list[str]:
        """One attempt; methods that are wanted besides, [] where none is."""
        self.auth_method = method
        self.username = username
        self.auth_event = event = threading.Event()
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for text in (username, "ssh-connection", method):
            message.add_string(text)
        if finish_message is not None:
            finish_message(message)
        transport: Any = self.transport
        with transport.lock:
            transport._send_message(message)
        return self.wait_for_response(event)


class _Attentive(Packetizer):
    """Knows when it last heard of the other side."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.heard_at_s = time.monotonic()

    def read_message(self) -> Any:
        """The next packet."""
        packet = super().read_message()
        self.heard_at_s = time.monotonic()
        return packet


class Transport(ServiceRequestingTransport):
    """A client's transport that keeps `exit-signal` of each channel.

    It asks for the login service once, as RFC 4252 has it, and not again before each key, after
    which some servers hang up.
    """

    _channel_handler_table = {  # noqa: RUF012
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_REQUEST: _channel_request,
    }

    def ensure_session(self) -> None:
        """Ask for the login service, once."""
        if self._service_userauth_accepted:  # type: ignore[attr-defined]
            return
        message = paramiko.Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self._send_message(message)  # type: ignore[attr-defined]
        ends_at = time.monotonic() + self.auth_timeout
        while not self._service_userauth_accepted:  # type: ignore[attr-defined]
            if not self.is_active():
                raise self.get_exception() or EOFError("the server hung up")
            if time.monotonic() > ends_at:
                raise paramiko.SSHException("no answer to the request to log in")
            time.sleep(0.005)
        self.auth_handler = self.get_auth_handler()

    def get_auth_handler(self) -> _Login:
        """What carries out each attempt."""
        return _Login(self)

    def end_when_silent(self) -> None:
        """Ask for a sign of life when all is quiet; end after `SILENT_LINK_S` without one."""
        self.packetizer.set_keepalive(KEEPALIVE_S, self._ask_for_a_sign)
        threading.Thread(target=self._listen_for_signs, daemon=True).start()

    def _ask_for_a_sign(self) -> None:
        """A global request that no server knows: each has to answer it (RFC 4254, 4)."""
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)  # noqa: FBT003
        self._send_user_message(message)  # type: ignore[attr-defined]

    def _listen_for_signs(self) -> None:
        heard: Any = self.packetizer
        while self.is_active():
            if time.monotonic() - heard.heard_at_s > SILENT_LINK_S:
                self.saved_exception = TimeoutError(f"silent for {SILENT_LINK_S} s")
                self.close()
            time.sleep(1)


def opened(
    sock: Any, *, timeout_s: float, key_types: list[str], sha1_host_key: bool = False
) -> Transport:
    """A negotiated transport over `sock`, host key not yet checked; `key_types` come first.

    sha1_host_key: `ssh-rsa` will do where the server has nothing better.
    Raises paramiko's errors and OSError: use inside `translated`.
    """
    transport = Transport(sock, packetizer_class=_Attentive)
    if sha1_host_key:
        sha1_rsa.allow_for_host_key(transport)
    transport.daemon = True
    transport.banner_timeout = timeout_s
    transport.handshake_timeout = timeout_s
    transport.auth_timeout = timeout_s
    options = transport.get_security_options()
    options.ciphers = tuple(sorted(options.ciphers, key=lambda name: name not in _FIRST_CIPHERS))
    options.key_types = tuple(
        sorted(options.key_types, key=lambda name: not _is_one_of(name, key_types))
    )
    transport.start_client(timeout=timeout_s)
    if _notices_a_dead_link(sock):
        transport.set_keepalive(KEEPALIVE_S)
    else:
        transport.end_when_silent()
    return transport


def _notices_a_dead_link(sock: Any) -> bool:
    """Whether `harden` does something for it: not for a ProxyCommand or a channel of a jump."""
    return (
        isinstance(sock, socket.socket)
        and sock.family in (socket.AF_INET, socket.AF_INET6)
        and (hasattr(socket, "TCP_USER_TIMEOUT") or hasattr(socket, "TCP_CONNECTION_TIMEOUT"))
    )


def _is_one_of(algorithm: str, key_types: list[str]) -> bool:
    """`rsa-sha2-512` signs with a key of type `ssh-rsa` (RFC 8332)."""
    return ("ssh-rsa" if algorithm.startswith("rsa-") else algorithm) in key_types


def harden(sock: socket.socket) -> None:
    """Small packets at once, and an end in `DEAD_LINK_S` for a link that was cut silently."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with contextlib.suppress(OSError):
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_S * 1000)
        elif hasattr(socket, "TCP_CONNECTION_TIMEOUT"):  # macOS, Python 3.12
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONNECTION_TIMEOUT, DEAD_LINK_S)


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Around calls on the connection only: what fails there leaves as an error of ours."""
    try:
        yield
    except HalfbyteError:
        raise
    except paramiko.AuthenticationException as error:
        raise KeyRefused(
            f"{name} refused the login: {reason(error)}.", hint="Check user and key."
        ) from error
    except IncompatiblePeer as error:
        raise Unreachable(
            f"{name} and this host have no common algorithm: {reason(error)}.",
            hint="Update the SSH server of the board (keys other than ssh-rsa: `ssh-keygen -A`).",
        ) from error
    except paramiko.ChannelException as error:
        raise LinkLost(
            f"{name} opens no channel: {error.text}.", hint="Close other sessions and try again."
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise link_lost(name, reason(error)) from error


def link_lost(name: str, why: str) -> LinkLost:
    """The error for a connection that broke while in use."""
    return LinkLost(
        f"The connection to {name} broke: {why}.",
        hint="What arrived is kept: run the same command again and it goes on from there.",
    )


def reason(error: BaseException) -> str:
    """A few words without a full stop."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".")
