"""The board's end of an upload; its text is sent over and run by the board's own Python 3.7+.

Standard input: one line of JSON, [[sha256, bytes], ...]; after our answer, for each file that is
to come, a line "sha256 bytes offset" and then `bytes - offset` bytes; "settle 0 0" at the end.
Standard output, one line each: the answer to the list as JSON; "at SHA N" (N bytes have come),
"done SHA", "bad SHA" (what came is removed), "full FREE_BYTES" or "failed WORDS" (then we end).

A file is appended to `objects/SHA.part`, hashed, synced, and then renamed to `objects/SHA`: a name
without .part is always whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import IO, Any

CHUNK_BYTES = 256 * 1024
SYNC_EVERY_BYTES = 16 * 1024 * 1024
BATCH_FILES = 64


def say(line: str) -> None:
    """One line to the host, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def mount_point(path: Path) -> str:
    """The file system that holds `path`."""
    path = path.resolve()
    while not path.is_mount():
        path = path.parent
    return str(path)


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write there."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


class Part:
    """A file under way, locked; under another name if a second host is sending the same now."""

    def __init__(self, whole: Path) -> None:
        self.whole = whole
        for suffix in (".part", f".part-{os.getpid()}"):
            self.path = whole.with_name(whole.name + suffix)
            self.stream = self.path.open("ab+")
            try:
                fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.stream.close()
            else:
                return
        raise OSError(f"{whole} is locked")

    @property
    def size_bytes(self) -> int:
        """What is there so far."""
        return self.path.stat().st_size

    def remove(self) -> None:
        """It is no beginning of what is wanted."""
        self.path.unlink()
        self.stream.close()

    def sync(self) -> None:
        """Onto the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def rename(self) -> None:
        """It is whole, and synced."""
        self.path.rename(self.whole)
        self.stream.close()


class Receiver:
    """Files begun earlier, and whole ones that wait to be synced and renamed together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: dict[str, Part] = {}
        self.waiting: list[Part] = []

    def answer(self, wanted: list[tuple[str, int]]) -> dict[str, Any]:
        """What is here of the wanted files, and how much room there is."""
        have = []
        for sha, size in wanted:
            whole = self.folder / sha
            if whole.exists() and whole.stat().st_size == size:
                have.append(sha)
            elif whole.with_name(sha + ".part").exists():
                part = Part(whole)
                if part.size_bytes > size:
                    part.remove()
                else:
                    self.begun[sha] = part
        stat = os.statvfs(self.folder)
        return {
            "have": have,
            "parts": {sha: part.size_bytes for sha, part in self.begun.items()},
            "free_bytes": free_bytes(self.folder),
            "free_files": stat.f_favail if stat.f_files else None,
            "file_system": mount_point(self.folder),
        }

    def receive(self, stream: IO[bytes], sha: str, size: int, offset: int) -> bool:
        """One file; False if the host went away before its end."""
        part = self.begun.pop(sha, None) or Part(self.folder / sha)
        if offset == 0:
            part.stream.truncate(0)
        digest = hashlib.sha256()
        part.stream.seek(0)
        for data in iter(lambda: part.stream.read(CHUNK_BYTES), b""):
            digest.update(data)
        if part.size_bytes != offset:
            raise OSError(f"{part.path} has {part.size_bytes} bytes, not {offset}")
        at = synced = offset
        while at < size:
            data = stream.read(min(CHUNK_BYTES, size - at))
            at += len(data)
            part.stream.write(data)
            if not data:
                part.stream.flush()
                return False
            digest.update(data)
            if at - synced >= SYNC_EVERY_BYTES:
                part.sync()
                synced = at
            if at < size:
                say(f"at {sha} {at}")
        if digest.hexdigest() != sha:
            part.remove()
            say(f"bad {sha}")
        else:
            self.waiting.append(part)
            if len(self.waiting) >= BATCH_FILES or size >= SYNC_EVERY_BYTES:
                self.settle()
        return True

    def settle(self) -> None:
        """Sync what is whole, then give it its name: one journal commit serves many files."""
        for part in self.waiting:
            part.sync()
        for part in self.waiting:
            part.rename()
        if self.waiting:
            folder = os.open(self.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        for part in self.waiting:
            say(f"done {part.whole.name}")
        self.waiting = []


def main(folder: Path) -> None:
    """Receive until the host closes our input."""
    os.umask(0o077)
    stream = sys.stdin.buffer
    receiver = Receiver(folder)
    try:
        say(json.dumps(receiver.answer(json.loads(stream.readline().decode("ascii")))))
        for line in iter(stream.readline, b""):
            sha, size, offset = line.decode("ascii").split()
            if sha == "settle":
                receiver.settle()
            elif not receiver.receive(stream, sha, int(size), int(offset)):
                break
        receiver.settle()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            say(f"full {free_bytes(folder)}")
        else:
            say(f"failed {error}")


if __name__ == "__main__":
    main(Path(sys.argv[2]))
