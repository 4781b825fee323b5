"""Names of classes, and whether what is said about them agrees with the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.detector.tree import Module, printable
from toolchain.errors import LabelsDisagree

_MAX_NAME = 100


def checked_names(
    root: Module, head: Module, classes: int, given: Sequence[str] | None
) -> tuple[tuple[str, ...], str | None]:
    """One name for each class of the head, and a note where there were none.

    given: the user's own list, which goes before the checkpoint's.
    Raises LabelsDisagree, with both numbers, for any list or count that says otherwise.
    """
    if given is not None:
        _compare("The labels given name", len(given), classes)
        return tuple(_plain(name) for name in given), None
    for what, module in (("Its head states", head), ("It states", root)):
        stated = module.fields.get("nc")
        if type(stated) is int:
            _compare(what, stated, classes)
    yaml = root.fields.get("yaml")
    if isinstance(yaml, dict) and type(yaml.get("nc")) is int:
        _compare("Its yaml states", yaml["nc"], classes)
    names = _stored(root.fields.get("names"))
    if names is None:
        return tuple(f"class {index}" for index in range(classes)), "No class names in the file."
    _compare("It names", len(names), classes)
    return names, None


def _compare(what: str, stated: int, classes: int) -> None:
    if stated != classes:
        raise LabelsDisagree(
            f"{what} {stated} classes, but the rows of the checkpoint's head are for {classes}.",
            hint=f"Give {classes} labels, in the order of training, or another checkpoint.",
        )


def _stored(names: Any) -> tuple[str, ...] | None:
    """A list of names, or a dict from the class's number to its name."""
    if isinstance(names, dict):
        keys = [int(key) if str(key).isdigit() else -1 for key in names]
        if sorted(keys) != list(range(len(keys))):
            raise LabelsDisagree(
                "The checkpoint's class names are not numbered 0, 1, 2 and so on.",
                hint="Give the labels, in the order of training.",
            )
        names = [name for _, name in sorted(zip(keys, names.values(), strict=True), key=_key)]
    if not isinstance(names, list) or not names:
        return None
    return tuple(_plain(name) for name in names)


def _key(pair: tuple[int, Any]) -> int:
    return pair[0]


def _plain(name: object) -> str:
    text = str(name) if isinstance(name, (str, int, float)) else "?"
    return printable(text, _MAX_NAME)
