"""The loopback target's SSH server: a process of its own that ends with the one that started it.

Started by `targets.loopback`, which writes one JSON line of `Options` on its standard input and
keeps that pipe open; one JSON line {"port": N} comes back.  It behaves as sshd does to a command:
a shell of the user's runs it as a child in its own process group, in the user's home folder, with
an environment of its own, and exit status or signal are passed on.
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

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HANGUP_GRACE_S = 3.0
_POLL_PARENT_S = 0.5


@dataclasses.dataclass(frozen=True)
class Options:
    """What the server is to be like.  Keys are in OpenSSH's formats."""

    home: str
    host_key: str
    authorized_keys: str
    user: str
    shell: str = "/bin/sh"
    sftp: bool = False
    password: str | None = None  # None: keys only


class _Server(asyncssh.SSHServer):  # type: ignore[misc]
    """One client: one user, by key or, where there is one, by password."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def begin_auth(self, username: str) -> bool:
        return True

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


async def _run_command(process: asyncssh.SSHServerProcess[bytes], options: Options) -> None:
    """One exec request, from start to exit status."""
    if process.command is None:
        process.stderr.write(b"This server runs commands; it has no interactive shell.\n")
        process.exit(1)
        return
    child = await asyncio.create_subprocess_exec(
        options.shell,
        "-c",
        os.fsencode(process.command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=options.home,
        env=_environment(options, process),
        start_new_session=True,
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        status = await child.wait()
        await process.stdout.drain()
        await process.stderr.drain()
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)
    finally:
        await _hang_up(child)


async def _hang_up(child: asyncio.subprocess.Process) -> None:
    """End what a client left running."""
    if child.returncode is not None:
        return
    for sent in (signal.SIGHUP, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sent)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), HANGUP_GRACE_S)
            return


def _environment(options: Options, process: Any) -> dict[str, str]:
    host, port = process.get_extra_info("peername")[:2]
    return {
        "HOME": options.home,
        "USER": options.user,
        "LOGNAME": options.user,
        "SHELL": options.shell,
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "SSH_CLIENT": f"{host} {port} 22",
        "SSH_CONNECTION": f"{host} {port} 127.0.0.1 22",
    }


async def _serve(options: Options) -> None:
    async def run_command(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _run_command(process, options)

    server = await asyncssh.create_server(
        lambda: _Server(options),
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.import_private_key(options.host_key)],
        process_factory=run_command,
        sftp_factory=options.sftp or None,
        encoding=None,
        agent_forwarding=False,
        line_editor=False,
        x11_forwarding=False,
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
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
    for child in _children():
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)
    os._exit(0)


def _children() -> list[int]:
    try:
        listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in listed.split()]


def main() -> None:
    """Serve until the parent is gone."""
    parent = os.getppid()
    options = Options(**json.loads(sys.stdin.buffer.readline()))
    _end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
