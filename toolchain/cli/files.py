"""Files that a command writes beside its result."""

from __future__ import annotations

from pathlib import Path

from targets.files import write_whole


def write_text(path: Path, text: str) -> None:
    """UTF-8, whole or not at all; a pipe or a device is written to and never replaced."""
    write_whole(path, text.encode("utf-8", "replace"))
