"""The board's own tools, started from the sampler's thread and never for long.

What they print goes to the host as it is.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import subprocess
import time
from typing import Any, List, Optional, Tuple

from . import readings
from .records import ToolSaid

LIMIT_S = 2.0
MOST_BYTES = 16 * 1024
SHARE = 0.0025  # of one core, for each tool: the rest of 1 % is the sampler's own
_WAITING = 10  # a tool that takes its time in the firmware counts for a tenth of it
_FOLDERS = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/opt/vc/bin"


class Tool:
    """A tool that answers and ends.  It is run the more seldom the more it takes."""

    def __init__(self, name: str, path: str, *arguments: str) -> None:
        self.name = name
        self._command = [path, *arguments]
        self._due_ns = 0
        self.runs = 0
        self._cpu_ns = 0

    def cpu_ns_so_far(self) -> int:
        """Processor time of its runs."""
        return self._cpu_ns

    def due(self, now_ns: int) -> bool:
        """Whether it may be run again."""
        return now_ns >= self._due_ns

    def run(self) -> ToolSaid:
        """What it says, or as much as it said in `LIMIT_S`.  Raises OSError."""
        at_ns, before_ns = time.monotonic_ns(), _children_ns()
        text, code = _answer(_started(self._command))
        cpu_ns = _children_ns() - before_ns
        waited_ns = time.monotonic_ns() - at_ns
        self.runs += 1
        self._cpu_ns += cpu_ns
        self._due_ns = at_ns + int(max(cpu_ns, waited_ns / _WAITING) / SHARE)
        return ToolSaid(tool=self.name, text=text, exit_code=code, at_ns=at_ns)

    def close(self) -> None:
        """Nothing of it is left running."""


class Monitor:
    """A tool that goes on printing lines; the newest one is read."""

    def __init__(self, name: str, path: str, *arguments: str) -> None:
        self.name = name
        self._command = [path, *arguments]
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._rest = b""
        self.runs = 0

    def cpu_ns_so_far(self) -> int:
        """Processor time since it was started."""
        if self._process is None:
            return 0
        stat = readings.head(f"/proc/{self._process.pid}/stat") or ""
        words = stat.rpartition(")")[2].split()  # its name may hold anything
        ticks = [int(word) for word in words[11:13] if word.isdigit()]
        return int(sum(ticks) * 1e9 / os.sysconf("SC_CLK_TCK"))

    def due(self, now_ns: int) -> bool:
        """Always: reading what is there costs little."""
        del now_ns
        return True

    def run(self) -> Optional[ToolSaid]:
        """Its newest whole line; None where there is no new one.  Raises OSError, once it ended."""
        if self._process is None:
            self._process = _started(self._command)
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
            self.runs += 1
        assert self._process.stdout is not None
        try:
            data = os.read(self._process.stdout.fileno(), 256 * 1024)
        except BlockingIOError:
            return None
        if not data:
            raise OSError(f"it ended: {self._rest[-120:].decode('utf-8', 'replace').strip()}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MOST_BYTES:]
        if not lines:
            return None
        text = lines[-1][:MOST_BYTES].decode("utf-8", "replace")
        return ToolSaid(tool=self.name, text=text, at_ns=time.monotonic_ns())

    def close(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.terminate()
        _ended(self._process, time.monotonic() + 1)
        self._process = None


def find_tools(*, compatible: Tuple[str, ...], enough: bool, period_s: float) -> List[Any]:
    """The tools of this board that tell more than its files.

    enough: the files tell power and GPU load, which is what tegrastats would be for.
    """
    tools: List[Any] = []
    firmware = _which("vcgencmd")
    if firmware is not None:
        tools.append(Tool("throttled", firmware, "get_throttled"))
        if "brcm,bcm2712" in compatible:  # the power chip of a Raspberry Pi 5
            tools.append(Tool("pmic", firmware, "pmic_read_adc"))
    monitor = _which("tegrastats")
    if monitor is not None and not enough:
        milliseconds = str(max(100, int(period_s * 1000)))
        tools.append(Monitor("tegrastats", monitor, "--interval", milliseconds))
    return tools


def compatible(root: str = "/") -> Tuple[str, ...]:
    """What the board is compatible with, most special first (device tree, root node)."""
    for path in ("proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"):
        said = readings.text(os.path.join(root, path))
        if said:
            return tuple(said.split("\0"))[:20]
    return ()


def _which(name: str) -> Optional[str]:
    return shutil.which(name) or shutil.which(name, path=_FOLDERS)


def _started(command: List[str]) -> Any:
    # With close_fds the whole process would be forked and its pages copied on write; ours close
    # by themselves.  Without it, Python asks for posix_spawn, which leaves them alone.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
        bufsize=0,
    )


def _answer(process: Any) -> Tuple[str, Optional[int]]:
    end_s = time.monotonic() + LIMIT_S
    data, descriptor = b"", process.stdout.fileno()
    while len(data) < MOST_BYTES:
        left_s = end_s - time.monotonic()
        ready = left_s > 0 and select.select([descriptor], [], [], left_s)[0]
        piece = os.read(descriptor, 65536) if ready else b""
        if not piece:
            break
        data += piece
    code = _ended(process, end_s)
    return data[:MOST_BYTES].decode("utf-8", "replace"), code


def _ended(process: Any, end_s: float) -> Optional[int]:
    """Its exit code; None where it had to be killed."""
    process.stdout.close()
    try:
        return int(process.wait(timeout=max(0.01, end_s - time.monotonic())))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _children_ns() -> int:
    """Processor time of all children that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)
