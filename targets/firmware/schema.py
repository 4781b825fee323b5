"""Files of firmware settings: `schema = "halfbyte.firmware"`, version 1.

    name = "raspberry-pi-5"                 # what the file is about
    title = "Raspberry Pi 5"
    base = "generic"                        # the file that it builds on
    compatible = ["raspberrypi,5-model-b"]  # words of the board's device tree; * and ? match any

    [sources.pi-clocks]                     # where values come from
    document = "Raspberry Pi Documentation, config.txt"
    section = "Overclocking options"
    url = "https://..."                     # may be left out

    [expect."cpu.max_khz"]                  # what the board is known to be
    value = [2400000]
    unit = "kHz"
    source = "pi-clocks"
    reason = "another clock means an overclocked board"

    [profiles.benchmark]
    about = "The same clocks all the time."

    [profiles.benchmark."cpu.governor"]
    value = "performance"
    unit = "governor of each cpufreq policy"
    source = "cpufreq-governors"
    reason = "asks for the highest clock all the time"

A user's own file may leave out everything of a setting but `value`, which may then stand alone:
`"cpu.governor" = "powersave"` below `[profiles.benchmark]`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from targets.errors import FirmwareConfigError
from targets.firmware.settings import KINDS, kind_of
from targets.firmware.settings.kind import Value

SCHEMA: Final = "halfbyte.firmware"
VERSION: Final = 1
MAX_BYTES: Final = 256 * 1024
EXPECTED: Final = ("cpu.max_khz",)  # what `expect` can hold
_TOP: Final = (
    "schema", "version", "name", "title", "base", "compatible", "sources", "expect", "profiles",
)  # fmt: skip
_SETTING: Final = ("value", "unit", "source", "reason")
_SOURCE: Final = ("document", "section", "url")


@dataclass(frozen=True)
class Source:
    """Where a value comes from."""

    document: str
    section: str = ""
    url: str = ""

    def __str__(self) -> str:
        return f"{self.document}: {self.section}" if self.section else self.document


@dataclass(frozen=True)
class Setting:
    """One value of a file.  source: None in a user's file that names none."""

    key: str
    value: Value
    unit: str
    source: Source | None
    reason: str


@dataclass(frozen=True)
class Profile:
    """Settings under one name."""

    name: str
    about: str
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class ConfigFile:
    """One file, read and checked.  origin: its name, for people."""

    origin: str
    name: str
    title: str
    base: str | None
    compatible: tuple[str, ...]
    profiles: Mapping[str, Profile]
    expect: Mapping[str, Setting] = field(default_factory=dict)


def read(path: Path, *, own: bool) -> ConfigFile:
    """A file.  own: the user's, which need not give units, sources and reasons.

    Raises FirmwareConfigError.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise FirmwareConfigError(
                f"{path} is larger than {MAX_BYTES:,} bytes.", hint="Is it the right file?"
            )
        return parse(data.decode("utf-8"), str(path) if own else path.name, own=own)
    except (OSError, UnicodeDecodeError) as error:
        raise FirmwareConfigError(f"{path} cannot be read: {error}.", hint="Correct it.") from None


def parse(text: str, origin: str, *, own: bool) -> ConfigFile:
    """From a file's text; `origin` is for messages.  Raises FirmwareConfigError."""
    return _Reader(origin, own).file(text)


