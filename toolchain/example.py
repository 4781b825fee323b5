"""The example that lies beside every export: it runs the model without halfbyte."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

NAME: Final = "run_without_halfbyte.py"


def text() -> str:
    """Its source; it needs numpy, Pillow and a TFLite runtime alone."""
    return (resources.files("toolchain") / "data" / f"{NAME}.txt").read_text("utf-8")


def place(folder: Path) -> Path:
    """Write it into the folder, unless there is one already, which somebody may have changed."""
    path = folder / NAME
    if not path.exists():
        path.write_text(text(), encoding="utf-8")
    return path
