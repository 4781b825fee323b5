"""Run folders below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_DEEPEST: Final = 12
_MOST_FOLDERS: Final = 100_000


def find(root: Path) -> Iterator[Path]:
    """Folders that hold a run.json, in the order of their names.

    Links are not followed, hidden folders not looked into, nor what is inside a run folder; nor
    deeper than twelve levels.
    """
    left = [(root.resolve(), 0)]
    for _ in range(_MOST_FOLDERS):
        if not left:
            return
        folder, depth = left.pop()
        inside = _inside(folder)
        if inside is None:
            yield folder
        elif depth < _DEEPEST:
            left += [(path, depth + 1) for path in reversed(inside)]


def _inside(folder: Path) -> list[Path] | None:
    """Folders to look into; None where this is a run folder itself."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == "run.json" and entry.is_file(follow_symlinks=False):
                    return None
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    below.append(folder / entry.name)
    except OSError:
        return []  # not ours to read
    return sorted(below)
