"""Root file systems of Debian for foreign CPUs: unpacked once, by content kept in the cache.

No program of the foreign system runs meanwhile (mmdebstrap's variant `extract`), so it takes a
minute and not ten; what a package's maintainer scripts would have set up, and we need, is done by
`_finish`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.places import cache

_VERSION = 1  # of what `_finish` does
# fmt: off
_BASE = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "gawk", "grep",
    "gzip", "hostname", "libc-bin", "libgomp1", "libstdc++6", "login", "mawk", "openssh-server",
    "openssh-sftp-server", "passwd", "procps", "python3", "sed", "sudo", "tar", "util-linux",
    "iproute2", "fish", "tcsh", "mount", "dropbear-bin",
)
# fmt: on
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
TRIPLE = {
    "amd64": "x86_64-linux-gnu",
    "arm64": "aarch64-linux-gnu",
    "armhf": "arm-linux-gnueabihf",
}


@dataclass(frozen=True)
class System:
    """What is unpacked; equal ones share a folder."""

    architecture: str  # Debian's word: "arm64", "armhf"
    suite: str = "bookworm"
    packages: tuple[str, ...] = ()  # besides what every board has
    kernel: bool = False  # a kernel and busybox instead of a system

    @property
    def name(self) -> str:
        """Of its folder in the cache: decided by all that goes in."""
        decides = json.dumps([_VERSION, self.suite, self.architecture, self.wanted, _LEFT_OUT])
        kind = "kernel" if self.kernel else "system"
        digest = hashlib.sha256(decides.encode()).hexdigest()[:8]
        return f"{self.suite}-{self.architecture}-{kind}-{digest}"

    @property
    def wanted(self) -> tuple[str, ...]:
        """Debian packages; what they depend on comes along."""
        if self.kernel:
            return (f"linux-image-{self.architecture}", "busybox-static")
        return (*_BASE, *self.packages)


def root_of(system: System) -> Path:
    """The unpacked system, made if need be."""
    folder = cache() / system.name
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache(), prefix="making-") as making:
        root = Path(making) / "root"
        _unpack(system, root)
        if not system.kernel:
            _finish(root, TRIPLE[system.architecture])
        root.rename(folder)
    return folder


def is_made(system: System) -> bool:
    """Nothing is to be fetched for it."""
    return (cache() / system.name).is_dir()


def _unpack(system: System, root: Path) -> None:
    uri, keyring = _archive()
    source = f"deb [signed-by={keyring}] {uri} {system.suite} main"
    command = ["mmdebstrap", f"--architectures={system.architecture}", "--variant=extract"]
    command += [f"--include={','.join(system.wanted)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    done = subprocess.run(
        [*command, system.suite, str(root), source], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap failed for {system.name}:\n{done.stderr[-2000:]}")


def _archive() -> tuple[str, str]:
    """Where this machine itself gets Debian's packages from, and the keys that sign them."""
    wanted = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        origin, codename, component, uri = line.split("|")
        if origin == "Debian" and component == "main" and "-" not in codename:
            return uri, "/usr/share/keyrings/debian-archive-keyring.gpg"
    raise RuntimeError("this machine has no Debian archive: run `apt-get update`, on Debian")


def _finish(root: Path, triple: str) -> None:
    etc, usr = root / "etc", root / "usr"
    for name in ("passwd", "group"):
        if not (etc / name).exists():
            shutil.copy(usr / "share" / "base-passwd" / f"{name}.master", etc / name)
    _append(etc / "passwd", "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin")
    _append(etc / "passwd", "pi:x:1000:1000::/home/pi:/bin/bash")
    _append(etc / "group", "pi:x:1000:")
    for user in ("root", "pi", "sshd"):
        _append(etc / "shadow", f"{user}:*:19000:0:99999:7:::")
    (etc / "shadow").chmod(0o640)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    home = root / "home" / "pi"
    home.mkdir(parents=True)
    home.chmod(0o755)
    shutil.chown(home, 1000, 1000)
    for link, to in (("bin/sh", "dash"), ("usr/bin/awk", "mawk")):
        if not (root / link).exists():
            (root / link).symlink_to(to)
    # Debian's alternatives, of which numpy needs two.
    libraries = usr / "lib" / triple
    for name in ("blas", "lapack"):
        if (libraries / name).is_dir() and not (libraries / f"lib{name}.so.3").exists():
            (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")


def _append(path: Path, line: str) -> None:
    lines = path.read_text().splitlines() if path.exists() else []
    name = line.partition(":")[0]
    if not any(known.partition(":")[0] == name for known in lines):
        path.write_text("\n".join([*lines, line]) + "\n")
