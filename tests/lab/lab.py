"""The lab as a whole: up, down, what there is."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab import binfmt, hosts, processes
from tests.lab.boards import BOARDS
from tests.lab.places import STATE

Say = Callable[[str], None]


def up(names: Sequence[str], say: Say) -> None:
    """Start those that are not up yet."""
    STATE.mkdir(mode=0o755, exist_ok=True)
    with _alone():
        hosts.make_keys()
        for name in names:
            if is_up(name):
                say(f"{name}: is up")
                continue
            began_at_s = time.monotonic()
            hosts.stop(BOARDS[name])
            hosts.start(BOARDS[name])
            say(f"{name}: up in {time.monotonic() - began_at_s:.1f} s, {BOARDS[name].address}")


def down(say: Say) -> None:
    """End everything; only the cache stays."""
    if not STATE.exists():
        return
    with _alone():
        for board in BOARDS.values():
            hosts.stop(board)
        binfmt.unregister()
        shutil.rmtree(STATE)
    say("down")


def is_up(name: str) -> bool:
    """Board and link run."""
    return None not in (processes.pid_of(name), processes.pid_of(f"{name}.relay"))


def names_up() -> list[str]:
    """Boards that are up."""
    return [name for name in BOARDS if is_up(name)]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One command at a time changes the lab of this machine."""
    with Path(f"{STATE}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
