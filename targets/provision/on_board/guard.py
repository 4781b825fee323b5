"""Puts settings in force, and stays behind to put them back.

REQUEST is a JSON object: `do` is "look", "apply", "restore" or one of BOOT; the answer is one JSON
line on standard output.  After "apply" a guard is left running in a session of its own.  It puts
everything back and ends
  - when the lease file is gone (the run is over),
  - when nobody has touched it for as long as the lease is (the run or its link is dead),
  - on SIGTERM (the board shuts down).
Time is CLOCK_BOOTTIME, which nobody can set.  The lease file is only looked at: it may be any
user's.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from typing import Any, Dict, List, NoReturn, Optional, Tuple

from targets.provision.on_board import boot_file
from targets.provision.on_board.keeping import (
    Place,
    forget,
    put_back,
    restore,
    status,
    taken,
    turned,
)
from targets.provision.on_board.knobs import Refused, checked, look

BOOT = {
    "boot-prepare": boot_file.prepare,
    "boot-settle": boot_file.settle,
    "boot-restore": boot_file.put_back,
    "boot-restart": boot_file.restart,
}


def apply(asked: Dict[str, Any], place: Place) -> Dict[str, Any]:
    """Back up, set, read back, leave a guard.  What is in force already from before goes first."""
    changes = [
        (checked(c["knob"][0], c["knob"][1], c["value"]), c["value"]) for c in asked["changes"]
    ]
    lease_s = float(asked["lease_s"])
    before = None
    with place.locked():
        if os.path.exists(place.backup):
            before = put_back(place, "replaced")
        backup = taken(asked, changes, place)
        problems = [turned(knob, value, place) for knob, value in changes]
        held = any(problem is None for problem in problems)
        if not held:
            forget(place)  # nothing was changed, so nothing is to be put back
        elif not leave_guard(place, asked["lease"], lease_s):
            put_back(place, "no guard")
            raise Refused("no guard could be started, so nothing was left changed")
    return {
        "problems": problems,
        "replaced": before,
        "held": held,
        "backup": backup,
        "look": look(asked["look"]),
    }


def leave_guard(place: Place, lease: str, lease_s: float) -> bool:
    """Start it, and return once it stands; False if it does not."""
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        stand_guard(place, lease, lease_s, tell)
    os.close(tell)
    os.wait()
    stands = os.read(ready, 1) == b"g"
    os.close(ready)
    return stands


def stand_guard(place: Place, lease: str, lease_s: float, tell: int) -> NoReturn:
    """In the guard: wait for the lease to end, put back, end."""
    code = 1
    try:
        # The lock is one of those: held on here, it would keep this very guard waiting.
        os.closerange(3, tell)
        os.closerange(tell + 1, 1024)
        os.chdir("/")
        lock = os.open(place.path("guard"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, str(os.getpid()).encode("ascii"))
        ended: List[str] = []
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.append("signal"))
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        score = "/proc/self/oom_score_adj"  # root's alone to lower
        with contextlib.suppress(OSError), open(score, "w") as stream:
            stream.write("-1000")
        os.write(tell, b"g")
        os.close(tell)
        why = awaited_end(lease, lease_s, ended)
        with place.locked():
            os.close(lock)  # nobody needs to stop this guard any more
            if os.path.exists(place.backup):
                put_back(place, why)
        code = 0
    finally:
        os._exit(code)


def awaited_end(lease: str, lease_s: float, ended: List[str]) -> str:
    """Why the lease ended: "signal", "over" (the file is gone), or "silence"."""
    seen = mark_of(lease)
    renewed_at_s = boottime_s()
    pause_s = min(1.0, max(0.05, lease_s / 10))
    while True:
        time.sleep(pause_s)
        if ended:
            return ended[0]
        mark = mark_of(lease)
        if mark is None:
            return "over"
        if mark != seen:  # any change renews: its clock may have been set, ours cannot be
            seen, renewed_at_s = mark, boottime_s()
        if boottime_s() - renewed_at_s > lease_s:
            return "silence"


def mark_of(path: str) -> Optional[Tuple[int, ...]]:
    """What changes when the file is touched; None once it is gone."""
    try:
        seen = os.lstat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size


def boottime_s() -> float:
    """Seconds since the kernel started, sleep included; nobody can set it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def answer(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Do what is asked."""
    place = Place(asked["folder"], as_root=os.geteuid() == 0)
    if asked["do"] == "look":
        roots = Place(asked["folder"], as_root=True)
        users = Place(asked["folder"], as_root=False)
        held = {"root": status(roots), "user": status(users)}
        return dict(look(asked["look"]), held=held, boot=boot_file.backup())
    if asked["do"] == "apply":
        return apply(asked, place)
    if asked["do"] == "restore":
        return restore(place)
    if asked["do"] in BOOT:
        return BOOT[asked["do"]](asked)
    raise Refused(f"{asked['do']!r} is nothing that can be done")


def main(asked: Dict[str, Any]) -> None:
    """Answer."""
    os.umask(0o022)
    try:
        told = answer(asked)
    except Refused as refused:
        told = {"problem": str(refused)}
    except PermissionError as error:
        told = {"problem": "not permitted", "detail": str(error)}
    except OSError as error:
        told = {"problem": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(REQUEST)  # type: ignore[name-defined]  # noqa: F821
