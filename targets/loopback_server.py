"""The loopback target's SSH server: a process of its own that ends with the one that started it.

Started by `targets.loopback`, which writes one JSON line of `Options` on its standard input and
keeps that pipe open; one JSON line {"port": N} comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asyncssh

from targets.loopback_session import CommandSession

_POLL_PARENT_S = 0.5


@dataclasses.dataclass(frozen=True)
class Options:
    """What the server is to be like.  Keys are in OpenSSH's formats."""

    home: str
    host_key: str
    authorized_keys: str
    user: str
    shell: str = "/bin/sh"
    password: str | None = None  # None: keys only


class _Server(asyncssh.SSHServer):  # type: ignore[misc]
    """One client: one user, by key or, where there is one, by password.  Commands only."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._connection: Any = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        allowed = self._options.authorized_keys.splitlines()
        with contextlib.suppress(OSError):
            file = Path(self._options.home, ".ssh", "authorized_keys")
            allowed += file.read_text(encoding="utf-8").splitlines()
        offered = key.export_public_key().decode().split()[1]
        return username == self._options.user and any(offered in line.split() for line in allowed)

    def password_auth_supported(self) -> bool:
        return self._options.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        return username == self._options.user and password == self._options.password

    def session_requested(self) -> object:
        client = self._connection.get_extra_info("peername")
        session = CommandSession(
            self._options.shell, self._options.home, self._options.user, client
        )
        return self._connection.create_server_channel(encoding=None), session


async def _serve(options: Options) -> None:
    server = await asyncssh.create_server(
        lambda: _Server(options),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.import_private_key(options.host_key)],
        agent_forwarding=False,
        x11_forwarding=False,
        line_editor=False,
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    await server.wait_closed()


def _end_with_parent(parent: int) -> None:
    """Exit when the pipe from the parent closes, or the parent is another process than it was.

    Not PR_SET_PDEATHSIG: that fires when the thread that started us ends, not the process.
    """

    def watch_pipe() -> None:
        while sys.stdin.buffer.read(1):
            pass
        _exit()

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_PARENT_S)
        _exit()

    for watch in (watch_pipe, watch_parent):
        threading.Thread(target=watch, daemon=True).start()


def _exit() -> None:
    """Take along every command that is still running."""
    for group in list(CommandSession.running):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    """Serve until the parent is gone."""
    parent = os.getppid()
    options = Options(**json.loads(sys.stdin.buffer.readline()))
    _end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
