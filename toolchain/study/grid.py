"""Grids of cells, as files that people write.

A grid file is TOML that begins with schema = "halfbyte.grid" and version = 1.  Each table [[cells]]
stands for all combinations of the values in its lists; what does not go together is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from toolchain.errors import RecipeError
from toolchain.study.cell import Cell, from_json, to_json

SCHEMA: Final = "halfbyte.grid"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 20
MAX_CELLS: Final = 1000
BUILT_IN: Final = ("default", "quick")

_NUMBERS: Final = {"screen_images": 60, "by_proxy": 12, "finalists": 6}
_KEYS: Final = ("schema", "version", "name", *_NUMBERS, "cells")
_CELL_KEYS: Final = (*to_json(from_json({"scheme": "uniform", "bits": 4})), "always")


@dataclasses.dataclass(frozen=True)
class Grid:
    """always: cells that run on all images whatever the screening says.

    Of the others, `by_proxy` run on `screen_images` images, and `finalists` of these on all.
    """

    name: str
    cells: tuple[Cell, ...]
    always: frozenset[Cell]
    screen_images: int = _NUMBERS["screen_images"]
    by_proxy: int = _NUMBERS["by_proxy"]
    finalists: int = _NUMBERS["finalists"]


def built_in(name: str) -> Grid:
    """One of `BUILT_IN`."""
    return parse(text_of(name), f"the grid {name!r}")


def text_of(name: str) -> str:
    """The file of one of `BUILT_IN`, to start an own one from."""
    return (resources.files("toolchain.study") / "grids" / f"{name}.toml").read_text("utf-8")


def load(path: Path) -> Grid:
    """The grid in a file.  Raises RecipeError, with the file and the place."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise RecipeError(f"{path} is too large for a grid", hint="A grid is a page of text.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is no UTF-8 text", hint="Save it as UTF-8.") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Grid:
    """`where`: for messages.  Raises RecipeError."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{where} is no TOML: {error}", hint="Correct that line.") from error
    if raw.get("schema") != SCHEMA or raw.get("version") != VERSION:
        raise RecipeError(
            f'{where} does not say schema = "{SCHEMA}" and version = {VERSION}',
            hint="These two lines come first; a higher version needs a newer halfbyte.",
        )
    _only(raw, _KEYS, where)
    tables = raw.get("cells")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RecipeError(f"{where} has no tables [[cells]]", hint="Write at least one.")
    name = raw.get("name", "own")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 60:
        raise RecipeError(f"{where}: name is no short text", hint='For example name = "mine".')
    cells: dict[Cell, bool] = {}
    for number, table in enumerate(tables, start=1):
        for cell, always in _cells(table, f"{where}: [[cells]] number {number}"):
            cells[cell] = always or cells.get(cell, False)
    if not 0 < len(cells) <= MAX_CELLS:
        raise RecipeError(f"{where}: {len(cells)} cells", hint=f"Write 1 to {MAX_CELLS}.")
    return Grid(
        name=name,
        cells=tuple(cells),
        always=frozenset(cell for cell, always in cells.items() if always),
        **{key: _count(raw.get(key, usual), key, where) for key, usual in _NUMBERS.items()},
    )


def _cells(table: Mapping[str, Any], where: str) -> Iterator[tuple[Cell, bool]]:
    _only(table, _CELL_KEYS, where)
    always = table.get("always", False)
    if type(always) is not bool:
        raise RecipeError(f"{where}: always {always!r:.40}", hint="true or false.")
    lists = {
        key: value if isinstance(value, list) else [value]
        for key, value in table.items()
        if key != "always"
    }
    count = 1
    for values in lists.values():
        count *= len(values)
    if not 0 < count <= MAX_CELLS:
        raise RecipeError(f"{where} stands for {count} cells", hint=f"1 to {MAX_CELLS}.")
    for combination in itertools.product(*lists.values()):
        try:
            yield from_json(dict(zip(lists, combination, strict=True))), always
        except RecipeError as error:
            raise RecipeError(f"{where}: {error.message}", hint=error.hint) from error


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            raise RecipeError(
                f"{where}: there is no key {key!r:.40}",
                hint=f"Did you mean {near[0]!r}?" if near else f"Keys are: {', '.join(known)}.",
            )


def _count(value: Any, key: str, where: str) -> int:
    if type(value) is not int or not 0 <= value <= 1_000_000:
        raise RecipeError(f"{where}: {key} {value!r:.40}", hint="A whole number, 0 or more.")
    return value
