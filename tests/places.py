"""Where tests find what is not committed."""

from __future__ import annotations

from pathlib import Path

import pytest


def shared_coco() -> Path:
    """Folder of COCO subsets beside the repository (`dev/`, `calib/`); skips where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "coco"
    if not (folder / "dev" / "instances.json").is_file():
        pytest.skip(f"no COCO images at {folder}")
    return folder
