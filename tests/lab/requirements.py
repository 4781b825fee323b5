"""What the lab needs of this machine, and the command that brings what is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Program or file: the Debian package that has it.
PACKAGES = {
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-arm-static": "qemu-user-static",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "scp": "openssh-client",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
# Of whole machines alone.
PACKAGES_OF_MACHINES = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mke2fs": "e2fsprogs",
    "modprobe": "kmod",
}
_PLACES = "/usr/sbin:/sbin"


def missing(*, machines: bool = True) -> list[str]:
    """Sentences; none where the lab can start.  machines: whole ones too, not hosts alone."""
    found = []
    if os.geteuid() != 0:
        found.append("The lab makes namespaces, mounts and network devices: run it as root.")
    needed = PACKAGES | (PACKAGES_OF_MACHINES if machines else {})
    packages = sorted({package for name, package in needed.items() if not _is_there(name)})
    if packages:
        wanted = " ".join(packages)
        found.append(
            f"Debian packages are missing: apt-get install --no-install-recommends {wanted}"
        )
    if not Path("/dev/net/tun").exists():
        found.append("The kernel has no /dev/net/tun: modprobe tun")
    if not Path("/proc/sys/fs/binfmt_misc").is_dir():
        found.append("The kernel cannot run foreign programs: modprobe binfmt_misc")
    return found


def _is_there(name: str) -> bool:
    if name.startswith("/"):
        return Path(name).exists()
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PLACES}") is not None
