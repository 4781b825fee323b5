"""What both ways of sending have in common: what lies on a board, and what a board can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from targets.items import Item

Advance = Callable[[float], None]


@dataclass(frozen=True)
class Room:
    """A file system of the board; None where it does not say."""

    file_system: str
    free_bytes: int | None
    free_files: int | None = None


@dataclass(frozen=True)
class Stored:
    """Of the files asked for: those that are whole, and the bytes there of those begun."""

    have: frozenset[str]
    parts: Mapping[str, int]
    room: Room


class Board(Protocol):
    """The other end of an upload."""

    def ask(self, items: Sequence[Item]) -> Stored:
        """What of these is there."""

    def put(
        self, items: Sequence[Item], offsets: Mapping[str, int], advance: Advance
    ) -> list[Item]:
        """Send each from its offset on; those whose hash was wrong (and which are gone there)."""
