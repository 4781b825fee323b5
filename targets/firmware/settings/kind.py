"""What all kinds of settings have in common, and what was seen on a board."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

KEEP: Final = "keep"  # as a wanted value: leave it as it is

# What a TOML file may hold as a value: text, a number, true or false, a list of texts.
Value = str | int | bool | tuple[str, ...]


@dataclass(frozen=True)
class Knob:
    """Something on the board that can be read and written (targets/provision/on_board/knobs.py).

    kind: "file", "mode", "clocks", "swap" or "service".  path: of the file or swap area; else the
    name of the service, or nothing.
    """

    kind: str
    path: str = ""


@dataclass(frozen=True)
class Row:
    """One value on a board: what is in force, what is wanted.

    where: the policy, fan or swap area, "" where there is only one.  now: None where it could not
    be read.  wanted: None where it is to stay as it is, or where the board lacks it; then `note`
    says why.  knob, value: what to write to get there; None: nothing can.
    """

    key: str
    where: str
    now: str | None
    wanted: str | None
    knob: Knob | None = None
    value: str | None = None
    note: str = ""

    @property
    def in_force(self) -> bool | None:
        """None where nothing is wanted."""
        return None if self.wanted is None else self.now == self.wanted


@dataclass(frozen=True)
class Said:
    """A command's output on the board; status None: it is not there, or did not end."""

    status: int | None
    text: str


@dataclass(frozen=True)
class Seen:
    """What a board's files and commands said.

    files: text by path; None where the file is there and cannot be read.
    commands: by their words, those that were asked for.
    """

    files: Mapping[str, str | None]
    commands: Mapping[str, Said] = field(default_factory=dict)
    boot_id: str = ""
    uid: int | None = None

    def text(self, path: str) -> str | None:
        """Of a file, without blanks at its ends; None where there is none to read."""
        found = self.files.get(path)
        return None if found is None else found.strip("\0 \t\r\n")

    def number(self, path: str) -> int | None:
        """Of a file that holds one whole number."""
        found = self.text(path)
        return int(found) if found and re.fullmatch(r"-?[0-9]{1,18}", found) else None

    def matching(self, pattern: str) -> list[tuple[str, re.Match[str]]]:
        """Paths that a regular expression matches as a whole, in the order of their numbers."""
        found = [(path, match) for path in self.files if (match := re.fullmatch(pattern, path))]
        return sorted(found, key=lambda item: _natural(item[0]))


Rows = Callable[[str, Value, Seen], Sequence[Row]]


@dataclass(frozen=True)
class Kind:
    """A kind of setting.

    check: why a value cannot be, None if it can.  rows: (key, wanted, seen) to what is now and
    what is wanted, one row for each place that has it; a board that lacks it gives one row with a
    note.  files, commands: what must be looked at for that.  snapshot: patterns of files that
    putting it in force may change besides.
    """

    key: str
    unit: str
    check: Callable[[Value], str | None]
    rows: Rows
    files: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    snapshot: tuple[str, ...] = ()
    needs_reboot: bool = False
    by_policy: bool = False


def absent(key: str, why: str) -> list[Row]:
    """The rows of a setting that the board does not have."""
    return [Row(key, "", None, None, note=why)]


def numbers(text: str | None) -> list[int]:
    """Whole numbers among the words of a text."""
    return [int(word) for word in (text or "").split() if re.fullmatch(r"[0-9]{1,18}", word)]


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", path)]
