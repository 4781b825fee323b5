"""Puts settings in force, and stays behind to put them back.

REQUEST is a JSON object: `do` is "look", "apply", "restore" or one of BOOT; the answer is one JSON
line on standard output.  After "apply" a guard is left running in a session of its own.  It puts
everything back and ends
  - when the lease file is gone (the run is over),
  - when nobody has touched it for as long as the lease is (the run or its link is dead),
  - on SIGTERM (the board shuts down).
Time is CLOCK_BOOTTIME, which nobody can set.  The lease file is only looked at: it may be any
user's.  What the settings were lies in a backup that, as root, only root can write; a backup of
another run of the kernel means that the power was cut meanwhile.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Tuple

from targets.provision.on_board import boot_file
from targets.provision.on_board.knobs import (
    Knob,
    Refused,
    boot_id,
    checked,
    expanded,
    look,
    read,
    tool,
    write,
)

ROOTS_FOLDER = "/var/lib/halfbyte"
ROOTS_OUTCOMES = "/run/halfbyte"
SCHEMA = "halfbyte.firmware-backup"
OUTCOME = "halfbyte.firmware-outcome"
VERSION = 1
_MOST_BYTES = 1 << 20
_TRIES = 3
# What a power cut does not undo by itself: nvpmodel keeps its mode on the disk.
_LASTING = ("mode",)
BOOT = {
    "boot-prepare": boot_file.prepare,
    "boot-settle": boot_file.settle,
    "boot-restore": boot_file.put_back,
    "boot-restart": boot_file.restart,
}
_RESTORING_ORDER = ("clocks", "mode", "online", "file", "service", "swap")


class Place:
    """Where backup, locks and outcome lie: root's own folder, or one of the user's."""

    def __init__(self, users_folder: str, *, as_root: bool) -> None:
        self.folder = ROOTS_FOLDER if as_root else users_folder
        self.outcomes = ROOTS_OUTCOMES if as_root else users_folder

    def path(self, name: str) -> str:
        """In the folder."""
        return os.path.join(self.folder, name)

    @property
    def backup(self) -> str:
        """What the settings were."""
        return self.path("backup.json")

    @property
    def clocks(self) -> str:
        """What `jetson_clocks --store` wrote."""
        return self.path("clocks.conf")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One program at a time changes settings.  The host's deadline ends the wait."""
        while True:
            os.makedirs(self.folder, 0o755, exist_ok=True)
            lock = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(OSError):
                if os.stat(self.path("lock")).st_ino == os.fstat(lock).st_ino:
                    break
            os.close(lock)  # who held it has removed it meanwhile
        try:
            yield
        finally:
            if not os.path.exists(self.backup):  # nothing of ours is left on the board
                os.unlink(self.path("lock"))
                with contextlib.suppress(OSError):  # more is in it
                    os.rmdir(self.folder)
            os.close(lock)

    def guard(self) -> Optional[int]:
        """The process that stands guard: it holds a lock for as long as it lives."""
        try:
            lock = os.open(self.path("guard"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            return int(os.read(lock, 32) or b"0")  # 0: it is about to say
        finally:
            os.close(lock)


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


def taken(asked: Dict[str, Any], changes: List[Any], place: Place) -> Dict[str, Any]:
    """The backup, on the disk before anything is changed."""
    before = {}
    kinds = {knob.kind for knob, _ in changes}
    if "clocks" in kinds:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.clocks)
        if tool("jetson_clocks", "--store", place.clocks)[0] == 0:
            before[Knob("clocks", "")] = "off"  # as in the file
    for knob in [knob for knob, _ in changes if knob.kind != "clocks"] + expanded(
        asked["snapshot"]
    ):
        with contextlib.suppress(OSError, Refused):
            value = read(knob)
            before[checked(knob.kind, knob.path, value)] = value
    backup = {
        "schema": SCHEMA,
        "version": VERSION,
        "id": asked["id"],
        "label": asked["label"],
        "boot_id": boot_id(),
        "before": [[knob.kind, knob.path, value] for knob, value in before.items()],
    }
    save(place.backup, backup)
    return backup


def turned(knob: Knob, value: str, place: Place) -> Optional[str]:
    """Set one; None, or why it could not be."""
    try:
        if knob.kind == "file":
            if read(knob).strip() != value:
                write(knob, value + "\n", place.clocks)
        else:
            write(knob, value, place.clocks)
    except PermissionError:
        return "not permitted"
    except OSError as error:
        return os.strerror(error.errno or 0)
    except Refused as refused:
        return str(refused)
    return None


def put_back(place: Place, why: str) -> Dict[str, Any]:
    """Everything as the backup has it; what came of it.  The lock is held.

    The backup is forgotten unless something is left to do.
    """
    stop_guard(place)
    backup = loaded(place.backup)
    before = [(checked(*entry), entry[2]) for entry in backup["before"]]
    restarted = backup["boot_id"] != boot_id()
    if restarted:  # what does not outlast a restart is gone by itself
        todo = [(knob, value) for knob, value in before if knob.kind in _LASTING]
    else:
        todo = before
    left: Dict[Knob, str] = {}
    for _ in range(_TRIES):
        tried = {
            knob: problem
            for knob, value in sorted(todo, key=_place)
            if (problem := turned_back(knob, value, place)) is not None
        }
        # A lower limit above the upper one is refused: the next round has the right order.
        left = dict(tried)
        left.update(differing(todo))
        todo = [(knob, value) for knob, value in todo if knob in left]
        if not todo:
            break
    outcome = {
        "schema": OUTCOME,
        "version": VERSION,
        "id": backup["id"],
        "label": backup["label"],
        "why": why,
        "restarted": restarted,
        "restored": len(before) - len(left),
        "left": [[knob.kind, knob.path, problem] for knob, problem in left.items()],
        "differs": [
            [knob.kind, knob.path, value, now]
            for knob, value in before
            if restarted and knob not in left and (now := now_of(knob)) not in (None, value)
        ],
    }
    if not left:
        forget(place)
    with contextlib.suppress(OSError):
        os.makedirs(place.outcomes, 0o755, exist_ok=True)
        save(os.path.join(place.outcomes, "outcome.json"), outcome)
    return outcome


def turned_back(knob: Knob, value: str, place: Place) -> Optional[str]:
    """Set one to what it was, if it is not that; None, or why it could not be."""
    try:
        if knob.kind == "clocks" or read(knob) != value:
            write(knob, value, place.clocks)
    except OSError as error:
        return os.strerror(error.errno or 0)
    except Refused as refused:
        return str(refused)
    return None


def differing(wanted: List[Tuple[Knob, str]]) -> Dict[Knob, str]:
    """Those that are not what they should be, with what they are."""
    found = {knob: now_of(knob) for knob, _ in wanted if knob.kind != "clocks"}
    return {
        knob: f"it is {found[knob]!r} and was {value!r}"
        for knob, value in wanted
        if knob in found and found[knob] != value
    }


def now_of(knob: Knob) -> Optional[str]:
    """Its value; None where it cannot be read."""
    try:
        return read(knob)
    except (OSError, Refused):
        return None


def restore(place: Place) -> Dict[str, Any]:
    """Put back what is held; {"held": false} where nothing is."""
    if not os.path.exists(place.backup):
        return {"held": False, "outcome": None}
    with place.locked():
        if not os.path.exists(place.backup):
            return {"held": False, "outcome": None}
        return {"held": True, "outcome": put_back(place, "asked")}


def status(place: Place) -> Dict[str, Any]:
    """The backup if there is one, who stands guard, and how the last hold ended."""
    found: Dict[str, Any] = {"backup": None, "guard": None, "outcome": None, "boot_id": boot_id()}
    with contextlib.suppress(OSError, Refused):
        found["backup"] = loaded(place.backup)
    found["guard"] = place.guard()
    outcome = os.path.join(place.outcomes, "outcome.json")
    with contextlib.suppress(OSError, ValueError), open(outcome) as stream:
        found["outcome"] = json.loads(stream.read(_MOST_BYTES))
    return found


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


def stop_guard(place: Place) -> None:
    """End the guard, if one stands that is not this process; the lock is held, so it waits."""
    pid = place.guard()
    if pid is None or pid == os.getpid():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while place.guard() == pid:
        time.sleep(0.02)


def loaded(path: str) -> Dict[str, Any]:
    """A backup, checked.  Raises OSError, Refused."""
    with open(path, encoding="utf-8") as stream:
        data = stream.read(_MOST_BYTES + 1)
    try:
        backup = json.loads(data) if len(data) <= _MOST_BYTES else None
    except ValueError:
        backup = None
    if not isinstance(backup, dict) or backup.get("schema") != SCHEMA:
        raise Refused(f"{path} is no backup of settings")
    if backup.get("version") != VERSION:
        raise Refused(f"{path} is of another version of halfbyte")
    for entry in backup["before"]:
        checked(*entry)
    return backup


def save(path: str, value: Dict[str, Any]) -> None:
    """Whole or not at all, and on the disk."""
    part = path + ".part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(part, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def forget(place: Place) -> None:
    """Remove what was kept.  The lock is held."""
    for name in ("backup.json", "clocks.conf", "guard"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.path(name))


def _place(entry: Tuple[Knob, str]) -> Tuple[int, str]:
    kind = "online" if entry[0].path.endswith("/online") else entry[0].kind
    return _RESTORING_ORDER.index(kind), entry[0].path


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
