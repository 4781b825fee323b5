"""One reading of procfs or sysfs: what it says, or None.  Nothing here raises or waits."""

from __future__ import annotations

import os
import re
from typing import Dict, List, Optional

_MAX_BYTES = 1024 * 1024
_HOW = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def text(path: str) -> Optional[str]:
    """A small file's text without surrounding blanks and NULs; None where it cannot be read.

    Sensors of absent units answer EAGAIN, on which Python's own files raise TypeError or return
    None: plain system calls are used instead.  Opened non-blocking, so a pipe cannot hold us up.
    """
    try:
        descriptor = os.open(path, _HOW)
    except (OSError, ValueError):
        return None
    try:
        data = b""
        while len(data) < _MAX_BYTES:
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            data += piece
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def head(path: str) -> Optional[str]:
    """The beginning of a file: what one read gives, 16 KiB at most."""
    try:
        descriptor = os.open(path, _HOW)
    except (OSError, ValueError):
        return None
    try:
        return os.read(descriptor, 16384).decode("utf-8", "replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def number(path: str) -> Optional[int]:
    """A file that holds one whole number."""
    said = head(path)
    return None if said is None else whole(said.strip("\0 \t\r\n"))


def whole(value: Optional[str]) -> Optional[int]:
    """Text as a whole number of at most 18 digits; None for anything else."""
    if value is None or re.fullmatch(r"-?[0-9]{1,18}", value) is None:
        return None
    return int(value)


def fields(path: str) -> Dict[str, str]:
    """Lines of `name: value`; of repeated names the first.  Empty where it cannot be read."""
    found: Dict[str, str] = {}
    for line in (text(path) or "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def kib(values: Dict[str, str], name: str) -> Optional[int]:
    """Bytes of a field such as `VmRSS: 5120 kB`."""
    match = re.fullmatch(r"([0-9]{1,15}) kB", values.get(name, ""))
    return None if match is None else int(match.group(1)) * 1024


def folders(parent: str, prefix: str) -> List[str]:
    """Paths of the entries named `prefix` and a number, by number."""
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    numbered = [name for name in names if re.fullmatch(re.escape(prefix) + "[0-9]{1,6}", name)]
    return [
        os.path.join(parent, name) for name in sorted(numbered, key=lambda n: int(n[len(prefix) :]))
    ]
