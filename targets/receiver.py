"""The board's end of an upload; its text is sent over and run by the board's own Python 3.7+.

Standard input: one line of JSON, [[sha256, bytes], ...]; after our answer any number of
    "table SHA COUNT" and COUNT entries: pieces of a file that is to come; we answer with a line
        "here SHA 0110...", a 1 for each that lies here in another file: it is copied, not sent
    "SHA BYTES OFFSET" and then what of the file lies beyond OFFSET, but for pieces that lie here
    "keep SHA COUNT" and COUNT entries: pieces of a file that came, where "table" did not tell
    "forget SHA": the next time all of it is sent
    "settle": give all that is whole its name
    "wait": nothing yet, but the host is there
An entry is 6 bytes of the piece's SHA-256 and 2 of its size.  Standard output, one line each: the
answer to the list as JSON, "here", "at SHA N" (N bytes of it are there), "done SHA", "bad SHA"
(what came is removed), and, before we end, "full FREE_BYTES", "idle" or "failed WORDS".

A file is appended to `objects/SHA.part`, hashed, synced, and then renamed to `objects/SHA`: a name
without .part is always whole.  `objects/SHA.pieces` lists the pieces of that file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from targets.receiver_part import Part, sweep
from targets.receiver_pieces import ENTRY, MOST_PIECES, Pieces

CHUNK_BYTES = 256 * 1024
SYNC_EVERY_BYTES = 4 * 1024 * 1024
SETTLE_BYTES = 16 * 1024 * 1024
BATCH_FILES = 64
TELL_EVERY_S = 1.0
# Less than the host needs to notice a dead link: then its next receiver finds the files free.
IDLE_S = 15.0
LOCKED_S = IDLE_S + 3


class Idle(Exception):
    """Nothing came for `IDLE_S`."""


class Gone(Exception):
    """The host closed our input."""


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


class Input:
    """Standard input, as it comes."""

    def __init__(self) -> None:
        self.ready = memoryview(b"")

    def wait(self) -> None:
        """Until there is something.  Raises Gone at the end, Idle."""
        if not self.ready:
            if not select.select([0], [], [], IDLE_S)[0]:
                raise Idle
            self.ready = memoryview(os.read(0, CHUNK_BYTES))
            if not self.ready:
                raise Gone

    def some(self, most: int) -> memoryview:
        """At least one byte."""
        self.wait()
        data, self.ready = self.ready[:most], self.ready[most:]
        return data

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        data = bytearray()
        while len(data) < count:
            data += self.some(count - len(data))
        return bytes(data)

    def line(self) -> str:
        """Up to the next newline, which is left out."""
        data = bytearray()
        while not data.endswith(b"\n"):
            self.wait()
            data += self.some((bytes(self.ready).find(b"\n") + 1) or CHUNK_BYTES)
        return data[:-1].decode("ascii")


def end_older(token: str) -> None:
    """End a receiver of the same upload whose connection died without a word to it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(path.parent.name)
        try:
            if pid != os.getpid() and token.encode() in path.read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGTERM)
        except OSError:  # it has ended, or is not ours to look at
            continue


