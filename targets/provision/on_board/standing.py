"""The guard: a process of its own that waits for the end of a hold, and puts everything back.

It starts before the first setting is changed, and ends
  - when the lease file is gone (the run is over),
  - when nobody has touched it for as long as the lease is (the run or its link is dead),
  - on SIGTERM (the board shuts down).
Time is CLOCK_BOOTTIME, which nobody can set.  The lease file is only looked at: it may be any
user's.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

from targets.provision.on_board.keeping import put_back
from targets.provision.on_board.knobs import Refused
from targets.provision.on_board.place import Place, loaded
from targets.provision.on_board.start import scope
from targets.provision.on_board.trusted import program_of

READY_S = 40.0
_LOADER = "import sys;exec(sys.stdin.buffer.read())"

# The text of these programs, for another request.
Again = Callable[[Dict[str, Any]], str]


@contextlib.contextmanager
def guarded(asked: Dict[str, Any], again: Again) -> Any:
    """A guard stands from here on; the lease's time runs from the end of the block.

    The lock is held by the caller, so that nothing is put back meanwhile.  Raises Refused.
    """
    going_on, ended = os.pipe()  # closed by the end of this process too, however it ends
    try:
        before = scope(systemd_run())
        if not (
            leave(asked, going_on, again, before) or (before and leave(asked, going_on, again))
        ):
            raise Refused("no guard could be started, so nothing was changed")
        yield
    finally:
        os.close(going_on)
        os.close(ended)


def leave(asked: Dict[str, Any], going_on: int, again: Again, before: Any = ()) -> bool:
    """Start it, and return once it stands; False if it does not."""
    ready, tell = os.pipe()
    words = [sys.executable, "-I", "-S", "-c", _LOADER]
    request = {
        "do": "guard",
        "folder": asked["folder"],
        "id": asked["id"],
        "lease": asked["lease"],
        "lease_s": asked["lease_s"],
        "going_on": going_on,
        "tell": tell,
    }
    try:
        process = subprocess.Popen(
            [*before, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=(going_on, tell),
        )
    except OSError:
        os.close(ready)
        return False
    finally:
        os.close(tell)
    with contextlib.suppress(OSError), process.stdin as stream:  # type: ignore[union-attr]
        stream.write(again(request).encode("utf-8"))
    stands = bool(select.select([ready], [], [], READY_S)[0]) and os.read(ready, 1) == b"g"
    os.close(ready)
    if not stands:
        process.kill()
        process.wait()
    return stands


def systemd_run() -> Optional[str]:
    """Its path; None where it is not there, or not to be run."""
    try:
        return program_of("systemd-run")
    except OSError:
        return None


def stand(asked: Dict[str, Any], place: Place) -> NoReturn:
    """In the guard: wait for the lease to end, put back, end."""
    code = 1
    try:
        lock = os.open(place.path("guard"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode("ascii"))
        ended: List[str] = []
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.append("signal"))
        score = "/proc/self/oom_score_adj"  # root's alone to lower
        with contextlib.suppress(OSError), open(score, "w") as stream:
            stream.write("-1000")
        os.write(asked["tell"], b"g")
        os.close(asked["tell"])
        why = awaited_end(asked, ended)
        with place.locked():
            if os.path.exists(place.backup) and loaded(place.backup)["id"] == asked["id"]:
                put_back(place, why)
            os.close(lock)  # from here on nobody stands for what is left
        code = 0
    finally:
        os._exit(code)


def awaited_end(asked: Dict[str, Any], ended: List[str]) -> str:
    """Why the lease ended: "signal", "over" (the file is gone), or "silence"."""
    lease, lease_s = asked["lease"], asked["lease_s"]
    changing = True  # who started this guard is at work still: some settings take many seconds
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
        if changing and select.select([asked["going_on"]], [], [], 0)[0]:
            changing = False
            renewed_at_s = boottime_s()
        if mark != seen:  # any change renews: its clock may have been set, ours cannot be
            seen, renewed_at_s = mark, boottime_s()
        if not changing and boottime_s() - renewed_at_s > lease_s:
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
