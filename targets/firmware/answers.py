"""What the program on the board may answer: checked once, so that nobody else need doubt it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from targets.errors import BoardError

Shape = Callable[[Any], bool]


def _a(sort: type) -> Shape:
    return lambda value: type(value) is sort  # true and false are no numbers


def _each(shape: Shape) -> Shape:
    return lambda value: isinstance(value, list) and all(map(shape, value))


def _row(*shapes: Shape) -> Shape:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(shapes)
        and all(shape(item) for shape, item in zip(shapes, value, strict=True))
    )


def _by_text(shape: Shape) -> Shape:
    return lambda value: isinstance(value, dict) and all(map(shape, value.values()))


def _object(**shapes: Shape) -> Shape:
    return lambda value: (
        isinstance(value, dict)
        and all(key in value and shape(value[key]) for key, shape in shapes.items())
    )


def _both(*shapes: Shape) -> Shape:
    return lambda value: all(shape(value) for shape in shapes)


def _if_there(**shapes: Shape) -> Shape:
    """What programs of earlier versions left out."""
    return lambda value: all(shape(value[key]) for key, shape in shapes.items() if key in value)


def _maybe(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def _text(value: Any) -> bool:
    """Of a file: bytes that were not UTF-8 are surrogates of theirs, and no others are in it."""
    try:
        return isinstance(value, str) and value.encode("utf-8", "surrogateescape") is not None
    except UnicodeEncodeError:
        return False


_BACKUP: Final = _both(
    _object(id=_text, label=_text, boot_id=_text, before=_each(_row(_text, _text, _text))),
    _if_there(lease=_maybe(_text), holder=_maybe(_a(dict))),
)
_OUTCOME: Final = _both(
    _object(
        id=_text,
        label=_text,
        why=_text,
        restarted=_a(bool),
        restored=_a(int),
        left=_each(_row(_text, _text, _text)),
        differs=_each(_row(_text, _text, _text, _text)),
    ),
    _if_there(boot_id=_maybe(_text), monotonic_ns=_maybe(_a(int))),
)
_STATUS: Final = _object(
    backup=_maybe(_BACKUP), guard=_maybe(_a(int)), outcome=_maybe(_OUTCOME), boot_id=_text
)
_SEEN: Final = _object(
    files=_by_text(_maybe(_text)),
    commands=_by_text(_object(status=_maybe(_a(int)), text=_text)),
    uid=_a(int),
    boot_id=_text,
)
_ENDED: Final = _object(held=_a(bool), outcome=_maybe(_OUTCOME))
_BUSY: Final = _object(busy=_object(label=_maybe(_text), holder=_maybe(_a(dict))))
_LEFT: Final = _object(left=_OUTCOME)


def _looked(value: Any) -> bool:
    held = _object(held=_object(root=_STATUS, user=_STATUS), boot=_maybe(_a(dict)))
    return _SEEN(value) and held(value)


def _applied(value: Any) -> bool:
    if "busy" in value or "left" in value:
        return _BUSY(value) or _LEFT(value)
    return _object(
        problems=_each(_maybe(_text)),
        replaced=_maybe(_OUTCOME),
        held=_a(bool),
        backup=_BACKUP,
        look=_SEEN,
    )(value)


_SHAPES: Final[Mapping[str, Shape]] = {
    "look": _looked,
    "apply": _applied,
    "restore": _ENDED,
    "leftover": _ENDED,
    "boot-prepare": _object(boot_id=_text),
    "boot-settle": _object(kept=_a(bool)),
    "boot-restore": _both(_object(restored=_a(bool)), _if_there(others=_maybe(_a(bool)))),
    "boot-restart": _object(boot_id=_text),
}


def checked(name: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of the board `name` to `request`, if it is one.  Raises BoardError."""
    if answer.get("problem") and _text(answer["problem"]):
        return answer
    fits = _SHAPES[request["do"]](answer)
    if fits and request["do"] == "apply" and "problems" in answer:
        fits = len(answer["problems"]) == len(request["changes"])
    if not fits:
        raise BoardError(
            f"What {name} says of its settings is not understood.",
            hint=f"A file of halfbyte there may be damaged: /var/lib/halfbyte, {request['folder']}."
            " Restart the board, which undoes all settings but a power mode, and remove them.",
        )
    return answer
