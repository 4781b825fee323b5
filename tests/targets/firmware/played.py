"""A board's files and tools in a folder of a test, with the real programs at work on them.

Only the paths differ: whatever the programs read below /sys, /proc, /boot, /var/lib and /run is
below the folder, and their tools come from its `bin` first.  A restart is a new boot id.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.deadline import Deadline
from targets.firmware import program
from targets.firmware.look import Board, look
from targets.privilege import Privilege
from targets.process import Completed
from targets.ssh import Connection
from tests.targets.firmware.boards import policy

GOVERNOR = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
FILES = {
    **policy(0, "0 1", 600000, 1500000, "ondemand"),
    "/proc/sys/vm/swappiness": "60\n",
    "/proc/swaps": "Filename Type Size Used Priority\n",
    "/proc/meminfo": "MemAvailable: 4000000 kB\n",
    "/proc/mounts": "",
    "/proc/sys/kernel/random/boot_id": "first\n",
}
_PATHS = re.compile(r"(?<![\w.}\\*)])/(sys|proc|boot|etc/systemd|var/lib|run)(?=[/\"'( ])")


@dataclasses.dataclass(frozen=True)
class Played:
    """A board in `folder`."""

    folder: Path

    def path(self, name: str) -> Path:
        """Of a file of the board's."""
        return self.folder / name.removeprefix("/")

    def read(self, name: str) -> str:
        """Of a file of the board's."""
        return self.path(name).read_text()

    def write(self, name: str, text: str) -> None:
        """A file of the board's."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def tool(self, name: str, script: str) -> None:
        """A program that its tools find first; $HERE is the board's folder."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nHERE="{self.folder}"\n{script}')
        path.chmod(0o755)

    def restart(self) -> None:
        """A new run of the kernel; guards are gone."""
        for pid in self.guards():
            os.kill(pid, signal.SIGKILL)
        self.write("/proc/sys/kernel/random/boot_id", secrets.token_hex(4))

    def guards(self) -> list[int]:
        """Processes that stand guard."""
        places = [self.path("/var/lib/halfbyte/guard"), *self.folder.rglob("firmware/guard")]
        found = [path.read_text() for path in places if path.exists()]
        return [int(text) for text in found if text and Path(f"/proc/{text}").exists()]

    def there(self, text: str) -> str:
        """Programs, or a request, with the board's paths."""
        text = _PATHS.sub(lambda found: f"{self.folder}/{found[1]}", text)
        return text.replace('"/usr/sbin:/sbin:', f'"{self.folder}/bin:/usr/sbin:/sbin:')

    def start(self, request: dict[str, Any]) -> subprocess.Popen[bytes]:
        """The programs at work on one request."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import sys;exec(sys.stdin.buffer.read())"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": path},
        )
        assert process.stdin is not None
        process.stdin.write(self.bundle(request))
        process.stdin.close()
        return process

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What they answer."""
        process = self.start(request)
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait(timeout=60) == 0
        answer: dict[str, Any] = json.loads(said.replace(f"{self.folder}/".encode(), b"/"))
        return answer

    def bundle(self, request: dict[str, Any]) -> bytes:
        """As `program.bundle`."""
        programs = [(name, self.there(text)) for name, text in program.modules()]
        return program.as_text(programs, json.loads(self.there(json.dumps(request))))


@contextlib.contextmanager
def board(folder: Path) -> Iterator[Played]:
    """A board with one cpufreq policy; its guards end with the block."""
    played = Played(folder)
    for name, text in FILES.items():
        played.write(name, text)
    try:
        yield played
    finally:
        for pid in played.guards():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def reached(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, what is asked of any board is asked of this one."""
    parsed = program._parsed

    def back(connection: Connection, done: Completed) -> dict[str, Any]:
        stdout = done.stdout.replace(f"{played.folder}/".encode(), b"/")
        return parsed(connection, dataclasses.replace(done, stdout=stdout))

    monkeypatch.setattr(program, "bundle", played.bundle)
    monkeypatch.setattr(program, "_parsed", back)


def seen(connection: Connection) -> Board:
    """The board, looked at by a user who is root where this process is, and has no sudo."""
    privilege = Privilege(connection, "tester", is_root=os.geteuid() == 0, sudo=None)
    return look(connection, privilege, deadline=Deadline.after(60))


def wait(awaited: str, ready: Callable[[], bool], seconds: float = 20) -> None:
    """Fails where it is not so in time."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited for {awaited}, in vain"
        time.sleep(0.05)
