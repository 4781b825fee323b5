"""Starts a run that goes on by itself: checks, takes the board's lock, and leaves a supervisor.

REQUEST says what to start; `plan_bytes` bytes of plan follow on standard input.  The supervisor
(`supervise.py`, whose text comes in the request) has a session of its own, so that the end of this
connection is not its end.  It inherits the lock.  What this program has to say goes to standard
error as one line, the agreed mark and a JSON object.

Asked twice for the same run (the answer was lost on the way), it starts nothing again.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import Any, Dict, List, NoReturn, Optional

REFUSED = 96
READY_S = 25.0  # twice, where a scope does not come up, is less than the host waits
LET_GO_S = 2.0
KEPT_RUNS = 8
FOLDERS = "/usr/bin:/bin"  # never /usr/local, which others than root may write on some systems


class Already(Exception):
    """This very run is on, or about to be."""


class Refused(Exception):
    """Nothing was started: a reason with a name that the host knows, and its particulars."""

    def __init__(self, problem: str, **more: Any) -> None:
        super().__init__(problem)
        self.words = dict(more, problem=problem)


def say(mark: str, **words: Any) -> None:
    """One line for the host."""
    os.write(2, f"\n{mark}{json.dumps(words)}\n".encode("ascii"))


def held_lock(root: str, run: str) -> int:
    """One run at a time on a board: two would spoil each other's figures.

    A run that has just ended may need a moment to let go of it.
    Raises Already where `run` itself holds it, Refused.
    """
    lock = os.open(os.path.join(root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end_s = time.monotonic() + LET_GO_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 4096, 0).decode("utf-8", "replace")
            if name_in(holder) == os.path.basename(run):
                raise Already from None
            if time.monotonic() > end_s:
                raise Refused("busy", holder=holder) from None
            time.sleep(0.05)
        else:
            return lock


def name_in(holder: str) -> Optional[str]:
    """The run that a lock's holder says it is."""
    try:
        return str(json.loads(holder)["run"])
    except (ValueError, KeyError, TypeError):
        return None


def exactly(count: int) -> bytes:
    """`count` bytes of standard input."""
    data = b""
    while len(data) < count:
        piece = os.read(0, min(1 << 20, count - len(data)))
        if not piece:
            raise Refused("no-plan")  # the host left
        data += piece
    return data


def put(path: str, data: bytes) -> None:
    """A file of the run, on the disk: it is needed again after a power cut."""
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def forget_old(runs: str, but: str) -> None:
    """Runs that nobody came for take room; the newest are kept.  No run is on: we hold the lock.

    The newest by a number of ours: many boards do not know what day it is.
    """
    folders = [os.path.join(runs, name) for name in os.listdir(runs)]
    numbered = sorted((number_of(folder), folder) for folder in folders if folder != but)
    for _, folder in numbered[:-KEPT_RUNS]:
        shutil.rmtree(folder, ignore_errors=True)
    highest = numbered[-1][0] if numbered else 0
    put(os.path.join(but, "number"), b"%d" % max(highest + 1, number_of(but)))


def number_of(folder: str) -> int:
    """How many runs began before it, as far as is known."""
    try:
        with open(os.path.join(folder, "number")) as stream:
            return int(stream.read(20))
    except (OSError, ValueError):
        return 0


def scope(program: Optional[str]) -> List[str]:
    """What keeps systemd from ending the run with the login, where that is needed and possible.

    A user's own scope ends with the last login unless the user lingers, which a session of its own
    does not; so it is used by root, and by users who linger.  program: systemd-run's path.
    """
    if program is None or not os.path.isdir("/run/systemd/system"):
        return []
    words = [program, "--scope", "--quiet", "--collect"]
    if os.getuid() == 0:
        return words
    name = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    if name and "/" not in name and os.path.exists(f"/var/lib/systemd/linger/{name}"):
        return [*words[:1], "--user", *words[1:]]
    return []


def supervised(run: str, lock: int, before: List[str]) -> Dict[str, Any]:
    """Start the supervisor; what it says when the agent is on its way."""
    ready, told = os.pipe()
    log = os.open(os.path.join(run, "supervisor.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    program = [sys.executable, "-I", "-S", os.path.join(run, "supervise.py")]
    try:
        process = subprocess.Popen(
            [*before, *program, run, str(lock), str(told)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=run,
            start_new_session=True,
            pass_fds=(lock, told),
        )
    finally:
        os.close(told)
        os.close(log)
    words = b""
    while not words.endswith(b"\n") and select.select([ready], [], [], READY_S)[0]:
        piece = os.read(ready, 4096)
        if not piece:
            break
        words += piece
    os.close(ready)
    try:
        return dict(json.loads(words.decode("ascii")))
    except ValueError:
        process.kill()
        with open(os.path.join(run, "supervisor.log"), errors="replace") as lines:
            raise Refused("not-supervised", detail=lines.read()[-500:]) from None


def start(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Put the run's files down and start it; "started", with the supervisor's pid."""
    run = asked["run"]
    runs, name = os.path.split(run)
    os.makedirs(runs, 0o700, exist_ok=True)
    plan = exactly(asked["plan_bytes"])
    if os.path.exists(os.path.join(run, "started")) and not asked["resume"]:
        return {"started": {"already": True}}
    try:
        lock = held_lock(asked["root"], run)
    except Already:
        return {"started": {"already": True}}
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(dict(asked["holder"], pid=os.getpid(), run=name)).encode(), 0)
    if asked["resume"]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(run, "followed"))  # its times are of another boot
    else:
        shutil.rmtree(run, ignore_errors=True)  # of a start that was cut off
        os.mkdir(run, 0o700)
    forget_old(runs, run)
    supervisor = asked.pop("supervisor")
    put(os.path.join(run, "plan.json"), plan)
    put(os.path.join(run, "supervise.py"), supervisor.encode("utf-8"))
    put(os.path.join(run, "request.json"), json.dumps(asked).encode("ascii"))
    before = scope(shutil.which("systemd-run", path=FOLDERS))
    try:
        words = supervised(run, lock, before)
    except (Refused, OSError):
        if not before:
            raise
        words = supervised(run, lock, [])
    if "problem" in words:
        shutil.rmtree(run, ignore_errors=True)
        raise Refused(words.pop("problem"), **words)
    put(os.path.join(run, "started"), b"")
    return {"started": words}


def main(asked: Dict[str, Any]) -> NoReturn:
    """Tell that it goes on, or why nothing was started."""
    os.umask(0o077)
    code = REFUSED
    words: Dict[str, Any] = {}
    try:
        words, code = start(asked), 0
    except Refused as refused:
        words = refused.words
    except OSError as error:
        words = {"problem": "os-error", "number": error.errno, "detail": str(error)}
    with contextlib.suppress(OSError):
        say(asked["mark"], **words)
    os._exit(code)


if __name__ == "__main__":
    main(json.loads(REQUEST))  # type: ignore[name-defined]  # noqa: F821
