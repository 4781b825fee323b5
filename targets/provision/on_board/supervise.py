"""Stands by a run on the board: starts the agent, keeps its journal whole, tells how it ended.

    supervise.py RUN LOCK READY

RUN is the run's folder, LOCK the descriptor of the board's lock, READY one that is told that the
agent is on its way.  The journal is the agent's own output: a line a record, synced in groups,
since cards are slow and wear out.  `state.json` is written in place, so that a full disk cannot
keep back how the run ended.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import runpy
import select
import signal
import sys
import time
from typing import Any, Dict, List, NoReturn, Optional

SCHEMA = "halfbyte.run-on-board"
VERSION = 1
GRACE_S = 8.0  # for the inference at hand
POLL_S = 0.2  # what reading one file of procfs so often costs does not show in a figure
LOOK_S = 1.0
SYNC_S = 2.0  # what a power cut may cost, at most
LOG_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
STATE_BYTES = 64 * 1024
REFUSED = 96
PR_SET_PDEATHSIG = 1
FALLOC_FL_KEEP_SIZE = 1


class Refused(Exception):
    """Nothing was started: a reason with a name that the host knows, and its particulars."""

    def __init__(self, problem: str, **more: Any) -> None:
        super().__init__(problem)
        self.words = dict(more, problem=problem)


class State:
    """`state.json`: a fixed place on the disk, filled with blanks."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._words: Dict[str, Any] = {"schema": SCHEMA, "version": VERSION}

    def tell(self, **words: Any) -> None:
        """Add to what is told, on the disk when this returns."""
        self._words.update(words)
        text = json.dumps(self._words).encode("ascii")
        os.pwrite(self._descriptor, text.ljust(STATE_BYTES), 0)
        os.fsync(self._descriptor)


def opened_journal(run: str, reserve_bytes: int) -> int:
    """The journal, ending with a whole line, with room for what is expected.

    Raises OSError where there is no room.
    """
    path = os.path.join(run, "journal.jsonl")
    journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    whole = end_of_lines(journal)
    os.ftruncate(journal, whole)  # a line that a power cut tore
    os.lseek(journal, whole, os.SEEK_SET)
    with contextlib.suppress(AttributeError, TypeError):
        call = ctypes.CDLL(None, use_errno=True).fallocate
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        if sys.maxsize < 1 << 32:  # off_t has 32 bits there, fallocate64 has 64
            call = ctypes.CDLL(None, use_errno=True).fallocate64
            call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        failed = call(journal, FALLOC_FL_KEEP_SIZE, whole, reserve_bytes)
        number = ctypes.get_errno()
        if failed and number in (28, 122):  # ENOSPC, EDQUOT; others: no such call there
            raise OSError(number, os.strerror(number), path)
    return journal


def end_of_lines(descriptor: int) -> int:
    """Behind the last newline of a file, which may be large."""
    at = os.fstat(descriptor).st_size
    while at:
        start = max(0, at - READ_BYTES)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


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


def become_agent(asked: Dict[str, Any], path: str, journal: int, log: int, parent: int) -> NoReturn:
    """In the child: the agent, with the standard library and its own environment to import from."""
    # Without prctl an end of this program does not reach the agent; the lock still tells of it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(REFUSED)
    os.dup2(os.open(os.path.join(asked["run"], "plan.json"), os.O_RDONLY), 0)
    os.dup2(journal, 1)
    os.dup2(log, 2)
    os.makedirs(os.path.join(asked["run"], "tmp"), 0o700, exist_ok=True)
    os.environ["TMPDIR"] = os.path.join(asked["run"], "tmp")
    sys.path[:] = asked["path"] + [entry for entry in sys.path if entry]
    sys.argv = ["agent", *asked["arguments"]]
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
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


