"""What is wrong with a target: a list of checks, each with what to do.  Nothing is changed there.

(Except that our folder is made, which shows that it can be, and that settings of ours which nobody
there will put back any more are put back.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from targets.deadline import Deadline
from targets.errors import (
    HalfbyteError,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    KeyRefused,
    LinkLost,
    NoPython,
    NoRuntime,
)
from targets.firmware import leftover
from targets.hostkeys import HostKeyPrompt
from targets.places import cache_dir
from targets.provision.environment import BoardPython, look
from targets.provision.environment import ask as ask_interpreters
from targets.provision.interpreter import Interpreter
from targets.ssh import Connection, connect
from targets.target import Target

log = logging.getLogger(__name__)
CONNECT_S = 30.0
STEP_S = 60.0
SKEW_S = 60.0
_MIB = 1 << 20
_ROOM_BYTES = 400 * _MIB  # an environment while it is made, a model and some pictures
_MEMORY_BYTES = 300 * _MIB  # YOLOv7 at 640 in int8 takes 215 MB, in float 524 MB

LOOK = """
echo "shell $SHELL"
echo "clock $(date +%s)"
echo "kernel $(uname -srm)"
[ -r /proc/meminfo ] && sed -n "s/^MemTotal: *\\([0-9]*\\) kB/total \\1/p; \\
  s/^MemAvailable: *\\([0-9]*\\) kB/available \\1/p" /proc/meminfo
