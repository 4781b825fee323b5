"""Where the lab keeps what it makes: a cache that stays, a state folder that `down` removes."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

STATE = Path("/run/halfbyte-lab")
HERE = Path(__file__).parent


def cache() -> Path:
    """Root file systems and disk images; `HALFBYTE_LAB_CACHE` moves it."""
    named = os.environ.get("HALFBYTE_LAB_CACHE")
    folder = Path(named) if named else platformdirs.user_cache_path("halfbyte-lab")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def client_key() -> Path:
    """The private key that every board of the lab lets in."""
    return STATE / "client"
