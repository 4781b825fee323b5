"""The first file system of a machine: busybox, kernel modules, and files laid over the root.

It mounts the root file system, copies `/lab` over it (keys, the SSH server's configuration, what
runs as process 1) and goes over to it: so one disk image serves every machine.
"""

from __future__ import annotations

import gzip
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.places import HERE


def build(kernel: Path, modules: Sequence[str], laid_over: Path, out: Path) -> None:
    """Write the archive.  kernel: an unpacked kernel package with busybox beside it."""
    version = kernel_version(kernel)
    if not (kernel / "lib" / "modules" / version / "modules.dep").exists():
        subprocess.run(["depmod", "-b", str(kernel), version], check=True)
    entries: list[tuple[str, int, bytes]] = [
        ("init", stat.S_IFREG | 0o755, (HERE / "machine-init.sh").read_bytes()),
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "proc", "sys", "dev", "root")),
        ("bin/busybox", stat.S_IFREG | 0o755, (kernel / "bin" / "busybox").read_bytes()),
        ("modules", stat.S_IFDIR | 0o755, b""),
    ]
    # In the order in which they can be loaded.
    for place, path in enumerate(_files_of(kernel, version, modules)):
        name = f"modules/{place:03}-{path.name}"
        entries.append((name, stat.S_IFREG | 0o644, path.read_bytes()))
    entries += _below(laid_over, "lab")
    with gzip.open(out, "wb", compresslevel=1) as stream:
        for number, entry in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
            stream.write(_member(number, *entry))


def kernel_version(kernel: Path) -> str:
    """The word in the names of its files: "6.1.0-50-arm64"."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    return image.name.removeprefix("vmlinuz-")


def _files_of(kernel: Path, version: str, modules: Sequence[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for name in modules:
        words = ["modprobe", "-d", str(kernel), "-S", version, "--show-depends", name]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            word, _, path = line.partition(" ")
            if word == "insmod":
                found[Path(path.split()[0])] = None
    return list(found)


def _below(folder: Path, name: str) -> Iterator[tuple[str, int, bytes]]:
    yield name, stat.S_IFDIR | 0o755, b""
    for path in sorted(folder.rglob("*")):
        inside = f"{name}/{path.relative_to(folder)}"
        mode = path.stat().st_mode
        yield inside, mode, b"" if path.is_dir() else path.read_bytes()


def _member(inode: int, name: str, mode: int, data: bytes) -> bytes:
    """One file in the "newc" form (Linux Documentation/driver-api/early-userspace)."""
    encoded = os.fsencode(name) + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
