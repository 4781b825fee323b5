"""Processes that outlive the command that started them, and are found again by the next one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab.places import STATE

_REPOSITORY = Path(__file__).parents[2]
_END_S = 10.0


def start(name: str, command: Sequence[str]) -> int:
    """In the background, its words in NAME.log; the process id."""
    with (STATE / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_REPOSITORY,
            start_new_session=True,
        )
    record = {"pid": process.pid, "began": _began(process.pid)}
    (STATE / f"{name}.process").write_text(json.dumps(record))
    return process.pid


def start_module(name: str, module: str, *arguments: str) -> int:
    """`python -m module` in the background."""
    return start(name, [sys.executable, "-m", module, *arguments])


def pid_of(name: str) -> int | None:
    """Of what was started under that name, while it runs."""
    try:
        record = json.loads((STATE / f"{name}.process").read_text())
    except (OSError, ValueError):
        return None
    # The id may have gone to another process meanwhile: the time of its start tells.
    pid = int(record["pid"])
    return pid if record["began"] is not None and _began(pid) == record["began"] else None


def end(name: str) -> None:
    """Ask, then insist; nothing is left of it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = pid_of(name)
        if pid is None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        with contextlib.suppress(TimeoutError):
            wait(f"{name} to end", lambda: pid_of(name) is None, seconds=_END_S)
    (STATE / f"{name}.process").unlink(missing_ok=True)


def log_of(name: str) -> str:
    """The end of what it said."""
    with contextlib.suppress(OSError):
        return (STATE / f"{name}.log").read_text(errors="replace")[-2000:]
    return ""


def wait(awaited: str, ready: Callable[[], bool], *, seconds: float) -> None:
    """Raises TimeoutError if it is not so in time."""
    ends_at = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"waited {seconds:.0f} s for {awaited}, in vain")
        time.sleep(0.05)


def _began(pid: int) -> str | None:
    """When the process was started, in clock ticks since boot; None if it is gone or dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
