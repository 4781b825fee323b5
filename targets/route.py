"""A stream of bytes to a host's SSH port: straight, or by a ProxyCommand."""

from __future__ import annotations

import contextlib
import errno
import queue
import shutil
import socket
import subprocess
import threading
from typing import Any

from targets.deadline import Deadline
from targets.errors import Unreachable
from targets.transport import harden, reason

TCP_CONNECT_S = 15.0


def tcp(name: str, host: str, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection to the first address that answers.  Raises Unreachable, DeadlineExceeded."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in _addresses(name, host, port, deadline):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(TCP_CONNECT_S, deadline.wait_s(f"{name} to answer")))
            sock.connect(address)
            harden(sock)
        except OSError as error:
            sock.close()
            failure = error
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    raise _unreachable(name, host, port, failure) from failure


def by_command(name: str, command: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A ProxyCommand of the user's own ssh configuration as a socket, run as OpenSSH runs it."""
    shell = shutil.which("sh") or "/bin/sh"
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [shell, "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise Unreachable(
                f"The ProxyCommand for {name} does not start: {reason(error)}.",
                hint=f"Try it by hand: {command}",
            ) from error
    return ours, process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a ProxyCommand that has not ended with its socket."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _addresses(name: str, host: str, port: int, deadline: Deadline) -> list[Any]:
    """getaddrinfo takes no timeout: it waits in a thread of its own."""
    answers: queue.Queue[list[Any] | OSError] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=ask, daemon=True).start()
    awaited = f"the address of {host}"
    try:
        answer = answers.get(timeout=deadline.wait_s(awaited))
    except queue.Empty:
        raise deadline.exceeded(awaited) from None
    if isinstance(answer, OSError):
        raise _unreachable(name, host, port, answer) from answer
    return answer


def _unreachable(name: str, host: str, port: int, error: OSError | None) -> Unreachable:
    where = host if name == host else f"{name} ({host})"
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"The name of {where} is not known here: {reason(error)}.",
            hint="Check host in targets.toml or HostName in ~/.ssh/config; is the board on?",
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"{where} refused the connection on port {port}.",
            hint="Is its SSH server running (`sudo systemctl enable --now ssh`), on this port?",
        )
    if isinstance(error, TimeoutError) or (error and error.errno == errno.ETIMEDOUT):
        return Unreachable(
            f"{where} does not answer on port {port}.",
            hint="Is the board on, and in this network? A firewall may drop the packets.",
        )
    why = reason(error) if error else "it has no address"
    return Unreachable(
        f"{where} cannot be reached on port {port}: {why}.", hint="Check the network and the host."
    )
