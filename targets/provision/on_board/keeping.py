"""What settings were: kept on the board before they are changed, and put back from there.

The backup lies in a folder that, as root, only root can write.  A backup of another run of the
kernel means that the power was cut meanwhile.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from targets.provision.on_board.knobs import (
    Knob,
    Refused,
    boot_id,
    checked,
    expanded,
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
