"""What `on_board/environment.py` may answer: checked once, so that nobody else need doubt it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from targets.errors import CommandFailed

Shape = Callable[[Any], bool]


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0  # true and false are no numbers


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _maybe(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def _object(**shapes: Shape) -> Shape:
    return lambda value: (
        isinstance(value, dict)
        and all(key in value and shape(value[key]) for key, shape in shapes.items())
    )


def _versions(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_maybe(_text), value.values()))


_STAMP: Final = _object(versions=_versions, size_bytes=_count)
_SHAPES: Final[Mapping[str, Shape]] = {
    "look": _object(
        stamp=_maybe(_STAMP),
        free_bytes=_count,
        free_inodes=_maybe(_count),
        mount=_text,
        available_bytes=_maybe(_count),
    ),
    "make": _object(stamp=_STAMP),
    "clean": _object(removed_bytes=_count),
}


def checked(name: str, asked: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of the board `name` to "look", "make" or "clean".  Raises CommandFailed."""
    if not _SHAPES[asked](answer):
        raise CommandFailed(
            f"What {name} says of its environment is not understood.",
            hint="Its Python or its storage may be damaged: `halfbyte target clean` removes what "
            "is there, and the next run makes it anew.",
        )
    return answer