class Receiver:
    """Files begun earlier, and whole ones that wait to be synced and renamed together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun: dict[str, Part] = {}
        self.waiting: list[Part] = []
        self.pieces: dict[str, Pieces] = {}

    def answer(self, wanted: list[tuple[str, int]]) -> dict[str, Any]:
        """What is here of the wanted files, and how much room there is."""
        have = []
        ends_at_s = time.monotonic() + LOCKED_S
        for sha, size in wanted:
            whole = self.folder / sha
            sweep(whole)
            if whole.with_name(sha + ".part").exists():
                self.begun[sha] = Part(whole, ends_at_s)
            there = whole.exists() and whole.stat().st_size == size
            if there:
                have.append(sha)
            if sha in self.begun and (there or self.begun[sha].size_bytes > size):
                self.begun.pop(sha).remove()
        stat = os.statvfs(self.folder)
        return {
            "have": have,
            "parts": {sha: part.size_bytes for sha, part in self.begun.items()},
            "pieces": any(self.folder.glob("*.pieces")),
            "free_bytes": free_bytes(self.folder),
            "free_files": stat.f_favail if stat.f_files else None,
            "file_system": mount_point(self.folder),
        }

    def serve(self, stream: Input) -> None:
        """Do what the host says, to the end of its input.  Raises Gone, Idle, OSError."""
        while True:
            word, *rest = stream.line().split()
            if word == "wait":
                continue
            if word == "settle":
                self.settle()
            elif word == "forget":
                self.pieces.pop(rest[0], None)
            elif word in ("table", "keep"):
                self.take_table(stream, rest[0], int(rest[1]), look_up=word == "table")
            else:
                self.receive(stream, word, int(rest[0]), int(rest[1]))

    def take_table(self, stream: Input, sha: str, count: int, *, look_up: bool) -> None:
        """The pieces of a file."""
        if count > MOST_PIECES:
            raise OSError(f"{count} pieces are too many")
        pieces = Pieces(stream.exactly(count * ENTRY.size))
        if look_up:
            say(f"here {sha} {pieces.look_up(self.folder)}")
        if (self.folder / sha).exists():
            pieces.write(self.folder / f"{sha}.pieces")
        else:
            self.pieces[sha] = pieces

    def receive(self, stream: Input, sha: str, size: int, offset: int) -> None:
        """One file."""
        part = self.begun.pop(sha, None) or Part(self.folder / sha, time.monotonic() + LOCKED_S)
        if offset == 0:
            part.stream.truncate(0)
        digest = hashlib.sha256()
        part.stream.seek(0)
        for data in iter(lambda: part.stream.read(CHUNK_BYTES), b""):
            digest.update(data)
        if part.size_bytes != offset:
            raise OSError(f"{part.path} has {part.size_bytes} bytes, not {offset}")
        runs = self.pieces[sha].runs() if sha in self.pieces else [(size, None)]
        at = synced = told = offset
        told_at_s = time.monotonic()
        for data in filled(stream, runs, offset):
            part.write(data)
            digest.update(data)
            at += len(data)
            if at - synced >= SYNC_EVERY_BYTES:
                part.sync_beside()
                synced = at
            late = time.monotonic() - told_at_s >= TELL_EVERY_S
            if at < size and (late or at - told >= CHUNK_BYTES):
                say(f"at {sha} {at}")
                told, told_at_s = at, time.monotonic()
        if digest.hexdigest() != sha:
            part.remove()
            say(f"bad {sha}")
            return
        self.waiting.append(part)
        if len(self.waiting) >= BATCH_FILES or size >= SETTLE_BYTES:
            self.settle()

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
            pieces = self.pieces.pop(part.whole.name, None)
            if pieces is not None:
                pieces.write(self.folder / f"{part.whole.name}.pieces")
            say(f"done {part.whole.name}")
        self.waiting = []


def filled(
    stream: Input, runs: Iterable[tuple[int, tuple[int, int] | None]], offset: int
) -> Iterable[memoryview]:
    """The bytes of a file from `offset` on, sent or copied."""
    at, begin = offset, 0
    for end, source in runs:
        while at < end:
            most = min(CHUNK_BYTES, end - at)
            if source is None:
                data = stream.some(most)
            else:
                data = memoryview(os.pread(source[0], most, source[1] + at - begin))
                if not data:
                    raise OSError("what was to be copied is gone")
            at += len(data)
            yield data
        begin = end


def main(folder: str, token: str) -> None:
    """Receive until the host closes our input, or is gone."""
    os.umask(0o077)
    stream = Input()
    receiver = Receiver(Path(folder))
    try:
        end_older(token)
        try:
            say(json.dumps(receiver.answer(json.loads(stream.line()))))
            receiver.serve(stream)
        except Gone:
            pass
        except Idle:
            say("idle")
        receiver.settle()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            say(f"full {free_bytes(receiver.folder)}")
        else:
            say(f"failed {error}")