[ -r /proc/device-tree/model ] && echo "model $(tr -d "\\000" </proc/device-tree/model)"
if [ "$(id -u)" = 0 ]; then echo "sudo root"
elif ! command -v sudo >/dev/null; then echo "sudo absent"
elif sudo -n true </dev/null >/dev/null 2>&1; then echo "sudo permitted"
else echo "sudo refused"; fi
echo "user $(id -un)"
"""


@dataclass(frozen=True)
class Check:
    """ok None: not good, yet nothing that stops the main job.

    facts: the same for programs, where there is more of it than a line holds.
    """

    name: str
    ok: bool | None
    detail: str
    hint: str = ""
    facts: Mapping[str, Any] | None = None


def check(
    target: Target, *, ask: HostKeyPrompt | None = None, accept_new: bool = False
) -> list[Check]:
    """Every check of a target, in the order in which trouble would show.  Raises nothing of ours.

    ask, accept_new: as for `targets.ssh.connect`; nobody is asked for a password.
    """
    deadline = Deadline.after(CONNECT_S)
    try:
        connection = connect(target, deadline=deadline, ask=ask, accept_new=accept_new)
    except HalfbyteError as error:
        return [_shut(error)]
    with connection:
        found = [Check("connection", ok=True, detail=f"{target.name} lets us in by key")]
        try:
            found += _checks(connection)
        except LinkLost as error:
            found.append(_bad("connection", error))
    return found


def _shut(error: HalfbyteError) -> Check:
    if isinstance(error, HostKeyUnknown | HostKeyChanged | HostKeyRevoked):
        return _bad("host key", error)
    return _bad("login" if isinstance(error, KeyRefused) else "connection", error)


def _checks(connection: Connection) -> Iterator[Check]:
    said = _said(connection)
    yield _noise(connection)
    yield _shell(said)
    yield from _board(connection)
    yield from _python(connection)
    yield _memory(said)
    yield _clock(said)
    yield _sftp(connection)
    yield sudo_check(said)
    yield from _left_over(connection)


def _said(connection: Connection) -> dict[str, str]:
    done = connection.run(LOOK, deadline=Deadline.after(STEP_S))
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _left_over(connection: Connection) -> Iterator[Check]:
    try:
        told = leftover.put_back(connection, deadline=Deadline.after(STEP_S))
    except HalfbyteError as error:
        if isinstance(error, LinkLost):
            raise
        yield _bad("settings", error)
        return
    if told is not None:
        yield Check("settings", None, told, hint="docs/firmware.md says how settings go back.")


def _noise(connection: Connection) -> Check:
    if not connection.noise:
        return Check("start-up files", ok=True, detail="silent")
    return Check(
        "start-up files",
        None,
        f"print {connection.noise[:120]!r} to every command; it is left out",
        "Let ~/.bashrc print only in interactive shells: put `[ -t 1 ] || return` on its top.",
    )


def _shell(said: dict[str, str]) -> Check:
    detail = ", ".join(filter(None, (said.get("kernel"), said.get("model"), said.get("shell"))))
    return Check("system", ok=True, detail=detail or "it does not say")


def _board(connection: Connection) -> Iterator[Check]:
    """Which board it is: by its files alone, since it may have no Python."""
    from targets.boards.look import as_facts, in_words, look, of_tools

    try:
        board = look(connection, deadline=Deadline.after(STEP_S))
        facts: Mapping[str, Any] | None = as_facts(board)
        for said in (*in_words(board), *of_tools(connection, board)):
            yield Check(said.name, said.good, said.detail, said.hint, facts)
            facts = None  # once, with the first
    except LinkLost:
        raise
    except HalfbyteError as error:
        yield Check("board", None, error.message, error.hint)


def _python(connection: Connection) -> Iterator[Check]:
    """Interpreter, its kind, runtime, environment and room, as far as one leads to the next."""
    deadline = Deadline.after(STEP_S * 2)
    try:
        answers = ask_interpreters(connection, deadline=deadline)
        board, seen = look(connection, deadline=deadline)
    except (NoPython, NoRuntime) as error:
        yield _bad("Python" if isinstance(error, NoPython) else "runtime", error)
        return
    except LinkLost:
        raise
    except HalfbyteError as error:
        yield _bad("our folder", error)
        return
    others = [i.named for i in answers.interpreters if i != board.interpreter]
    more = f"; also {', '.join(others)}" if others else ""
    yield Check("Python", ok=True, detail=board.interpreter.named + more)
    yield _kind(board.interpreter)
    slow = board.runtime.slow_without
    more = f"; slower than it could be, as the processor lacks {', '.join(slow)}" if slow else ""
    yield Check("runtime", ok=True, detail=f"{board.runtime.named} will do{more}")
    yield from _environment(connection, board)
    yield _room(board, int(seen["free_bytes"]), str(seen["mount"]))


def _kind(interpreter: Interpreter) -> Check:
    libc = f"{interpreter.libc or 'unknown libc'} {interpreter.libc_version or ''}".strip()
    detail = f"{interpreter.bits}-bit {interpreter.architecture}, {libc}"
    if interpreter.page_size_bytes:
        detail += f", pages of {interpreter.page_size_bytes // 1024} KiB"
    machine = interpreter.machine or ""
    if interpreter.bits == 32 and machine in ("aarch64", "x86_64"):
        return Check(
            "userland",
            None,
            f"{detail} under a 64-bit kernel ({machine})",
            "A 64-bit system on this board has newer and faster runtimes.",
        )
    return Check("userland", ok=True, detail=detail)


def _environment(connection: Connection, board: BoardPython) -> Iterator[Check]:
    if not board.versions:
        yield Check(
            "environment",
            None,
            "not made yet",
            f"`halfbyte target provision {connection.name}`, or the first run, makes it.",
        )
        return
    detail = f"{board}, {board.size_bytes / 1e6:.0f} MB in {board.folder}"
    yield Check("environment", ok=True, detail=detail)
    yield from _agent(connection, board)


def _agent(connection: Connection, board: BoardPython) -> Iterator[Check]:
    """Does the agent start there, and what does it say of the board?"""
    from targets.items import Item
    from targets.session import facts
    from targets.zipapp import build

    try:
        built = build(cache_dir())
        item = Item.of_file(built.path, sha256=built.sha256)
        told = facts(connection, board, item, deadline=Deadline.after(STEP_S))
    except LinkLost:
        raise
    except HalfbyteError as error:
        yield _bad("agent", error)
        return
    words = (told.board_model, told.cpu_model, told.os_name)
    cpus = f"{told.cpus_online} CPUs" if told.cpus_online else None
    governors = f"governor {', '.join(sorted(set(told.governors.values())))}"
    parts = [*words, cpus, governors if told.governors else None]
    yield Check("agent", ok=True, detail=", ".join(p for p in parts if p) or "it starts")
    if told.emulated:
        yield Check("emulation", None, "an emulated board: its speed says nothing of a real one")


def _room(board: BoardPython, free: int, mount: str) -> Check:
    detail = f"{free / 1e9:.1f} GB free on {mount}"
    if free >= _ROOM_BYTES:
        return Check("disk", ok=True, detail=detail)
    return Check(
        "disk",
        None if board.versions and free > _ROOM_BYTES // 4 else False,
        detail,
        "Remove files there, or set `root` of this target to another file system.",
    )


def _memory(said: dict[str, str]) -> Check:
    total, available = (_bytes(said.get(key)) for key in ("total", "available"))
    if total is None:
        return Check("memory", None, "the board does not say")
    detail = f"{total / 1e6:.0f} MB"
    if available is None:
        return Check("memory", ok=True, detail=detail)
    detail += f", {available / 1e6:.0f} MB of it available"
    if available >= _MEMORY_BYTES:
        return Check("memory", ok=True, detail=detail)
    return Check(
        "memory",
        None,
        detail,
        "YOLOv7 at 640 takes 215 MB in int8: end other programs, or use a smaller model.",
    )


def _clock(said: dict[str, str]) -> Check:
    try:
        skew = int(said["clock"]) - time.time()
    except (KeyError, ValueError):
        return Check("clock", None, "the board does not say")
    if abs(skew) <= SKEW_S:
        return Check("clock", ok=True, detail=f"within {SKEW_S:.0f} s of this machine's")
    return Check(
        "clock",
        None,
        f"{abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
        "Durations are right all the same; dates there are not: `sudo timedatectl set-ntp true`.",
    )


def _sftp(connection: Connection) -> Check:
    there = connection.offers_subsystem("sftp", deadline=Deadline.after(STEP_S))
    return Check("sftp", ok=True, detail="there, not needed" if there else "absent, not needed")


def sudo_check(said: dict[str, str]) -> Check:
    """Needed for settings of the board alone; a password is never asked for."""
    match said.get("sudo"):
        case "root":
            return Check("root", ok=True, detail="the user is root")
        case "permitted":
            return Check("root", ok=True, detail="sudo is permitted")
        case "absent":
            return Check("root", None, "no sudo: settings and sensors of root's are left alone")
    return Check(
        "root",
        None,
        "not permitted: sudo wants a password; settings and sensors of root's are left alone",
        "Measuring does not need it. To permit it, `sudo visudo -f /etc/sudoers.d/halfbyte` and "
        f"write: {said.get('user', 'USER')} ALL=(root) NOPASSWD: ALL",
    )


def _bytes(kibibytes: str | None) -> int | None:
    return int(kibibytes) * 1024 if kibibytes and kibibytes.isdigit() else None


def _bad(name: str, error: HalfbyteError) -> Check:
    return Check(name, ok=False, detail=error.message, hint=error.hint)
