"""SSH servers of Debian 11 to 13 as Debian sets them up, run on this machine's own CPU.

Each is a root file system of that release under `chroot`, with the sshd_config that its package
ships; what is written there lies in memory and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from targets.hostkeys import HostKey, record
from targets.keys import PublicKey, make_key, public_part
from targets.openssh import NO_CONFIG
from targets.target import Target
from tests.lab import rootfs
from tests.targets.servers import free_port, running

SUITES = {"bullseye": "Debian 11", "bookworm": "Debian 12", "trixie": "Debian 13"}
HOME = "/home/pi's own"
PASSWORD = "it's raspberry"
_PAM = "".join(f"{kind} required pam_unix.so\n" for kind in ("auth", "account", "session"))
_INSIDE = """\
set -eu
home=$1; shift
root=$1 lower=$2; shift 2
mount -t tmpfs none "$root"
mkdir "$root/upper" "$root/work" "$root/root"
mount -t overlay -o "lowerdir=$lower,upperdir=$root/upper,workdir=$root/work" none "$root/root"
root=$root/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 none "$root/run"
mkdir -p "$root/run/sshd" "$root/etc/dropbear"
cp -r "$0.files/." "$root/"
chmod 640 "$root/etc/shadow"
mkdir -p "$root$home/.ssh"
[ ! -e "$0.keys" ] || cp "$0.keys" "$root$home/.ssh/authorized_keys"
chmod 700 "$root$home/.ssh"
chown -R 1000:1000 "$root$home"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Server:
    """A server that is up.  The target names a key that the server knows, unless `password`."""

    target: Target
    suite: str


def system(suite: str) -> Path:
    """The unpacked release, or skip: only `scripts/lab test` fetches it."""
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if architecture not in rootfs.TRIPLE:
        pytest.skip(f"no root file system for {architecture or 'a system without dpkg'}")
    wanted = rootfs.System(architecture, suite)
    if not rootfs.is_made(wanted) and not os.environ.get("HALFBYTE_LAB"):
        pytest.skip(f"{SUITES[suite]} is not unpacked (`scripts/lab test` fetches it)")
    return rootfs.root_of(wanted)


@contextlib.contextmanager
def server(
    suite: str,
    folder: Path,
    *,
    kind: str = "sshd",
    shell: str = "/bin/bash",
    password: bool = False,
    settings: tuple[str, ...] = (),
    bashrc: str = "",
) -> Iterator[Server]:
    """Debian's OpenSSH or Dropbear with a user `pi`, whose home is awkward to name.

    password: no key is known there, but PASSWORD is right.
    """
    lower = system(suite)
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and unshare")
    folder.mkdir(parents=True, exist_ok=True)
    inside, files = folder / "inside", folder / "inside.files"
    _furnish(files, lower, shell)
    client = make_key(folder / "client", comment="client")
    if not password:
        (folder / "inside.keys").write_text(client.line + "\n")
    if bashrc:
        home = files / HOME.lstrip("/")
        home.mkdir(parents=True)
        (home / ".bashrc").write_text(bashrc)
    inside.write_text(_INSIDE)
    root = folder / "root"
    root.mkdir()
    port = free_port()
    host_key, words = _command(kind, folder, files, port, settings)
    command = ["unshare", "-m", "sh", str(inside), HOME, str(root), str(lower), *words]
    with running(command, port, folder / "log"):
        known = folder / "known_hosts"
        record(known, "127.0.0.1", port, HostKey(host_key.type, host_key.blob))
        yield Server(
            Target(
                suite,
                "127.0.0.1",
                port=port,
                user="pi",
                key=folder / "client",
                known_hosts=known,
                ssh_config=NO_CONFIG,
            ),
            suite,
        )


def _furnish(files: Path, lower: Path, shell: str) -> None:
    etc = files / "etc"
    (etc / "ssh").mkdir(parents=True)
    (etc / "pam.d").mkdir()
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    passwd = (lower / "etc/passwd").read_text().splitlines()
    others = [line for line in passwd if not line.startswith("pi:")]
    (etc / "passwd").write_text("\n".join([*others, f"pi:x:1000:1000::{HOME}:{shell}"]) + "\n")
    (etc / "shells").write_text(f"/bin/sh\n/bin/bash\n{shell}\n")
    (etc / "shadow").write_text(
        f"root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\npi:{hashed}:19000:0:99999:7:::\n"
    )
    for name in ("sshd", "dropbear", "other"):
        (etc / "pam.d" / name).write_text(_PAM)


def _command(
    kind: str, folder: Path, files: Path, port: int, settings: tuple[str, ...]
) -> tuple[PublicKey, list[str]]:
    """The host's key, and the words that become the server inside."""
    if kind == "sshd":
        key = make_key(folder / "host", comment="host")
        for name in ("host", "host.pub"):
            shutil.copy(folder / name, files / "etc" / "ssh" / name)
        options = ("ListenAddress=127.0.0.1", "PidFile=none", *settings)
        words = ["/usr/sbin/sshd", "-D", "-e", "-f", "/usr/share/openssh/sshd_config"]
        words += ["-h", "/etc/ssh/host", "-p", str(port)]
        return key, [*words, *(word for option in options for word in ("-o", option))]
    made = subprocess.run(
        [shutil.which("dropbearkey") or "/usr/bin/dropbearkey", "-t", "ed25519", "-f",
         str(folder / "host")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(row for row in made.stdout.splitlines() if row.startswith("ssh-ed25519"))
    (folder / "host.pub").write_text(line + "\n")
    shutil.copy(folder / "host", files / "etc" / "ssh" / "host")
    found = public_part(folder / "host.pub")
    assert found is not None
    return found, ["dropbear", "-F", "-E", "-r", "/etc/ssh/host", "-p", f"127.0.0.1:{port}"]
