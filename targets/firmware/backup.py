"""A copy on the host of what a board's settings were, as the board backed them up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from targets.files import write_whole
from targets.places import config_dir


def folder() -> Path:
    """Where copies lie, one file a target."""
    return config_dir() / "firmware-backups"


def path_of(target: str) -> Path:
    """The copy of a target."""
    return folder() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', target)}.json"


def keep(target: str, taken: Mapping[str, Any]) -> Path:
    """Write the backup that the board took; where it is."""
    path = path_of(target)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, json.dumps(taken, indent=2).encode(), mode=0o600)
    return path


def forget(target: str) -> None:
    """The board has its settings back."""
    path_of(target).unlink(missing_ok=True)
