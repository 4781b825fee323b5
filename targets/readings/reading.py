"""What a reading is: a command on the board, and a pure parser of what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
LONGEST = 256 * 1024
"""Characters of an output that a parser looks at; no tool here says a tenth of it."""


@dataclass(frozen=True)
class Reading(Generic[T_co]):
    """name: that of its recorded cases.  command: run as it is, without a shell around it.

    parse: from all that the command printed (standard error too, so that its complaint is heard)
    to a frozen value.  It raises nothing and keeps to what it knows: a field that is missing or
    new costs itself only, and a value that is not told is None.
    root: without root the tool says little or nothing.
    """

    name: str
    command: tuple[str, ...]
    parse: Callable[[str], T_co]
    root: bool = False


def whole(text: str | None) -> int | None:
    """Text as a whole number of at most 18 digits."""
    text = (text or "").strip()
    sign = text[:1] in ("-", "+")
    digits = text[1:] if sign else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def decimal(text: str | None) -> float | None:
    """Text as a plain decimal number ("48.2", "-256"); no exponent, no infinity, no blanks."""
    text = text or ""
    parts = text.removeprefix("-").split(".")
    plain = len(parts) <= 2 and all(part.isascii() and part.isdigit() for part in parts)
    return float(text) if plain and len(text) <= 40 else None


def plain(value: Any) -> str:
    """A short text for a message: one line, 120 characters."""
    return " ".join(str(value).split())[:120]


def complaint(text: str) -> str:
    """Why an output tells nothing, for a tool that has no better explanation."""
    if "not found" in text or "No such file" in text:
        return "the tool is not installed"
    return f"not understood: {plain(text)}" if text.strip() else "it says nothing"
