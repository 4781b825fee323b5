"""Small programs that a board's own interpreter runs; sent as text, never imported there.

Each is one file of the standard library only.  `facts` must be readable by any Python from 2.7 on,
so that one which is too old can say so; the others need 3.8.
"""

from __future__ import annotations

from importlib import resources


def source(name: str) -> str:
    """The text of the program `name`."""
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")
