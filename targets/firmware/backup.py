"""Copies on the host of what a board's settings were, as the board backed them up.

One file a hold, so that no copy takes the place of another that may still matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from targets.files import write_whole
from targets.places import config_dir

_KEPT: Final = 16


def folder() -> Path:
    """Where copies lie."""
    return config_dir() / "firmware-backups"


def path_of(target: str, hold: str) -> Path:
    """The copy of a hold on a target."""
    return folder() / f"{_plain(target)}.{_plain(hold)[:32]}.json"


def keep(target: str, taken: Mapping[str, Any]) -> Path:
    """Write the backup that the board took; where it is.  The newest few of a target are kept."""
    path = path_of(target, taken["id"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, json.dumps(taken, indent=2).encode(), mode=0o600)
    form = re.compile(rf"{re.escape(_plain(target))}\.[0-9a-f]{{16}}\.json")
    copies = [other for other in folder().iterdir() if form.fullmatch(other.name)]
    for old in sorted(copies, key=lambda other: other.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return path


def forget(target: str, hold: str) -> None:
    """The board has its settings back."""
    path_of(target, hold).unlink(missing_ok=True)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)