class _Reader:
    """Reads one file; each error names it and the place in it."""

    def __init__(self, origin: str, own: bool) -> None:
        self.origin = origin
        self.own = own
        self.sources: dict[str, Source] = {}

    def file(self, text: str) -> ConfigFile:
        try:
            raw = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise self.wrong(f"is no TOML: {error}", "Correct that line.") from None
        self.only(raw, _TOP, "at the top")
        if raw.get("schema") != SCHEMA or raw.get("version") != VERSION:
            raise self.wrong(
                f'does not say schema = "{SCHEMA}" and version = {VERSION}',
                "These two lines come first; a higher version needs a newer halfbyte.",
            )
        self.sources = {
            name: self.source(name, table) for name, table in self.tables(raw, "sources")
        }
        name = self.line(raw, "name", "at the top", needed=True)
        return ConfigFile(
            origin=self.origin,
            name=name,
            title=self.line(raw, "title", "at the top") or name,
            base=self.line(raw, "base", "at the top") or None,
            compatible=self.words(raw.get("compatible", [])),
            profiles={key: self.profile(key, table) for key, table in self.tables(raw, "profiles")},
            expect={key: self.expected(key, table) for key, table in self.tables(raw, "expect")},
        )

    def source(self, name: str, table: Mapping[str, Any]) -> Source:
        where = f"in [sources.{name}]"
        self.only(table, _SOURCE, where)
        document = self.line(table, "document", where, needed=True)
        return Source(document, self.line(table, "section", where), self.line(table, "url", where))

    def profile(self, name: str, table: Mapping[str, Any]) -> Profile:
        where = f"in [profiles.{name}]"
        settings = {}
        for key, value in table.items():
            if key == "about":
                continue
            kind = kind_of(key)
            if kind is None:
                raise self.unknown(key, ("about", *KINDS), where)
            settings[key] = self.setting(key, value, f"in [profiles.{name}.{key!r}]", kind.unit)
            problem = kind.check(settings[key].value)
            if problem is not None:
                shown = _shown(settings[key].value)
                raise self.wrong(f"{key} {where} is {shown}: not {problem}", _advice(key))
        return Profile(name, self.line(table, "about", where), settings)

    def expected(self, key: str, table: Any) -> Setting:
        where = f"in [expect.{key!r}]"
        if key not in EXPECTED:
            raise self.unknown(key, EXPECTED, "in [expect]")
        self.only(table, _SETTING, where)
        values = table.get("value")
        if not isinstance(values, list) or not all(type(v) is int and v > 0 for v in values):
            raise self.wrong(f"value {where} is no list of whole numbers", "For example [2400000].")
        worded = {**table, "value": [str(value) for value in values]}
        return self.setting(key, worded, where, "kHz")

    def setting(self, key: str, given: Any, where: str, unit: str) -> Setting:
        if not isinstance(given, dict):
            if not self.own:
                raise self.wrong(f"{key} {where} is no table", "It has value, unit, source.")
            return Setting(key, self.value(given, where), unit, None, "")
        self.only(given, _SETTING, where)
        if "value" not in given:
            raise self.wrong(f"there is no value {where}", "Write value = ... below it.")
        named = self.line(given, "source", where, needed=not self.own)
        if named and named not in self.sources:
            raise self.unknown(named, self.sources, f"as a source {where}", what="source")
        return Setting(
            key,
            self.value(given["value"], where),
            self.line(given, "unit", where, needed=not self.own) or unit,
            self.sources.get(named),
            self.line(given, "reason", where, needed=not self.own),
        )

    def value(self, value: Any, where: str) -> Value:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        if isinstance(value, str | int | bool):
            return value
        raise self.wrong(
            f"the value {where} is {_shown(value)}",
            "A value is text, a whole number, true or false, or a list of texts.",
        )

    def tables(self, raw: Mapping[str, Any], key: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
        found = raw.get(key, {})
        if not isinstance(found, dict) or not all(isinstance(t, dict) for t in found.values()):
            raise self.wrong(f"`{key}` does not hold tables", f"Write [{key}.NAME].")
        return list(found.items())

    def line(self, table: Mapping[str, Any], key: str, where: str, *, needed: bool = False) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or not value.isprintable():
            raise self.wrong(f"{key} {where} is no line of text", "Put it in quotes.")
        if needed and not value.strip():
            raise self.wrong(f"there is no {key} {where}", f'Write {key} = "...".')
        return value

    def words(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(w, str) and w for w in value):
            raise self.wrong(
                "compatible is no list of texts", 'For example ["raspberrypi,5-model-b"].'
            )
        return tuple(value)

    def only(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in known:
                raise self.unknown(key, known, where)

    def unknown(
        self, key: str, known: Iterable[str], where: str, *, what: str = "key"
    ) -> FirmwareConfigError:
        near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
        return self.wrong(f"there is no {what} {key!r} {where}", hint)

    def wrong(self, what: str, hint: str) -> FirmwareConfigError:
        return FirmwareConfigError(f"{self.origin}: {what}.", hint=hint)


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)[:80]


def _advice(key: str) -> str:
    return f"`halfbyte firmware show generic` shows a right value of {key}, or docs/firmware.md."
