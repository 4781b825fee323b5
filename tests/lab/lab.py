"""The lab as a whole: up, down, what there is."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.lab import binfmt, hosts, machines, processes
from tests.lab.boards import BOARDS, Board
from tests.lab.machines import MACHINES, Machine
from tests.lab.places import STATE, cache

Say = Callable[[str], None]
EVERY: dict[str, Board | Machine] = {**BOARDS, **MACHINES}


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
            _stop(EVERY[name])
            _start(EVERY[name])
            say(f"{name}: up in {time.monotonic() - began_at_s:.1f} s, {EVERY[name].address}")


def down(say: Say) -> None:
    """End everything; only the cache stays."""
    if not STATE.exists():
        return
    with _alone():
        for place in EVERY.values():
            _stop(place)
        binfmt.unregister()
        shutil.rmtree(cache() / "boards", ignore_errors=True)
        shutil.rmtree(STATE)
    say("down")


def is_up(name: str) -> bool:
    """Board and link run."""
    return None not in (processes.pid_of(name), processes.pid_of(f"{name}.relay"))


def names_up() -> list[str]:
    """Boards that are up."""
    return [name for name in EVERY if is_up(name)]


def _start(place: Board | Machine) -> None:
    if isinstance(place, Board):
        hosts.start(place)
    else:
        machines.start(place)


def _stop(place: Board | Machine) -> None:
    if isinstance(place, Board):
        hosts.stop(place)
    else:
        machines.stop(place)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One command at a time changes the lab of this machine."""
    with Path(f"{STATE}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
