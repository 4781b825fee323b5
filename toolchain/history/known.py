"""The list of run folders: lines of JSON, one a folder; who writes to it holds a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from targets.files import write_whole
from targets.places import cache_dir

SCHEMA: Final = "halfbyte.known-runs"
VERSION: Final = 1
_MOST_BYTES: Final = 8 * 2**20  # of the list that are read: the newest
_LONGEST: Final = 4096  # characters of a path


def place() -> Path:
    """The folder of the list and of the index."""
    folder = cache_dir() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def add(folder: Path) -> None:
    """One line more; several processes may do so at once."""
    line = _line(folder.resolve())
    with _locked():
        descriptor = os.open(_file(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def folders() -> list[Path]:
    """Each once, in the order in which they were first written; lines of no use are passed over."""
    try:
        with _file().open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _MOST_BYTES))
            lines = stream.read(_MOST_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    found = (_path(line) for line in lines)
    return list(dict.fromkeys(path for path in found if path is not None))


def change(*, drop: Iterable[Path] = (), more: Iterable[Path] = ()) -> None:
    """Without the ones and with the others; all else stays, whoever wrote it meanwhile."""
    gone, new = set(drop), tuple(more)
    with _locked():
        before = folders()
        after = list(dict.fromkeys([*(path for path in before if path not in gone), *new]))
        if after != before:
            write_whole(_file(), b"".join(map(_line, after)), mode=0o600)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Nobody else writes the list meanwhile; without locks that is left to luck."""
    descriptor = os.open(place() / "known.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file() -> Path:
    return place() / "known.jsonl"


def _line(folder: Path) -> bytes:
    entry = {"schema": SCHEMA, "version": VERSION, "folder": os.fsdecode(folder)}
    return json.dumps(entry).encode("ascii") + b"\n"


def _path(line: bytes) -> Path | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or (entry.get("schema"), entry.get("version")) != (
        SCHEMA,
        VERSION,
    ):
        return None
    folder = entry.get("folder")
    if not isinstance(folder, str) or "\0" in folder or not 0 < len(folder) <= _LONGEST:
        return None
    path = Path(folder)
    return path if path.is_absolute() else None
