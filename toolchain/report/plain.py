"""Values as other programs get them, in JSON and CSV; what is unknown is None."""

from __future__ import annotations

from typing import Any, Final

from toolchain.report.text import clean

_DIGITS: Final = 4
_FORMULA: Final = ("=", "+", "-", "@")  # a spreadsheet would run a text that begins so


def rounded(value: float | None, digits: int = _DIGITS) -> float | None:
    """As many digits after the point as can mean something."""
    return None if value is None else round(value, digits)


def cell(value: Any) -> Any:
    """One of a CSV file; foreign text is one line and no formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        words = clean(value)
        return f"'{words}" if words.startswith(_FORMULA) else words
    return value
