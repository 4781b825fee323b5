"""A cache folder of a test's own."""

from __future__ import annotations

from pathlib import Path

from targets.places import cache_dir

OWN = ("tuning.json", "tuning.lock", "runs", "loopback")


def own_cache(folder: Path) -> Path:
    """What was expensive to make is the user's; what is remembered, and the board, is not."""
    folder.mkdir()
    for item in cache_dir().iterdir():
        if item.name not in OWN:
            (folder / item.name).symlink_to(item)
    return folder
