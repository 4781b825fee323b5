"""What a profile asks of a board: files laid over each other, each value with its origin.

The order, later ones over earlier ones: the shipped file that a board's builds on (generic), the
board's own, the user's files of the same names, a file named on the command line, single values.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from targets.agent.records import Facts
from targets.boards import recognise
from targets.errors import FirmwareConfigError
from targets.firmware import schema
from targets.firmware.schema import ConfigFile, Setting, Source
from targets.firmware.settings import KINDS, kind_of
from targets.firmware.settings.kind import KEEP, Value
from targets.places import config_dir

GENERIC: Final = "generic"
OWN: Final = "yours"  # the source of a value for which its user gave none


@dataclass(frozen=True)
class Resolved:
    """One value and where it comes from.  origin: a file, or the words on the command line."""

    key: str
    value: Value
    unit: str
    source: Source | None
    reason: str
    origin: str


@dataclass(frozen=True)
class Settings:
    """All that a profile asks of a board, in the order in which it is put in force."""

    board: str
    title: str
    profile: str
    about: str
    values: tuple[Resolved, ...]
    expect: tuple[Resolved, ...] = ()

    def __getitem__(self, key: str) -> Resolved:
        return next(value for value in self.values if value.key == key)


@dataclass(frozen=True)
class Library:
    """Every file there is, shipped and the user's own, in the order in which they count."""

    files: tuple[ConfigFile, ...]

    def boards(self) -> list[str]:
        """Names of boards, each once."""
        return list(dict.fromkeys(file.name for file in self.files))

    def layers(self, board: str) -> list[ConfigFile]:
        """The files that count for `board`, the weakest first.  Raises FirmwareConfigError."""
        mine = [file for file in self.files if file.name == board]
        if not mine:
            near = difflib.get_close_matches(board, self.boards(), n=2, cutoff=0.4)
            hint = f"Did you mean {' or '.join(near)}?" if near else ""
            raise FirmwareConfigError(
                f"There are no firmware settings for a board called {board!r}.",
                hint=hint or f"There are: {', '.join(self.boards())}.",
            )
        below: list[ConfigFile] = []
        bases = list(dict.fromkeys(file.base for file in mine if file.base is not None))
        for base in bases:
            if base == board or self._leads_to(base, board):
                raise FirmwareConfigError(
                    f"{mine[0].origin}: base = {base!r} leads back to {board!r}.",
                    hint=f'base = "{GENERIC}" is right for most boards.',
                )
            below += self.layers(base)
        return below + mine

    def profiles(self, board: str) -> list[str]:
        """Names of profiles that the board has."""
        return list(dict.fromkeys(name for file in self.layers(board) for name in file.profiles))

    def _leads_to(self, name: str, board: str, depth: int = 0) -> bool:
        bases = {file.base for file in self.files if file.name == name and file.base}
        return depth > len(self.files) or any(
            base == board or self._leads_to(base, board, depth + 1) for base in bases
        )


def library(own: Path | None = None, named: Path | None = None) -> Library:
    """The shipped files, those in the user's folder, and one that the command line names.

    own: the folder; None: `firmware` in the settings folder.  Raises FirmwareConfigError.
    """
    folder = config_dir() / "firmware" if own is None else own
    files = list(shipped())
    files += [schema.read(path, own=True) for path in sorted(folder.glob("*.toml"))]
    if named is not None:
        files.append(schema.read(named, own=True))
    return Library(tuple(files))


@cache
def shipped() -> tuple[ConfigFile, ...]:
    """The files of `firmware_configs/`, generic first."""
    try:
        folder = resources.files("firmware_configs")
    except ModuleNotFoundError:  # run from a checkout that is not installed
        folder = Path(__file__).resolve().parents[2] / "firmware_configs"
    found = [
        schema.parse(item.read_text(encoding="utf-8"), item.name, own=False)
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".toml")
    ]
    return tuple(sorted(found, key=lambda file: (file.name != GENERIC, file.name)))


