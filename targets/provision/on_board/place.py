"""Where on the board the backup of settings lies, and who may work on it.

As root that is a folder that only root can write.
"""

import contextlib
import fcntl
import json
import os
import re
from typing import Any, Dict, Iterator, List, Optional

from targets.provision.on_board.knobs import Refused, checked

ROOTS_FOLDER = "/var/lib/halfbyte"
ROOTS_OUTCOMES = "/run/halfbyte"
SCHEMA = "halfbyte.firmware-backup"
VERSION = 1
MOST_BYTES = 1 << 20
_PID = re.compile(rb"[1-9][0-9]{0,9}")
_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)


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

    def outcome(self, hold: str) -> str:
        """How the hold of that name ended.  Raises Refused where it is no name of a hold."""
        if not _ID.fullmatch(hold):
            raise Refused(f"{hold!r} is no name of a hold")
        return os.path.join(self.outcomes, f"outcome-{hold}.json")

    def guard(self) -> Optional[int]:
        """The process that stands guard: it holds a lock for as long as it lives.

        0: it has yet to say which it is.
        """
        try:
            lock = os.open(self.path("guard"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            said = os.read(lock, 32)
            return int(said) if _PID.fullmatch(said) else 0
        finally:
            os.close(lock)


def loaded(path: str) -> Dict[str, Any]:
    """A backup, checked.  Raises OSError, Refused."""
    with open(path, encoding="utf-8") as stream:
        data = stream.read(MOST_BYTES + 1)
    try:
        backup = json.loads(data) if len(data) <= MOST_BYTES else None
    except ValueError:
        backup = None
    if not isinstance(backup, dict) or backup.get("schema") != SCHEMA:
        raise Refused(f"{path} is no backup of settings")
    if backup.get("version") != VERSION:
        raise Refused(f"{path} is of another version of halfbyte")
    texts: List[Any] = [backup.get(key) for key in ("id", "label", "boot_id")]
    entries = backup.get("before")
    if (
        not all(isinstance(text, str) for text in texts)
        or not _ID.fullmatch(texts[0])
        or not isinstance(entries, list)
        or not all(isinstance(entry, list) and len(entry) == 3 for entry in entries)
    ):
        raise Refused(f"{path} is damaged")
    for entry in entries:
        checked(*entry)
    return backup


def save(path: str, value: Dict[str, Any]) -> None:
    """As JSON; see `save_text`."""
    save_text(path, json.dumps(value), 0o644)


def save_text(path: str, text: str, mode: int) -> None:
    """Whole or not at all, and on the disk."""
    part = path + ".part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(part, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
