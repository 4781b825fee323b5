"""Looks at an environment on the board, makes it from wheels, or removes what is ours.

REQUEST is a JSON object, the answer one JSON line on standard output.  An
environment is a folder of unpacked wheels and a stamp that lists every file of it.  It is built
beside its place and renamed, so a folder that lacks its stamp, or a file, was left half-made and is
made again.  Neither pip nor venv nor a network is needed here, and nothing is written outside
the folder given as root.
"""

import base64
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from typing import Any, Dict, List, Optional

STAMP = "halfbyte-environment.json"
SCHEMA = "halfbyte.environment"
VERSION = 1

_TRY = """\
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
print(json.dumps({name: getattr(importlib.import_module(name), "__version__", None)
    for name in json.loads(sys.argv[2])}))
"""


class Refused(Exception):
    """A reason with a name that the host knows, and its particulars."""

    def __init__(self, problem: str, **more: Any) -> None:
        super().__init__(problem)
        self.answer = dict(more, problem=problem)


def look(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Whether the environment is there and whole, and what the board has room for."""
    root = asked["root"]
    os.makedirs(root, 0o700, exist_ok=True)
    os.chmod(root, 0o700)
    stamp = read_stamp(os.path.join(root, "envs", asked["key"]))
    room = os.statvfs(root)
    return {
        "stamp": stamp and summary(stamp),
        "free_bytes": room.f_bavail * room.f_frsize,
        "free_inodes": room.f_favail if room.f_files else None,
        "mount": mount_of(root),
        "available_bytes": available_bytes(),
    }


def available_bytes() -> Optional[int]:
    """Memory that programs may still take without anything being killed; None: not told."""
    found = {}
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                words = line.replace(":", " ").split()
                found[words[0]] = int(words[1]) * 1024
        return found["MemAvailable"] + found.get("SwapFree", 0)
    except (OSError, ValueError, LookupError):
        return None


def make(asked: Dict[str, Any]) -> Dict[str, Any]:
    """The environment, made if it is not there; its summary."""
    envs = os.path.join(asked["root"], "envs")
    os.makedirs(envs, 0o700, exist_ok=True)
    place = os.path.join(envs, asked["key"])
    lock = os.open(place + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the host's deadline ends the wait
    stamp = read_stamp(place)
    if stamp is None:
        remove(place)  # half-made
        part = place + ".part"
        remove(part)
        try:
            stamp = build(asked, part)
            os.rename(part, place)
        except OSError as error:
            remove(part)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Refused("no-space", mount=mount_of(envs), detail=str(error)) from error
            raise
        except BaseException:
            remove(part)
            raise
    for wheel in asked["wheels"]:  # the environment holds what was in them
        discard(wheel["path"])
    return {"stamp": summary(stamp)}


def clean(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Remove what is ours in the folder, and the folder if nothing else is in it; the bytes."""
    root, held = asked["root"], 0
    if not os.path.isdir(root):
        return {"removed_bytes": 0}
    lock = os.open(os.path.join(root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with open(os.path.join(root, "lock")) as stream:
            raise Refused("busy", holder=stream.read(4096)) from None
    if holds_settings(os.path.join(root, "firmware"), asked["roots_folder"]):
        raise Refused("settings-held")
    for ours in asked["ours"] + ["lock"]:
        for folder, _, names in os.walk(os.path.join(root, ours)):
            held += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
        remove(os.path.join(root, ours))
    if not os.listdir(root):
        os.rmdir(root)
    return {"removed_bytes": held}


def holds_settings(folder: str, roots_folder: str) -> bool:
    """Whether settings are held by what is in `folder`: a backup, or the lease of one of root's.

    The end of its lease is the end of a hold.  One that somebody else's lease keeps is not ours.
    """
    if os.path.exists(os.path.join(folder, "backup.json")):
        return True
    backup = os.path.join(roots_folder, "backup.json")
    if not os.path.exists(backup):
        return False
    try:
        with open(backup, encoding="utf-8") as stream:
            lease = json.loads(stream.read(1 << 20))["lease"]
        return bool(os.path.realpath(os.path.dirname(lease)) == os.path.realpath(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return True  # nobody can tell whose


def build(asked: Dict[str, Any], part: str) -> Dict[str, Any]:
    """Unpack every wheel into `part`, import what was asked for, write the stamp."""
    refuse_changed(asked["wheels"])
    os.mkdir(part, 0o700)
    files: Dict[str, List[Any]] = {}
    for wheel in asked["wheels"]:
        unpack(wheel, part, files)
    versions = imported(part, asked)
    stamp = {
        "schema": SCHEMA,
        "version": VERSION,
        "key": asked["key"],
        "versions": versions,
        "files": files,
    }
    with open(os.path.join(part, STAMP), "w", encoding="ascii") as stream:
        json.dump(stamp, stream)
    os.sync()  # all of it is on the card before the name says that it is whole
    return stamp


def refuse_changed(wheels: List[Dict[str, str]]) -> None:
    """All of those that are not what was sent are removed, or they would count as sent."""
    changed = []
    for wheel in wheels:
        digest = hashlib.sha256()
        if os.path.exists(wheel["path"]):
            with open(wheel["path"], "rb") as stream:
                for piece in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(piece)
        if digest.hexdigest() != wheel["sha256"]:
            changed.append(wheel["path"])
            discard(wheel["path"])
    if changed:
        raise Refused("corrupt", path=changed[0])


def discard(path: str) -> None:
    """A file of the store, and what is known of its pieces."""
    for name in (path, path + ".pieces"):
        if os.path.exists(name):
            os.unlink(name)


def unpack(wheel: Dict[str, str], part: str, files: Dict[str, List[Any]]) -> None:
    """The members of one wheel, each checked against the wheel's own RECORD."""
    try:
        with zipfile.ZipFile(wheel["path"]) as archive:
            recorded = record_of(archive, wheel["name"])
            for info in archive.infolist():
                if not info.filename.endswith("/"):
                    write(archive, info, part, recorded, files, wheel["name"])
    except FileNotFoundError:
        if not os.path.exists(wheel["path"]):
            raise Refused("corrupt", path=wheel["path"]) from None
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, csv.Error) as error:
        raise Refused("bad-wheel", wheel=wheel["name"], detail=repr(error)) from error


def record_of(archive: zipfile.ZipFile, wheel: str) -> Dict[str, str]:
    """Hash by member, as the wheel's RECORD says."""
    names = [
        name
        for name in archive.namelist()
        if name.count("/") == 1 and name.endswith(".dist-info/RECORD")
    ]
    if len(names) != 1:
        raise Refused("bad-wheel", wheel=wheel, detail=f"{len(names)} RECORD files")
    rows = csv.reader(io.StringIO(archive.read(names[0]).decode("utf-8")))
    return dict({row[0]: row[1] for row in rows if row}, **{names[0]: ""})


def write(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    part: str,
    recorded: Dict[str, str],
    files: Dict[str, List[Any]],
    wheel: str,
) -> None:
    """One member, if its name stays inside and its bytes are the recorded ones."""
    name = info.filename
    pieces = name.split("/")
    mode = stat.S_IFMT(info.external_attr >> 16)
    if (
        name not in recorded
        or name in files
        or "\\" in name
        or any(piece in ("", ".", "..") for piece in pieces)
        or pieces[0].endswith(".data")  # scripts and headers: no plain package
        or name == STAMP
        or mode not in (0, stat.S_IFREG)
    ):
        raise Refused("bad-wheel", wheel=wheel, detail=f"a member called {name!r}")
    target = os.path.join(part, *pieces)
    os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(info) as source, open(target, "xb") as out:
        for piece in iter(lambda: source.read(1 << 20), b""):
            digest.update(piece)
            out.write(piece)
    text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
    if recorded[name] not in ("", "sha256=" + text):
        raise Refused("bad-wheel", wheel=wheel, detail=f"{name!r} is not what RECORD says")
    files[name] = [info.file_size, digest.hexdigest()]


def imported(part: str, asked: Dict[str, Any]) -> Dict[str, Optional[str]]:
    """The versions of the modules, imported as a run will do it."""
    path, names = [part] + asked["board_folders"], asked["imports"]
    command = [sys.executable, "-I", "-S", "-c", _TRY, json.dumps(path), json.dumps(names)]
    temporary = os.path.join(asked["root"], "tmp")
    os.makedirs(temporary, 0o700, exist_ok=True)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=dict(os.environ, TMPDIR=temporary),
    )
    if done.returncode != 0:
        raise Refused(
            "import-failed",
            runtime=asked.get("runtime"),
            signal=-done.returncode if done.returncode < 0 else None,
            detail=done.stderr.decode("utf-8", "replace")[-2000:],
        )
    versions: Dict[str, Optional[str]] = json.loads(done.stdout.splitlines()[-1].decode("ascii"))
    return versions


def read_stamp(place: str) -> Optional[Dict[str, Any]]:
    """The stamp of a whole environment, else None."""
    try:
        with open(os.path.join(place, STAMP), encoding="ascii") as stream:
            stamp = json.load(stream)
        if (stamp["schema"], stamp["version"]) != (SCHEMA, VERSION):
            return None
        if stamp["key"] != os.path.basename(place):
            return None
        for name, (size, _) in stamp["files"].items():
            if os.lstat(os.path.join(place, name)).st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(stamp, place=place)


def summary(stamp: Dict[str, Any]) -> Dict[str, Any]:
    """What the host wants to know of it."""
    return {
        "versions": stamp["versions"],
        "files": len(stamp["files"]),
        "size_bytes": sum(size for size, _ in stamp["files"].values()),
    }


def mount_of(path: str) -> str:
    """Where the file system of `path` is mounted."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def remove(path: str) -> None:
    """Whatever lies there, gone."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)


def main(asked: Dict[str, Any]) -> None:
    """Answer one request."""
    os.umask(0o077)
    try:
        answer = {"look": look, "make": make, "clean": clean}[asked["do"]](asked)
    except Refused as refused:
        answer = refused.answer
    except OSError as error:
        answer = {"problem": "os-error", "detail": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(json.loads(REQUEST))  # type: ignore[name-defined]  # noqa: F821
