"""Whether a process is still there, for tests of what ends with what."""

import time
from pathlib import Path


def runs_still(pid: int) -> bool:
    """Not so of a zombie: it has ended, though nobody has asked for its exit status."""
    fields = _fields(pid)
    return fields is not None and fields[0] != "Z"


def ends(pid: int, within_s: float = 30) -> bool:
    """Whether it does so, waiting for it."""
    end = time.monotonic() + within_s
    while runs_still(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not runs_still(pid)


def parent_of(pid: int) -> int:
    fields = _fields(pid)
    assert fields is not None, f"process {pid} is gone"
    return int(fields[1])


def _fields(pid: int) -> "list[str] | None":
    """What follows the command's name in /proc/PID/stat (proc(5)); None if it is gone.

    It may go at any time, so nothing is asked of it but this one reading.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
