"""Where things of ours lie on the host: one cache folder, one settings folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """What can be fetched or made again.  `HALFBYTE_CACHE` moves it."""
    return _made(os.environ.get("HALFBYTE_CACHE") or platformdirs.user_cache_path("halfbyte"))


def config_dir() -> Path:
    """What the user wrote or agreed to: targets.toml, known_hosts.  `HALFBYTE_CONFIG` moves it."""
    return _made(os.environ.get("HALFBYTE_CONFIG") or platformdirs.user_config_path("halfbyte"))


def _made(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
