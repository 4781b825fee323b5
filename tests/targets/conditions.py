"""Conditions that a board may be in, made on the loopback target by its login shell."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import loopback
from targets.loopback import base_python
from targets.target import Target

NOISE = 'echo "Welcome to $(hostname)"\nprintf "disk: 81%% full"\necho "swap is off" >&2\n'


def login_shell(folder: Path, first: str) -> str:
    """A login shell that does `first` before each command."""
    path = folder / "login-shell"
    path.write_text(f'#!/bin/sh\n{first}\nexec /bin/sh "$@"\n')
    path.chmod(0o755)
    return str(path)


@contextlib.contextmanager
def board(folder: Path, first: str) -> Iterator[Target]:
    """The loopback target with a login shell like that; its home is awkward to name."""
    home = folder / "ho me's"
    home.mkdir(parents=True, exist_ok=True)
    with loopback.started(home=home, shell=login_shell(folder, first)) as target:
        yield target


def needs_root_and(*trial: str) -> None:
    """Skip where this user may not do what `trial` does."""
    if os.geteuid() != 0 or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip(f"needs root and {trial[0]}")


def small_file_system(place: Path) -> str:
    """Words for a login shell that mount a memory file system of 8 MB at `place`, for it alone."""
    needs_root_and("unshare", "-m", "true")
    return f"""
if [ -z "$MOUNTED" ]; then
  export MOUNTED=1
  exec unshare -m /bin/sh -c 'mount -t tmpfs -o size=8m none "$1" && shift && exec "$@"' \\
    sh '{place}' "$0" "$@"
fi"""


@contextlib.contextmanager
def memory_limit(limit_bytes: int) -> Iterator[str]:
    """Words for a login shell that put its commands under a limit that the kernel enforces."""
    for base, name, more in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
    ):
        group = base / f"halfbyte-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()
            continue
        with contextlib.suppress(OSError):
            (group / more).write_text("0" if more.endswith("swap.max") else str(limit_bytes))
        try:
            yield f"echo $$ > {group}/cgroup.procs"
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
        return
    pytest.skip("no control group for memory can be made here")


def only_path(folder: Path) -> str:
    """Words for a login shell that leave the tools of a plain system, and no Python."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "cat", "readlink", "mkdir", "chmod", "id", "df", "rm", "sed", "head"):
        for place in ("/bin", "/usr/bin"):
            if Path(place, name).exists():
                (tools / name).unlink(missing_ok=True)
                (tools / name).symlink_to(Path(place, name))
    return f"PATH='{tools}'; export PATH"


def stand_in_python(folder: Path, version: str) -> Path:
    """A `python3` that says it is of another version: what a board with an old one answers."""
    path = folder / "tools" / "python3"
    path.parent.mkdir(exist_ok=True)
    numbers = ", ".join(version.split("."))
    path.write_text(
        f"""#!{base_python()}
import sys
sys.argv = sys.argv[1:]
while sys.argv and sys.argv[0] in ("-E", "-I", "-S"):
    del sys.argv[0]
assert sys.argv.pop(0) == "-c"
code, sys.version_info = sys.argv[0], ({numbers})
sys.argv[0] = "-c"
exec(code)
"""
    )
    path.chmod(0o755)
    return path
