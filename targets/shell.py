"""Command lines that every login shell reads alike.

An SSH server hands the command to the user's login shell, which may be fish or tcsh.  So each
command is one `sh -c '...'`.  Inside those quotes stands nothing that any of them treats in its
own way: no apostrophe, no backslash before an apostrophe or backslash (fish), no `!` and no line
break (tcsh), only printable ASCII.  A script that needs such a character goes as octal escapes,
which the inner `sh` turns back by `printf %b`.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Sequence

_UNSAFE_IN_QUOTES = frozenset("'\\!")
_PRINTABLE = frozenset(chr(code) for code in range(0x20, 0x7F))
_KEPT = frozenset((string.ascii_letters + string.digits + " _-./:=,+@;|&<>(){}[]*?~#").encode())


def command_line(script: str, arguments: Sequence[str] = ()) -> str:
    """What to send so that POSIX sh runs `script` with `arguments` as $1, $2, ...

    Raises ValueError for a NUL, which no command line can hold.
    """
    if arguments:
        script = f"set -- {shlex.join(arguments)}\n{script}"
    if "\0" in script:
        raise ValueError("a command with a NUL byte")
    if all(char in _PRINTABLE and char not in _UNSAFE_IN_QUOTES for char in script):
        return f"sh -c '{script}'"
    return f"""sh -c 'eval "$(printf %b "{_octal(script)}")"'"""


def execute(argv: Sequence[str]) -> str:
    """A script that becomes the program `argv`: its exit status or signal is the session's."""
    return f"exec {shlex.join(argv)}"


def _octal(script: str) -> str:
    data = script.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _KEPT else f"\\0{byte:03o}" for byte in data)
