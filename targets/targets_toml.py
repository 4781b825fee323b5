"""The text of `targets.toml`: read strictly, edited without touching what people wrote in it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from targets.addresses import checked_host, checked_user
from targets.errors import InventoryError
from targets.target import LOOPBACK, Target

SCHEMA = "halfbyte.targets"
VERSION = 1
RUNTIMES = ("ai-edge-litert", "tflite-runtime")
TEXT_KEYS = ("host", "user", "key", "board", "notes", "python", "runtime", "root")
NUMBER_KEYS = {"port": (1, 65535), "threads": (1, 256)}
KEYS = (*TEXT_KEYS, *NUMBER_KEYS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HEADER = re.compile(
    r"""\s*\[\s*targets\s*\.\s*(?:"([^"]*)"|'([^']*)'|([^\s\]]+))\s*\]\s*(?:#.*)?"""
)
_GROUP = 'For example, below [groups]: shelf = ["garage-pi", "jetson"].'
_EXAMPLE = 'For example: [targets.garage-pi] and below it host = "192.168.1.40".'


def parse(text: str, path: Path) -> dict[str, Target]:
    """The targets in `text`; `path` is for messages.  Raises InventoryError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InventoryError(f"{path} is no TOML: {error}.", hint="Correct that line.") from None
    _only(raw, ("schema", "version", "targets", "groups"), path, "at the top")
    if raw.get("schema") != SCHEMA or raw.get("version") != VERSION:
        raise InventoryError(
            f'{path} does not say schema = "{SCHEMA}" and version = {VERSION}.',
            hint="These two lines come first; a higher version needs a newer halfbyte.",
        )
    tables = raw.get("targets", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise InventoryError(f"{path}: `targets` holds one table a target.", hint=_EXAMPLE)
    return {name: _target(name, table, path) for name, table in tables.items()}


def parse_groups(text: str, path: Path) -> dict[str, tuple[str, ...]]:
    """Names of targets by the group that holds them; `text` was parsed before.

    Raises InventoryError: no list of names, a name that is no target, a group called as one.
    """
    known = parse(text, path)
    raw = tomllib.loads(text).get("groups", {})
    if not isinstance(raw, dict):
        raise InventoryError(f"{path}: `groups` is no table.", hint=_GROUP)
    for name, members in raw.items():
        _check_name(name, path)
        if not isinstance(members, list) or not members:
            raise InventoryError(f"{path}: group {name} holds no list of targets.", hint=_GROUP)
        for member in members:
            if member != LOOPBACK and member not in known:
                near = difflib.get_close_matches(str(member), known, n=1)
                meant = f"Did you mean {near[0]}?" if near else f"Targets: {', '.join(known)}."
                raise InventoryError(
                    f"{path}: group {name} names {member!r}, which is no target there.", hint=meant
                )
        if name in known:
            raise InventoryError(
                f"{path}: {name} is a group and a target.", hint="Rename one of them."
            )
    return {name: tuple(dict.fromkeys(members)) for name, members in raw.items()}


def with_added(text: str, target: Target, path: Path) -> str:
    """`text` with a table for `target` at its end.  Raises InventoryError."""
    known = parse(text, path) if text else {}
    text = text or f'schema = "{SCHEMA}"\nversion = {VERSION}\n'
    text = text.rstrip("\n") + "\n\n" + _table(target)
    return _proven(text, known | {target.name: target}, path)


def with_removed(text: str, name: str, path: Path) -> str:
    """`text` without the table of `name`, comments elsewhere as they were."""
    known = parse(text, path)
    lines = text.splitlines(keepends=True)
    headers = [index for index, line in enumerate(lines) if line.lstrip().startswith("[")]
    start = next((i for i in headers if _name_in(lines[i]) == name), None)
    if start is None:
        raise _not_editable(path, name)
    end = next((i for i in headers if i > start), len(lines))
    # Blank lines and comments just above the next table belong to that one.
    while end < len(lines) and lines[end - 1].lstrip()[:1] in ("", "#") and end - 1 > start:
        end -= 1
    held = [group for group, members in parse_groups(text, path).items() if name in members]
    if held:
        raise InventoryError(
            f"{name} is in group {held[0]} of {path}.", hint="Take it out of the group first."
        )
    remaining = {other: target for other, target in known.items() if other != name}
    return _proven("".join(lines[:start] + lines[end:]), remaining, path)


def _target(name: str, table: Mapping[str, Any], path: Path) -> Target:
    _check_name(name, path)
    where = f"in [targets.{name}]"
    _only(table, KEYS, path, where)
    for key, value in table.items():
        if key in TEXT_KEYS and not (isinstance(value, str) and value.isprintable()):
            raise InventoryError(f"{path}: {key} {where} is no line of text.", hint=_EXAMPLE)
        low, high = NUMBER_KEYS.get(key, (0, 0))
        if key in NUMBER_KEYS and (type(value) is not int or not low <= value <= high):
            raise InventoryError(
                f"{path}: {key} {where} is {value!r}.", hint=f"A whole number, {low} to {high}."
            )
    if not table.get("host"):
        raise InventoryError(f"{path}: there is no host {where}.", hint=_EXAMPLE)
    if table.get("runtime", RUNTIMES[0]) not in RUNTIMES:
        raise InventoryError(
            f"{path}: runtime {where} is {table['runtime']!r}.",
            hint=f"One of {', '.join(RUNTIMES)}; without it the board decides.",
        )
    checked_host(table["host"])
    if "user" in table:
        checked_user(table["user"])
    key_path = Path(table["key"]).expanduser() if table.get("key") else None
    return Target(name, **{**table, "key": key_path})


def _only(table: Mapping[str, Any], known: tuple[str, ...], path: Path, where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            raise InventoryError(
                f"{path}: there is no key {key!r} {where}.",
                hint=f"Did you mean {near[0]!r}?" if near else f"Keys are: {', '.join(known)}.",
            )


def _check_name(name: str, path: Path) -> None:
    if name == LOOPBACK:
        raise InventoryError(
            f"{path}: {LOOPBACK!r} is the name of the built-in target.", hint="Take another name."
        )
    if _NAME.fullmatch(name) is None:
        raise InventoryError(
            f"{path}: {name!r} cannot be a target's name.",
            hint="Letters, digits, `-`, `_` and `.`, beginning with a letter, a digit or `_`.",
        )


def _table(target: Target) -> str:
    name = _quoted(target.name) if "." in target.name else target.name
    values = {key: getattr(target, key) for key in KEYS}
    lines = [
        f"{key} = {value if isinstance(value, int) else _quoted(str(value))}\n"
        for key, value in values.items()
        if value not in (None, "")
    ]
    return f"[targets.{name}]\n" + "".join(lines)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _name_in(header: str) -> str | None:
    match = _HEADER.fullmatch(header.rstrip("\n"))
    return None if match is None else match[1] or match[2] or match[3]


def _proven(text: str, expected: Mapping[str, Target], path: Path) -> str:
    """`text`, if it reads back as `expected`."""
    if parse(text, path) != {name: _as_read(target) for name, target in expected.items()}:
        raise _not_editable(path, "it")
    return text


def _as_read(target: Target) -> Target:
    kept = {key: getattr(target, key) for key in KEYS}
    return Target(target.name, **{**kept, "key": target.key.expanduser() if target.key else None})


def _not_editable(path: Path, what: str) -> InventoryError:
    return InventoryError(
        f"{path} is written in a way that {what} cannot be changed safely.",
        hint="Edit the file by hand: one [targets.NAME] table a target.",
    )
