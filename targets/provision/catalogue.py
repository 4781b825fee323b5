"""Reads runtimes.toml (what goes together) and wheels.toml (the pinned files)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Wheel:
    """One file on the package index.  omit: patterns of members that a board does not need."""

    project: str
    version: str
    filename: str
    sha256: str
    size_bytes: int
    omit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Versions:
    """What will do for one package: wheels by preference, or the board's own in [least, below)."""

    wheels: tuple[str, ...]
    least: str
    below: str

    def admit(self, version: str | None) -> bool:
        """Whether the board's own package of that version will do."""
        return version is not None and _key(self.least) <= _key(version) < _key(self.below)


@dataclass(frozen=True)
class Choice:
    """One runtime, and the numpy and Pillow that go with it."""

    project: str
    version: str
    module: str
    numpy: Versions
    pillow: Versions


@dataclass(frozen=True)
class Need:
    """What the wheels of one runtime ask of the processor and the kernel.

    cpu: without these it does not run.  faster_with: its fast kernels use these where they are.
    Both in the kernel's words.  page_size_bytes: the largest pages that it can be mapped with.
    """

    project: str
    architecture: str
    page_size_bytes: int
    cpu: tuple[str, ...] = ()
    faster_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """Choices in order of preference, every pinned wheel, what they need of a board."""

    choices: tuple[Choice, ...]
    wheels: tuple[Wheel, ...]
    needs: tuple[Need, ...] = ()

    def need(self, project: str, architecture: str | None) -> Need | None:
        """What one runtime asks of that kind of processor; None where nothing is known."""
        asked = (project, architecture)
        return next((n for n in self.needs if (n.project, n.architecture) == asked), None)

    def of(self, project: str, version: str) -> tuple[Wheel, ...]:
        """The pinned wheels of one release."""
        return tuple(w for w in self.wheels if (w.project, w.version) == (project, version))

    def only(self, project: str | None) -> Catalogue:
        """With the choices of one runtime alone; None: with all."""
        if project is None:
            return self
        return replace(self, choices=tuple(c for c in self.choices if c.project == project))


@cache
def catalogue() -> Catalogue:
    """The one that comes with this release."""
    here = resources.files("targets.provision")
    runtimes = tomllib.loads(here.joinpath("runtimes.toml").read_text(encoding="utf-8"))
    wheels = tomllib.loads(here.joinpath("wheels.toml").read_text(encoding="utf-8"))
    return parse(runtimes, wheels)


def parse(runtimes: Mapping[str, Any], wheels: Mapping[str, Any]) -> Catalogue:
    """From the two files' tables.  Raises KeyError or TypeError where they are malformed."""
    omit = runtimes["omit"]
    return Catalogue(
        choices=tuple(
            Choice(
                project=raw["project"],
                version=raw["version"],
                module=raw["module"],
                numpy=_versions(raw["numpy"]),
                pillow=_versions(raw["pillow"]),
            )
            for raw in runtimes["choice"]
        ),
        wheels=tuple(
            Wheel(**raw, omit=tuple(omit.get(raw["project"], ()))) for raw in wheels["wheel"]
        ),
        needs=tuple(
            Need(
                **{
                    **raw,
                    "cpu": tuple(raw["cpu"]),
                    "faster_with": tuple(raw.get("faster_with", ())),
                }
            )
            for raw in runtimes["need"]
        ),
    )


def _versions(raw: Mapping[str, Any]) -> Versions:
    least, below = raw["board"]
    return Versions(tuple(raw["wheels"]), least, below)


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
