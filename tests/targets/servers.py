"""Real SSH servers on free ports of 127.0.0.1, each with keys and a home folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import loopback
from targets.hostkeys import HostKey, record
from targets.keys import PublicKey, make_key, public_part
from targets.openssh import NO_CONFIG
from targets.target import Target

AWKWARD_HOME = "ho me's"


def needs(program: str, package: str) -> str:
    """Path of a program, or skip."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def awkward_home(folder: Path) -> Path:
    home = folder / AWKWARD_HOME
    home.mkdir(parents=True, exist_ok=True)
    return home


@contextlib.contextmanager
def openssh(
    folder: Path, *, config: str = "", shell: str | None = None, key: PublicKey | None = None
) -> Iterator[Target]:
    """OpenSSH's sshd, run by this user for this user; `shell` stands in for the login shell."""
    program = needs("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation wants it
    folder.mkdir(parents=True, exist_ok=True)
    host_key = make_key(folder / "host", comment="host")
    key = key or make_key(folder / "client", comment="client")
    (folder / "authorized_keys").write_text(key.line + "\n")
    port = free_port()
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f'SetEnv HOME="{awkward_home(folder)}"',
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "PasswordAuthentication no",
        "Subsystem sftp internal-sftp",
        config,
    ]
    if shell is not None:
        lines.append(f'ForceCommand exec {shell} -c "$SSH_ORIGINAL_COMMAND"')
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    command = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
    with running(command, port, folder / "log"):
        yield _target("openssh", folder, port, host_key)


@contextlib.contextmanager
def dropbear(folder: Path) -> Iterator[Target]:
    """Dropbear, in a mount namespace where the user's home is a folder of the test."""
    program = needs("dropbear", "dropbear-bin")
    unshare = needs("unshare", "util-linux")
    folder.mkdir(parents=True, exist_ok=True)
    home = awkward_home(folder)
    passwd_home = Path("~").expanduser() if "HOME" not in os.environ else _passwd_home()
    trial = [unshare, "-m", "mount", "--bind", str(home), str(passwd_home)]
    if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        pytest.skip("dropbear reads keys from the real home only, and mounting needs root")
    client = make_key(folder / "client", comment="client")
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    (home / ".ssh" / "authorized_keys").write_text(client.line + "\n")
    (home / ".ssh" / "authorized_keys").chmod(0o600)
    host = folder / "dropbear_host"
    made = subprocess.run(
        [needs("dropbearkey", "dropbear-bin"), "-t", "ed25519", "-f", str(host)],
        capture_output=True,
        text=True,
        check=True,
    )
    host_line = next(ln for ln in made.stdout.splitlines() if ln.startswith("ssh-ed25519"))
    (folder / "host.pub").write_text(host_line + "\n")
    host_key = public_part(folder / "host.pub")
    assert host_key is not None
    port = free_port()
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    command = [unshare, "-m", "sh", "-c", script, "sh", str(home), str(passwd_home)]
    server = [program, "-F", "-E", "-s", "-r", str(host), "-p", f"127.0.0.1:{port}"]
    with running([*command, *server, "-P", str(folder / "pid")], port, folder / "log"):
        yield _target("dropbear", folder, port, host_key)


@contextlib.contextmanager
def embedded(folder: Path, shell: str = "/bin/sh") -> Iterator[Target]:
    """The loopback target's own server, with a home that is awkward to name."""
    with loopback.started(home=awkward_home(folder), shell=shell) as target:
        yield target


def _passwd_home() -> Path:
    import pwd

    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def _target(name: str, folder: Path, port: int, host_key: PublicKey) -> Target:
    known_hosts = folder / "known_hosts"
    known_hosts.unlink(missing_ok=True)
    record(known_hosts, "127.0.0.1", port, HostKey(host_key.type, host_key.blob))
    return Target(
        name,
        "127.0.0.1",
        port=port,
        user=getpass.getuser(),
        key=folder / "client",
        known_hosts=known_hosts,
        ssh_config=NO_CONFIG,
    )


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server in the foreground, until the block ends; it answers on `port` when it begins."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def at_port(target: Target, port: int) -> Target:
    """The same board behind another port (a link of the test's), with the same key known."""
    assert target.known_hosts is not None
    text = target.known_hosts.read_text()
    target.known_hosts.write_text(text + text.replace(f"]:{target.port} ", f"]:{port} "))
    return dataclasses.replace(target, port=port)
