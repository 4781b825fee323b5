"""Files to send, named by their content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from targets.errors import InputError
from targets.files import sha256_file

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Item:
    """Bytes that are wanted on the board, from a file or from memory."""

    sha256: str
    size_bytes: int
    source: Path | bytes

    @classmethod
    def of_file(cls, path: Path, *, sha256: str | None = None) -> Item:
        """A file; it is read once here, unless its hash is known.  Raises InputError."""
        try:
            return cls(sha256 or sha256_file(path), path.stat().st_size, path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}.", hint="Check the path."
            ) from error

    @classmethod
    def of_bytes(cls, data: bytes) -> Item:
        """Bytes made by the program itself."""
        return cls(hashlib.sha256(data).hexdigest(), len(data), data)

    @property
    def label(self) -> str:
        """For messages."""
        return self.source.name if isinstance(self.source, Path) else self.sha256[:12]

    def beginning(self, count: int) -> bytes:
        """Its first bytes.  Raises OSError."""
        if isinstance(self.source, bytes):
            return self.source[:count]
        with self.source.open("rb") as stream:
            return stream.read(count)

    def chunks(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Its bytes in each span [start, end).  Raises InputError if it is shorter now."""
        if isinstance(self.source, bytes):
            stream: IO[bytes] = io.BytesIO(self.source)
        else:
            try:
                stream = self.source.open("rb")
            except OSError as error:
                raise changed(self.label) from error
        with stream:
            for start, end in spans:
                stream.seek(start)
                for at in range(start, end, CHUNK_BYTES):
                    data = stream.read(min(CHUNK_BYTES, end - at))
                    if len(data) < min(CHUNK_BYTES, end - at):
                        raise changed(self.label)
                    yield data

    def is_unchanged(self) -> bool:
        """The source still has the content it is named for."""
        return isinstance(self.source, bytes) or sha256_file(self.source) == self.sha256


def changed(name: str) -> InputError:
    """The error for a file that changed under our hands."""
    return InputError(
        f"{name} changed while it was being sent.", hint="Run again once nothing writes to it."
    )
