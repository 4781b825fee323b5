"""What both ways of sending have in common: what lies on a board, and what a board can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from targets.items import Item
from targets.stretches import Stretches

Advance = Callable[[float], None]


@dataclass(frozen=True)
class Room:
    """A file system of the board; None where it does not say."""

    file_system: str
    free_bytes: int | None
    free_files: int | None = None


@dataclass(frozen=True)
class Stored:
    """Of the files asked for: those that are whole, and the bytes there of those begun.

    pieces: whether the board can look for pieces of the others in files that it has.
    """

    have: frozenset[str]
    parts: Mapping[str, int]
    room: Room
    pieces: bool = False


class Board(Protocol):
    """The other end of an upload.

    bytes_sent: of files, so far.
    """

    bytes_sent: int

    def ask(self, items: Sequence[Item]) -> Stored:
        """What of these is there."""

    def lacking(self, items: Sequence[Item]) -> Mapping[str, Stretches]:
        """By hash: what of each, none of them whole there, the board cannot take from other files.

        May be asked once for each file.
        """

    def put(
        self,
        items: Sequence[Item],
        offsets: Mapping[str, int],
        lacking: Mapping[str, Stretches],
        advance: Advance,
    ) -> list[Item]:
        """Send what is lacking of each beyond its offset (no offset: all of the file).

        Those whose hash was wrong, and which are gone there, come back.
        """
