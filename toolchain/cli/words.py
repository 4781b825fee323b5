"""The words of a command line as people type them, before click reads them."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]+")
_RECIPE: Final = re.compile(r"float32|w[0-9][a-z0-9]*(-[a-z0-9]+)?")  # misspelt ones too
SEVERAL: Final = {"--bits": _NUMBER, "--imgsz": _NUMBER, "--recipe": _RECIPE}
"""Options that take several words, one after another, and what such words look like."""


@dataclasses.dataclass(frozen=True)
class Spared:
    """Words in which the last one that `spread` gave to an option stands for itself."""

    words: list[str]
    option: str
    word: str


def spread(arguments: list[str]) -> list[str]:
    """`--bits 4 8` as `--bits 4 --bits 8`: the form people type, which click does not know."""
    return _spread(arguments)[0]


def sparing_last(arguments: list[str]) -> Spared | None:
    """The same, but for the last one: it may be the name of a file or folder.

    None where no word was given to an option by `spread`.
    """
    words, repeated = _spread(arguments)
    if not repeated:
        return None
    place = repeated[-1]
    return Spared(words[:place] + words[place + 1 :], words[place], words[place + 1])


def _spread(arguments: list[str]) -> tuple[list[str], list[int]]:
    """The words, and the places of the options among them that nobody typed."""
    words: list[str] = []
    repeated: list[int] = []
    option = ""
    for index, word in enumerate(arguments):
        if word == "--":
            return words + arguments[index:], repeated
        name = word.split("=", 1)[0]
        if name in SEVERAL:
            words += [name, word[len(name) + 1 :]] if "=" in word else [word]
            option = name
            continue
        if not option or not SEVERAL[option].fullmatch(word):
            option = ""
        elif words[-1] != option:
            repeated.append(len(words))
            words.append(option)
        words.append(word)
    return words, repeated