def board_of(compatible: Sequence[str], known: Library, model: str = "") -> str:
    """The board whose file counts: as `targets.boards` recognises it, unless a user's own file
    names it.

    compatible: from the most to the least special, as device trees have it (of a user's files the
    one that fits the first word best); empty where there is no device tree, which is generic.
    model: the device tree's, which decides where `compatible` leaves a choice.
    """
    for word in compatible:
        for file in reversed(known.files):
            if file.name != GENERIC and any(fnmatchcase(word, p) for p in file.compatible):
                return file.name
    facts = Facts(compatible=tuple(compatible), board_model=model or None)
    name = recognise(facts).kind.settings
    return name if name in known.boards() else GENERIC


def resolve(
    known: Library, board: str, profile: str, overrides: Mapping[str, Value] | None = None
) -> Settings:
    """What `profile` asks of `board`.  Raises FirmwareConfigError with the nearest names."""
    layers = known.layers(board)
    names = known.profiles(board)
    if profile not in names:
        near = difflib.get_close_matches(profile, names, n=1, cutoff=0.4)
        raise FirmwareConfigError(
            f"{board} has no profile {profile!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}.",
        )
    values: dict[str, Resolved] = {}
    expect: dict[str, Resolved] = {}
    about = ""
    for file in layers:
        expect |= {s.key: _resolved(s, file.origin) for s in file.expect.values()}
        if profile in file.profiles:
            about = file.profiles[profile].about or about
            for setting in file.profiles[profile].settings.values():
                values[setting.key] = _resolved(setting, file.origin)
    for key, value in (overrides or {}).items():
        kind = kind_of(key)
        assert kind is not None
        origin = f"--set {key}={_written(value)}"
        reason = "asked for on the command line"
        values[key] = Resolved(key, value, kind.unit, None, reason, origin)
    title = next((f.title for f in reversed(layers) if f.name == board), board)
    ordered = _in_order(values.values())
    return Settings(board, title, profile, about, ordered, tuple(expect.values()))


def override(text: str) -> tuple[str, Value]:
    """`cpu.governor=performance` as key and value.  Raises FirmwareConfigError."""
    key, equals, written = text.partition("=")
    kind = kind_of(key.strip())
    if not equals or kind is None:
        near = difflib.get_close_matches(key, list(KINDS), n=1, cutoff=0.4)
        raise FirmwareConfigError(
            f"--set {text}: " + (f"there is no setting {key!r}." if equals else "no = in it."),
            hint=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(KINDS)}.",
        )
    value = _read(written.strip())
    problem = kind.check(value)
    if problem is not None and isinstance(value, str) and kind.check((value,)) is None:
        value, problem = (value,), None  # one of what is a list
    if problem is not None:
        raise FirmwareConfigError(
            f"--set {text}: {written!r} is not {problem}.", hint="docs/firmware.md lists values."
        )
    return key.strip(), value


def _resolved(setting: Setting, origin: str) -> Resolved:
    return Resolved(
        setting.key, setting.value, setting.unit, setting.source, setting.reason, origin
    )


def _in_order(values: Iterable[Resolved]) -> tuple[Resolved, ...]:
    """The order of KINDS; of one kind, all policies before a single one."""
    places = {key: place for place, key in enumerate(KINDS)}

    def place(value: Resolved) -> tuple[int, int, str]:
        kind = kind_of(value.key)
        assert kind is not None
        return places[kind.key], len(value.key), value.key

    return tuple(sorted(values, key=place))


def _read(written: str) -> Value:
    """As TOML where it is that, else as plain text."""
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except (tomllib.TOMLDecodeError, KeyError, RecursionError):
        return written
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return value if isinstance(value, str | int | bool) else written


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def keeps(value: Value) -> bool:
    """Whether a value leaves the board as it is."""
    return value == KEEP or value == (KEEP,)
