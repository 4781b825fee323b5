"""Changes a Raspberry Pi's config.txt by way of tryboot.txt, and puts it back.

Only those two files, only on a FAT file system that is mounted where they are, and only where the
file is still the one that the host has seen.  `reboot "0 tryboot"` makes the firmware read
tryboot.txt once; any start after that reads config.txt again.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import time
from typing import Any, Dict, Optional

from targets.provision.on_board.knobs import Refused, boot_id, text, tool

BACKUP = "/var/lib/halfbyte/boot.json"
SCHEMA = "halfbyte.boot-backup"
VERSION = 1
MARK = "# >>> halfbyte"
_FOLDERS = ("/boot/firmware", "/boot")
_MOST_BYTES = 64 * 1024
_DELAY_S = 1.0  # for the answer to reach the host


def prepare(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Keep what config.txt was, and write tryboot.txt beside it."""
    folder = _folder(asked["folder"])
    before = _read(os.path.join(folder, "config.txt"))
    _must_be(before, asked["seen_sha256"])
    wanted = _bytes(asked["text"])
    if len(wanted) > _MOST_BYTES:
        raise Refused("the new config.txt would be too long")
    trial = os.path.join(folder, "tryboot.txt")
    if os.path.exists(trial) and MARK.encode() not in _read(trial):
        raise Refused(f"{trial} is there, and not ours: something else is trying a boot file")
    if backup() is None:  # else the first one stays: it is what there was before us
        os.makedirs(os.path.dirname(BACKUP), 0o755, exist_ok=True)
        kept = {
            "schema": SCHEMA,
            "version": VERSION,
            "folder": folder,
            "content": base64.b64encode(before).decode("ascii"),
        }
        _write(BACKUP, json.dumps(kept).encode("ascii"))
    _write(trial, wanted)
    return {"boot_id": boot_id()}


def settle(asked: Dict[str, Any]) -> Dict[str, Any]:
    """After a trial start: tryboot.txt becomes config.txt, or goes."""
    folder = _folder(asked["folder"])
    trial, config = os.path.join(folder, "tryboot.txt"), os.path.join(folder, "config.txt")
    _must_be(_read(config), asked["seen_sha256"])
    if asked["keep"]:
        _write(config, _bytes(asked["text"]))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(trial)
    if not asked["keep"]:
        _forget_if(_read(config))
    return {"kept": bool(asked["keep"])}


def put_back(asked: Dict[str, Any]) -> Dict[str, Any]:
    """config.txt as it was before us, byte for byte; `text` where others have changed it since."""
    kept = backup()
    if kept is None:
        return {"restored": False}
    folder = _folder(kept["folder"])
    config = os.path.join(folder, "config.txt")
    now = _read(config)
    _must_be(now, asked["seen_sha256"])
    before = base64.b64decode(kept["content"])
    others = hashlib.sha256(before).hexdigest() != asked["unmarked_sha256"]
    _write(config, _bytes(asked["text"]) if others else before)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "tryboot.txt"))
    os.unlink(BACKUP)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(BACKUP))
    return {"restored": True, "others": others}


def restart(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Restart soon; once by tryboot.txt if that is asked for."""
    if os.fork() == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.sync()
        time.sleep(_DELAY_S)
        tool("reboot", *(["0 tryboot"] if asked["trial"] else []))
        os._exit(0)
    return {"boot_id": boot_id()}


def backup() -> Optional[Dict[str, Any]]:
    """What config.txt was before us; None where it is as it was.  Raises Refused."""
    try:
        kept = json.loads(text(BACKUP))
    except FileNotFoundError:
        return None
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or (kept.get("schema"), kept.get("version")) != (SCHEMA, VERSION):
        raise Refused(f"{BACKUP} is no backup of a boot file of this version")
    return kept


def _forget_if(config: bytes) -> None:
    """The backup is needless once the file is as it was."""
    kept = backup()
    if kept is not None and base64.b64decode(kept["content"]) == config:
        os.unlink(BACKUP)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(BACKUP))


def _folder(path: str) -> str:
    """One of the two places, if a FAT file system is mounted right there."""
    mounted = re.search(rf"^\S+ {re.escape(path)} (vfat|msdos) ", text("/proc/mounts"), re.M)
    if path not in _FOLDERS or mounted is None:
        raise Refused(f"no firmware partition is mounted at {path}")
    return path


def _must_be(data: bytes, sha256: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refused("config.txt has changed meanwhile; nothing was written")


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_MOST_BYTES + 1)


def _bytes(text: str) -> bytes:
    """As they were read (`knobs.text`)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refused("the new config.txt is no text") from None


def _write(path: str, data: bytes) -> None:
    """Whole or not at all, and on the disk."""
    part = path + ".new"
    try:
        with open(part, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(part, path)
    except OSError:  # the partition is full: nothing of ours stays there
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    os.sync()  # FAT has no journal
