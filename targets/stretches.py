"""What of a file has to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretches:
    """Parts of a file: (first byte, byte after the last) each, in order, none touching another."""

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def whole(cls, size_bytes: int) -> Stretches:
        """All of a file."""
        return cls(((0, size_bytes),) if size_bytes else ())

    def beyond(self, offset: int) -> Iterator[tuple[int, int]]:
        """What of them lies at `offset` or later."""
        return ((max(start, offset), end) for start, end in self.spans if end > offset)

    def size_bytes(self, offset: int = 0) -> int:
        """Bytes at `offset` or later."""
        return sum(end - start for start, end in self.beyond(offset))
