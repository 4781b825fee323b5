"""The embedded default target: this machine, reached as a board is, over SSH.

A real SSH server (asyncssh) on 127.0.0.1 with a home folder of its own, where what was sent stays
from run to run.  No root and no system package is needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from targets.deadline import Deadline
from targets.errors import Unreachable
from targets.hostkeys import HostKey, record
from targets.keys import make_key
from targets.openssh import NO_CONFIG
from targets.places import cache_dir
from targets.target import LOOPBACK, Target

START_S = 30.0


@contextlib.contextmanager
def started(
    *,
    home: Path | None = None,
    shell: str = "/bin/sh",
    password: str | None = None,
) -> Iterator[Target]:
    """A running server, as a Target that `targets.ssh.connect` takes as it is.

    home: made if need be; default: one in the cache folder, kept between runs.  shell: the user's
    login shell.  password: let in by password too.  Keys are new each time and removed at the end.
    Raises Unreachable if the server does not start.
    """
    home = home or cache_dir() / "loopback" / "home"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="halfbyte-loopback-") as name:
        keys = Path(name)
        host_key = make_key(keys / "host", comment="loopback host")
        client_key = make_key(keys / "client", comment="loopback client")
        options = {
            "home": str(home.resolve()),
            "host_key": (keys / "host").read_text(),
            "authorized_keys": client_key.line,
            "user": getpass.getuser(),
            "shell": shell,
            "password": password,
        }
        with _server(options) as port:
            known_hosts = keys / "known_hosts"
            record(known_hosts, "127.0.0.1", port, HostKey(host_key.type, host_key.blob))
            yield Target(
                LOOPBACK,
                "127.0.0.1",
                port=port,
                user=getpass.getuser(),
                key=keys / "client",
                notes="this machine, over SSH",
                python=base_python(),
                known_hosts=known_hosts,
                ssh_config=NO_CONFIG,
            )


@contextlib.contextmanager
def reachable(target: Target) -> Iterator[Target]:
    """`target` itself, or, for the loopback target that is not running, a running one.

    Choices made for it (threads, runtime, python, root, notes) are kept.
    """
    if not target.is_loopback or target.port is not None:
        yield target
        return
    with started() as running:
        chosen = {
            name: value
            for name in ("threads", "runtime", "python", "root")
            if (value := getattr(target, name)) is not None
        }
        yield dataclasses.replace(running, **chosen)


def base_python() -> str:
    """The interpreter that this one's environment was made from: what the board would have."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


@contextlib.contextmanager
def _server(options: Mapping[str, object]) -> Iterator[int]:
    """The server process; its port.  It ends when its standard input does."""
    here = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.loopback_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(here)},
        cwd=here,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(options).encode() + b"\n")
        process.stdin.flush()
        yield _port(process)
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


def _port(process: subprocess.Popen[bytes]) -> int:
    import selectors

    assert process.stdout is not None
    deadline = Deadline.after(START_S)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        answered = selector.select(deadline.remaining_s())
    line = process.stdout.readline() if answered else b""
    if not line:
        process.kill()
        said = process.communicate()[1].decode(errors="replace").strip().splitlines()
        raise Unreachable(
            f"The loopback server does not start: {said[-1] if said else 'no reason given'}",
            hint="`halfbyte doctor` looks at this machine.",
        )
    return int(json.loads(line)["port"])
