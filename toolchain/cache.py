"""Folders of results that were expensive to make, named by what decides their content.

Key.  `content_key` hashes everything that decides the bytes: hashes of the inputs, options,
versions of the tools.  Nothing is ever looked up by path, name or date.

Layout.  `<root>/<kind>/<key>/` holds the result's files and `entry.json`, which names each with its
size and sha256; `<key>.lock` beside it is empty.  A result is made in `.<key>.*.part` and renamed
into place only if making it ended well; an entry whose files no longer match is made again.

Who may write.  Any number of processes: whoever needs an entry first makes it under the lock, the
others wait for it and find it.  A lock ends with the process that holds it.

How to clear.  Delete the folder, or a part of it, while nothing of ours runs; or `Cache.clear`.
All of it can be made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from targets.files import sha256_file, write_whole

SCHEMA: Final = "halfbyte.cache"
VERSION: Final = 1
WAIT_TOLD_S: Final = 1.0
"""Waiting for another process is told after this."""

_POLL_S: Final = 0.05
_ENTRY: Final = "entry.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A finished result.  found: it was there already; False where this call made it."""

    folder: Path
    found: bool


def content_key(parts: Mapping[str, Any]) -> str:
    """Hex sha256 of `parts` (JSON values), whatever their order.

    >>> content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """Results of one kind under a root folder."""

    def __init__(self, root: Path, kind: str) -> None:
        self._folder = root / kind

    def get_or_make(self, key: str, make: Callable[[Path], None]) -> Entry:
        """The entry of `key`; `make` fills an empty folder where there is none yet.

        Whatever `make` raises goes through, and nothing of its work is kept.  Raises OSError.
        """
        if (folder := self._sound(key)) is not None:
            return Entry(folder, found=True)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(key):
            if (folder := self._sound(key)) is not None:  # another process made it meanwhile
                return Entry(folder, found=True)
            return Entry(self._make(key, make), found=False)

    def clear(self) -> None:
        """Remove every entry of this kind that nobody is making."""
        for lock in sorted(self._folder.glob("*.lock")):
            with self._locked(lock.stem):
                self._remove(lock.stem)

    def _make(self, key: str, make: Callable[[Path], None]) -> Path:
        self._remove(key)  # what a killed process left half made, or what no longer matches
        part = Path(tempfile.mkdtemp(prefix=f".{key}.", suffix=".part", dir=self._folder))
        try:
            make(part)
            files = {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
                for path in sorted(part.iterdir())
            }
            document = {"schema": SCHEMA, "version": VERSION, "files": files}
            write_whole(part / _ENTRY, json.dumps(document, indent=1).encode())
            _sync(part)
            return part.rename(self._folder / key)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise

    def _sound(self, key: str) -> Path | None:
        """The folder of a finished entry whose files are as they were made."""
        folder = self._folder / key
        try:
            document = json.loads((folder / _ENTRY).read_bytes())
            if (document["schema"], document["version"]) != (SCHEMA, VERSION):
                return None
            for name, written in document["files"].items():
                if sha256_file(folder / Path(name).name) != written["sha256"]:
                    raise ValueError(f"{name} changed since it was made")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s: %s; it is made again", folder, error)
            return None
        return folder

    def _remove(self, key: str) -> None:
        for left in (self._folder / key, *self._folder.glob(f".{key}.*.part")):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with (self._folder / f"{key}.lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait(stream, key)
            yield

    def _wait(self, stream: IO[bytes], key: str) -> None:
        """For the lock that another process holds; told once it takes longer than a moment."""
        told_at = time.monotonic() + WAIT_TOLD_S
        while time.monotonic() < told_at:
            time.sleep(_POLL_S)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        _log.warning(
            "waiting for another process that is making the same (%s, %s...), which is then taken "
            "from there; Ctrl-C is safe",
            self._folder.name,
            key[:12],
        )
        fcntl.flock(stream, fcntl.LOCK_EX)


def _sync(folder: Path) -> None:
    """All files of a folder, and their names, are on the disk."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