class Watch:
    """One agent from here to its end.

    log: the pipe of its standard error, whose last bytes are kept.  stopping: when it was asked to
    stop, and why.
    """

    def __init__(self, asked: Dict[str, Any], child: int, journal: int, log: int) -> None:
        self._asked = asked
        self._child = child
        self._journal = journal
        self._log = log
        self._began_s = self._synced_s = self._looked_s = time.monotonic()
        self._synced_bytes = 0
        self._text = b""
        self._memory: Dict[str, int] = {}
        self._stopping: List[float] = []
        self._told = False
        self.why = ""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop("asked"))

    def _stop(self, why: str) -> None:
        if not self._stopping:
            self.why = why
            self._stopping.append(time.monotonic())

    def to_the_end(self) -> Dict[str, Any]:
        """Wait for the agent's end, or bring it about; how it ended and the memory just before."""
        kills_before = number_in("/proc/vmstat", "oom_kill")
        while True:
            seen = memory_of(self._child)
            if "rss_bytes" in seen:  # a zombie has none
                self._memory = seen
            ended, status = os.waitpid(self._child, os.WNOHANG)
            if ended:
                break
            self._end_if_due()
            self._sync()
            self._read_log(POLL_S)
        self._read_log(0.0)
        os.ftruncate(self._journal, os.fstat(self._journal).st_size)  # the rest of what was kept
        os.fsync(self._journal)
        kills = number_in("/proc/vmstat", "oom_kill")
        available_kib = number_in("/proc/meminfo", "MemAvailable")
        return {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "exit_status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "stopped": self.why or None,
            "memory": self._memory,
            "oom_kills": None if kills is None or kills_before is None else kills - kills_before,
            "mem_available_bytes": None if available_kib is None else available_kib * 1024,
            "log": self._text.decode("utf-8", "replace"),
        }

    def _end_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            self._stop_if_over(now_s)
        if self._stopping and not self._told:
            os.kill(self._child, signal.SIGTERM)
            self._told = True
        if self._stopping and now_s - self._stopping[0] > GRACE_S:
            os.kill(self._child, signal.SIGKILL)

    def _stop_if_over(self, now_s: float) -> None:
        """Too long, too much, or for nobody."""
        if now_s - self._began_s > self._asked["limit_s"]:
            self._stop("limit")
        if now_s - self._followed_s() > self._asked["linger_s"]:
            self._stop("alone")
        if os.fstat(self._journal).st_size > self._asked["journal_bytes"]:
            self._stop("journal-full")

    def _followed_s(self) -> float:
        """When somebody last followed the run; by the clock that nobody can set."""
        try:
            with open(os.path.join(self._asked["run"], "followed")) as stream:
                return max(self._began_s, float(stream.read(32)))
        except (OSError, ValueError):
            return self._began_s

    def _sync(self) -> None:
        now_s = time.monotonic()
        if now_s - self._synced_s < SYNC_S:
            return
        self._synced_s = now_s
        size = os.fstat(self._journal).st_size
        if size != self._synced_bytes:
            self._synced_bytes = size
            with contextlib.suppress(OSError):
                os.fdatasync(self._journal)

    def _read_log(self, wait_s: float) -> None:
        """Wait for the agent's words on stderr; keep the last of them."""
        if self._log < 0:
            time.sleep(wait_s)
            return
        while select.select([self._log], [], [], wait_s)[0]:
            piece = os.read(self._log, 65536)
            if not piece:
                os.close(self._log)
                self._log = -1
                return
            self._text = (self._text + piece)[-LOG_BYTES:]
            wait_s = 0.0


def boot_id() -> Optional[str]:
    """The kernel's name for the time since it started."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()
    return None


def begun(asked: Dict[str, Any], lock: int, ready: int) -> Watch:
    """The agent, started; it shares the lock, and not `ready`.  Raises Refused, OSError."""
    run = asked["run"]
    # Held as long as this process lives: whoever follows sees by it that it does.
    alive = os.open(os.path.join(run, "alive"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX)
    journal = opened_journal(run, asked["reserve_bytes"])
    path = checked_agent(asked)
    log, log_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(ready)
        become_agent(asked, path, journal, log_end, parent)
    os.close(log_end)
    holder = dict(asked["holder"], pid=parent, run=os.path.basename(run))
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(holder).encode("ascii"), 0)
    return Watch(asked, child, journal, log)


def main(run: str, lock: int, ready: int) -> None:
    """From the first check to how it ended."""
    os.umask(0o077)
    for descriptor in (lock, ready):  # not for programs that the agent starts
        fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    with open(os.path.join(run, "request.json")) as stream:
        asked = json.load(stream)
    try:
        state = State(os.path.join(run, "state.json"))
        state.tell(pid=os.getpid(), boot_id=boot_id(), ended=None)
        watch = begun(asked, lock, ready)
    except Refused as refused:
        words = refused.words
    except OSError as error:
        words = {"problem": "os-error", "number": error.errno, "detail": str(error)}
    else:
        words = {"pid": os.getpid()}
    os.write(ready, json.dumps(words).encode("ascii") + b"\n")
    os.close(ready)
    if "problem" not in words:
        state.tell(ended=watch.to_the_end())
        os.ftruncate(lock, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
