"""Starts the agent and stands by: checks its bytes, holds the board's lock, tells how it ended.

REQUEST says what to start; `plan_bytes` bytes of plan follow on standard input.  After that an end
of standard input means that the host is gone or wants no more: the agent is ended.  The agent's
own output goes straight to standard output; what this program has to say goes to standard error as
one line, the agreed mark and a JSON object.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import runpy
import select
import shutil
import signal
import sys
import time
from typing import Any, Dict, NoReturn, Optional

GRACE_S = 8.0  # for the inference at hand
POLL_S = 0.2  # what reading one file of procfs so often costs does not show in a figure
REFUSED = 96
PR_SET_PDEATHSIG = 1


def say(mark: str, **words: Any) -> None:
    """One line for the host."""
    os.write(2, f"\n{mark}{json.dumps(words)}\n".encode("ascii"))


class Refused(Exception):
    """Nothing was started: a reason with a name that the host knows, and its particulars."""

    def __init__(self, problem: str, **more: Any) -> None:
        super().__init__(problem)
        self.words = dict(more, problem=problem)


def held_lock(asked: Dict[str, Any]) -> int:
    """One run at a time on a board: two would spoil each other's figures."""
    lock = os.open(os.path.join(asked["root"], "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(lock, 4096).decode("utf-8", "replace")
        raise Refused("busy", holder=holder) from None
    os.ftruncate(lock, 0)
    os.write(lock, json.dumps(dict(asked["holder"], pid=os.getpid())).encode("ascii"))
    return lock


def checked_agent(asked: Dict[str, Any]) -> str:
    """A path to the very bytes whose hash was right: a private file without a name."""
    try:
        with open(asked["agent"], "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise Refused("agent-mismatch", detail=str(error)) from error
    seen = hashlib.sha256(data).hexdigest()
    if seen != asked["agent_sha256"]:
        raise Refused("agent-mismatch", detail=f"its sha256 is {seen}")
    try:
        copy = os.memfd_create("agent")
    except (AttributeError, OSError):  # built or run without it
        name = os.path.join(asked["run"], "agent")
        copy = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(name)
    with os.fdopen(os.dup(copy), "wb") as stream:
        stream.write(data)
    return f"/proc/self/fd/{copy}"


def become_agent(asked: Dict[str, Any], path: str, plan: str, parent: int) -> NoReturn:
    """In the child: the agent, with the standard library and its own environment to import from."""
    # Without prctl an end of this program does not reach the agent; the lock still tells of it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(REFUSED)
    os.dup2(os.open(plan, os.O_RDONLY), 0)
    os.chdir(asked["run"])
    os.environ["TMPDIR"] = asked["run"]
    sys.path[:] = asked["path"] + [entry for entry in sys.path if entry]
    sys.argv = ["agent", *asked["arguments"]]
    code = 1
    try:
        runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:  # noqa: BLE001  (told on stderr; this process must end here)
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def memory_of(pid: int) -> Dict[str, int]:
    """rss, hwm and swap of a process in bytes, as far as procfs says."""
    found = {}
    names = {"VmRSS": "rss_bytes", "VmHWM": "hwm_bytes", "VmSwap": "swap_bytes"}
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key in names:
                found[names[key]] = int(value.split()[0]) * 1024
    return found


def number_in(path: str, key: str) -> Optional[int]:
    """The number behind `key` in a file of procfs, else None."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(path) as lines:
        for line in lines:
            words = line.replace(":", " ").split()
            if words and words[0] == key:
                return int(words[1])
    return None


def stand_by(child: int) -> Dict[str, Any]:
    """Wait for the agent's end, or bring it about; how it ended and the memory just before."""
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.append(time.monotonic()))
    kills_before = number_in("/proc/vmstat", "oom_kill")
    memory: Dict[str, int] = {}
    listening, told = True, False
    while True:
        seen = memory_of(child)
        if "rss_bytes" in seen:  # a zombie has none
            memory = seen
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if stopping and not told:
            os.kill(child, signal.SIGTERM)
            told = True
        if stopping and time.monotonic() - stopping[0] > GRACE_S:
            os.kill(child, signal.SIGKILL)
        if listening and select.select([0], [], [], POLL_S)[0]:
            if not os.read(0, 4096):
                listening = False
                stopping.append(time.monotonic())
        elif not listening:
            time.sleep(POLL_S / 5)
    kills = number_in("/proc/vmstat", "oom_kill")
    available_kib = number_in("/proc/meminfo", "MemAvailable")
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "exit_status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "stopped": bool(stopping),
        "memory": memory,
        "oom_kills": None if kills is None or kills_before is None else kills - kills_before,
        "mem_available_bytes": None if available_kib is None else available_kib * 1024,
    }


def exactly(count: int) -> bytes:
    """`count` bytes of standard input, unbuffered so that its end can be waited for."""
    data = b""
    while len(data) < count:
        piece = os.read(0, min(1 << 20, count - len(data)))
        if not piece:
            raise Refused("no-plan")  # the host left
        data += piece
    return data


def run(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Start, stand by; how the agent ended."""
    os.mkdir(asked["run"], 0o700)
    try:
        plan = os.path.join(asked["run"], "plan.json")
        with open(plan, "wb") as stream:
            stream.write(exactly(asked["plan_bytes"]))
        path = checked_agent(asked)
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            become_agent(asked, path, plan, parent)
        return stand_by(child)
    finally:
        shutil.rmtree(asked["run"], ignore_errors=True)


def main(asked: Dict[str, Any]) -> None:
    """Tell how it ended, or why nothing was started."""
    os.umask(0o077)
    os.makedirs(os.path.dirname(asked["run"]), 0o700, exist_ok=True)
    try:
        lock = held_lock(asked)
        end = run(asked)
        os.ftruncate(lock, 0)
    except Refused as refused:
        say(asked["mark"], **refused.words)
        os._exit(REFUSED)
    except OSError as error:
        say(asked["mark"], problem="os-error", number=error.errno, detail=str(error))
        os._exit(REFUSED)
    say(asked["mark"], ended=end)
    os._exit(end["exit_status"] if end["signal"] is None else 128 + end["signal"])


if __name__ == "__main__":
    main(json.loads(REQUEST))  # type: ignore[name-defined]  # noqa: F821
