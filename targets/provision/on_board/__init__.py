"""Small programs that a board's own interpreter runs; sent as text, never imported there.

Each is one file of the standard library only.  `facts` must be readable by any Python from 2.7 on,
so that one which is too old can say so; the others need 3.8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def source(name: str) -> str:
    """The text of the program `name`."""
    return resources.files(__name__).joinpath(f"{name}.py").read_text(encoding="utf-8")


# Read without a buffer, so that what follows on standard input is left for the program.
_LOADER = """\
import os, sys
def take(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit("the host left")
        data += piece
    return data
name, code, request = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.argv[:] = [name]
exec(compile(take(code), name, "exec"), {"__name__": "__main__", "REQUEST": take(request)})
"""


def invocation(name: str, python: str, request: Mapping[str, Any]) -> tuple[list[str], bytes]:
    """How to run a program: the words of the command, and what comes first on its input.

    The text goes over standard input because some servers take short commands only.  The
    interpreter sees no site-packages, no user settings and no PYTHON variables.
    """
    text = source(name).encode("utf-8")
    asked = json.dumps(request).encode("ascii")
    words = [python, "-I", "-S", "-c", _LOADER, name, str(len(text)), str(len(asked))]
    return words, text + asked
