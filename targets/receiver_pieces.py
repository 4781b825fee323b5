"""Pieces of files that lie on the board already, so that they need not be sent.

Part of `targets/receiver.py`: sent to the board, Python 3.7 or newer there.  `SHA.pieces` beside a
file lists its pieces: 6 bytes of the SHA-256 of each and 2 of its size, in order.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

ENTRY = struct.Struct("<6sH")
MOST_PIECES = 1 << 17
MOST_LISTED_BYTES = 8 << 20
MOST_SOURCES = 64


class Pieces:
    """Those of one file that is to come, and where each lies that is here."""

    def __init__(self, table: bytes) -> None:
        self.table = table
        # Descriptor, and place in that file.
        self.sources: dict[bytes, tuple[int, int]] = {}

    def look_up(self, folder: Path) -> str:
        """Find them in the whole files of `folder`; for each piece "1" or "0"."""
        wanted = dict(ENTRY.iter_unpack(self.table))
        newest = sorted(folder.glob("*.pieces"), key=lambda path: -path.stat().st_mtime)
        listed = opened = 0
        for path in newest:
            if listed > MOST_LISTED_BYTES or opened >= MOST_SOURCES:
                break
            with contextlib.suppress(OSError):  # whatever is wrong with it, its bytes are sent
                entries = path.read_bytes()[: MOST_PIECES * ENTRY.size]
                listed += len(entries)
                opened += self._take_from(path.with_suffix(""), entries, wanted)
        return "".join("01"[name in self.sources] for name, _ in ENTRY.iter_unpack(self.table))

    def _take_from(self, whole: Path, entries: bytes, wanted: dict[bytes, int]) -> bool:
        """Note what a file has of what is wanted still; whether it has anything."""
        places, at = [], 0
        for name, size in ENTRY.iter_unpack(entries[: len(entries) // ENTRY.size * ENTRY.size]):
            if wanted.get(name) == size and name not in self.sources:
                places.append((name, at, size))
            at += size
        if not places or not whole.exists():
            return False
        source = os.open(whole, os.O_RDONLY)  # open to the end: it may be removed meanwhile
        for name, at, size in places:
            if hashlib.sha256(os.pread(source, size, at)).digest().startswith(name):
                self.sources[name] = (source, at)
        return True

    def runs(self) -> Iterator[tuple[int, tuple[int, int] | None]]:
        """The file in order: the end of each stretch, and where it lies; None where it is sent."""
        at, sent = 0, False
        for name, size in ENTRY.iter_unpack(self.table):
            source = self.sources.get(name)
            if source is not None:
                if sent:
                    yield at, None
                yield at + size, source
            sent = source is None
            at += size
        if sent:
            yield at, None

    def write(self, path: Path) -> None:
        """As a list, if there is room; not synced, as what is wrong in it is not found later."""
        with contextlib.suppress(OSError):
            beside = path.with_name(f"{path.name}-{os.getpid()}")
            beside.write_bytes(self.table)
            beside.rename(path)
