"""Paths on the command line: what is wrong with one is an error of ours, with what to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from toolchain.cli.errors import PathError

_NEAR = 2  # names suggested
_MOST_NAMES = 5000  # of a folder that are looked at


class PathType(click.Path):
    """`click.Path` whose values are `Path`, and whose errors are `PathError`."""

    def __init__(
        self, *, exists: bool = True, file_okay: bool = True, dir_okay: bool = True
    ) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does.  Raises PathError where click has a usage error."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(os.fsdecode(value))
            raise PathError(
                f"{_option(param)}{self._fault(path)}", hint=self._advice(path)
            ) from error

    def _fault(self, path: Path) -> str:
        if path.is_dir() and not self.dir_okay:
            return f"{path} is a folder, not a file"
        if path.exists() and not path.is_dir() and not self.file_okay:
            return f"{path} is a file, not a folder"
        if path.exists():
            return f"{path} cannot be read"
        return f"there is no {self._wanted} {path}"

    @property
    def _wanted(self) -> str:
        return " or ".join(["file"] * self.file_okay + ["folder"] * self.dir_okay)

    def _advice(self, path: Path) -> str:
        if not self.exists:
            return f"Give another {self._wanted}, or remove what is there."
        if path.is_dir():
            inside = next((p for p in _inside(path) if self._fits(p)), None)
            return f"Give a file in it, such as {inside}." if inside else "Give a file."
        if path.exists():
            if self.file_okay:
                return "Check its permissions."
            return f"Give a folder: that of the file is {path.parent}."
        if near := self._near(path):
            return f"Did you mean {' or '.join(map(str, near))}?"
        missing = _first_missing(path)
        if missing != path:
            return f"{missing} does not exist, and so nothing in it; check the path."
        return f"There is nothing of that name in {path.absolute().parent}; check the path."

    def _near(self, path: Path) -> list[Path]:
        """What is beside the place where `path` should be and is called nearly so."""
        names = [found.name for found in _inside(path.parent) if self._fits(found)]
        return [path.with_name(n) for n in difflib.get_close_matches(path.name, names, n=_NEAR)]

    def _fits(self, path: Path) -> bool:
        return self.dir_okay if path.is_dir() else self.file_okay


def existing() -> PathType:
    """A file or a folder that is there."""
    return PathType()


def existing_file() -> PathType:
    """A file that is there."""
    return PathType(dir_okay=False)


def existing_folder() -> PathType:
    """A folder that is there."""
    return PathType(file_okay=False)


def new_file() -> PathType:
    """A file to write."""
    return PathType(exists=False, dir_okay=False)


def new_folder() -> PathType:
    """A folder to write into, there already or not."""
    return PathType(exists=False, file_okay=False)


def _option(param: click.Parameter | None) -> str:
    if param is None:
        return ""
    if isinstance(param, click.Option):
        return f"{max(param.opts, key=len)}: "
    return f"{(param.name or '').upper()}: "


def _inside(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                name
                for entry, _ in zip(entries, range(_MOST_NAMES), strict=False)
                if not (name := entry.name).startswith(".")
            )
    except OSError:
        return
    yield from (folder / name for name in names)


def _first_missing(path: Path) -> Path:
    """The first part of a path, from the left, that is not there."""
    return next((part for part in [*reversed(path.parents), path] if not part.exists()), path)
